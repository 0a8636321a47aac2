//! What a booking costs the stores, by their own counters.

use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::task::JoinSet;

use crate::booking::ledger::new_run;
use crate::booking::strategy::Strategy;
use crate::booking::system::System;
use crate::measure::latencies::as_f64;
use crate::measure::postgres::Activity;
use crate::measure::redis::{Monitor, Wire};

/// How long the services are watched while nobody books: what they do by themselves is not a booking's.
const IDLE: Duration = Duration::from_millis(1_000);
/// Statements of these are no booking's.
const OTHERS: [&str; 2] = [r"\mblog\.", r"\mlab\."];

/// What one booking took, 64 buyers at once.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Counted {
    /// Bookings that were counted over.
    pub(crate) bookings: u64,
    /// Commands that the services sent to Redis (redlock: to all of its servers).
    pub(crate) redis_sent: Option<f64>,
    /// Commands that Redis executed, those of scripts included.
    pub(crate) redis_executed: Option<f64>,
    /// Statements that the services sent to PostgreSQL, `begin` and `commit` included.
    pub(crate) statements: Option<f64>,
}

/// Where the counters are, and what they count while nobody books.
#[derive(Debug)]
pub(crate) struct Counters {
    /// Why Redis' are not used.
    pub(crate) no_redis: Option<String>,
    redis: Vec<String>,
    /// Whether those of redlock's servers are among them.
    redlock: bool,
    activity: Option<Activity>,
    idle: PerSecond,
}

#[derive(Debug, Default, Clone, Copy)]
struct PerSecond {
    sent: f64,
    executed: f64,
    statements: f64,
}

/// A count that has begun.
#[derive(Debug)]
pub(crate) struct Counting {
    begun: Instant,
    mark: String,
    monitors: JoinSet<anyhow::Result<u64>>,
    wires: Vec<Wire>,
    executed: i64,
    statements: Option<i64>,
}

impl Counters {
    /// Looks which counters there are, and watches them for a second.
    pub(crate) async fn look(system: &System) -> anyhow::Result<Self> {
        let stores = &system.stores;
        let mut redis: Vec<String> =
            std::iter::once(&stores.lock_redis_url).chain(&stores.redlock_redis_urls).cloned().collect();
        let mut no_redis = None;
        for url in &redis {
            if let Err(error) = watched(url).await {
                no_redis.get_or_insert_with(|| format!("{error:#}"));
            }
        }
        if no_redis.is_some() {
            redis.clear();
        }
        let activity = Activity::find(&system.database).await?;
        let redlock = !stores.redlock_redis_urls.is_empty();
        let mut counters = Self { no_redis, redis, redlock, activity, idle: PerSecond::default() };
        let counting = counters.begin().await?;
        tokio::time::sleep(IDLE).await;
        counters.idle = counters.moved(counting).await?.0;
        Ok(counters)
    }

    /// Begins to count.
    pub(crate) async fn begin(&self) -> anyhow::Result<Counting> {
        let mark = new_run()?;
        let mut monitors = JoinSet::new();
        let mut wires = Vec::new();
        let mut executed = 0;
        for url in &self.redis {
            let (mut wire, mut monitor) = watched(url).await?;
            let mark = mark.clone();
            monitors.spawn(async move { monitor.sent_until(&mark, |_| true).await });
            executed += wire.executed().await?.values().sum::<i64>();
            wires.push(wire);
        }
        let statements = match &self.activity {
            Some(activity) => Some(activity.read(&OTHERS).await?),
            None => None,
        };
        Ok(Counting { begun: Instant::now(), mark, monitors, wires, executed, statements })
    }

    /// Ends the count, and divides it by the bookings that were made meanwhile.
    pub(crate) async fn end(&self, counting: Counting, strategy: Strategy, bookings: u64) -> anyhow::Result<Counted> {
        let counted = counting.statements.is_some();
        // Where redlock's servers are is not always said; of those that nobody looks at, there is no figure.
        let redis = self.no_redis.is_none() && (self.redlock || strategy != Strategy::Redlock);
        let (moved, seconds) = self.moved(counting).await?;
        let each = |moved: f64, idle: f64| ((moved - idle) * seconds).max(0.0) / as_f64(bookings.max(1));
        Ok(Counted {
            bookings,
            redis_sent: redis.then(|| each(moved.sent, self.idle.sent)),
            redis_executed: redis.then(|| each(moved.executed, self.idle.executed)),
            statements: counted.then(|| each(moved.statements, self.idle.statements)),
        })
    }

    /// How much all counters moved a second, and for how many seconds.
    async fn moved(&self, mut counting: Counting) -> anyhow::Result<(PerSecond, f64)> {
        let seconds = counting.begun.elapsed().as_secs_f64();
        let statements = match (&self.activity, counting.statements) {
            (Some(activity), Some(before)) => activity.read(&OTHERS).await? - before,
            _ => 0,
        };
        let mut executed = -counting.executed;
        for wire in &mut counting.wires {
            executed += wire.executed().await?.values().sum::<i64>();
            wire.mark(&counting.mark).await?;
        }
        let mut sent = 0;
        while let Some(ended) = counting.monitors.join_next().await {
            sent += ended??;
        }
        let rate = |moved: i64| as_f64(moved.max(0).unsigned_abs()) / seconds;
        Ok((
            PerSecond { sent: as_f64(sent) / seconds, executed: rate(executed), statements: rate(statements) },
            seconds,
        ))
    }
}

/// A connection for the counters of a Redis, and one on which it shows what it executes.
async fn watched(url: &str) -> anyhow::Result<(Wire, Monitor)> {
    let mut wire = Wire::connect(url).await?;
    wire.executed().await?;
    Ok((wire, Wire::connect(url).await?.monitor().await?))
}
