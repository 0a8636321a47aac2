//! What a cell stands on: private stores, a proxy in front of the workers' Redis, replicas and workers of its own.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use testbed::{FaultProxy, RedisServer};

use super::matrix::{Subject, TTL};
use crate::fleet::Fleet;
use crate::measure::http::{fetch, resolve};
use crate::shop::bed::Bed;
use crate::up::cache;

/// The fewest products that the seeder makes.
const SEEDED: u64 = 1_000;
/// How long a worker may take to lead.
const LEADS: Duration = Duration::from_secs(10);

/// The stores, for all cells.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) bed: Bed,
    pub(super) redis: RedisServer,
    /// Between the workers and their Redis.
    pub(super) way: FaultProxy,
}

/// The processes of one cell.
#[derive(Debug)]
pub(super) struct Cast {
    pub(super) replicas: Fleet,
    pub(super) workers: Fleet,
}

/// What a worker says of itself.
#[derive(Debug, Deserialize)]
struct Status {
    leader: bool,
    subscribed: bool,
}

impl Stage {
    pub(super) async fn start(logs: &Path) -> anyhow::Result<Self> {
        let bed = Bed::start(SEEDED, logs).await?;
        let builder = RedisServer::builder().setting("maxmemory-policy", "noeviction");
        let redis = builder.start().await.context("cannot start a Redis")?;
        let way = FaultProxy::start(redis.url()).await?;
        Ok(Self { bed, redis, way })
    }

    /// Starts the processes of a cell, on a cache that is empty.
    pub(super) async fn cast(&self, subject: Subject, replicas: u16) -> anyhow::Result<Cast> {
        self.heal().await?;
        cache::forget(&self.redis.url(), &["shop:"]).await?;
        let ttl = [("CACHE_TTL", format!("{}s", TTL.as_secs()))];
        let replicas = self.bed.replicas("faults-shop-api", replicas, &self.redis.url(), &ttl).await?;
        let repair = [("GAP_REPAIR", (subject != Subject::EventUnrepaired).to_string())];
        match self.bed.workers("faults-shop-worker", &self.way.redis_url(), &repair).await {
            Ok(workers) => Ok(Cast { replicas, workers }),
            Err(error) => {
                replicas.stop().await;
                Err(error)
            }
        }
    }

    /// Ends whatever fault a cell may have left.
    pub(super) async fn heal(&self) -> anyhow::Result<()> {
        self.way.heal();
        self.redis.start_again().await?;
        self.bed.postgres.start_again().await?;
        Ok(())
    }

    pub(super) async fn stop(self) {
        self.redis.stop().await;
        self.bed.stop().await;
    }
}

impl Cast {
    pub(super) async fn addresses(&self) -> anyhow::Result<Vec<SocketAddr>> {
        let mut addresses = Vec::new();
        for url in self.replicas.api() {
            addresses.push(resolve(&url).await?);
        }
        Ok(addresses)
    }

    /// Which worker leads, counted from 0; both must be subscribed, or a message would be lost to one that never heard.
    ///
    /// # Errors
    /// None does within ten seconds.
    pub(super) async fn leader(&self) -> anyhow::Result<usize> {
        let deadline = Instant::now() + LEADS;
        loop {
            let statuses = futures_util::future::join_all(self.workers.api().into_iter().map(status)).await;
            let all: Vec<Status> = statuses.into_iter().flatten().collect();
            let subscribed = all.len() == self.workers.states().len() && all.iter().all(|status| status.subscribed);
            if let Some(leader) = all.iter().position(|status| status.leader).filter(|_| subscribed) {
                return Ok(leader);
            }
            ensure!(Instant::now() < deadline, "no worker leads, {LEADS:?} later");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until the other worker leads, and says how long that took.
    pub(super) async fn takeover(&self, from: usize, since: Instant) -> anyhow::Result<Duration> {
        let urls = self.workers.api();
        let other = urls.iter().enumerate().find(|(number, _)| *number != from).context("there is no other worker")?;
        loop {
            if status(other.1.clone()).await.is_some_and(|status| status.leader) {
                return Ok(since.elapsed());
            }
            ensure!(since.elapsed() < LEADS, "the standby does not lead, {LEADS:?} after the leader was killed");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(super) async fn stop(self) {
        tokio::join!(self.replicas.stop(), self.workers.stop());
    }
}

async fn status(url: String) -> Option<Status> {
    let (_, body) = fetch(resolve(&url).await.ok()?, "/status").await.ok()?;
    serde_json::from_slice(&body).ok()
}
