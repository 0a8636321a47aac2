//! The two events of one strategy, and what happens on them.

use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use serde::Serialize;

use super::ConcurrentArgs;
use super::counters::{Counted, Counters};
use crate::booking::api::{self, create_event};
use crate::booking::buyers::Buyers;
use crate::booking::judge::{self, Judgement};
use crate::booking::ledger::{Ledger, Window};
use crate::booking::strategy::Strategy;
use crate::booking::system::System;
use crate::measure::latencies::Percentiles;

/// Booked before a turn is counted.
pub(crate) const WARM_UP: Duration = Duration::from_millis(200);
/// How long commands and statements are counted.
pub(crate) const COUNTED: Duration = Duration::from_millis(400);
/// How long the first booking may take: redlock asks no server that has been up for less than a lease.
const FIRST: Duration = Duration::from_secs(30);
/// How long an event may take to be sold out.
pub(crate) const SELLING_OUT: Duration = Duration::from_secs(120);

/// The events of one strategy.
#[derive(Debug)]
pub(crate) struct Events {
    pub(crate) strategy: Strategy,
    large: i64,
    small: i64,
    on_large: Vec<Ledger>,
    on_small: Vec<Ledger>,
}

/// How the small event was sold out.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Sale {
    pub(crate) event: i64,
    pub(crate) seconds: f64,
    /// Answered 201.
    pub(crate) booked: u64,
    pub(crate) per_second: f64,
    /// From when an order was first sent to its 201.
    pub(crate) waits: Option<Percentiles>,
    pub(crate) fairness_of_buyers: Option<f64>,
    /// Answers 423, after which the order was sent again.
    pub(crate) locked: u64,
    /// Answers 503, after which the order was sent again.
    pub(crate) unavailable: u64,
}

/// One turn on the large event.
#[derive(Debug)]
pub(crate) struct Turn {
    pub(crate) window: Window,
    pub(crate) locked: u64,
    pub(crate) unavailable: u64,
}

impl Events {
    /// Makes both. The inner error is the service's reason not to have the strategy.
    pub(crate) async fn make(
        system: &System,
        strategy: Strategy,
        args: &ConcurrentArgs,
    ) -> anyhow::Result<Result<Self, String>> {
        let replica = system.replicas[0];
        let make = async |what: &str, seats| {
            create_event(replica, &format!("lab: {what} of {strategy}"), seats, strategy).await
        };
        let large = match make("large event", args.plenty()).await? {
            Ok(large) => large,
            Err(reason) => return Ok(Err(reason)),
        };
        Ok(make("event to be sold out", args.seats).await?.map(|small| Self {
            strategy,
            large,
            small,
            on_large: Vec::new(),
            on_small: Vec::new(),
        }))
    }

    fn buyers(&self, system: &System, args: &ConcurrentArgs, time: Duration) -> Buyers {
        Buyers::new(&system.replicas, usize::from(args.buyers), self.large, time)
    }

    /// Books once through every replica, so that every connection is there; then counts what bookings cost the stores.
    pub(crate) async fn warm_up(
        &mut self,
        system: &System,
        args: &ConcurrentArgs,
        counters: &Counters,
    ) -> anyhow::Result<Counted> {
        for &replica in &system.replicas {
            let first = Buyers { bookings: Some(1), ..Buyers::new(&[replica], 1, self.large, FIRST) };
            let first = first.run().await?;
            if first.booked.is_empty() {
                bail!(
                    "{replica} booked nothing within {} s: {} answers 423, {} 503, {}",
                    FIRST.as_secs(),
                    first.locked,
                    first.unavailable,
                    first.first_failure.as_deref().unwrap_or("nothing else")
                );
            }
            self.on_large.push(first);
        }
        let counting = counters.begin().await?;
        let ledger = self.buyers(system, args, COUNTED).run().await?;
        let bookings = ledger.booked.len() as u64;
        self.on_large.push(ledger);
        ensure!(bookings > 0, "no booking was made within {COUNTED:?}");
        counters.end(counting, self.strategy, bookings).await
    }

    /// One turn on the large event.
    pub(crate) async fn turn(&mut self, system: &System, args: &ConcurrentArgs) -> anyhow::Result<Turn> {
        let ledger = self.buyers(system, args, WARM_UP + args.turn()).run().await?;
        let from = ledger.started + WARM_UP;
        // An event that is sold out sooner is not sold any more.
        let sold_out = ledger.all_sold_out().then(|| last(&ledger));
        let until = sold_out.flatten().unwrap_or(from + args.turn()).min(from + args.turn());
        let turn = Turn { window: ledger.window(from, until), locked: ledger.locked, unavailable: ledger.unavailable };
        self.on_large.push(ledger);
        Ok(turn)
    }

    /// Sells the small event until each buyer is told that there is nothing left.
    pub(crate) async fn sell_out(&mut self, system: &System, args: &ConcurrentArgs) -> anyhow::Result<Sale> {
        let buyers = Buyers { event: self.small, work: args.work(), ..self.buyers(system, args, SELLING_OUT) };
        let ledger = buyers.run().await?;
        let until = last(&ledger).unwrap_or(ledger.ended);
        // The window has no end of its own, and the last booking belongs to it.
        let window = ledger.window(ledger.started, until + Duration::from_nanos(1));
        let sale = Sale {
            event: self.small,
            seconds: window.seconds,
            booked: window.bookings(),
            per_second: window.per_second(),
            waits: window.waits.percentiles(),
            fairness_of_buyers: window.fairness_of_buyers(),
            locked: ledger.locked,
            unavailable: ledger.unavailable,
        };
        self.on_small.push(ledger);
        Ok(sale)
    }

    /// Whether every buyer of the small event went on until there was nothing left.
    pub(crate) fn is_sold_out(&self) -> bool {
        self.on_small.iter().all(Ledger::all_sold_out)
    }

    /// Judges the large and the small event.
    pub(crate) async fn judge(&self, system: &System) -> anyhow::Result<(Judgement, Judgement)> {
        let large = judge::judge(&system.database, self.large, &self.on_large).await?;
        let small = judge::judge(&system.database, self.small, &self.on_small).await?;
        Ok((large, small))
    }

    /// Where the service says something else than the rows: its audit, and its page of the event.
    pub(crate) async fn differences(
        &self,
        system: &System,
        large: &Judgement,
        small: &Judgement,
    ) -> anyhow::Result<Vec<String>> {
        let mut lines = Vec::new();
        for (event, judged) in [(self.large, large), (self.small, small)] {
            let audit = api::audit(system.replicas[0], event).await?;
            let mut differences = judged.differences(&audit);
            let page = api::event(system.replicas[0], event).await?;
            if page.booked != judged.rows.seats_sold {
                differences.push(format!("the page says {} booked, the rows {}", page.booked, judged.rows.seats_sold));
            }
            lines.extend(differences.iter().map(|line| format!("{}, event {event}: {line}", self.strategy)));
        }
        Ok(lines)
    }

    /// Answers that nobody may get while nothing is disturbed.
    pub(crate) fn failures(&self) -> Vec<String> {
        let sales = || self.on_large.iter().chain(&self.on_small);
        let unanswered: u64 = sales().map(|sale| sale.unanswered).sum();
        let unexpected: u64 = sales().map(|sale| sale.unexpected).sum();
        let first = sales().find_map(|sale| sale.first_failure.as_deref()).unwrap_or_default();
        [(unanswered, "requests without an answer"), (unexpected, "answers that the interface does not have")]
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{}: {count} {what}, the first: {first}", self.strategy))
            .collect()
    }
}

/// When the last booking was answered.
fn last(ledger: &Ledger) -> Option<Instant> {
    ledger.booked.iter().map(|booked| booked.ended).max()
}
