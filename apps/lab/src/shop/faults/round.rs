//! One round: everything is cached everywhere, readers and writers press, the fault comes and goes; and then every replica is
//! asked until it serves what the database has.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use futures_util::future::join_all;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::cell::Round;
use super::inject::Injected;
use super::matrix::{Expected, Fault, Subject, expected};
use super::readers::{Readers, Saw};
use super::stage::{Cast, Stage};
use crate::measure::connection::Line;
use crate::measure::http::REQUEST;
use crate::measure::own_thread::on_own_thread;
use crate::shop::api::{Acknowledged, Seen, Wrote};
use crate::shop::floors::Floors;
use crate::shop::goods::Goods;
use crate::shop::line_pool::LinePool;
use crate::shop::probe::{Probed, probe};
use crate::shop::strategy::Strategy;
use crate::shop::writes::{Writes, Written};

/// The load before the fault.
const BEFORE: Duration = Duration::from_millis(400);
/// New prices a second while it lasts.
const RATE: f64 = 40.0;
/// The longest that a fault lasts with everything around it.
const LONGEST: Duration = Duration::from_secs(60);
/// How long a replica may take to serve what the database has before there is any fault.
const WARM: Duration = Duration::from_secs(10);
/// Beyond what is allowed, so that it is known how late a late one is.
const MORE: Duration = Duration::from_secs(3);
/// How often everything is read again after it has converged.
const AGAIN: usize = 5;

/// Where a round takes place.
#[derive(Debug)]
pub(super) struct Ground<'a> {
    pub(super) stage: &'a Stage,
    pub(super) cast: &'a Cast,
    pub(super) goods: &'a Goods,
    pub(super) replicas: &'a [SocketAddr],
    pub(super) fault: Fault,
    pub(super) subject: Subject,
    /// Counted from 1.
    pub(super) number: u32,
}

impl Ground<'_> {
    fn strategy(&self) -> Strategy {
        self.subject.strategy()
    }

    /// Whether writers press from before the fault until its end. In the other rounds the fault itself is about single writes.
    fn presses(&self) -> bool {
        !matches!(self.fault, Fault::WorkerKilled | Fault::MessageLost)
    }

    /// One new price, at the first replica.
    pub(super) async fn write(&self, at: usize, floors: &Floors) -> anyhow::Result<()> {
        let mut line = Line::new(self.replicas[0], REQUEST);
        let request = self.goods.set_price(self.strategy(), at, u64::from(self.number) * 7 + 1);
        let response = line.exchange(&request).await?;
        let wrote = Wrote::of(&response).with_context(|| format!("a write was answered {}", response.status))?;
        ensure!(wrote.acknowledged != Acknowledged::Pending, "a write is pending although no store is away");
        floors.raise(at, wrote.version.context("a write was answered without a version")?);
        Ok(())
    }

    pub(super) async fn run(&self) -> anyhow::Result<Round> {
        let before = self.goods.versions(&self.stage.bed.database).await?;
        let warm = self.all(&before, Instant::now(), WARM).await?;
        ensure!(warm.iter().flatten().all(|probed| probed.converged), "a replica does not serve what the database has");
        let floors = Arc::new(Floors::new(before.iter().copied()));
        let (reading, writing) = (CancellationToken::new(), CancellationToken::new());
        // Dropped in the middle, as by a signal, both end.
        let _guards = (reading.clone().drop_guard(), writing.clone().drop_guard());
        let readers = tokio::spawn(self.readers(&floors, reading.clone()).run());
        let writers = self.presses().then(|| tokio::spawn(self.writes(&floors, writing.clone()).run()));
        sleep(BEFORE).await;
        let injected = self.inject(&floors).await;
        writing.cancel();
        let written = match writers {
            Some(writers) => Some(writers.await??),
            None => None,
        };
        let injected = injected?;
        let newest = self.newest().await?;
        let patience = match expected(self.fault, self.subject) {
            Expected::Converges(within) => within + MORE,
            Expected::StaysStale(time) => time,
        };
        let (seen, takeover) = tokio::try_join!(self.all(&newest, injected.ended, patience), self.takeover(&injected))?;
        let relapses = self.relapses(&newest).await?;
        reading.cancel();
        let saw = readers.await??;
        let changed = before.iter().zip(&newest).filter(|(before, after)| before < after).count();
        // Readers were there from the first moment; the probes began when it was known what is newest.
        let read_behind = saw.last_behind.map(|at| at.saturating_duration_since(injected.ended));
        let probed_behind = seen.iter().flatten().filter_map(|probed| probed.unserved).max();
        let converged = read_behind.max(probed_behind).unwrap_or_default();
        let evidence = injected.evidence + &takeover.unwrap_or_default();
        Ok(self.round(evidence, changed, written, (&seen, converged), saw, relapses))
    }

    fn round(
        &self,
        evidence: String,
        changed: usize,
        written: Option<Written>,
        (seen, converged): (&[Vec<Probed>], Duration),
        saw: Saw,
        relapses: u64,
    ) -> Round {
        let written = written.unwrap_or_default();
        let late: Vec<usize> = seen
            .iter()
            .enumerate()
            .filter(|(_, replicas)| replicas.iter().any(|probed| !probed.converged))
            .map(|(at, _)| at)
            .collect();
        let behind = late.first().map(|&at| {
            let replicas = seen[at].iter().filter(|probed| !probed.converged).count();
            format!("product {} at {replicas} of {} replicas", self.goods.get(at).id, seen[at].len())
        });
        Round {
            evidence,
            products: changed as u64,
            replicas: self.replicas.len() as u64,
            applied: written.applied,
            pending: written.pending,
            deferred: written.deferred,
            unacknowledged: written.failed,
            converged_ms: converged.as_secs_f64() * 1e3,
            unconverged: late.len() as u64,
            behind,
            stale_reads: saw.behind,
            sighting: saw.sighting,
            reads: saw.reads,
            failed_reads: saw.failed,
            // Who has not converged cannot relapse.
            relapses: if late.is_empty() { relapses } else { 0 },
        }
    }

    fn readers(&self, floors: &Arc<Floors>, stop: CancellationToken) -> Readers {
        Readers {
            strategy: self.strategy(),
            goods: self.goods.clone(),
            replicas: self.replicas.to_vec(),
            floors: floors.clone(),
            stop,
        }
    }

    fn writes(&self, floors: &Arc<Floors>, stop: CancellationToken) -> Writes {
        // At a replica that stands still, writes would only wait.
        let writable = if self.fault == Fault::ReplicaPaused { self.replicas.len() - 1 } else { self.replicas.len() };
        Writes {
            strategy: self.strategy(),
            goods: self.goods.clone(),
            replicas: self.replicas[..writable].to_vec(),
            floors: floors.clone(),
            rate: RATE,
            duration: LONGEST,
            stop,
            bulks: 0,
            category: 1,
            patience: Duration::ZERO,
            seed: self.number.into(),
        }
    }

    /// What the database has, which is what counts: also of writes of which nobody knows how they ended.
    async fn newest(&self) -> anyhow::Result<Vec<u64>> {
        let deadline = Instant::now() + WARM;
        loop {
            match self.goods.versions(&self.stage.bed.database).await {
                Ok(versions) => return Ok(versions),
                Err(error) if Instant::now() > deadline => bail!("the database does not say what it has: {error:#}"),
                Err(_) => sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// Asks every replica for every product until it has this version of it, or `patience` after `since` is over.
    async fn all(&self, versions: &[u64], since: Instant, patience: Duration) -> anyhow::Result<Vec<Vec<Probed>>> {
        let (goods, strategy) = (self.goods.clone(), self.strategy());
        let (replicas, versions) = (self.replicas.to_vec(), versions.to_vec());
        on_own_thread("probes", move || async move {
            let pools: Vec<LinePool> = replicas.into_iter().map(LinePool::new).collect();
            let requests = goods.reads(strategy);
            let (pools, requests) = (&pools, &requests);
            let products = versions.iter().enumerate().map(|(at, &version)| {
                join_all(pools.iter().map(move |pool| probe(pool, &requests[at], version, since, patience)))
            });
            Ok(join_all(products).await)
        })
        .await
    }

    /// Reads that show an older version than all replicas have served.
    async fn relapses(&self, newest: &[u64]) -> anyhow::Result<u64> {
        let requests = self.goods.reads(self.strategy());
        let mut relapses = 0;
        for &replica in self.replicas {
            let mut line = Line::new(replica, REQUEST);
            for _ in 0..AGAIN {
                for (request, newest) in requests.iter().zip(newest) {
                    let seen = Seen::of(&line.exchange(request).await?);
                    relapses += u64::from(seen.is_some_and(|seen| seen.version < *newest));
                }
            }
        }
        Ok(relapses)
    }

    /// Who leads in place of the worker that was killed.
    async fn takeover(&self, injected: &Injected) -> anyhow::Result<Option<String>> {
        let Some(killed) = injected.killed else { return Ok(None) };
        let took = self.cast.takeover(killed, injected.ended).await?;
        Ok(Some(format!(", and the other one led within {:.0} ms", took.as_secs_f64() * 1e3)))
    }
}
