//! All TTLs: as a table, as JSON, and for the picture.

use std::time::Instant;

use serde::Serialize;

use super::TtlSweepArgs;
use super::formula::{self, Expected};
use crate::measure::latencies::as_f64;
use crate::measure::machine::{BUILT, Machine, now};
use crate::measure::table::{Group, count, render};
use crate::measure::unfinished::Findings;
use crate::shop::reads::Counts;
use crate::shop::writes::Written;

/// How far from the formula a share may be that no chance explains: entries are loaded in more than no time, the service
/// waits for a load that is under way, requests come at even times and not at Poisson's.
const APART: f64 = 0.01;
/// What chance explains of it: so many standard deviations.
const DEVIATIONS: f64 = 4.0;
/// Staleness depends on the few writes of the few hottest products, and so more on chance.
const STALE_APART: f64 = 0.15;

/// One TTL.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Point {
    pub(crate) ttl_s: u32,
    pub(crate) hit_ratio: f64,
    /// Of all reads.
    pub(crate) stale_share: f64,
    pub(crate) expected: Expected,
    pub(crate) counts: Counts,
}

impl Point {
    pub(crate) fn new(args: &TtlSweepArgs, ttl: u32, counts: Counts) -> Self {
        let products = usize::try_from(args.products).unwrap_or(usize::MAX);
        let expected = formula::of_all(products, args.rate.into(), args.writes.into(), ttl.into());
        Self { ttl_s: ttl, hit_ratio: counts.hit_ratio(), stale_share: counts.stale_share(), expected, counts }
    }

    /// One line for each share that the formula does not explain, and for what failed.
    fn broken(&self) -> Vec<String> {
        let mut broken = Vec::new();
        let mut line = |what: String| broken.push(format!("TTL {} s: {what}", self.ttl_s));
        if self.counts.failed > 0 {
            let first = self.counts.failure.as_deref().unwrap_or_default();
            line(format!("{} reads failed, the first with: {first}", self.counts.failed));
        }
        if self.counts.reads == 0 {
            line("nothing was proved: no read was answered".to_owned());
            return broken;
        }
        let reads = as_f64(self.counts.reads);
        let chance = |share: f64| DEVIATIONS * (share * (1.0 - share) / reads).sqrt();
        let hits = self.expected.hit_ratio;
        let stale = self.expected.stale_share;
        for (what, measured, expected, allowed) in [
            ("hits", self.hit_ratio, hits, APART + chance(hits)),
            ("stale reads", self.stale_share, stale, APART + chance(stale) + STALE_APART * stale),
        ] {
            if (measured - expected).abs() > allowed {
                line(format!(
                    "{:.2} % {what}, and the formula says {:.2} %, give or take {:.2}",
                    measured * 100.0,
                    expected * 100.0,
                    allowed * 100.0
                ));
            }
        }
        broken
    }
}

/// A run.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Report {
    /// Version of this shape.
    format: u32,
    /// RFC 3339, in UTC.
    pub(crate) started_at: String,
    seconds: f64,
    pub(crate) machine: Machine,
    pub(crate) products: u32,
    /// Reads a second, for each TTL.
    pub(crate) rate: u32,
    /// Writes a second, for all together.
    pub(crate) writes: u32,
    window_s: f64,
    pub(crate) points: Vec<Point>,
    written: u64,
    /// One line per thing that did not hold, or that the run did not prove.
    pub(crate) broken: Vec<String>,
    #[serde(skip)]
    begun: Instant,
}

impl Report {
    pub(crate) fn new(args: &TtlSweepArgs) -> Self {
        Self {
            format: 1,
            started_at: now(),
            seconds: 0.0,
            machine: Machine::look(),
            products: args.products,
            rate: args.rate,
            writes: args.writes,
            window_s: args.window().as_secs_f64(),
            points: Vec::new(),
            written: 0,
            broken: Vec::new(),
            begun: Instant::now(),
        }
    }

    /// Adds what was measured, and judges it.
    pub(crate) fn add(&mut self, (points, written): (Vec<Point>, Written)) {
        self.broken.extend(points.iter().flat_map(Point::broken));
        self.points = points;
        self.written = written.acknowledged();
        if written.failed > 0 {
            let first = written.failure.unwrap_or_default();
            self.broken.push(format!("{} writes failed, the first with: {first}", written.failed));
        }
        if self.written == 0 {
            self.broken.push("nothing was proved: no write was acknowledged".to_owned());
        }
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
        let columns = ["hits", "by the formula", "stale reads", "by the formula", "reads"];
        let mut group = Group::new("TTL", &columns);
        let percent = |share: f64| format!("{:.2} %", share * 100.0);
        for point in &self.points {
            group.row([
                format!("{} s", point.ttl_s),
                percent(point.hit_ratio),
                percent(point.expected.hit_ratio),
                percent(point.stale_share),
                percent(point.expected.stale_share),
                count(point.counts.reads),
            ]);
        }
        group.note(
            "a stale read began after a write was acknowledged, and showed what was before it; shares of all reads",
        );
        let Self { machine, .. } = self;
        let mut text = format!(
            "lab shop ttl-sweep, {}: {}, {:.0} s{}\n\
             {} reads/s of {} products for each TTL, {} writes/s for all ({} in {:.0} s)\n\n{}",
            self.started_at,
            machine,
            self.seconds,
            BUILT,
            count(self.rate.into()),
            count(self.products.into()),
            self.writes,
            count(self.written),
            self.window_s,
            render(&[group])
        );
        if self.broken.is_empty() && !self.points.is_empty() {
            text.push_str("Every share is what the formula says.\n");
        }
        text
    }

    fn broken(&self) -> &[String] {
        &self.broken
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::tests::args;
    use super::*;

    pub(crate) fn nothing() -> Report {
        Report::new(&args(&[]).unwrap())
    }

    /// With so many more hits and stale reads than the formula has, of 12,000 reads.
    fn with(more_hits: f64, more_stale: f64) -> Report {
        let mut report = nothing();
        let args = args(&[]).unwrap();
        let points = args.ttls.iter().map(|&ttl| {
            let mut point = Point::new(&args, ttl, Counts { reads: 12_000, ..Counts::default() });
            point.hit_ratio = point.expected.hit_ratio + more_hits;
            point.stale_share = point.expected.stale_share + more_stale;
            point
        });
        let points = points.collect();
        report.add((points, Written { deferred: 1_200, ..Written::default() }));
        report.finish();
        report
    }

    pub(crate) fn full() -> Report {
        with(0.004, -0.006)
    }

    #[test]
    fn what_the_formula_says_is_told_beside_what_was_measured() {
        let text = full().text();
        assert_eq!(full().broken, [""; 0]);
        assert!(text.contains("30 s") && text.contains("Every share is what the formula says."), "{text}");
    }

    #[test]
    fn a_share_that_the_formula_does_not_explain_is_broken() {
        assert_eq!(with(-0.05, 0.0).broken.len(), 5);
        assert_eq!(with(0.0, 0.2).broken.len(), 5);
        let text = with(-0.05, 0.0).text();
        assert!(!text.contains("Every share"), "{text}");
    }

    #[test]
    fn a_run_of_nothing_claims_nothing() {
        let mut report = nothing();
        report.add((vec![Point::new(&args(&[]).unwrap(), 5, Counts::default())], Written::default()));
        assert_eq!(report.broken.len(), 2, "{:?}", report.broken);
        assert!(!nothing().text().contains("Every share"));
    }
}
