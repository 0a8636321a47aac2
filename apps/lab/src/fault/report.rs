//! What a fault did, and what clients saw of it: as a table, as JSON, and as a picture.

mod picture;

use std::time::Instant;

use serde::Serialize;

use super::args::FaultCommand;
use super::pause::Paused;
use super::scene::Evidence;
use crate::fleet::Service;
use crate::measure::machine::{BUILT, Machine, now};
use crate::measure::table::{self, Group, time};
use crate::pressure::{Allowed, Pressed};

/// A run.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Report {
    /// Version of this shape.
    format: u32,
    pub(super) fault: &'static str,
    /// RFC 3339, in UTC.
    pub(super) started_at: String,
    seconds: f64,
    pub(super) machine: Machine,
    /// What was seen to have happened.
    pub(super) evidence: Vec<Evidence>,
    /// What clients of each service saw.
    pub(super) loads: Vec<Load>,
    /// Rounds of `pause`.
    pub(super) paused: Vec<Paused>,
    /// One line per invariant that did not hold, or that the run did not prove.
    pub(super) broken: Vec<String>,
    #[serde(skip)]
    begun: Instant,
}

/// The load on one service.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Load {
    pub(super) service: Service,
    #[serde(flatten)]
    pub(super) pressed: Pressed,
}

impl Report {
    pub(super) fn new(command: &FaultCommand) -> Self {
        Self {
            format: 1,
            fault: command.name(),
            started_at: now(),
            seconds: 0.0,
            machine: Machine::look(),
            evidence: Vec::new(),
            loads: Vec::new(),
            paused: Vec::new(),
            broken: Vec::new(),
            begun: Instant::now(),
        }
    }

    pub(super) fn pressed(&mut self, service: Service, pressed: Pressed, allowed: Allowed) {
        let broken = pressed.broken(&allowed);
        self.broken.extend(broken.into_iter().map(|line| format!("{}: {line}", service.program())));
        self.loads.push(Load { service, pressed });
    }

    pub(super) fn finish(&mut self) {
        self.seconds = self.begun.elapsed().as_secs_f64();
        self.broken.extend(self.paused.iter().flat_map(Paused::broken));
    }

    pub(super) fn heading(&self) -> String {
        let machine = &self.machine;
        format!("lab fault {}, {}: {}{}", self.fault, self.started_at, machine, BUILT,)
    }

    pub(super) fn text(&self) -> String {
        let mut groups: Vec<Group> = self.loads.iter().map(Load::group).collect();
        if !self.paused.is_empty() {
            groups.push(self.rounds());
        }
        format!("\n{}", table::render(&groups))
    }

    fn rounds(&self) -> Group {
        let columns = ["paused", "beyond its lease", "sold meanwhile", "oversold", "lost", "doubled", "told"];
        let mut group = Group::new("STOPPED IN ITS SECTION", &columns);
        for round in &self.paused {
            group.row([
                round.strategy.to_string(),
                format!("{:.1} s", round.paused_s),
                round.beyond_lease_s.map_or_else(|| "-".to_owned(), |beyond| format!("{beyond:.1} s")),
                format!("{} of {}", round.sold_meanwhile, round.capacity),
                round.judged.oversold.to_string(),
                round.judged.lost.to_string(),
                round.judged.doubled.to_string(),
                round.victim.clone(),
            ]);
        }
        group
    }

    pub(super) fn picture(&self) -> String {
        picture::draw(self)
    }
}

impl Load {
    fn group(&self) -> Group {
        let Pressed { counts, windows, longest_gap, failed, .. } = &self.pressed;
        let title = self.service.program().to_uppercase();
        let mut group = Group::new(&title, &["for", "answered", "failed tries", "p50", "p99", "most", "SQL/s"]);
        for window in windows {
            let latency = |read: fn(&crate::measure::latencies::Percentiles) -> f64| {
                window.latency.as_ref().map_or_else(|| "-".to_owned(), |latency| time(read(latency)))
            };
            group.row([
                window.since.clone(),
                format!("{:.1} s", window.seconds),
                window.answered.to_string(),
                window.failed_tries.to_string(),
                latency(|latency| latency.p50_us),
                latency(|latency| latency.p99_us),
                latency(|latency| latency.max_us),
                window.statements_per_second.map_or_else(|| "-".to_owned(), table::three_digits),
            ]);
        }
        group.note(format!(
            "{} requests: {} answered at the first try, {} after another, {} never; longest time without a good answer {:.0} ms",
            counts.sent,
            counts.answered - counts.retried_ok,
            counts.retried_ok,
            counts.never,
            longest_gap.ms
        ));
        if let Some(blog) = &self.pressed.blog {
            group.note(blog.line());
        }
        if let Some(booking) = &self.pressed.booking {
            group.note(booking.line());
        }
        for failure in failed.iter().take(5) {
            group.note(format!("failed: {failure}"));
        }
        group
    }
}
