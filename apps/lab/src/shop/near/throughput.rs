//! As much as goes through: a hit in the replica's own memory, beside one through Redis and the route that does nothing.
//!
//! The rows take turns, and ratios are formed within a round: on a machine that others use too, two figures taken a minute
//! apart cannot be divided.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use serde::Serialize;

use super::NearArgs;
use crate::measure::http::noop_path;
use crate::measure::latencies::as_f64;
use crate::measure::load::ClosedLoop;
use crate::measure::statistics::{Spread, paired_ratio};
use crate::measure::tally::Tally;
use crate::shop::api::{Cached, Seen};
use crate::shop::goods::Goods;
use crate::shop::strategy::Strategy;

/// Sent before anything is counted.
const WARM_UP: Duration = Duration::from_millis(500);
/// Share of other answers that a row may have, which are not counted: what is near is read from Redis again after its time, and by
/// whoever comes meanwhile.
const TOLERATED: f64 = 0.02;

/// The rows, in the order in which they take turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Kind {
    Noop,
    Near,
    Redis,
}

impl Kind {
    pub(super) const ALL: [Self; 3] = [Self::Noop, Self::Near, Self::Redis];

    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Noop => "floor: the service's no-op route",
            Self::Near => "hit in the near cache",
            Self::Redis => "hit in Redis",
        }
    }
}

/// One row.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Row {
    pub(super) kind: Kind,
    /// Per second, in each round.
    pub(super) per_second: Vec<f64>,
    /// Of the last round, in microseconds.
    pub(super) p99_us: f64,
}

/// What was found.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Throughput {
    pub(super) connections: u16,
    pub(super) body_bytes: u64,
    pub(super) rows: Vec<Row>,
    /// One line per row whose answers were not what it is about.
    pub(super) impure: Vec<String>,
}

impl Throughput {
    pub(super) fn spread(&self, kind: Kind) -> Option<Spread> {
        Spread::of(&self.row(kind)?.per_second)
    }

    pub(super) fn row(&self, kind: Kind) -> Option<&Row> {
        self.rows.iter().find(|row| row.kind == kind)
    }

    pub(super) fn ratio(&self, over: Kind, under: Kind) -> Option<Spread> {
        paired_ratio(&self.row(over)?.per_second, &self.row(under)?.per_second)
    }
}

/// Runs all rounds, on one replica with a near cache and one without.
pub(super) async fn run(
    args: &NearArgs,
    goods: &Goods,
    near: SocketAddr,
    plain: SocketAddr,
) -> anyhow::Result<Throughput> {
    let requests = goods.reads(Strategy::Combined);
    let mut body_bytes = 0;
    // The first read loads, the second brings it near.
    for replica in [near, plain] {
        for _ in 0..2 {
            body_bytes = prime(replica, &requests).await?;
        }
    }
    let noop: Arc<[Vec<u8>]> =
        [format!("GET {} HTTP/1.1\r\nhost: lab\r\n\r\n", noop_path(body_bytes)).into_bytes()].into();
    let mut found = Throughput {
        connections: args.connections,
        body_bytes,
        rows: Kind::ALL.map(|kind| Row { kind, per_second: Vec::new(), p99_us: 0.0 }).into(),
        impure: Vec::new(),
    };
    for _ in 0..args.rounds {
        for row in &mut found.rows {
            let (replica, requests, wanted) = match row.kind {
                Kind::Noop => (near, noop.clone(), None),
                Kind::Near => (near, requests.clone(), Some(Cached::NearHit)),
                Kind::Redis => (plain, requests.clone(), Some(Cached::Hit)),
            };
            let load = ClosedLoop {
                addresses: vec![replica],
                connections: args.connections.into(),
                warm_up: WARM_UP,
                duration: Duration::from_secs(args.turn.into()),
            };
            let tally = load.run(answer, in_turn(requests)).await?;
            let good = |answer: Answer| answer == Answer { status: 200, cached: wanted };
            row.per_second.push(tally.per_second(good));
            row.p99_us = tally.latencies(good).quantile_us(0.99);
            found.impure.extend(impurity(row.kind, &tally, tally.count(good)));
        }
    }
    Ok(found)
}

/// How an answer is sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Answer {
    status: u16,
    /// Absent where it shows no product.
    cached: Option<Cached>,
}

fn answer(response: &crate::measure::connection::Response<'_>) -> Answer {
    Answer { status: response.status, cached: Seen::of(response).map(|seen| seen.cached) }
}

/// Reads everything once, and says how large an answer is.
async fn prime(replica: SocketAddr, requests: &Arc<[Vec<u8>]>) -> anyhow::Result<u64> {
    let load = ClosedLoop {
        addresses: vec![replica],
        connections: 1,
        warm_up: Duration::ZERO,
        duration: Duration::from_secs(60),
    };
    let all = requests.clone();
    let tally = load
        .run(answer, move |_| {
            let (all, mut at) = (all.clone(), 0..);
            move |into: &mut Vec<u8>| {
                at.next().and_then(|at: usize| all.get(at)).map(|request| into.extend_from_slice(request)).is_some()
            }
        })
        .await?;
    let read = tally.count(|answer| answer.status == 200);
    ensure!(read == requests.len() as u64, "{read} of {} products could be read", requests.len());
    Ok(tally.mean_body())
}

/// Each connection sends all of them in turn, from another one on.
fn in_turn(requests: Arc<[Vec<u8>]>) -> impl FnMut(usize) -> crate::measure::load::Requests {
    move |number| {
        let (requests, mut at) = (requests.clone(), number * 7);
        Box::new(move |into| {
            into.extend_from_slice(&requests[at % requests.len()]);
            at += 1;
            true
        })
    }
}

/// What is wrong with a row whose answers were not what it is about.
fn impurity(kind: Kind, tally: &Tally<Answer>, good: u64) -> Option<String> {
    let all = tally.count(|_| true) + tally.failures();
    if all == 0 {
        return Some(format!("{}: there was no answer at all", kind.label()));
    }
    let others = all - good;
    (as_f64(others) / as_f64(all) > TOLERATED).then(|| {
        let failure = tally.first_failure().map(|failure| format!("; {failure}")).unwrap_or_default();
        format!("{}: {others} of {all} answers were something else{failure}", kind.label())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_near_hits_with_others_in_it_is_wrong() {
        let tally = |near: u32, redis: u32| {
            let mut tally = Tally::default();
            for (count, cached) in [(near, Cached::NearHit), (redis, Cached::Hit)] {
                for _ in 0..count {
                    tally.answer(Answer { status: 200, cached: Some(cached) }, Duration::from_micros(1), 1);
                }
            }
            tally
        };
        assert_eq!(impurity(Kind::Near, &tally(2_000, 10), 2_000), None);
        let wrong = impurity(Kind::Near, &tally(1_000, 50), 1_000).unwrap();
        assert_eq!(wrong, "hit in the near cache: 50 of 1050 answers were something else");
        assert!(impurity(Kind::Near, &tally(0, 0), 0).is_some());
    }
}
