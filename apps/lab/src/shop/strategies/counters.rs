//! What reads and writes cost the stores, by the stores' own counters where they have any.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::Serialize;

use crate::booking::ledger::new_run;
use crate::measure::latencies::as_f64;
use crate::measure::metrics::Metrics;
use crate::measure::postgres::statements_view;
use crate::measure::redis::Wire;
use crate::shop::strategy::Strategy;
use crate::shop::system::System;

/// How long Redis is watched while nobody asks: what the services do by themselves is no operation's.
const IDLE: Duration = Duration::from_millis(1_000);
/// More commands a second are no idling: replicas that have just started repeat the invalidations of the last minutes.
const QUIET: f64 = 100.0;
/// How often is looked whether it is quiet.
const LOOKS: u32 = 20;

/// Where loads are counted.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Loads {
    /// Calls of the statements that load a product, or its category: by the database itself.
    Statements {
        view: String,
    },
    /// By the services, where the database does not count.
    Metrics,
    Nowhere,
}

/// Commands that the services sent to Redis, each for one operation while nothing else was done.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Commands {
    pub(crate) hit: f64,
    /// With everything that follows it: relay, worker, and the reads at one replica until it has the new version.
    pub(crate) write: f64,
    /// Of a whole category, with relay and worker.
    pub(crate) bulk: f64,
}

/// The counters that there are.
#[derive(Debug)]
pub(crate) struct Counters {
    loads: Loads,
    /// Commands a second while nobody asks; or why commands are not counted.
    idle: Result<f64, String>,
    redis: String,
}

/// A count of commands that has begun.
#[derive(Debug)]
pub(crate) struct Counting {
    begun: Instant,
    mark: String,
    wire: Wire,
    sent: tokio::task::JoinHandle<anyhow::Result<u64>>,
}

impl Counters {
    /// Looks which counters there are, and watches Redis until it is quiet for a second.
    pub(crate) async fn look(system: &System) -> anyhow::Result<Self> {
        let loads = match statements_view(&system.database).await? {
            Some(view) => Loads::Statements { view },
            None if !system.admin.is_empty() => Loads::Metrics,
            None => Loads::Nowhere,
        };
        let mut counters = Self { loads, idle: Ok(0.0), redis: system.stores.cache_redis_url.clone() };
        let idle = async {
            let mut rate = f64::INFINITY;
            for _ in 0..LOOKS {
                let counting = counters.begin().await?;
                tokio::time::sleep(IDLE).await;
                let (sent, seconds) = counting.end().await?;
                rate = sent / seconds;
                if rate <= QUIET {
                    return Ok(rate);
                }
            }
            anyhow::bail!("{rate:.0} a second are sent while nobody asks")
        };
        counters.idle = idle.await.map_err(|error| format!("{error:#}"));
        Ok(counters)
    }

    /// What is not counted, and why.
    pub(crate) fn missing(&self) -> Vec<String> {
        let mut missing = Vec::new();
        match &self.loads {
            Loads::Statements { .. } => {}
            Loads::Metrics => missing
                .push("loads are those that the services count: the database has no pg_stat_statements".to_owned()),
            Loads::Nowhere => missing.push(
                "loads were not counted: the database has no pg_stat_statements, and no --admin was named".to_owned(),
            ),
        }
        if let Err(why) = &self.idle {
            missing.push(format!("commands to Redis were not counted: {why}"));
        }
        missing
    }

    /// How many loads of products there were until now; absent where nobody counts.
    pub(crate) async fn loads(&self, system: &System, strategy: Strategy) -> anyhow::Result<Option<f64>> {
        match &self.loads {
            Loads::Statements { view } => {
                let statement = format!(
                    "select coalesce(sum(calls), 0)::float8 from {view} \
                     where dbid = (select oid from pg_database where datname = current_database()) \
                     and query ~ 'from shop\\.products\\s+where id = \\$1' and query !~* '\\mfor\\s+(no\\s+key\\s+)?update\\M'"
                );
                let calls = sqlx::query_scalar(sqlx::AssertSqlSafe(statement)).fetch_one(&system.database).await;
                Ok(Some(calls.context("pg_stat_statements")?))
            }
            Loads::Metrics => {
                let metrics = Metrics::scrape(&system.admin).await?;
                let of = |what| metrics.sum("cache_loads_total", "policy", &format!("{strategy}-{what}"));
                Ok(Some(of("product").unwrap_or(0.0) + of("home").unwrap_or(0.0)))
            }
            Loads::Nowhere => Ok(None),
        }
    }

    /// Whether commands can be counted.
    pub(crate) fn commands(&self) -> bool {
        self.idle.is_ok()
    }

    /// Begins to count commands.
    pub(crate) async fn begin(&self) -> anyhow::Result<Counting> {
        let wire = Wire::connect(&self.redis).await?;
        let mut monitor = Wire::connect(&self.redis).await?.monitor().await?;
        let mark = new_run()?;
        let until = mark.clone();
        let sent = tokio::spawn(async move { monitor.sent_until(&until).await });
        Ok(Counting { begun: Instant::now(), mark, wire, sent })
    }

    /// Ends the count, and divides it by the operations that there were; what is sent without any is left out.
    pub(crate) async fn each(&self, counting: Counting, operations: usize) -> anyhow::Result<f64> {
        let (sent, seconds) = counting.end().await?;
        let idle = self.idle.as_ref().copied().unwrap_or(0.0);
        Ok((sent - idle * seconds).max(0.0) / as_f64(operations.max(1) as u64))
    }
}

impl Counting {
    /// Commands, and seconds.
    async fn end(mut self) -> anyhow::Result<(f64, f64)> {
        self.wire.mark(&self.mark).await?;
        let seconds = self.begun.elapsed().as_secs_f64();
        Ok((as_f64(self.sent.await??), seconds))
    }
}
