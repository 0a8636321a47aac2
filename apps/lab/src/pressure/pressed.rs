//! What is to be said of a load when it has ended.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Instant;

use serde::Serialize;

use super::allowed::Allowed;
use super::blog::Hunted;
use super::booking::Booked;
use super::database::Look;
use super::failure::{Failure, Kind, Told};
use super::log::{Entries, Log, Progress, Second};
use crate::measure::latencies::{Percentiles, as_f64};

/// Failed tries that are told in full.
const TOLD: usize = 20;

/// The findings of one load.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Pressed {
    pub(crate) seconds: f64,
    pub(crate) counts: Progress,
    /// Tries that failed, of requests over the service's route.
    pub(crate) failed_by_kind: BTreeMap<Kind, u64>,
    /// The first of them, and of those to single replicas.
    pub(crate) failed: Vec<Told>,
    pub(crate) longest_gap: LongestGap,
    /// The load from mark to mark.
    pub(crate) windows: Vec<Between>,
    pub(crate) by_second: Vec<Second>,
    /// Reads that went to each replica directly, by its name.
    pub(crate) direct_reads: BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) blog: Option<Hunted>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) booking: Option<Booked>,
    /// What no fault explains.
    pub(crate) unexpected: Vec<String>,
    #[serde(skip)]
    failures: Vec<Failure>,
    #[serde(skip)]
    whole: bool,
    #[serde(skip)]
    began: Instant,
    #[serde(skip)]
    service: Option<SocketAddr>,
}

/// The longest time in which no request got a good answer.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct LongestGap {
    /// Seconds from the start of the load.
    pub(crate) at_s: f64,
    pub(crate) ms: f64,
}

/// The load from one mark to the next.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Between {
    /// The mark.
    pub(crate) since: String,
    /// Seconds from the start of the load to it.
    pub(crate) at_s: f64,
    pub(crate) seconds: f64,
    pub(crate) answered: u64,
    pub(crate) failed_tries: u64,
    /// Of good answers, from when each request was due.
    pub(crate) latency: Option<Percentiles>,
    /// Statements that the services sent to PostgreSQL, where it counts them.
    pub(crate) statements_per_second: Option<f64>,
    /// Most sessions of the services that PostgreSQL was executing something for, seen once a second.
    pub(crate) most_active_sessions: Option<i64>,
}

impl Pressed {
    pub(crate) fn of(log: &Log, service: Option<SocketAddr>, looks: &[Look]) -> Self {
        let ended = Instant::now();
        let entries = log.close();
        let whole = entries.is_whole();
        let windows = windows(&entries, log.began(), ended, looks);
        let Entries { counts, by_kind, failures, seconds, direct, unexpected, gap, .. } = entries;
        let since = |at: Instant| at.saturating_duration_since(log.began()).as_secs_f64();
        Self {
            seconds: since(ended),
            counts,
            failed_by_kind: by_kind,
            failed: failures.iter().take(TOLD).map(|failure| failure.told(log.began())).collect(),
            longest_gap: LongestGap { at_s: since(gap.began), ms: gap.lasted.as_secs_f64() * 1e3 },
            windows,
            by_second: seconds,
            direct_reads: direct,
            blog: None,
            booking: None,
            unexpected,
            failures,
            whole,
            began: log.began(),
            service,
        }
    }

    /// One line for each invariant that did not hold, or that this load did not prove, when the fault allows so much.
    pub(crate) fn broken(&self, allowed: &Allowed) -> Vec<String> {
        let mut broken = Vec::new();
        let inexcusable = |direct: bool| {
            let mut found = self.failures.iter().filter(move |failure| failure.direct == direct);
            let first = found.by_ref().find(|failure| !allowed.excuses(failure, self.service))?;
            let more = found.filter(|failure| !allowed.excuses(failure, self.service)).count();
            Some((more + 1, first.told(self.began)))
        };
        if let Some((count, first)) = inexcusable(false) {
            broken.push(format!("{count} tries failed without an excuse, the first: {first}"));
        }
        if let Some((count, first)) = inexcusable(true) {
            broken.push(format!("{count} reads of single replicas failed without an excuse, the first: {first}"));
        }
        if !self.whole {
            broken.push("more tries failed than could be kept and judged".to_owned());
        }
        if self.counts.never > 0 && !allowed.giving_up {
            broken.push(format!("{} requests were never answered, however often they were sent", self.counts.never));
        }
        if let Some(most) =
            allowed.longest_gap.map(|most| most.as_secs_f64() * 1e3).filter(|most| self.longest_gap.ms > *most)
        {
            let LongestGap { at_s, ms } = self.longest_gap;
            broken
                .push(format!("no good answer for {ms:.0} ms, from {at_s:.3} s on; at most {most:.0} ms are allowed"));
        }
        if self.counts.answered == 0 {
            broken.push("nothing was proved: no request of the load was answered".to_owned());
        }
        broken.extend(self.unexpected.iter().cloned());
        broken.extend(self.blog.iter().flat_map(Hunted::broken));
        broken.extend(self.booking.iter().flat_map(|booked| booked.broken(allowed)));
        broken
    }
}

fn windows(entries: &Entries, began: Instant, ended: Instant, looks: &[Look]) -> Vec<Between> {
    let ends = entries.windows.iter().skip(1).map(|window| window.began).chain([ended]);
    let windows = entries.windows.iter().zip(ends);
    windows
        .map(|(window, end)| {
            let within: Vec<&Look> = looks.iter().filter(|look| look.at >= window.began && look.at < end).collect();
            Between {
                since: window.since.clone(),
                at_s: window.began.saturating_duration_since(began).as_secs_f64(),
                seconds: end.saturating_duration_since(window.began).as_secs_f64(),
                answered: window.answered,
                failed_tries: window.failed_tries,
                latency: window.latencies.percentiles(),
                statements_per_second: statements(&within),
                most_active_sessions: within.iter().map(|look| look.active).max(),
            }
        })
        .collect()
}

/// From the first look to the last.
fn statements(looks: &[&Look]) -> Option<f64> {
    let [first, .., last] = looks else { return None };
    // A server that was restarted has forgotten its count.
    let count = u64::try_from(last.statements? - first.statements?).ok()?;
    Some(as_f64(count) / (last.at - first.at).as_secs_f64())
}
