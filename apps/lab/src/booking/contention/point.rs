//! One point: so many replicas, one strategy, one event or many.

use std::time::Duration;

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::ContentionArgs;
use crate::booking::api::{Answer, Wish, create_event};
use crate::booking::buyers::Buyers;
use crate::booking::judge;
use crate::booking::ledger::new_run;
use crate::booking::strategy::{Promise, Strategy};
use crate::booking::system::System;
use crate::measure::latencies::{Percentiles, as_f64};
use crate::measure::metrics::Metrics;
use crate::measure::open_loop::OpenLoop;
use crate::measure::table;
use crate::measure::zipf::Random;

/// What making the events and the first bookings takes.
pub(crate) const PREPARING: Duration = Duration::from_millis(500);
/// How long the first booking may take: redlock asks no server that has been up for less than a lease.
const FIRST: Duration = Duration::from_secs(30);
/// How often the waiters are counted: seldom, for each count is a request to each replica.
const COUNT: Duration = Duration::from_millis(500);
/// The library's gauge of callers inside of an acquisition.
const WAITERS: &str = "lock_waiters";

/// What was measured at one point.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Point {
    pub(crate) strategy: Strategy,
    pub(crate) replicas: usize,
    /// All for one event, or spread over many.
    pub(crate) hot: bool,
    /// Arrivals.
    pub(crate) arrived: u64,
    /// Bookings made a second, until the last answer.
    pub(crate) per_second: f64,
    /// Of all answers, from when each was due.
    pub(crate) waits: Option<Percentiles>,
    /// Answers 201, 423 and 503, and all others.
    pub(crate) booked: u64,
    pub(crate) locked: u64,
    pub(crate) unavailable: u64,
    pub(crate) other: u64,
    /// Callers that waited for a lock or asked for it, in all replicas: the mean and the most of what was counted twice a
    /// second. Absent for strategies without a lock.
    pub(crate) waiters: Option<Waiters>,
    /// How late the generator sent, 99th percentile: the error of the other times.
    pub(crate) own_delay_us: f64,
}

#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Waiters {
    pub(crate) mean: f64,
    pub(crate) most: f64,
}

/// Measures a point, and judges its events. The inner error is the service's reason not to have the strategy.
pub(crate) async fn measure(
    system: &System,
    args: &ContentionArgs,
    strategy: Strategy,
    hot: bool,
) -> anyhow::Result<Result<(Point, Vec<String>), String>> {
    let mut events = Vec::new();
    for number in 1..=if hot { 1 } else { args.events } {
        let name = format!("lab: contention {number}, {strategy}");
        match create_event(system.replicas[0], &name, args.seats(), strategy).await? {
            Ok(event) => events.push(event),
            Err(reason) => return Ok(Err(reason)),
        }
    }
    // Every replica has booked once, so that its connections are there.
    let mut before = 0;
    for &replica in &system.replicas {
        let first = Buyers { bookings: Some(1), ..Buyers::new(&[replica], 1, events[0], FIRST) };
        let first = first.run().await?;
        if first.booked.is_empty() {
            return Ok(Err(format!("{replica} booked nothing within {} s", FIRST.as_secs())));
        }
        before += first.booked.len() as u64;
    }
    let counted = CancellationToken::new();
    let waiters = tokio::spawn(count_waiters(system.admin.clone(), strategy, counted.clone()));
    let stop = counted.drop_guard();
    let point = arrive(system, args, strategy, &events).await?;
    drop(stop);
    let point = Point { hot, waiters: waiters.await?, ..point };
    let broken = judge(system, &point, &events, before).await?;
    Ok(Ok((point, broken)))
}

async fn arrive(system: &System, args: &ContentionArgs, strategy: Strategy, events: &[i64]) -> anyhow::Result<Point> {
    let duration = Duration::from_secs(args.seconds.into());
    let rate = f64::from(args.rate);
    let open = OpenLoop {
        addresses: system.replicas.clone(),
        // Enough for all that arrive while an answer may be waited for.
        connections: usize::try_from(args.rate.saturating_mul(6)).unwrap_or(usize::MAX).clamp(64, 2_048),
        rate,
        duration,
    };
    let (run, work, events) = (new_run()?, Duration::from_millis(args.work_ms), events.to_vec());
    let mut random = Random::new(0xb00c);
    let mut number = 0_u64;
    let next = move |into: &mut Vec<u8>| {
        number += 1;
        let event = events[random.below(events.len())];
        Wish { event, buyer: "arrival", key: &format!("{run}-{number}"), work }.write(into);
    };
    let seen = open.run(Answer::of, next).await?;
    let seconds = seen.took.max(duration).as_secs_f64();
    let count = |wanted: Answer| seen.tally.count(|answer| answer == wanted);
    let [booked, locked, unavailable] = [Answer::Booked, Answer::Locked, Answer::Unavailable].map(count);
    Ok(Point {
        strategy,
        replicas: system.replicas.len(),
        hot: false,
        arrived: seen.scheduled,
        per_second: as_f64(booked) / seconds,
        waits: seen.tally.latencies(|_| true).percentiles(),
        booked,
        locked,
        unavailable,
        other: seen.scheduled - booked - locked - unavailable,
        waiters: None,
        own_delay_us: if seen.own_delay.count() == 0 { 0.0 } else { seen.own_delay.quantile_us(0.99) },
    })
}

/// Counts until it is told to stop. A replica that does not answer in time is not counted.
async fn count_waiters(
    admin: Vec<std::net::SocketAddr>,
    strategy: Strategy,
    stop: CancellationToken,
) -> Option<Waiters> {
    let mut seen: Vec<f64> = Vec::new();
    while stop.run_until_cancelled(tokio::time::sleep(COUNT)).await.is_some() {
        let Ok(metrics) = Metrics::scrape(&admin).await else { continue };
        seen.extend(metrics.sum(WAITERS, "backend", strategy.as_str()));
    }
    let most = seen.iter().copied().reduce(f64::max)?;
    Some(Waiters { mean: seen.iter().sum::<f64>() / as_f64(seen.len() as u64), most })
}

/// The rows against the answers; `before` were booked before the first arrival.
async fn judge(system: &System, point: &Point, events: &[i64], before: u64) -> anyhow::Result<Vec<String>> {
    let Point { strategy, replicas, .. } = point;
    let (mut bookings, mut wrong, mut oversold) = (0, 0, 0);
    for &event in events {
        let rows = judge::rows(&system.database, event).await?;
        bookings += rows.bookings;
        oversold += rows.oversold;
        wrong += (rows.counted - rows.seats_sold).abs() + rows.duplicate_seats;
    }
    let answered = i64::try_from(point.booked + before)?;
    let mut broken = Vec::new();
    let mut line = |what: String| broken.push(format!("{strategy}, {}: {what}", table::replicas(*replicas)));
    // An order that was not answered may be there or not.
    let doubtful = i64::try_from(point.unavailable + point.other)?;
    if bookings < answered {
        line(format!("{} bookings lost: {answered} answered 201, {bookings} there", answered - bookings));
    } else if bookings > answered + doubtful {
        line(format!("{} bookings that nobody was told of", bookings - answered));
    }
    if strategy.promise() != Promise::Nothing && (oversold != 0 || wrong != 0) {
        line(format!("{oversold} seats oversold, {wrong} counted wrongly or sold twice"));
    }
    if point.other > 0 {
        line(format!("{} arrivals had another answer than 201, 423 or 503, or none", point.other));
    }
    Ok(broken)
}
