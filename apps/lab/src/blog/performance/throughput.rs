//! As much as goes through: hits and misses at 64 connections, beside the floors.
//!
//! All rows take turns, several rounds of them, and every ratio is formed within its round: on a machine that
//! others use too, two figures taken a minute apart cannot be divided.

use std::sync::Arc;
use std::time::Duration;

use fred::interfaces::ClientLike as _;
use serde::Serialize;

use super::api::{Answer, Cached};
use super::floors;
use super::pace::Pace;
use super::requests::{constant, each_once, hot_posts, prime};
use super::steady::steady;
use super::store;
use super::system::System;
use crate::measure::figures::{Figure, median};
use crate::measure::http::noop_path;
use crate::measure::load::ClosedLoop;
use crate::measure::postgres::pool;
use crate::measure::statistics::{Spread, paired_ratio};
use crate::measure::table::{Group, three_digits, whole};
use crate::measure::tally::Tally;

/// Entries that the hits are spread over.
const HOT: usize = 1_000;
/// Ids laid ready for one turn of misses, per second of it: more than any replica loads.
const IDS_PER_SECOND: f64 = 30_000.0;
/// Share of other answers that a row may have: an entry that expires in the middle is no fault.
const TOLERATED: f64 = 0.001;

/// The rows, in the order in which they take turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    BareHttp,
    Noop,
    HitOne,
    RedisGet,
    HitAll,
    MissOne,
    Sql,
    MissAll,
}

impl Kind {
    const ALL: [Self; 8] = [
        Self::BareHttp,
        Self::Noop,
        Self::HitOne,
        Self::RedisGet,
        Self::HitAll,
        Self::MissOne,
        Self::Sql,
        Self::MissAll,
    ];

    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::BareHttp => "floor: bare HTTP no-op in the lab",
            Self::Noop => "floor: the service's no-op route",
            Self::HitOne => "hit, one replica",
            Self::RedisGet => "floor: bare GET from the lab",
            Self::HitAll => "hit, all replicas",
            Self::MissOne => "miss, one replica",
            Self::Sql => "floor: bare SQL of a post from the lab",
            Self::MissAll => "miss, all replicas",
        }
    }
}

/// What the section found.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Throughput {
    pub(crate) connections: usize,
    pub(crate) body_bytes: u64,
    pub(crate) rows: Vec<Row>,
    /// Transactions a second, for the yardstick of misses.
    pub(crate) pgbench: Option<f64>,
}

/// One row.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    pub(crate) kind: Kind,
    /// Per second, in each round.
    pub(crate) per_second: Vec<f64>,
    /// Of the last round, in microseconds; absent for floors that are not HTTP.
    pub(crate) p99_us: Option<f64>,
}

/// Runs all rounds.
pub(crate) async fn run(
    system: &System,
    pace: &Pace,
    connections: usize,
    database_pool: u32,
) -> anyhow::Result<(Throughput, Vec<String>)> {
    let hot: Arc<[i64]> = system.familiar(HOT).into();
    let primed = prime(&system.replicas, hot.clone()).await?;
    let bytes = primed.mean_body();
    let client = store::builder(&system.cache_redis_url, Duration::from_secs(2))?.build()?;
    client.init().await?;
    let database = pool(&system.database_url, database_pool).await?;
    let bare = floors::BareServer::start(bytes).await?;
    let mut rows: Vec<Row> = Kind::ALL.map(|kind| Row { kind, per_second: Vec::new(), p99_us: None }).into();
    let mut broken = Vec::new();
    let rig = Rig { system, pace, connections, bytes, hot: hot.clone(), client, database, bare };
    for _ in 0..pace.rounds {
        // A round of misses may have emptied the cache to have new ids.
        prime(&system.replicas, hot.clone()).await?;
        floors::put_value(&rig.client, bytes).await?;
        for row in &mut rows {
            let ((per_second, p99_us), wrong) = steady(system, async || rig.turn(row.kind).await).await?;
            row.per_second.push(per_second);
            row.p99_us = p99_us;
            broken.extend(wrong);
        }
    }
    let Rig { client, database, .. } = rig;
    client.quit().await?;
    database.close().await;
    let span = (system.subjects.posts.iter().min(), system.subjects.posts.iter().max());
    let pgbench = match span {
        (Some(&first), Some(&last)) => floors::pgbench(&system.database_url, (first, last), database_pool).await?,
        _ => None,
    };
    Ok((Throughput { connections, body_bytes: bytes, rows, pgbench }, broken))
}

/// What all turns need.
struct Rig<'a> {
    system: &'a System,
    pace: &'a Pace,
    connections: usize,
    bytes: u64,
    hot: Arc<[i64]>,
    client: fred::clients::Client,
    database: sqlx::PgPool,
    bare: floors::BareServer,
}

impl Rig<'_> {
    /// One turn of a row: how many a second, the 99th percentile of HTTP rows, and what was wrong.
    async fn turn(&self, kind: Kind) -> anyhow::Result<((f64, Option<f64>), Vec<String>)> {
        let Self { system, pace, connections, bytes, .. } = *self;
        let one = &system.replicas[..1];
        let (addresses, wanted) = match kind {
            Kind::BareHttp => (vec![self.bare.address], Cached::Unsaid),
            Kind::Noop => (one.to_vec(), Cached::Unsaid),
            Kind::HitOne => (one.to_vec(), Cached::Hit),
            Kind::HitAll => (system.replicas.clone(), Cached::Hit),
            Kind::MissOne => (one.to_vec(), Cached::Miss),
            Kind::MissAll => (system.replicas.clone(), Cached::Miss),
            Kind::RedisGet => {
                let rate = floors::redis_gets(&self.client, connections, pace.turn).await?;
                return Ok(((rate, None), Vec::new()));
            }
            Kind::Sql => {
                let ids = system.unread(ids_for(pace.turn)).await?;
                let rate = floors::sql_posts(&self.database, ids, connections, pace.turn).await?;
                return Ok(((rate, None), Vec::new()));
            }
        };
        let mut plan = ClosedLoop { addresses, connections, warm_up: pace.warm_up, duration: pace.turn };
        let tally = match wanted {
            Cached::Hit => plan.run(Answer::of, hot_posts(self.hot.clone())).await?,
            Cached::Miss => {
                let wanted = ids_for(pace.turn + pace.warm_up);
                let ids = system.unread(wanted).await?;
                if ids.len() < wanted {
                    // Of a small blog's posts, none is left for a warm-up.
                    plan.warm_up = Duration::ZERO;
                }
                plan.run(Answer::of, each_once(ids)).await?
            }
            _ => plan.run(Answer::of, constant(noop_path(bytes))).await?,
        };
        let good = Answer::ok(wanted);
        let figures = (tally.per_second(&good), Some(tally.latencies(&good).quantile_us(0.99)));
        Ok((figures, impurity(kind, &tally, wanted).into_iter().collect()))
    }
}

fn ids_for(time: Duration) -> usize {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few seconds' worth of ids")]
    let ids = (time.as_secs_f64() * IDS_PER_SECOND) as usize;
    ids
}

/// What is wrong with a row whose answers were not what it is about.
fn impurity(kind: Kind, tally: &Tally<Answer>, wanted: Cached) -> Option<String> {
    let all = tally.count(|_| true) + tally.failures();
    let good = tally.count(Answer::ok(wanted));
    if all == 0 {
        return Some(format!("{}: there was no answer at all", kind.label()));
    }
    let share = crate::measure::latencies::as_f64(all - good) / crate::measure::latencies::as_f64(all);
    if share <= TOLERATED {
        return None;
    }
    let mut others: Vec<String> = tally
        .labels()
        .filter(|(answer, _)| !Answer::ok(wanted)(*answer))
        .map(|(answer, count)| format!("{count} were {} {}", answer.status, answer.cached.as_str()))
        .collect();
    if let Some(failure) = tally.first_failure() {
        others.push(format!("{} had no answer ({failure})", tally.failures()));
    }
    Some(format!("{}: of {all} requests {}", kind.label(), others.join(", ")))
}

impl Throughput {
    pub(crate) fn spread(&self, kind: Kind) -> Option<Spread> {
        Spread::of(&self.row(kind)?.per_second)
    }

    fn row(&self, kind: Kind) -> Option<&Row> {
        self.rows.iter().find(|row| row.kind == kind)
    }

    pub(crate) fn ratio(&self, over: Kind, under: Kind) -> Option<Spread> {
        paired_ratio(&self.row(over)?.per_second, &self.row(under)?.per_second)
    }

    pub(crate) fn table(&self) -> Group {
        let mut group = Group::new(
            &format!("{} CONNECTIONS", self.connections),
            &["per second", "min", "max", "p99", "ratio to its floor"],
        );
        for row in &self.rows {
            let Some(spread) = Spread::of(&row.per_second) else {
                continue;
            };
            let floor = match row.kind {
                Kind::HitOne | Kind::HitAll => Some((Kind::Noop, "of the no-op")),
                Kind::MissOne | Kind::MissAll => Some((Kind::Sql, "of the bare SQL")),
                _ => None,
            };
            let ratio = floor.and_then(|(floor, name)| Some((self.ratio(row.kind, floor)?, name)));
            group.row([
                row.kind.label().to_owned(),
                whole(spread.median),
                whole(spread.min),
                whole(spread.max),
                row.p99_us.map(crate::measure::table::time).unwrap_or_default(),
                ratio.map_or_else(String::new, |(ratio, name)| format!("{} {name}", three_digits(ratio.median))),
            ]);
        }
        if let Some(tps) = self.pgbench {
            group.row(["floor: pgbench by id".to_owned(), whole(tps)]);
        }
        group.note(format!(
            "{} rounds in turns, ratios within each round; the load generator runs on the same cores; body {} B",
            self.rows.first().map_or(0, |row| row.per_second.len()),
            self.body_bytes
        ));
        group
    }

    pub(crate) fn figures(&self) -> Vec<Figure> {
        // A tuned FastAPI + asyncpg + redis-py service did 9,700 hits a second on a machine on which a bare
        // HTTP no-op did 119,000, and 3,800 misses where pgbench did 45,000 by id: scaled to this one.
        let fastapi_hits = median(self.ratio(Kind::HitOne, Kind::BareHttp)).map(|ratio| ratio * 119_000.0 / 9_700.0);
        let fastapi_misses = self
            .pgbench
            .zip(median(self.spread(Kind::MissOne)))
            .map(|(pgbench, miss)| miss / (pgbench * 3_800.0 / 45_000.0));
        vec![
            Figure::at_least(
                "hit, one replica, against the no-op route",
                median(self.ratio(Kind::HitOne, Kind::Noop)),
                0.5,
                "x",
            ),
            Figure::at_least("hit against a tuned FastAPI service (scaled)", fastapi_hits, 4.0, "x"),
            Figure::at_least("miss against that service (scaled)", fastapi_misses, 3.0, "x"),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::{Kind, impurity};
    use crate::blog::performance::api::{Answer, Cached};
    use crate::measure::tally::Tally;
    use std::time::Duration;

    fn tally(hits: u32, misses: u32) -> Tally<Answer> {
        let mut tally = Tally::default();
        for (count, cached) in [(hits, Cached::Hit), (misses, Cached::Miss)] {
            for _ in 0..count {
                tally.answer(Answer { status: 200, cached }, Duration::from_micros(1), 1);
            }
        }
        tally
    }

    #[test]
    fn a_row_of_hits_with_misses_in_it_is_wrong() {
        assert_eq!(impurity(Kind::HitOne, &tally(1_000, 0), Cached::Hit), None);
        assert_eq!(impurity(Kind::HitOne, &tally(2_000, 1), Cached::Hit), None);
        let wrong = impurity(Kind::HitOne, &tally(1_000, 5), Cached::Hit).unwrap();
        assert_eq!(wrong, "hit, one replica: of 1005 requests 5 were 200 miss");
        assert!(impurity(Kind::HitOne, &tally(0, 0), Cached::Hit).is_some());
    }
}
