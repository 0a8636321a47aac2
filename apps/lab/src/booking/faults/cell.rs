//! One cell: a fault under a strategy, in several rounds, and what is to be said of it.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::ensure;
use clap::ValueEnum as _;
use serde::{Deserialize, Deserializer, Serialize};
use tokio_util::sync::CancellationToken;

use super::super::strategy::Strategy;
use super::bed::{Bed, Replicas};
use super::buyers::{Answer, Client, Sale, Wish};
use super::http;
use super::judge::{self, Judged};
use super::look::{self, Refusals};
use super::matrix::{Expected, Fault, VICTIM_SEATS, expected};
use super::round::{self, Round, Sold};
use crate::measure::kept::{Done, Kept};
use crate::measure::statistics::median;

/// By how much later than its lease the lock of a killed holder may be had (the figure to reach).
const AFTER_LEASE_MS: f64 = 100.0;

/// What was found in a cell.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Cell {
    pub(super) fault: Fault,
    #[serde(deserialize_with = "by_name")]
    pub(super) strategy: Strategy,
    /// Of which run it may be a part.
    pub(super) settings: String,
    /// Why there is nothing to be seen here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) meaningless: Option<String>,
    /// What was missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) not_run: Option<String>,
    pub(super) judged: Judged,
    /// Bookings that only the schema's check kept from overselling.
    pub(super) schema_refusals: u64,
    /// What stayed locked, or could not be booked again.
    pub(super) stuck: Vec<String>,
    /// The median of the rounds.
    pub(super) recovery_ms: Option<f64>,
    /// The median of the rounds; only where the holder had a lease in Redis.
    pub(super) after_lease_ms: Option<f64>,
    /// Why the cell proves nothing: a fault that was not seen, a victim that was not in its section.
    pub(super) failed: Vec<String>,
    pub(super) rounds: Vec<Round>,
    pub(super) seconds: f64,
}

impl Done for Cell {
    fn settings(&self) -> &str {
        &self.settings
    }
}

impl Kept<Cell> {
    pub(super) fn has(&self, fault: Fault, strategy: Strategy) -> bool {
        self.cells.iter().any(|cell| (cell.fault, cell.strategy) == (fault, strategy))
    }
}

fn by_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Strategy, D::Error> {
    let name = String::deserialize(deserializer)?;
    Strategy::from_str(&name, false).map_err(serde::de::Error::custom)
}

impl Cell {
    pub(super) fn new(fault: Fault, strategy: Strategy, settings: &str) -> Self {
        Self {
            fault,
            strategy,
            settings: settings.to_owned(),
            meaningless: None,
            not_run: None,
            judged: Judged::default(),
            schema_refusals: 0,
            stuck: Vec::new(),
            recovery_ms: None,
            after_lease_ms: None,
            failed: Vec::new(),
            rounds: Vec::new(),
            seconds: 0.0,
        }
    }

    pub(super) fn ran(&self) -> bool {
        self.meaningless.is_none() && self.not_run.is_none()
    }

    /// Whether it is a control that did not fail: its fault has proved nothing then.
    pub(super) fn control_held(&self, rounds: u32) -> Option<String> {
        let Ok(Expected::Oversells(least)) = expected(self.fault, self.strategy, rounds) else { return None };
        (self.ran() && self.failed.is_empty() && self.judged.oversold < least).then(|| {
            format!("oversold {} seats, and as the control it had to oversell at least {least}", self.judged.oversold)
        })
    }

    /// What is wrong with what it found. `bookings` is what a safe cell has to have at least.
    pub(super) fn broken(&self, rounds: u32, bookings: u64) -> Vec<String> {
        if !self.ran() {
            return Vec::new();
        }
        let mut broken: Vec<String> = self.failed.clone();
        let judged = &self.judged;
        let mut some = |number: u64, what: &str| {
            if number > 0 {
                broken.push(format!("{number} {what}"));
            }
        };
        if expected(self.fault, self.strategy, rounds) == Ok(Expected::Safe) {
            some(judged.oversold, "seats oversold");
            some(self.schema_refusals, "bookings that only the schema's check refused");
            if self.failed.is_empty() {
                some(bookings.saturating_sub(judged.bookings), "bookings too few to prove anything");
            }
        }
        if expected(self.fault, self.strategy, rounds) == Ok(Expected::Safe) {
            let stalled = self.rounds.iter().filter(|round| !round.sold_out_under_fault).count();
            some(stalled as u64, "rounds in which the others could not buy what was left while the fault lasted");
        }
        if reaches_holder(self.fault, self.strategy) {
            let spared = self.rounds.iter().filter(|round| round.undisturbed).count();
            some(spared as u64, "rounds in which the fault did not reach the holder");
        }
        some(judged.lost, "bookings lost");
        some(judged.doubled, "bookings doubled");
        some(judged.unasked, "bookings that nobody was told of");
        some(judged.miscounted, "seats by which the event's own count is wrong");
        if self.strategy.has_fences() {
            some(judged.fences_out_of_order, "bookings with a fence that is not above the one before");
        }
        broken.extend(self.stuck.iter().cloned());
        let surprises: HashSet<&String> = self.rounds.iter().flat_map(|round| &round.surprises).collect();
        broken.extend(surprises.into_iter().map(|answer| format!("a client got {answer}")));
        if (self.fault, self.strategy) == (Fault::HolderKilled, Strategy::RedisFenced)
            && let Some(later) = self.after_lease_ms
            && later > AFTER_LEASE_MS
        {
            broken.push(format!(
                "the next booking came {later:.0} ms after the holder's lease, and not within {AFTER_LEASE_MS:.0} ms"
            ));
        }
        broken
    }

    fn summarize(&mut self) {
        let of = |pick: fn(&Round) -> Option<f64>| median(&self.rounds.iter().filter_map(pick).collect::<Vec<_>>());
        let (recovery, after_lease) = (of(|round| round.recovery_ms), of(|round| round.after_lease_ms));
        (self.recovery_ms, self.after_lease_ms) = (recovery, after_lease);
        for round in &self.rounds {
            self.judged.add(&round.judged);
            if !round.sold_out {
                self.stuck.push(format!("event {} was not sold out long after the fault", round.event));
            }
        }
    }
}

/// Whether the fault takes the lock, or the process, from whoever holds it: one that went on as if nothing had happened
/// has not been hit.
fn reaches_holder(fault: Fault, strategy: Strategy) -> bool {
    match fault {
        Fault::HolderKilled => true,
        Fault::HolderStopped | Fault::PostgresRestarted
            if matches!(strategy, Strategy::PgAdvisory | Strategy::PgRow) =>
        {
            true
        }
        Fault::HolderStopped | Fault::RedisKilled | Fault::ClockBack => strategy == Strategy::RedisFenced,
        Fault::RedisCut | Fault::PushDropped | Fault::PostgresRestarted => false,
    }
}

/// Runs a cell on fresh replicas.
///
/// # Errors
/// The replicas could not be started or the stores not be healed: no cell can be run then.
pub(super) async fn run(bed: &Bed, mut cell: Cell, replicas: u16, rounds: u32, bookings: u64) -> anyhow::Result<Cell> {
    let began = Instant::now();
    bed.heal().await?;
    let running = bed.replicas(replicas, cell.fault.times(cell.strategy)).await?;
    let outcome = all_rounds(bed, &running, &mut cell, rounds, bookings).await;
    bed.heal().await?;
    running.stop().await;
    if let Err(error) = outcome {
        cell.failed.push(format!("{error:#}"));
    }
    cell.summarize();
    cell.seconds = began.elapsed().as_secs_f64();
    Ok(cell)
}

async fn all_rounds(bed: &Bed, replicas: &Replicas, cell: &mut Cell, rounds: u32, bookings: u64) -> anyhow::Result<()> {
    let capacity = u32::try_from(bookings.div_ceil(u64::from(rounds)))? + VICTIM_SEATS;
    let mut refusals = Refusals::default();
    let mut last = None;
    for number in 0..rounds {
        let plan = round::Plan { bed, replicas, fault: cell.fault, strategy: cell.strategy, number, capacity };
        until_running(bed, replicas).await?;
        let (round, sold) = round::run(plan).await.map_err(|error| error.context(format!("round {}", number + 1)))?;
        refusals.look(replicas, cell.strategy).await?;
        cell.rounds.push(round);
        last = Some(sold);
    }
    until_running(bed, replicas).await?;
    cell.stuck.extend(look::left_locked(bed, cell.fault.times(cell.strategy).settled()).await?);
    if let Some(sold) = last {
        let stuck = again(bed, replicas, cell, sold).await?;
        cell.stuck.extend(stuck);
    }
    refusals.look(replicas, cell.strategy).await?;
    cell.schema_refusals = refusals.total();
    let killed = if cell.fault == Fault::HolderKilled { rounds } else { 0 };
    let restarts = replicas.restarts();
    ensure!(restarts == killed, "replicas were started {restarts} times again, and killed {killed} times");
    Ok(())
}

/// Waits until everybody is back, and connected again to what the round before has taken away.
async fn until_running(bed: &Bed, replicas: &Replicas) -> anyhow::Result<()> {
    const BACK: Duration = Duration::from_secs(30);
    let deadline = Instant::now() + BACK;
    loop {
        let victim = replicas.victim();
        let connected = bed.proxies().all(|proxy| proxy.connections() > 0);
        if connected && victim.pid.is_some() && http::ready(&victim.admin).await {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "the replicas are not back within {BACK:?}");
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

/// After a cancellation, every replica must be able to sell the seat again. What it does is judged as well.
async fn again(bed: &Bed, replicas: &Replicas, cell: &Cell, sold: Sold) -> anyhow::Result<Vec<String>> {
    let Sold { event, capacity, ledger } = sold;
    let (first, others) = replicas.addresses()?;
    let within = cell.fault.times(cell.strategy).settled();
    let mut stuck = Vec::new();
    let mut cancelled = HashSet::new();
    let sale = Sale::new(event, format!("again-{event}"));
    for (number, replica) in std::iter::once(first).chain(others).enumerate() {
        while judge::sold(&bed.database, event).await? >= u64::from(capacity) {
            let rows = judge::rows(&bed.database, event).await?;
            let Some(row) = rows.iter().find(|row| row.live) else { break };
            if !cancelled.insert(row.id) {
                stuck.push(format!("booking {} was cancelled and is not", row.id));
                return Ok(stuck);
            }
            if let Err(error) = http::cancel(replica, row.id, within).await {
                stuck.push(format!("{error:#}"));
                return Ok(stuck);
            }
        }
        let wish = Wish { buyer: format!("{}-{number}", sale.name), seats: 1, work: Duration::ZERO };
        // Its patience ends as much before as it would go on after the end of a sale.
        let closed = CancellationToken::new();
        let mut client = Client::new(&[replica], within);
        let buying = async {
            loop {
                let purchase = client.buy(&sale, &wish, &closed).await;
                // Sold out for as long as a reservation of somebody who is gone is kept.
                if purchase.answer != Answer::SoldOut {
                    return purchase;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        match tokio::time::timeout(within, buying).await {
            Ok(purchase) => sale.note(purchase),
            Err(_) => {
                stuck.push(format!("replica {} did not sell a seat that was free, within {within:?}", number + 1));
                return Ok(stuck);
            }
        }
    }
    let all: Vec<_> = ledger.into_iter().chain(sale.purchases()).collect();
    let judged = judge::judge_event(&bed.database, event, capacity, &all, &cancelled).await?;
    let before = cell.rounds.last().map(|round| round.judged.clone()).unwrap_or_default();
    for (number, was, what) in [
        (judged.oversold, before.oversold, "seats oversold"),
        (judged.lost, before.lost, "bookings lost"),
        (judged.doubled, before.doubled, "bookings doubled"),
        (judged.unasked, before.unasked, "bookings that nobody was told of"),
        (judged.miscounted, before.miscounted, "seats miscounted"),
    ] {
        if number > was {
            stuck.push(format!("{} {what} after a cancellation", number - was));
        }
    }
    Ok(stuck)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A cell as it should be.
    pub(in super::super) fn cell(fault: Fault, strategy: Strategy, oversold: u64) -> Cell {
        Cell {
            judged: Judged { bookings: 1_000, sold: 1_004 + oversold, oversold, ..Judged::default() },
            recovery_ms: Some(1_340.0),
            ..Cell::new(fault, strategy, "test")
        }
    }

    fn broken(change: impl FnOnce(&mut Cell)) -> Vec<String> {
        let mut cell = cell(Fault::HolderKilled, Strategy::RedisFenced, 0);
        change(&mut cell);
        cell.broken(4, 1_000)
    }

    #[test]
    fn each_invariant_is_looked_at() {
        assert_eq!(broken(|_| {}), [""; 0]);
        assert_eq!(broken(|cell| cell.judged.oversold = 1).len(), 1);
        assert_eq!(broken(|cell| cell.judged.lost = 1).len(), 1);
        assert_eq!(broken(|cell| cell.judged.doubled = 1).len(), 1);
        assert_eq!(broken(|cell| cell.judged.unasked = 1).len(), 1);
        assert_eq!(broken(|cell| cell.judged.miscounted = 1).len(), 1);
        assert_eq!(broken(|cell| cell.judged.fences_out_of_order = 1).len(), 1);
        assert_eq!(broken(|cell| cell.judged.bookings = 999).len(), 1);
        assert_eq!(broken(|cell| cell.schema_refusals = 1).len(), 1);
        assert_eq!(broken(|cell| cell.stuck.push("a key".into())).len(), 1);
        assert_eq!(broken(|cell| cell.failed.push("not verified".into())).len(), 1);
        assert_eq!(broken(|cell| cell.after_lease_ms = Some(101.0)).len(), 1);
        assert_eq!(broken(|cell| cell.after_lease_ms = Some(99.0)).len(), 0);
    }

    #[test]
    fn a_control_may_oversell_and_must() {
        let control = cell(Fault::HolderStopped, Strategy::Redis, 16);
        assert_eq!((control.broken(4, 1_000), control.control_held(4)), (vec![], None));
        assert!(cell(Fault::HolderStopped, Strategy::Redis, 15).control_held(4).is_some());
        assert!(cell(Fault::RedisCut, Strategy::None, 0).control_held(4).is_some());
        assert_eq!(cell(Fault::RedisCut, Strategy::Redis, 0).control_held(4), None);
        // Lost bookings are nobody's privilege.
        let mut losing = cell(Fault::RedisCut, Strategy::None, 3);
        losing.judged.lost = 1;
        assert_eq!(losing.broken(4, 1_000).len(), 1);
    }

    #[test]
    fn a_cell_comes_back_from_its_file() {
        let text = serde_json::to_string(&cell(Fault::ClockBack, Strategy::PgRow, 0)).unwrap();
        let back: Cell = serde_json::from_str(&text).unwrap();
        assert_eq!((back.fault, back.strategy, back.judged.bookings), (Fault::ClockBack, Strategy::PgRow, 1_000));
    }
}
