//! What was found: as a table, as JSON, and for the picture.

use std::time::Instant;

use serde::Serialize;

use super::NearArgs;
use super::staleness::{Fault, Staleness};
use super::throughput::{Kind, Throughput};
use crate::measure::figures::{Figure, median};
use crate::measure::machine::{BUILT, Machine, now};
use crate::measure::statistics::Spread;
use crate::measure::table::{Group, count, render, three_digits, time, whole};
use crate::measure::unfinished::Findings;

/// A replica that hears nothing must be seen behind for as long at least, or nobody would have been seen.
const SEEN_US: f64 = 20_000.0;

/// A run.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Report {
    /// Version of this shape.
    format: u32,
    /// RFC 3339, in UTC.
    pub(super) started_at: String,
    seconds: f64,
    pub(super) machine: Machine,
    pub(super) replicas: u16,
    pub(super) products: u32,
    /// Reads a second over all replicas.
    pub(super) rate: u32,
    /// Writes a second.
    pub(super) writes: u32,
    pub(super) near_grace_ms: u32,
    pub(super) throughput: Option<Throughput>,
    pub(super) staleness: Vec<Staleness>,
    figures: Vec<Figure>,
    /// One line per thing that did not hold, or that the run did not prove.
    pub(super) broken: Vec<String>,
    #[serde(skip)]
    begun: Instant,
}

impl Report {
    pub(super) fn new(args: &NearArgs) -> Self {
        Self {
            format: 1,
            started_at: now(),
            seconds: 0.0,
            machine: Machine::look(),
            replicas: args.replicas,
            products: args.products,
            rate: args.rate,
            writes: args.writes,
            near_grace_ms: args.near_grace,
            throughput: None,
            staleness: Vec::new(),
            figures: Vec::new(),
            broken: Vec::new(),
            begun: Instant::now(),
        }
    }

    pub(super) fn throughput(&mut self, found: Throughput) {
        self.broken.extend(found.impure.iter().cloned());
        self.throughput = Some(found);
    }

    /// Adds what was seen in one phase, and judges it.
    pub(super) fn staleness(&mut self, found: Staleness) {
        self.broken.extend(self.wrong(&found).into_iter().map(|what| format!("{}: {what}", phase(found.fault))));
        self.staleness.push(found);
    }

    fn wrong(&self, found: &Staleness) -> Vec<String> {
        let mut wrong = Vec::new();
        let Staleness { counts, injected, .. } = found;
        let near = counts.outcomes.get("near hit").copied().unwrap_or_default();
        if near == 0 || found.applied == 0 {
            wrong.push(format!("nothing was proved: {near} hits in the near cache, {} writes applied", found.applied));
        }
        if counts.behind + found.probes_behind > 0 {
            wrong.push(format!(
                "{} reads and {} probes showed an older version through Redis: {}",
                counts.behind,
                found.probes_behind,
                found.sightings.join("; ")
            ));
        }
        if counts.failed > 0 {
            wrong.push(format!("{} reads failed, the first with: {}", counts.failed, first(counts.failure.as_ref())));
        }
        if found.writes_failed > 0 {
            let why = first(found.write_failure.as_ref());
            wrong.push(format!("{} writes failed, the first with: {why}", found.writes_failed));
        }
        if found.unconverged > 0 {
            wrong.push(format!("{} writes did not come to every replica", found.unconverged));
        }
        let bound = f64::from(self.near_grace_ms) * 1e3;
        if found.asked_us > bound {
            wrong.push(format!(
                "what was asked for {} after an acknowledgement was older than that, and the bound is {}",
                time(found.asked_us),
                time(bound)
            ));
        }
        if found.fault.is_some() && (injected.times == 0 || injected.read_after == 0) {
            wrong.push("nothing was proved: there was no fault, or nothing was read after it".to_owned());
        }
        if injected.behind_after > 0 {
            wrong.push(format!(
                "{} of {} reads after a fault was over showed an older version",
                injected.behind_after, injected.read_after
            ));
        }
        let most = found.times.map_or(0.0, |times| times.max_us);
        if found.fault == Some(Fault::Silent) && most < SEEN_US {
            wrong.push(format!(
                "nothing was proved: a replica that hears nothing was behind for {} at most, so nobody else would \
                 have been seen behind",
                time(most)
            ));
        }
        wrong
    }

    /// What was seen in one phase.
    pub(super) fn phase(&self, fault: Option<Fault>) -> Option<&Staleness> {
        self.staleness.iter().find(|found| found.fault == fault)
    }

    fn reached(&self) -> Vec<Figure> {
        let ratio = self.throughput.as_ref().and_then(|found| found.ratio(Kind::Near, Kind::Noop));
        let in_order = self.phase(None).and_then(|found| found.times);
        let after =
            self.phase(Some(Fault::Cut)).map(|found| crate::measure::latencies::as_f64(found.injected.behind_after));
        vec![
            Figure::at_least("hit in the near cache, against the no-op route", median(ratio), 0.85, "x"),
            Figure::at_most("behind an acknowledged write, p99", in_order.map(|times| times.p99_us / 1e3), 5.0, " ms"),
            Figure::exactly("products behind after a reconnect", after, 0.0, ""),
        ]
    }

    fn speeds(found: &Throughput) -> Group {
        let title = format!("{} CONNECTIONS, ONE REPLICA", found.connections);
        let mut group = Group::new(&title, &["per second", "min", "max", "p99", "of the no-op"]);
        for row in &found.rows {
            let Some(Spread { median: middle, min, max, .. }) = Spread::of(&row.per_second) else { continue };
            let ratio = found.ratio(row.kind, Kind::Noop).filter(|_| row.kind != Kind::Noop);
            group.row([
                row.kind.label().to_owned(),
                whole(middle),
                whole(min),
                whole(max),
                time(row.p99_us),
                median(ratio).map(|ratio| format!("{}x", three_digits(ratio))).unwrap_or_default(),
            ]);
        }
        let rounds = found.rows.first().map_or(0, |row| row.per_second.len());
        group.note(format!(
            "{rounds} rounds in turns, ratios within each round; the load runs on the same cores; body {} B",
            found.body_bytes
        ));
        group
    }

    fn ages(&self) -> Group {
        let columns =
            ["writes", "anybody behind", "p50", "p99", "most", "near hits", "reads behind", "faults", "behind after"];
        let mut group = Group::new("BEHIND AN ACKNOWLEDGED WRITE", &columns);
        for found in &self.staleness {
            let of = |pick: fn(&crate::measure::latencies::Percentiles) -> f64| {
                found.times.as_ref().map(|times| time(pick(times))).unwrap_or_default()
            };
            group.row([
                phase(found.fault).to_owned(),
                count(found.applied + found.pending),
                count(found.stale_writes),
                of(|times| times.p50_us),
                of(|times| times.p99_us),
                of(|times| times.max_us),
                count(found.counts.outcomes.get("near hit").copied().unwrap_or_default()),
                format!("{} of {}", count(found.counts.behind_near), count(found.counts.reads)),
                count(found.injected.times),
                format!("{} of {}", count(found.injected.behind_after), count(found.injected.read_after)),
            ]);
        }
        group.note(format!(
            "from the acknowledgement to the last answer of any of {} replicas that was behind, 0 if none was; the \
             bound is {} ms; faults strike the last replica",
            self.replicas, self.near_grace_ms
        ));
        group
    }
}

fn first(failure: Option<&String>) -> &str {
    failure.map_or("", String::as_str)
}

/// A phase, as a person reads it.
pub(super) fn phase(fault: Option<Fault>) -> &'static str {
    fault.map_or("in order", Fault::label)
}

impl Findings for Report {
    fn is_empty(&self) -> bool {
        self.broken.is_empty() && self.throughput.is_none() && self.staleness.is_empty()
    }

    fn finish(&mut self) {
        self.seconds = self.begun.elapsed().as_secs_f64();
        self.figures = self.reached();
    }

    fn text(&self) -> String {
        let mut groups: Vec<Group> = self.throughput.iter().map(Self::speeds).collect();
        if !self.staleness.is_empty() {
            groups.push(self.ages());
        }
        let mut figures = Group::new("FIGURES", &["measured", "wanted", ""]);
        for figure in &self.figures {
            let Figure { what, measured, target, .. } = figure;
            figures.row([what.clone(), measured.clone(), target.clone(), figure.mark().to_owned()]);
        }
        groups.push(figures);
        let machine = &self.machine;
        format!(
            "lab shop near, {}: {}, {:.0} s{}\n\
             {} replicas, {} reads/s of {} products, {} writes/s\n\n{}",
            self.started_at,
            machine,
            self.seconds,
            BUILT,
            self.replicas,
            count(self.rate.into()),
            count(self.products.into()),
            self.writes,
            render(&groups)
        )
    }

    fn broken(&self) -> &[String] {
        &self.broken
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use super::super::staleness::Injected;
    use super::super::tests::args;
    use super::super::throughput::Row;
    use super::*;
    use crate::measure::latencies::Latencies;
    use crate::shop::reads::Counts;

    pub(in super::super) fn nothing() -> Report {
        Report::new(&args(&[]).unwrap())
    }

    /// A phase in which one write of two was behind for so long.
    fn behind(fault: Option<Fault>, most: Duration) -> Staleness {
        let mut times = Latencies::default();
        times.record(Duration::ZERO);
        times.record(most);
        let injected = if fault.is_some() {
            Injected { times: 4, read_after: 2_000, behind_after: 0 }
        } else {
            Injected::default()
        };
        Staleness {
            fault,
            counts: Counts { reads: 900, hits: 800, outcomes: [("near hit", 700)].into(), ..Counts::default() },
            times: times.percentiles(),
            asked_us: most.as_secs_f64() * 1e6 - 300.0,
            stale_writes: 1,
            unconverged: 0,
            probes_behind: 0,
            applied: 2,
            pending: 0,
            writes_failed: 0,
            write_failure: None,
            injected,
            sightings: Vec::new(),
        }
    }

    pub(in super::super) fn full() -> Report {
        let mut report = nothing();
        let row = |kind, rate: f64| Row { kind, per_second: vec![rate, rate * 1.1], p99_us: 900.0 };
        report.throughput(Throughput {
            connections: 64,
            body_bytes: 700,
            rows: vec![row(Kind::Noop, 50_000.0), row(Kind::Near, 45_000.0), row(Kind::Redis, 25_000.0)],
            impure: Vec::new(),
        });
        report.staleness(behind(None, Duration::from_millis(2)));
        report.staleness(behind(Some(Fault::Cut), Duration::from_millis(1)));
        report.staleness(behind(Some(Fault::Silent), Duration::from_millis(480)));
        report.finish();
        report
    }

    #[test]
    fn what_was_wanted_is_told_beside_what_was_measured() {
        let report = full();
        assert_eq!(report.broken, [""; 0]);
        let text = report.text();
        for shown in ["0.90x", "at least 0.85", "connections silent", "480 ms", "reached"] {
            assert!(text.contains(shown), "{shown} is not in\n{text}");
        }
        assert!(!text.contains("MISSED"), "{text}");
    }

    #[test]
    fn more_than_the_bound_is_broken() {
        let mut report = nothing();
        report.staleness(behind(Some(Fault::Silent), Duration::from_millis(700)));
        assert!(
            report.broken[0].starts_with("connections silent: what was asked for 700 ms after"),
            "{:?}",
            report.broken
        );
    }

    #[test]
    fn what_redis_itself_shows_and_what_is_old_after_a_reconnect_is_broken() {
        let mut report = nothing();
        let mut found = behind(Some(Fault::Cut), Duration::from_millis(1));
        found.counts.behind = 1;
        found.injected.behind_after = 3;
        report.staleness(found);
        assert_eq!(report.broken.len(), 2, "{:?}", report.broken);
    }

    #[test]
    fn a_replica_that_hears_nothing_has_to_be_seen_behind() {
        let mut report = nothing();
        report.staleness(behind(Some(Fault::Silent), Duration::ZERO));
        report.staleness(Staleness { applied: 0, ..behind(None, Duration::ZERO) });
        report.staleness(Staleness { injected: Injected::default(), ..behind(Some(Fault::Cut), Duration::ZERO) });
        assert_eq!(report.broken.len(), 3, "{:?}", report.broken);
        assert!(report.broken.iter().all(|line| line.contains("nothing was proved")), "{:?}", report.broken);
    }
}
