//! How long readers wait when requests arrive at a fixed rate, as readers do, and not when a server is
//! free for them.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use serde::Serialize;

use super::api::{self, Answer, Cached};
use super::pace::Pace;
use super::system::System;
use crate::measure::latencies::{Latencies, Percentiles};
use crate::measure::load::ClosedLoop;
use crate::measure::open_loop::OpenLoop as Loop;
use crate::measure::table::{Group, count, time, whole};
use crate::measure::zipf::{Random, Zipf};

/// How unequal the posts are read: the exponent of the YCSB benchmark.
const EXPONENT: f64 = 0.99;
/// Share of the capacity that arrives.
const SHARE: f64 = 0.5;
/// How long the capacity is measured, after as long a warm-up.
const PROBE: Duration = Duration::from_millis(1_500);

/// How often it is measured when the generator itself was late.
const ATTEMPTS: u64 = 3;

/// Whether the generator sent so late that the figures are about it and not about the service.
fn late_itself(own_delay: &Latencies) -> bool {
    own_delay.count() > 0 && own_delay.quantile_us(0.99) > 20_000.0
}

/// What the section found.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct OpenLoop {
    /// Arrivals a second.
    pub(crate) rate: f64,
    /// Answers a second that the same mixture reached in a closed loop just before; absent with a rate by flag.
    pub(crate) capacity: Option<f64>,
    pub(crate) scheduled: u64,
    pub(crate) all: Option<Percentiles>,
    pub(crate) by_outcome: Vec<(Cached, Percentiles)>,
    /// How late the generator sent: the error of the other figures.
    pub(crate) own_delay: Option<Percentiles>,
    /// Points (quantile, microseconds).
    pub(crate) curve: Vec<(f64, f64)>,
}

/// Measures over all replicas with posts drawn by popularity.
pub(crate) async fn run(
    system: &System,
    pace: &Pace,
    connections: usize,
    rate: Option<f64>,
) -> anyhow::Result<(OpenLoop, Vec<String>)> {
    let posts: Arc<[i64]> = system.subjects.posts.clone().into();
    let zipf = Arc::new(Zipf::new(posts.len(), EXPONENT));
    let draw = |seed: u64| {
        let (posts, zipf) = (posts.clone(), zipf.clone());
        let mut random = Random::new(seed);
        move |into: &mut Vec<u8>| api::get_post(into, posts[zipf.draw(&mut random)])
    };
    // Also fills the cache with what is popular, as it is after some time of service.
    let probe = ClosedLoop { addresses: system.replicas.clone(), connections, warm_up: PROBE, duration: PROBE };
    let makers: Vec<_> = (0..connections as u64).map(draw).collect();
    let mut makers = makers.into_iter();
    let probed = probe
        .run(Answer::of, move |_| {
            let mut make = makers.next();
            move |into: &mut Vec<u8>| make.as_mut().map(|make| make(into)).is_some()
        })
        .await?;
    let capacity = probed.per_second(|answer| answer.status == 200);
    let rate = rate.unwrap_or(capacity * SHARE);
    ensure!(rate > 0.0, "no request was answered before the open loop");
    let open = Loop { addresses: system.replicas.clone(), connections, rate, duration: pace.open_loop };
    let mut seen = open.clone().run(Answer::of, draw(u64::MAX)).await?;
    for again in 1..ATTEMPTS {
        if !late_itself(&seen.own_delay) {
            break;
        }
        // The whole machine stood still for a while: that is not how long a reader waits.
        seen = open.clone().run(Answer::of, draw(u64::MAX - again)).await?;
    }
    let mut broken = Vec::new();
    let good = seen.tally.count(|answer| answer.status == 200);
    if good != seen.scheduled {
        broken.push(format!(
            "open loop: {} of {} requests had no 200{}",
            seen.scheduled - good,
            seen.scheduled,
            seen.tally.first_failure().map(|failure| format!(" ({failure})")).unwrap_or_default()
        ));
    }
    let mut outcomes: Vec<Cached> = seen.tally.labels().map(|(answer, _)| answer.cached).collect();
    outcomes.sort_unstable();
    outcomes.dedup();
    let all = seen.tally.latencies(|answer| answer.status == 200);
    let found = OpenLoop {
        rate,
        capacity: Some(capacity),
        scheduled: seen.scheduled,
        all: all.percentiles(),
        by_outcome: outcomes
            .into_iter()
            .filter_map(|cached| Some((cached, seen.tally.latencies(Answer::ok(cached)).percentiles()?)))
            .collect(),
        own_delay: seen.own_delay.percentiles(),
        curve: all.curve(),
    };
    Ok((found, broken))
}

impl OpenLoop {
    pub(crate) fn table(&self) -> Group {
        let title = format!("OPEN LOOP, {} ARRIVALS A SECOND", whole(self.rate));
        let mut group = Group::new(&title, &["requests", "p50", "p90", "p99", "p99.9", "max"]);
        let mut row = |name: &str, times: Percentiles| {
            group.row([
                name.to_owned(),
                count(times.count),
                time(times.p50_us),
                time(times.p90_us),
                time(times.p99_us),
                time(times.p999_us),
                time(times.max_us),
            ]);
        };
        if let Some(all) = self.all {
            row("all", all);
        }
        for (cached, times) in &self.by_outcome {
            row(cached.as_str(), *times);
        }
        if let Some(own) = self.own_delay {
            row("of that, the generator's own delay", own);
        }
        let capacity = self.capacity.map(|found| format!("{} in a closed loop; ", whole(found))).unwrap_or_default();
        group.note(format!(
            "{capacity}times from when each was due (no coordinated omission); posts by Zipf {EXPONENT}"
        ));
        group
    }
}
