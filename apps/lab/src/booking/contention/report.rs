//! All points: as a table, as JSON, and for the picture.

use std::time::Instant;

use serde::Serialize;

use super::ContentionArgs;
use super::point::Point;
use crate::booking::strategy::Strategy;
use crate::booking::system::Versions;
use crate::measure::machine::{BUILT, Machine, now};
use crate::measure::table::{self, Group, three_digits, time};
use crate::measure::unfinished::Findings;

/// A run.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Report {
    /// Version of this shape.
    format: u32,
    /// RFC 3339, in UTC.
    pub(crate) started_at: String,
    seconds: f64,
    pub(crate) machine: Machine,
    pub(crate) versions: Option<Versions>,
    /// Arrivals a second.
    pub(crate) rate: u32,
    pub(crate) work_ms: u64,
    pub(crate) events: u16,
    pub(crate) points: Vec<Point>,
    /// Strategies of which there is nothing, and why.
    pub(crate) missing: Vec<(Strategy, String)>,
    /// One line per invariant that did not hold, or that the run did not prove.
    pub(crate) broken: Vec<String>,
    #[serde(skip)]
    begun: Instant,
}

impl Report {
    pub(crate) fn new(args: &ContentionArgs) -> Self {
        Self {
            format: 1,
            started_at: now(),
            seconds: 0.0,
            machine: Machine::look(),
            versions: None,
            rate: args.rate,
            work_ms: args.work_ms,
            events: args.events,
            points: Vec::new(),
            missing: Vec::new(),
            broken: Vec::new(),
            begun: Instant::now(),
        }
    }

    /// Notes once that there is nothing of a strategy.
    pub(crate) fn miss(&mut self, strategy: Strategy, reason: &str) {
        if self.missing.iter().any(|(missing, _)| *missing == strategy) {
            return;
        }
        self.missing.push((strategy, reason.to_owned()));
        if strategy != Strategy::K8sLease {
            self.broken.push(format!("nothing was proved: {strategy} is not to be had: {reason}"));
        }
    }

    /// The strategies of which there are points, in their order.
    pub(crate) fn strategies(&self) -> Vec<Strategy> {
        Strategy::ALL
            .into_iter()
            .filter(|strategy| self.points.iter().any(|point| point.strategy == *strategy))
            .collect()
    }

    /// The points of one strategy, by the number of replicas.
    pub(crate) fn of(&self, strategy: Strategy, hot: bool) -> impl Iterator<Item = &Point> {
        self.points.iter().filter(move |point| point.strategy == strategy && point.hot == hot)
    }

    fn heading(&self) -> String {
        let machine = &self.machine;
        let versions = self.versions.as_ref();
        format!(
            "lab booking contention, {}: {}, PostgreSQL {}, Redis {}, {:.0} s{}",
            self.started_at,
            machine,
            versions.map_or("?", |versions| versions.postgresql.split(' ').next().unwrap_or_default()),
            versions.map_or("?", |versions| &versions.redis),
            self.seconds,
            BUILT,
        )
    }

    fn group(&self, strategy: Strategy, hot: bool) -> Group {
        let over = if hot { "ONE EVENT".to_owned() } else { format!("{} EVENTS", self.events) };
        let columns = ["booked/s", "p50", "p99", "p99.9", "423", "503", "waiters (mean, most)"];
        let mut group = Group::new(&format!("{strategy}, {over}"), &columns);
        for point in self.of(strategy, hot) {
            let waits = |read: fn(&crate::measure::latencies::Percentiles) -> f64| {
                point.waits.as_ref().map_or_else(|| "-".to_owned(), |waits| time(read(waits)))
            };
            group.row([
                table::replicas(point.replicas),
                three_digits(point.per_second),
                waits(|waits| waits.p50_us),
                waits(|waits| waits.p99_us),
                waits(|waits| waits.p999_us),
                point.locked.to_string(),
                point.unavailable.to_string(),
                point.waiters.map_or_else(
                    || "-".to_owned(),
                    |waiters| format!("{}, {}", three_digits(waiters.mean), waiters.most),
                ),
            ]);
        }
        group
    }
}

impl Findings for Report {
    fn is_empty(&self) -> bool {
        self.broken.is_empty() && self.points.is_empty()
    }

    fn finish(&mut self) {
        self.seconds = self.begun.elapsed().as_secs_f64();
    }

    fn text(&self) -> String {
        let strategies = self.strategies();
        let groups: Vec<Group> =
            strategies.iter().flat_map(|&strategy| [self.group(strategy, true), self.group(strategy, false)]).collect();
        let mut text = format!(
            "{}\n{} bookings arrive a second, with {} ms of payment each; times from when each was due, of all answers\n\n{}",
            self.heading(),
            self.rate,
            self.work_ms,
            table::render(&groups)
        );
        for (strategy, reason) in &self.missing {
            text.push_str(&format!("{strategy} is left out: {reason}\n"));
        }
        if self.points.iter().any(|point| point.arrived < 1_000) {
            text.push_str("fewer than 1,000 bookings arrive at a point: its p99.9 is the longest wait of all\n");
        }
        let late = self.points.iter().map(|point| point.own_delay_us).fold(0.0, f64::max);
        text.push_str(&format!("the generator itself was late by at most {} (p99 of a point)\n", time(late)));
        if self.broken.is_empty() && !self.points.is_empty() {
            text.push_str("Every invariant that was checked held.\n");
        }
        text
    }

    fn broken(&self) -> &[String] {
        &self.broken
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use clap::Parser as _;

    use super::{Findings as _, Report};
    use crate::booking::contention::ContentionArgs;
    use crate::booking::contention::point::{Point, Waiters};
    use crate::booking::strategy::Strategy;
    use crate::measure::latencies::Latencies;
    use std::time::Duration;

    #[derive(Debug, clap::Parser)]
    struct Cli {
        #[command(flatten)]
        args: ContentionArgs,
    }

    pub(crate) fn nothing() -> Report {
        Report::new(&Cli::parse_from(["lab"]).args)
    }

    /// Two strategies on 1 to 8 replicas.
    pub(crate) fn full() -> Report {
        let mut report = nothing();
        for replicas in [1, 2, 4, 8] {
            for (strategy, millis) in [(Strategy::RedisFenced, 12), (Strategy::PgConditional, 6)] {
                for hot in [true, false] {
                    let mut waits = Latencies::default();
                    (0..500).for_each(|n| waits.record(Duration::from_millis(millis + n / 100 * replicas)));
                    report.points.push(Point {
                        strategy,
                        replicas: usize::try_from(replicas).unwrap(),
                        hot,
                        arrived: 400,
                        per_second: 99.5,
                        waits: waits.percentiles(),
                        booked: 398,
                        locked: 2,
                        unavailable: 0,
                        other: 0,
                        waiters: (strategy == Strategy::RedisFenced).then_some(Waiters { mean: 1.5, most: 4.0 }),
                        own_delay_us: 80.0,
                    });
                }
            }
        }
        report
    }

    #[test]
    fn the_table_has_a_line_for_each_point() {
        let mut report = full();
        let text = report.text();
        assert_eq!(text.lines().filter(|line| line.contains("replica")).count(), 16, "{text}");
        assert!(text.contains("redis-fenced, ONE EVENT") && text.contains("pg-conditional, 64 EVENTS"), "{text}");
        assert!(text.contains("1.50, 4") && text.contains("Every invariant that was checked held."), "{text}");
        report.miss(Strategy::K8sLease, "needs a cluster");
        report.miss(Strategy::K8sLease, "needs a cluster");
        assert!(report.broken.is_empty() && report.missing.len() == 1);
        report.miss(Strategy::Redlock, "no servers");
        assert!(!report.text().contains("Every invariant"));
    }

    #[test]
    fn a_run_of_nothing_claims_nothing() {
        assert!(!nothing().text().contains("Every invariant"));
    }
}
