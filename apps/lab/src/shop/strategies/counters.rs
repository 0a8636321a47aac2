//! What reads and writes cost the stores, by the stores' own counters where they have any.

use anyhow::Context as _;
use serde::Serialize;

use crate::booking::ledger::new_run;
use crate::measure::latencies::as_f64;
use crate::measure::metrics::Metrics;
use crate::measure::postgres::statements_view;
use crate::measure::redis::Wire;
use crate::shop::strategy::Strategy;
use crate::shop::system::System;

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
    /// Why commands are not counted.
    not_counted: Option<String>,
    redis: String,
}

/// A count of commands that has begun.
#[derive(Debug)]
pub(crate) struct Counting {
    mark: String,
    wire: Wire,
    sent: tokio::task::JoinHandle<anyhow::Result<u64>>,
}

impl Counters {
    /// Looks which counters there are.
    pub(crate) async fn look(system: &System) -> anyhow::Result<Self> {
        let loads = match statements_view(&system.database).await? {
            Some(view) => Loads::Statements { view },
            None if !system.admin.is_empty() => Loads::Metrics,
            None => Loads::Nowhere,
        };
        let redis = system.stores.cache_redis_url.clone();
        let watched = async { Wire::connect(&redis).await?.monitor().await };
        let not_counted = watched.await.err().map(|error| format!("{error:#}"));
        Ok(Self { loads, not_counted, redis })
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
        if let Some(why) = &self.not_counted {
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
        self.not_counted.is_none()
    }

    /// Begins to count the commands of a strategy whose keys begin with `prefix`.
    pub(crate) async fn begin(&self, prefix: &str) -> anyhow::Result<Counting> {
        let wire = Wire::connect(&self.redis).await?;
        let mut monitor = Wire::connect(&self.redis).await?.monitor().await?;
        let mark = new_run()?;
        let (until, key) = (mark.clone(), first_of_a_key(prefix));
        let sent = tokio::spawn(async move { monitor.sent_until(&until, |line| is_of(line, &key)).await });
        Ok(Counting { mark, wire, sent })
    }
}

impl Counting {
    /// Ends the count, and divides it by the operations that there were.
    pub(crate) async fn each(mut self, operations: usize) -> anyhow::Result<f64> {
        self.wire.mark(&self.mark).await?;
        Ok(as_f64(self.sent.await??) / as_f64(operations.max(1) as u64))
    }
}

/// How a key with this prefix begins in a line of MONITOR.
fn first_of_a_key(prefix: &str) -> String {
    format!("\"{prefix}")
}

/// Whether a line of MONITOR belongs to the strategy: it names a key of it, or tells the workers of a change. What the services do
/// by themselves (heartbeats, probes, the other services' commands to the same server) names none.
fn is_of(line: &str, key: &str) -> bool {
    line.contains(key) || line.contains(r#""shop:events" "{\"v\":1,\"kind\":\"event\""#)
}

#[cfg(test)]
mod tests {
    use super::{first_of_a_key, is_of};

    #[test]
    fn a_command_belongs_to_the_strategy_whose_key_it_names() {
        let of = |line: &str| is_of(line, &first_of_a_key("shop:event:"));
        for line in [
            r#"+1.0 [0 127.0.0.1:5000] "GET" "shop:event:fc:{product:42}""#,
            r#"+1.0 [0 127.0.0.1:5000] "EVALSHA" "0a1b" "1" "shop:event:fc:tag:{category:7}" "x""#,
            r#"+1.0 [0 127.0.0.1:5000] "PUBLISH" "shop:events" "{\"v\":1,\"kind\":\"event\",\"number\":17}""#,
        ] {
            assert!(of(line), "{line}");
        }
        for line in [
            r#"+1.0 [0 127.0.0.1:5000] "PUBLISH" "shop:events" "{\"v\":1,\"kind\":\"heartbeat\",\"number\":17}""#,
            r#"+1.0 [0 127.0.0.1:5000] "PEXPIRE" "shop:fc:canary:{00}" "60000""#,
            r#"+1.0 [0 127.0.0.1:5000] "GET" "shop:tags:fc:{product:42}""#,
            r#"+1.0 [0 127.0.0.1:5000] "GET" "blog:fc:{post:42}""#,
        ] {
            assert!(!of(line), "{line}");
        }
    }
}
