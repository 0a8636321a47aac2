//! One strategy: its cache is emptied and filled, the load settles, the load with writes is measured, and then what single
//! operations cost while there is no load.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::StrategiesArgs;
use super::counters::{Commands, Counters};
use super::row::{Quiet, Row};
use crate::measure::connection::Line;
use crate::measure::http::REQUEST;
use crate::measure::load::ClosedLoop;
use crate::measure::open_loop::{Arrivals, OpenLoop};
use crate::shop::api::{self, Seen, Wrote, fresh_for};
use crate::shop::floors::Floors;
use crate::shop::goods::Goods;
use crate::shop::line_pool::LinePool;
use crate::shop::probe::probe;
use crate::shop::reads::{Counts, Label, Reads, Sightings};
use crate::shop::strategy::{Promise, Strategy};
use crate::shop::system::System;
use crate::shop::writes::{Writes, Written};

/// What a strategy takes beside the time in which it is measured, as a rule.
pub(super) const AROUND: Duration = Duration::from_secs(8);

/// The load before anything counts.
const SETTLING: Duration = Duration::from_secs(2);
/// For all products once.
const FILLING: Duration = Duration::from_secs(60);
/// Connections to all replicas together.
const CONNECTIONS: usize = 48;
/// Products whose lifetimes are looked at to learn the TTL: the hottest.
const LOOKED_AT: usize = 32;
/// How long a replica may be behind that is not to be behind at all, or for a moment only.
const PATIENCE: Duration = Duration::from_secs(10);
/// Hits and single writes whose commands are counted.
const HITS: usize = 300;
const SINGLES: usize = 30;
/// Within this time everything has followed that follows a write: relay and worker.
const FOLLOWS: Duration = Duration::from_millis(200);
/// Pairs of a bulk by the service and one by SQL alone.
const PAIRS: usize = 3;

/// One strategy's turn.
#[derive(Debug)]
pub(super) struct Round<'a> {
    pub(super) args: &'a StrategiesArgs,
    pub(super) system: &'a System,
    pub(super) goods: &'a Goods,
    pub(super) counters: &'a Counters,
    pub(super) strategy: Strategy,
    pub(super) category: i64,
}

impl Round<'_> {
    pub(super) async fn run(&self) -> anyhow::Result<Row> {
        let Self { args, system, goods, counters, strategy, .. } = *self;
        system.forget(strategy).await?;
        // Whoever filled an entry from before this line has not removed what is to be read.
        let floors = Arc::new(Floors::new(goods.versions(&system.database).await?));
        self.fill().await?;
        let ttl = if strategy.promise() == Promise::Expiry { Some(self.lifetime().await?) } else { None };
        // All were filled at once: they have ended at different times when the first of them ends for the second time.
        let settling = ttl.map_or(SETTLING, |ttl| ttl + Duration::from_secs(1));
        let sightings = Sightings::default();
        self.reads(settling, 1, &floors, &sightings).await?;

        let before = counters.loads(system, strategy).await?;
        let begun = Instant::now();
        let patience = ttl.map_or(PATIENCE, |ttl| ttl * 3 / 2 + Duration::from_secs(2));
        let (arrivals, written, after) = tokio::try_join!(
            self.reads(args.window(), 2, &floors, &sightings),
            self.writes(patience, &floors).run(),
            async {
                sleep(args.window()).await;
                // With the time that it takes to ask: loads go on meanwhile.
                anyhow::Ok((counters.loads(system, strategy).await?, begun.elapsed()))
            }
        )?;
        let (after, counted) = after;
        let loads = before.zip(after).map(|(before, after)| (after - before).max(0.0) / counted.as_secs_f64());
        let quiet = self.quiet().await?;
        Ok(self.row(ttl, &arrivals, &written, loads, quiet, &sightings))
    }

    fn row(
        &self,
        ttl: Option<Duration>,
        arrivals: &Arrivals<Label>,
        written: &Written,
        loads_per_second: Option<f64>,
        quiet: Quiet,
        sightings: &Sightings,
    ) -> Row {
        let counts = Counts::of(arrivals);
        let reads = arrivals.tally.latencies(|label| matches!(label, Label::Product { .. }));
        let own_delay = &arrivals.own_delay;
        Row {
            strategy: self.strategy,
            ttl_s: ttl.map(|ttl| ttl.as_secs_f64()),
            hit_ratio: counts.hit_ratio(),
            stale_share: counts.stale_share(),
            counts,
            read: reads.percentiles(),
            own_delay_us: if own_delay.count() == 0 { 0.0 } else { own_delay.quantile_us(0.99) },
            loads_per_second,
            single: written.single.percentiles(),
            bulk_under_load: written.bulk.percentiles(),
            quiet,
            applied: written.applied,
            pending: written.pending,
            deferred: written.deferred,
            writes_failed: written.failed,
            write_failure: written.failure.clone(),
            staleness: written.probed.times.percentiles(),
            stale_writes: written.probed.stale,
            unconverged: written.probed.unconverged,
            probes: written.probed.probes,
            probes_behind: written.probed.behind,
            probes_behind_near: written.probed.behind_near,
            probes_failed: written.probed.failed,
            sightings: sightings.all().iter().map(ToString::to_string).collect(),
        }
    }

    /// Reads every product once.
    async fn fill(&self) -> anyhow::Result<()> {
        let requests = self.goods.reads(self.strategy);
        let load = ClosedLoop {
            addresses: self.system.replicas.clone(),
            connections: CONNECTIONS / 2,
            warm_up: Duration::ZERO,
            duration: FILLING,
        };
        let connections = load.connections;
        let tally = load
            .run(
                |response| response.status,
                move |number| {
                    let requests = requests.clone();
                    let mut mine = (number..requests.len()).step_by(connections);
                    move |into: &mut Vec<u8>| mine.next().map(|at| into.extend_from_slice(&requests[at])).is_some()
                },
            )
            .await?;
        let filled = tally.count(|status| status == 200);
        ensure!(
            filled == self.goods.len() as u64,
            "{}: {filled} of {} products could be read",
            self.strategy,
            self.goods.len()
        );
        Ok(())
    }

    /// The longest that an entry which was filled a moment ago is going to live, in whole seconds.
    async fn lifetime(&self) -> anyhow::Result<Duration> {
        let mut line = Line::new(self.system.replicas[0], REQUEST);
        let mut longest = None;
        for request in self.goods.reads(self.strategy).iter().take(LOOKED_AT) {
            // Twice: the read that loads an entry again which has ended meanwhile does not say how long that one lives.
            for _ in 0..2 {
                longest = longest.max(fresh_for(&line.exchange(request).await?));
            }
        }
        // What is left is told in whole seconds, and rounded down.
        longest.map(|seconds| Duration::from_secs(seconds + 1)).context("no cached product says how long it lives")
    }

    async fn reads(
        &self,
        duration: Duration,
        seed: u64,
        floors: &Arc<Floors>,
        sightings: &Sightings,
    ) -> anyhow::Result<Arrivals<Label>> {
        let open = OpenLoop {
            addresses: self.system.replicas.clone(),
            connections: CONNECTIONS,
            rate: self.args.rate.into(),
            duration,
        };
        open.run_traffic(Reads::new(self.goods, self.strategy, seed, floors.clone(), sightings.clone())).await
    }

    fn writes(&self, patience: Duration, floors: &Arc<Floors>) -> Writes {
        Writes {
            strategy: self.strategy,
            goods: self.goods.clone(),
            replicas: self.system.replicas.clone(),
            floors: floors.clone(),
            rate: self.args.writes.into(),
            duration: self.args.window(),
            stop: CancellationToken::new(),
            bulks: self.args.bulks,
            category: self.category,
            patience,
            seed: 3,
        }
    }

    /// Without a load: what commands one operation sends, and how long a bulk takes beside its SQL.
    async fn quiet(&self) -> anyhow::Result<Quiet> {
        let pool = LinePool::new(self.system.replicas[0]);
        let mut quiet = Quiet::default();
        for number in 0..PAIRS {
            let percent = if number % 2 == 0 { 1 } else { -1 };
            let (took, products) = self.bulk(&pool, percent).await?;
            quiet.bulk_ms.push(took.as_secs_f64() * 1e3);
            quiet.products = products;
            quiet.sql_ms.push(self.sql(-percent).await?.as_secs_f64() * 1e3);
        }
        if !self.counters.commands() {
            return Ok(quiet);
        }
        let prefix = self.system.prefix(self.strategy)?;
        let request = api::read(self.strategy, self.goods.get(0).id);
        for _ in 0..2 {
            pool.exchange(&request, Seen::of).await?;
        }
        let counting = self.counters.begin(prefix).await?;
        for _ in 0..HITS {
            pool.exchange(&request, Seen::of).await?;
        }
        let hit = counting.each(HITS).await?;
        let counting = self.counters.begin(prefix).await?;
        for number in 0..SINGLES {
            self.single(&pool, number).await?;
        }
        sleep(FOLLOWS).await;
        let write = counting.each(SINGLES).await?;
        let counting = self.counters.begin(prefix).await?;
        self.bulk(&pool, -1).await?;
        sleep(FOLLOWS).await;
        let bulk = counting.each(1).await?;
        quiet.commands = Some(Commands { hit, write, bulk });
        Ok(quiet)
    }

    /// A write, and the product read until it has the new version, if it gets it before it expires: what the write leads to
    /// belongs to it.
    async fn single(&self, pool: &LinePool, number: usize) -> anyhow::Result<()> {
        // The coldest, so that nobody else has it.
        let at = self.goods.len() - 1 - number % self.goods.len();
        let write = self.goods.set_price(self.strategy, at, number as u64);
        let wrote = pool.exchange(&write, Wrote::of).await?.context("a write was not acknowledged")?;
        if let Some(version) = wrote.version.filter(|_| self.strategy.promise() != Promise::Expiry) {
            let read = api::read(self.strategy, self.goods.get(at).id);
            probe(pool, &read, version, Instant::now(), PATIENCE).await;
        }
        Ok(())
    }

    /// New prices for the category by the service: how long it took, and how many there were.
    async fn bulk(&self, pool: &LinePool, percent: i64) -> anyhow::Result<(Duration, u64)> {
        let begun = Instant::now();
        let request = api::reprice(self.strategy, self.category, percent);
        let products = pool
            .exchange(&request, |response| {
                Wrote::of(response)?;
                serde_json::from_slice::<serde_json::Value>(response.body).ok()?["products"].as_u64()
            })
            .await?;
        Ok((begun.elapsed(), products.context("new prices for a category were not acknowledged")?))
    }

    /// The same by the SQL alone. It tells no cache: whatever reads afterwards has to do without what is cached.
    async fn sql(&self, percent: i64) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        let mut transaction = self.system.database.begin().await?;
        let update = "update shop.products set price_cents = (price_cents * $2 + 50) / 100 where category_id = $1";
        sqlx::query(update).bind(self.category).bind(100 + percent).execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(begun.elapsed())
    }
}
