//! Looking into the stores: is the victim in its section, and is anything left locked?

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use sqlx::PgPool;

use super::super::strategy::Strategy;
use super::bed::{Bed, Replicas};
use super::redis;
use crate::measure::http::resolve;
use crate::measure::metrics::Metrics;

/// How long the victim may take into its section.
const INSIDE: Duration = Duration::from_secs(10);
/// How long one waits where nothing can be seen.
const UNSEEN: Duration = Duration::from_millis(250);

/// A session that sits in a transaction, doing nothing, and holds what the victim's would hold.
const IDLE_WITH: &str = "select count(*) from pg_locks l join pg_stat_activity a on a.pid = l.pid
    where a.datname = current_database() and a.state = 'idle in transaction' and l.granted
    and (case $1 when 'advisory' then l.locktype = 'advisory' else l.relation = to_regclass($1) end)";

/// What is looked into.
#[derive(Debug, Clone)]
pub(crate) struct Sight {
    /// URL of the locks' Redis.
    pub(crate) locks: String,
    /// URLs of the servers of redlock; may be empty.
    pub(crate) redlock: Vec<String>,
    pub(crate) database: PgPool,
}

/// Waits until the victim, who is alone, is in its section. Returns how that was seen.
///
/// # Errors
/// It is not seen there in time.
pub(crate) async fn inside(sight: &Sight, strategy: Strategy, event: i64) -> anyhow::Result<String> {
    let deadline = Instant::now() + INSIDE;
    loop {
        if let Some(seen) = seen(sight, strategy, event).await? {
            return Ok(seen);
        }
        if Instant::now() > deadline {
            bail!("the victim was not seen in its section within {INSIDE:?}");
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn seen(sight: &Sight, strategy: Strategy, event: i64) -> anyhow::Result<Option<String>> {
    let locks = &sight.locks;
    let there = async |url: &str, key: &str| anyhow::Ok(redis::ask::<i64>(url, &format!("EXISTS {key}")).await? == 1);
    let held = async |what: &str| {
        let sessions: i64 = sqlx::query_scalar(IDLE_WITH).bind(what).fetch_one(&sight.database).await?;
        anyhow::Ok((sessions > 0).then(|| format!("a session is idle in a transaction that holds {what}")))
    };
    let plain = format!("booking:fl:event:{event}");
    Ok(match strategy {
        Strategy::Redis => there(locks, &plain).await?.then(|| format!("{plain} exists")),
        Strategy::RedisFenced => {
            let key = fenced_key(event);
            there(locks, &key).await?.then(|| format!("{key} exists"))
        }
        Strategy::Redlock => {
            let mut servers = 0;
            for server in &sight.redlock {
                servers += usize::from(there(server, &plain).await?);
            }
            (2 * servers > sight.redlock.len()).then(|| format!("{plain} exists on {servers} servers"))
        }
        Strategy::PgAdvisory => held("advisory").await?,
        Strategy::PgRow => held("booking.events").await?,
        Strategy::PgUnits => held("booking.units").await?,
        Strategy::RedisReserve => {
            let key = format!("booking:r:{{{event}}}:held");
            there(locks, &key).await?.then(|| format!("{key} exists"))
        }
        Strategy::None | Strategy::PgConditional | Strategy::K8sLease => {
            tokio::time::sleep(UNSEEN).await;
            Some(format!("nothing is held that could be seen: {UNSEEN:?} later it was not answered"))
        }
    })
}

/// The lock of an event, as redis-fenced keeps it.
pub(super) fn fenced_key(event: i64) -> String {
    format!("booking:fl:{{0}}:l:event:{event}")
}

/// How long the holder's lease still is, by the clock that it is counted by. `None` where there is none in Redis.
pub(crate) async fn lease_left(sight: &Sight, strategy: Strategy, event: i64) -> anyhow::Result<Option<Duration>> {
    let url = &sight.locks;
    match strategy {
        Strategy::Redis => {
            let left: i64 = redis::ask(url, &format!("PTTL booking:fl:event:{event}")).await?;
            Ok(u64::try_from(left).ok().map(Duration::from_millis))
        }
        Strategy::RedisFenced => {
            let until: String = redis::ask(url, &format!("HGET {} x", fenced_key(event))).await?;
            let left = until.parse::<i64>()? - redis::time(url).await?;
            Ok(Some(Duration::from_micros(u64::try_from(left).unwrap_or(0))))
        }
        _ => Ok(None),
    }
}

/// What is still locked although nobody works any more, after `settled` at the latest.
pub(super) async fn left_locked(bed: &Bed, settled: Duration) -> anyhow::Result<Vec<String>> {
    let deadline = Instant::now() + settled;
    loop {
        let left = locked(bed).await?;
        if left.is_empty() || Instant::now() > deadline {
            return Ok(left);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn locked(bed: &Bed) -> anyhow::Result<Vec<String>> {
    let mut left = Vec::new();
    for url in std::iter::once(bed.locks.url()).chain(bed.redlock.iter().map(|(server, _)| server.url())) {
        left.extend(redis::keys(&url, "booking:fl:*").await?.into_iter().map(|key| format!("the key {key}")));
    }
    let sessions: Vec<String> = sqlx::query_scalar(
        "select left(a.query, 80) from pg_stat_activity a
         where a.datname = current_database() and a.pid <> pg_backend_pid()
         and (a.state like 'idle in transaction%'
              or exists (select from pg_locks l where l.pid = a.pid and l.locktype = 'advisory' and l.granted))",
    )
    .fetch_all(&bed.database)
    .await?;
    left.extend(sessions.into_iter().map(|query| format!("an open transaction after: {query}")));
    Ok(left)
}

/// How often the schema's own check had to refuse, by each process that was asked.
#[derive(Debug, Default)]
pub(super) struct Refusals(HashMap<u32, f64>);

impl Refusals {
    /// Asks every replica. One that does not answer has been killed, and is asked again in its next life.
    ///
    /// # Errors
    /// A replica answers without the counter: nothing is known then.
    pub(super) async fn look(&mut self, replicas: &Replicas, strategy: Strategy) -> anyhow::Result<()> {
        for state in replicas.states() {
            let Some(pid) = state.pid else { continue };
            let Ok(metrics) = Metrics::scrape(&[resolve(&state.admin).await?]).await else { continue };
            let refused = metrics.sum("booking_schema_refusals_total", "strategy", strategy.as_str());
            self.0.insert(pid, refused.context("the replicas do not count what the schema refuses")?);
        }
        Ok(())
    }

    pub(super) fn total(&self) -> u64 {
        // A whole number, which Prometheus writes as a float.
        format!("{:.0}", self.0.values().sum::<f64>()).parse().unwrap_or(u64::MAX)
    }
}

/// When this PostgreSQL was started.
pub(super) async fn postgres_started(database: &PgPool) -> sqlx::Result<String> {
    sqlx::query_scalar("select pg_postmaster_start_time()::text").fetch_one(database).await
}
