//! Writes at a set rate, each followed by probes of every replica.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::api::{self, Acknowledged, Wrote};
use super::floors::Floors;
use super::goods::Goods;
use super::line_pool::LinePool;
use super::probe::{Probed, probe};
use super::reads::EXPONENT;
use super::strategy::Strategy;
use crate::measure::latencies::Latencies;
use crate::measure::open_loop::Schedule;
use crate::measure::own_thread::on_own_thread;
use crate::measure::zipf::{Random, Zipf};

/// Products of a bulk that are probed, the hottest of those that are read at all.
const PROBED: usize = 3;

/// What is written.
#[derive(Debug, Clone)]
pub(crate) struct Writes {
    pub(crate) strategy: Strategy,
    pub(crate) goods: Goods,
    /// They take turns in being written at; all of them are probed.
    pub(crate) replicas: Vec<SocketAddr>,
    pub(crate) floors: Arc<Floors>,
    /// New prices of single products a second. Products that are read often are written often.
    pub(crate) rate: f64,
    pub(crate) duration: Duration,
    /// Ends it before its time.
    pub(crate) stop: CancellationToken,
    /// New prices for a whole category, evenly spread over the time.
    pub(crate) bulks: u32,
    pub(crate) category: i64,
    /// How long a replica may be behind before it is given up. Zero: nobody is probed.
    pub(crate) patience: Duration,
    pub(crate) seed: u64,
}

/// What came of them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Written {
    /// From when each was due to its answer.
    pub(crate) single: Latencies,
    pub(crate) bulk: Latencies,
    pub(crate) applied: u64,
    pub(crate) pending: u64,
    pub(crate) deferred: u64,
    /// Without an acknowledgement.
    pub(crate) failed: u64,
    /// What the first of those was.
    pub(crate) failure: Option<String>,
    pub(crate) probed: Staleness,
}

/// What probing showed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Staleness {
    /// Of each product written that was probed: from the acknowledgement to the last answer of any replica that was behind;
    /// zero if none was.
    pub(crate) times: Latencies,
    /// The longest from an acknowledgement until a probe was sent whose answer was behind.
    pub(crate) asked: Duration,
    /// How many of them were seen behind by anybody.
    pub(crate) stale: u64,
    /// How many of them some replica had not got when it was given up.
    pub(crate) unconverged: u64,
    pub(crate) probes: u64,
    pub(crate) behind: u64,
    pub(crate) behind_near: u64,
    pub(crate) failed: u64,
}

impl Staleness {
    /// Adds what the probes of all replicas saw of one product.
    pub(crate) fn add(&mut self, replicas: &[Probed]) {
        let longest = replicas.iter().filter_map(|probed| probed.stale).max();
        self.times.record(longest.unwrap_or_default());
        self.stale += u64::from(longest.is_some());
        self.unconverged += u64::from(replicas.iter().any(|probed| !probed.converged));
        for probed in replicas {
            self.asked = self.asked.max(probed.asked.unwrap_or_default());
            self.probes += probed.probes;
            self.behind += probed.behind;
            self.behind_near += probed.behind_near;
            self.failed += probed.failed;
        }
    }
}

/// One write that is due.
#[derive(Debug, Clone, Copy)]
enum Due {
    Single { at: usize, number: u64 },
    Bulk { percent: i64 },
}

/// What one write came to.
struct Outcome {
    bulk: bool,
    took: Duration,
    acknowledged: Result<Acknowledged, String>,
    probed: Vec<Vec<Probed>>,
}

impl Writes {
    /// Writes for the whole time, and probes until every replica has every version or was given up.
    ///
    /// # Errors
    /// No thread to be had. Writes that fail are counted instead.
    pub(crate) async fn run(self) -> anyhow::Result<Written> {
        on_own_thread("writes", move || async move { Ok(Rc::new(Writer::new(self)).run().await) }).await
    }

    /// Everything that is due, in the order of time.
    fn plan(&self) -> Vec<(Instant, Due)> {
        let start = Instant::now();
        let popularity = Zipf::new(self.goods.len(), EXPONENT);
        let mut random = Random::new(self.seed);
        let mut plan = Vec::new();
        if self.rate > 0.0 {
            let schedule = Schedule::new(start, self.rate, self.duration);
            plan.extend(
                (0..schedule.count())
                    .map(|number| (schedule.due(number), Due::Single { at: popularity.draw(&mut random), number })),
            );
        }
        for number in 0..self.bulks {
            let due = start + self.duration.mul_f64(f64::from(2 * number + 1) / f64::from(2 * self.bulks));
            // Up and down again, so that prices stay where they are.
            plan.push((due, Due::Bulk { percent: if number % 2 == 0 { 1 } else { -1 } }));
        }
        plan.sort_by_key(|(due, _)| *due);
        plan
    }
}

struct Writer {
    writes: Writes,
    replicas: Vec<LinePool>,
    reads: Arc<[Vec<u8>]>,
}

impl Writer {
    fn new(writes: Writes) -> Self {
        let replicas = writes.replicas.iter().map(|&address| LinePool::new(address)).collect();
        Self { replicas, reads: writes.goods.reads(writes.strategy), writes }
    }

    async fn run(self: Rc<Self>) -> Written {
        let mut written = Written::default();
        let mut under_way = JoinSet::new();
        for (number, (due, what)) in self.writes.plan().into_iter().enumerate() {
            let wait = tokio::time::sleep_until(due.into());
            if self.writes.stop.run_until_cancelled(wait).await.is_none() {
                break;
            }
            let turn = number % self.replicas.len();
            under_way.spawn_local(Rc::clone(&self).write(turn, due, what));
        }
        while let Some(outcome) = under_way.join_next().await {
            match outcome {
                Ok(outcome) => written.add(outcome),
                Err(error) => written.fail(&error.to_string()),
            }
        }
        written
    }

    async fn write(self: Rc<Self>, turn: usize, due: Instant, what: Due) -> Outcome {
        let Writes { strategy, goods, floors, category, .. } = &self.writes;
        let (request, of_bulk) = match what {
            Due::Single { at, number } => (goods.set_price(*strategy, at, number), None),
            Due::Bulk { percent } => {
                // The bulk adds one to each version, and finds at least what was acknowledged before it was sent.
                let next = |at| (at, floors.promised(at).version + 1);
                (api::reprice(*strategy, *category, percent), Some(goods.of_category(*category).map(next).collect()))
            }
        };
        let answer =
            self.replicas[turn].exchange(&request, |response| Wrote::of(response).ok_or(response.status)).await;
        let (acked, took) = (Instant::now(), due.elapsed());
        let bulk = of_bulk.is_some();
        let wrote = match answer {
            Ok(Ok(wrote)) => wrote,
            Ok(Err(status)) => return Outcome::failed(bulk, took, format!("status {status}")),
            Err(error) => return Outcome::failed(bulk, took, error.to_string()),
        };
        let versions: Vec<(usize, u64)> = match (of_bulk, what, wrote.version) {
            (Some(versions), ..) => versions,
            (None, Due::Single { at, .. }, Some(version)) => vec![(at, version)],
            _ => return Outcome::failed(bulk, took, "no version".to_owned()),
        };
        let mut probed = Vec::new();
        // A pending write promises nothing yet.
        if wrote.acknowledged != Acknowledged::Pending {
            versions.iter().for_each(|&(at, version)| floors.raise(at, version));
            if !self.writes.patience.is_zero() {
                let all = versions.into_iter().take(PROBED).map(|(at, version)| self.probe_all(at, version, acked));
                probed = futures_util::future::join_all(all).await;
            }
        }
        Outcome { bulk, took, acknowledged: Ok(wrote.acknowledged), probed }
    }

    /// One product at every replica.
    async fn probe_all(&self, at: usize, version: u64, acked: Instant) -> Vec<Probed> {
        let patience = self.writes.patience;
        let each = self.replicas.iter().map(|replica| probe(replica, &self.reads[at], version, acked, patience));
        futures_util::future::join_all(each).await
    }
}

impl Outcome {
    fn failed(bulk: bool, took: Duration, why: String) -> Self {
        Self { bulk, took, acknowledged: Err(why), probed: Vec::new() }
    }
}

impl Written {
    fn add(&mut self, outcome: Outcome) {
        match outcome.acknowledged {
            Ok(Acknowledged::Applied) => self.applied += 1,
            Ok(Acknowledged::Pending) => self.pending += 1,
            Ok(Acknowledged::Deferred) => self.deferred += 1,
            Err(why) => return self.fail(&why),
        }
        if outcome.bulk { &mut self.bulk } else { &mut self.single }.record(outcome.took);
        outcome.probed.iter().for_each(|replicas| self.probed.add(replicas));
    }

    fn fail(&mut self, why: &str) {
        self.failed += 1;
        self.failure.get_or_insert_with(|| why.to_owned());
    }

    /// Those that were acknowledged.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.applied + self.pending + self.deferred
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shop::goods::Product;

    fn writes() -> Writes {
        let product = |id, category_id| Product { id, category_id, price_cents: 1, currency: "EUR".into() };
        Writes {
            strategy: Strategy::Ttl,
            goods: Goods::of(vec![product(1, 1), product(2, 1)]),
            replicas: Vec::new(),
            floors: Arc::new(Floors::new([1, 1])),
            rate: 10.0,
            duration: Duration::from_secs(2),
            stop: CancellationToken::new(),
            bulks: 2,
            category: 1,
            patience: Duration::ZERO,
            seed: 7,
        }
    }

    #[test]
    fn bulks_come_evenly_between_the_single_writes_and_take_nothing_away() {
        let plan = writes().plan();
        let bulks: Vec<(Duration, i64)> = plan
            .iter()
            .filter_map(|(due, what)| match what {
                Due::Bulk { percent } => Some((*due - plan[0].0, *percent)),
                Due::Single { .. } => None,
            })
            .collect();
        assert_eq!(bulks, [(Duration::from_millis(500), 1), (Duration::from_millis(1_500), -1)]);
        assert_eq!(plan.len(), 22);
        assert!(plan.is_sorted_by_key(|(due, _)| *due));
    }

    #[test]
    fn the_slowest_replica_is_the_staleness_of_a_write() {
        let mut staleness = Staleness::default();
        let at_once = Probed { converged: true, probes: 1, ..Probed::default() };
        let asked = Some(Duration::from_millis(38));
        let late = Probed { stale: Some(Duration::from_millis(40)), asked, probes: 5, behind: 4, ..at_once };
        staleness.add(&[at_once, late, at_once]);
        staleness.add(&[at_once, at_once, at_once]);
        assert_eq!((staleness.stale, staleness.unconverged, staleness.probes, staleness.behind), (1, 0, 10, 4));
        assert_eq!(Some(staleness.asked), asked);
        let times = staleness.times.percentiles().unwrap();
        assert!(times.count == 2 && times.p50_us < 1.0 && (39_000.0..41_000.0).contains(&times.max_us), "{times:?}");
        staleness.add(&[at_once, Probed { converged: false, ..late }]);
        assert_eq!((staleness.stale, staleness.unconverged), (2, 1));
    }
}
