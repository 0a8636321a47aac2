//! All cells: as a table and as JSON, with the figures to reach.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context as _;
use serde::Serialize;

use super::contention::{Cell, Round};
use crate::measure::figures::Figure;
use crate::measure::latencies::as_f64;
use crate::measure::machine::{Machine, now};
use crate::measure::statistics::{Spread, median, paired_ratio};
use crate::measure::table::{self, Group, three_digits, time, whole};
use crate::measure::unfinished::Findings;
use crate::screen::say;

/// A run.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Report {
    /// Version of this shape.
    format: u32,
    /// RFC 3339, in UTC.
    started_at: String,
    seconds: f64,
    machine: Machine,
    pub(super) redis: String,
    lab_is_optimized: bool,
    rounds: u16,
    millis: u64,
    uncontended: Vec<Uncontended>,
    contended: Vec<Contended>,
    figures: Vec<Figure>,
    /// One line per invariant that did not hold.
    pub(super) broken: Vec<String>,
    #[serde(skip)]
    begun: Instant,
}

/// Nobody else: acquire and release. Each round's p50 and p99, in microseconds.
#[derive(Debug, Clone, Serialize)]
struct Uncontended {
    way: &'static str,
    p50_us: Vec<f64>,
    p99_us: Vec<f64>,
}

/// One cell, with all its rounds.
#[derive(Debug, Clone, Serialize)]
struct Contended {
    #[serde(flatten)]
    cell: Cell,
    rounds: Vec<Round>,
}

impl Contended {
    fn each(&self, read: impl Fn(&Round) -> Option<f64>) -> Vec<f64> {
        self.rounds.iter().filter_map(read).collect()
    }

    fn median(&self, read: impl Fn(&Round) -> Option<f64>) -> Option<f64> {
        median(&self.each(read))
    }

    fn least(&self, read: impl Fn(&Round) -> Option<f64>) -> Option<f64> {
        Spread::of(&self.each(read)).map(|spread| spread.min)
    }

    fn most(&self, read: impl Fn(&Round) -> Option<f64>) -> Option<f64> {
        Spread::of(&self.each(read)).map(|spread| spread.max)
    }
}

impl Report {
    pub(super) fn new(rounds: u16, millis: u64) -> Self {
        Self {
            format: 1,
            started_at: now(),
            seconds: 0.0,
            machine: Machine::look(),
            redis: String::new(),
            lab_is_optimized: !cfg!(debug_assertions),
            rounds,
            millis,
            uncontended: Vec::new(),
            contended: Vec::new(),
            figures: Vec::new(),
            broken: Vec::new(),
            begun: Instant::now(),
        }
    }

    /// One round; times in nanoseconds.
    pub(super) fn uncontended(&mut self, way: &'static str, took: &[u64]) {
        let mut took = took.to_vec();
        took.sort_unstable();
        let Some(last) = took.len().checked_sub(1) else { return };
        let at = |share: usize| as_f64(took[last * share / 100]) / 1e3;
        if !self.uncontended.iter().any(|known| known.way == way) {
            self.uncontended.push(Uncontended { way, p50_us: Vec::new(), p99_us: Vec::new() });
        }
        if let Some(known) = self.uncontended.iter_mut().find(|known| known.way == way) {
            known.p50_us.push(at(50));
            known.p99_us.push(at(99));
        }
    }

    pub(super) fn contended(&mut self, cell: &Cell, round: Round) {
        if round.overlaps > 0 {
            self.broken.push(format!("{cell}: two had it at once, {} times", round.overlaps));
        }
        if round.acquisitions == 0 {
            self.broken.push(format!("{cell}: nobody has had it, so nothing was shown"));
        }
        match self.contended.iter_mut().find(|known| known.cell == *cell) {
            Some(known) => known.rounds.push(round),
            None => self.contended.push(Contended { cell: *cell, rounds: vec![round] }),
        }
    }

    /// Keys of locks that nobody holds or waits for.
    pub(super) fn left_behind(&mut self, keys: u64) {
        if keys > 0 {
            self.broken.push(format!("{keys} keys of locks are left behind in Redis"));
        }
    }

    fn p50s(&self, way: &str) -> Vec<f64> {
        self.uncontended.iter().find(|known| known.way == way).map_or_else(Vec::new, |known| known.p50_us.clone())
    }

    fn find(&self, cell: Cell) -> Option<&Contended> {
        self.contended.iter().find(|known| known.cell == cell)
    }

    /// Of two ways under the same load, each round by itself.
    fn ratio(&self, cell: Cell, floor: &'static str) -> Option<f64> {
        let rates = |cell| self.find(cell).map(|known| known.each(|round| Some(round.per_second)));
        paired_ratio(&rates(cell)?, &rates(Cell { way: floor, ..cell })?).map(|spread| spread.median)
    }

    fn figures(&self) -> Vec<Figure> {
        let uncontended = |floor| paired_ratio(&self.p50s("fenced"), &self.p50s(floor)).map(|spread| spread.median);
        let crowd = |processes| Cell { way: "fenced", processes, waiters: 64, inside_ms: 0 };
        let mut figures =
            vec![Figure::at_most("uncontended p50, against the same scripts bare", uncontended("bare"), 1.15, "x")];
        for (processes, least) in [(1, 0.8), (4, 0.6)] {
            let what = format!("64 waiters in {processes}, acquisitions against BLPOP");
            figures.push(Figure::at_least(&what, self.ratio(crowd(processes), "blpop"), least, "x"));
        }
        for processes in [1, 4] {
            let known = self.find(crowd(processes));
            let least = |read: fn(&Round) -> Option<f64>| known.and_then(|known| known.least(read));
            let most = |read: fn(&Round) -> Option<f64>| known.and_then(|known| known.most(read));
            let median = |read: fn(&Round) -> Option<f64>| known.and_then(|known| known.median(read));
            let of = |what: &str| format!("64 waiters in {processes}, {what}");
            figures.extend([
                Figure::exactly(&of("passed on to another"), least(|round| round.passed_on_percent), 100.0, " %"),
                Figure::at_least(&of("fairness (Jain)"), least(|round| round.jain), 0.99, ""),
                Figure::at_most(
                    &of("wait, p99.9 over p50"),
                    median(|round| round.waits.map(|waits| waits.p999_us / waits.p50_us)),
                    3.0,
                    "x",
                ),
                Figure::at_most(
                    &of("commands per acquisition"),
                    most(|round| Some(round.sent_per_acquisition)),
                    2.2,
                    "",
                ),
                // One that is woken in vain asks again: a third command.
                Figure::at_most(
                    &of("woken by a release"),
                    most(|round| Some((1.0 + round.sent_per_acquisition - 2.0).max(round.pushed_per_acquisition))),
                    1.05,
                    "",
                ),
            ]);
        }
        figures
    }

    /// Writes the figures and says where.
    pub(super) fn write(&self, path: Option<&Path>) -> anyhow::Result<()> {
        let path = match path {
            Some(path) => path.to_owned(),
            None => {
                std::fs::create_dir_all("lab-results").context("cannot make the folder lab-results")?;
                PathBuf::from("lab-results/lock-bench-latest.json")
            }
        };
        let text = format!("{}\n", serde_json::to_string_pretty(self)?);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        say(&format!("wrote {}", path.display()));
        Ok(())
    }

    fn one_at_a_time(&self) -> Group {
        let mut group = Group::new("NOBODY ELSE", &["p50", "p99", "fenced / it"]);
        for known in &self.uncontended {
            let ratio = paired_ratio(&self.p50s("fenced"), &known.p50_us);
            group.row([
                known.way.to_owned(),
                median(&known.p50_us).map_or_else(String::new, time),
                median(&known.p99_us).map_or_else(String::new, time),
                ratio.map_or_else(String::new, |ratio| format!("{:.3}", ratio.median)),
            ]);
        }
        group.note("acquire and release; bare: the same two scripts without a lock around them");
        group
    }

    fn loads(&self) -> Vec<Group> {
        let mut groups: Vec<(Cell, Group)> = Vec::new();
        for known in &self.contended {
            let load = Cell { way: "", ..known.cell };
            if !groups.iter().any(|(of, _)| *of == load) {
                let Cell { processes, waiters, inside_ms, .. } = load;
                let title = format!("{waiters} WAITERS IN {processes}, {inside_ms} MS INSIDE");
                let columns = [
                    "acq/s",
                    "of BLPOP",
                    "p50",
                    "p99",
                    "p99.9",
                    "max",
                    "Jain",
                    "passed on",
                    "sent",
                    "pushed",
                    "overlaps",
                ];
                groups.push((load, Group::new(&title, &columns)));
            }
            let Some((_, group)) = groups.iter_mut().find(|(of, _)| *of == load) else { continue };
            let wait = |read: fn(&crate::measure::latencies::Percentiles) -> f64| {
                known.median(|round| round.waits.as_ref().map(read)).map_or_else(String::new, time)
            };
            let plain = |value: Option<f64>| value.map_or_else(String::new, three_digits);
            group.row([
                known.cell.way.to_owned(),
                known.median(|round| Some(round.per_second)).map_or_else(String::new, whole),
                plain(self.ratio(known.cell, "blpop")),
                wait(|waits| waits.p50_us),
                wait(|waits| waits.p99_us),
                wait(|waits| waits.p999_us),
                known.most(|round| round.waits.map(|waits| waits.max_us)).map_or_else(String::new, time),
                known.least(|round| round.jain).map_or_else(String::new, |jain| format!("{jain:.3}")),
                known.least(|round| round.passed_on_percent).map_or_else(String::new, |share| format!("{share:.1} %")),
                plain(known.median(|round| Some(round.sent_per_acquisition))),
                plain(known.median(|round| Some(round.pushed_per_acquisition))),
                whole(known.rounds.iter().map(|round| as_f64(round.overlaps)).sum()),
            ]);
        }
        groups.into_iter().map(|(_, group)| group).collect()
    }
}

impl Findings for Report {
    fn is_empty(&self) -> bool {
        self.uncontended.is_empty() && self.contended.is_empty()
    }

    fn finish(&mut self) {
        self.seconds = self.begun.elapsed().as_secs_f64();
        self.figures = self.figures();
    }

    fn text(&self) -> String {
        let mut groups = vec![self.one_at_a_time()];
        groups.extend(self.loads());
        let mut reach = Group::new("FIGURES TO REACH", &["measured", "target", ""]);
        for figure in &self.figures {
            reach.row([figure.what.clone(), figure.measured.clone(), figure.target.clone(), figure.mark().to_owned()]);
        }
        reach.note("medians of the rounds; of fairness, passing on and commands the worst round");
        reach.note(format!(
            "Redis {}, {} cores, load {} before the run; sent and pushed: by Redis' own counters, for each acquisition",
            self.redis,
            self.machine.cores,
            self.machine.load_before.map_or_else(|| "unknown".to_owned(), three_digits)
        ));
        groups.push(reach);
        table::render(&groups)
    }

    fn broken(&self) -> &[String] {
        &self.broken
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Cell, Findings as _, Report};
    use crate::lock_bench::contention::{Round, Turn};

    fn round(cell: &Cell, overlapping: bool) -> Round {
        let turns = |from: u64| -> Vec<Turn> {
            let turn = |at: u64| Turn { asked: at, had: at + 10, gave: at + if overlapping { 25 } else { 19 } };
            (0..50).map(|number| turn(from + number * 20)).collect()
        };
        let calls = |name: &str| if matches!(name, "evalsha" | "blpop") { 200 } else { 0 };
        Round::judge(cell, &[turns(0), turns(10)], Duration::from_nanos(1_000), calls)
    }

    fn report(overlapping: bool) -> Report {
        let mut report = Report::new(1, 100);
        for (way, took) in [("fenced", 110_000), ("bare", 100_000), ("set-nx", 100_000)] {
            report.uncontended(way, &[took; 100]);
        }
        for processes in [1, 4] {
            for way in ["fenced", "blpop"] {
                let cell = Cell { way, processes, waiters: 64, inside_ms: 0 };
                report.contended(&cell, round(&cell, overlapping));
            }
        }
        report.finish();
        report
    }

    #[test]
    fn what_was_reached_is_said() {
        let report = report(false);
        let text = report.text();
        assert!(report.broken.is_empty(), "{:?}", report.broken);
        assert!(
            report.figures.iter().all(|figure| figure.reached == Some(true) || figure.what.contains("p99.9")),
            "{text}"
        );
        assert!(text.contains("64 WAITERS IN 4, 0 MS INSIDE") && text.contains("1.100"), "{text}");
    }

    #[test]
    fn two_at_once_break_the_run() {
        assert_eq!(report(true).broken.len(), 4);
    }

    #[test]
    fn a_key_that_is_left_breaks_the_run() {
        let mut report = Report::new(1, 100);
        report.left_behind(0);
        assert!(report.is_empty() && report.broken.is_empty());
        report.left_behind(1);
        assert_eq!(report.broken.len(), 1);
        report.finish();
        assert!(report.figures.iter().all(|figure| figure.reached.is_none()));
    }
}
