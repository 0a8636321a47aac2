//! What a run says: the matrix, what is broken, what was not proved.

use serde::Serialize;

use super::FaultsArgs;
use super::cell::Cell;
use super::matrix::{Expected, Fault, Subject, expected};
use crate::measure::machine::{BUILT, Machine};
use crate::measure::table::{Group, count, render, time};

/// Everything about a run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Version of this shape.
    format: u32,
    /// RFC 3339, in UTC.
    pub(crate) started_at: String,
    pub(crate) machine: Machine,
    pub(crate) replicas: u16,
    pub(crate) rounds: u32,
    pub(crate) products: u16,
    /// Whether every cell that was asked for has run.
    pub(crate) complete: bool,
    pub(crate) broken: Vec<String>,
    pub(crate) cells: Vec<Cell>,
}

/// How a cell is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// Every replica came to serve the newest version of everything in time.
    Converged,
    /// The control, which stayed stale.
    Stale,
    Broken,
    /// The control did not stay stale.
    NoProof,
}

impl Report {
    pub(crate) fn new(args: &FaultsArgs, started_at: String) -> Self {
        Self {
            format: 1,
            started_at,
            machine: Machine::look(),
            replicas: args.replicas,
            rounds: args.rounds,
            products: args.products,
            complete: false,
            broken: Vec::new(),
            cells: Vec::new(),
        }
    }

    /// Judges what is there. `wanted` are the cells that were asked for.
    pub(crate) fn finish(&mut self, mut cells: Vec<Cell>, wanted: &[(Fault, Subject)]) {
        let place = |cell: &Cell| wanted.iter().position(|wanted| *wanted == (cell.fault, cell.subject));
        cells.retain(|cell| place(cell).is_some());
        cells.sort_by_key(place);
        self.cells = cells;
        self.complete = self.cells.len() == wanted.len();
        for cell in &self.cells {
            let name = format!("{} x {}", cell.fault.as_str(), cell.subject);
            self.broken.extend(cell.broken().into_iter().map(|what| format!("{name}: {what}")));
            if let Some(held) = cell.control_held() {
                self.broken.push(format!("{} proved nothing: {} {held}", cell.fault.as_str(), cell.subject));
            }
        }
        if wanted.is_empty() {
            self.broken.push("nothing was proved: none of these faults can touch any of these strategies".to_owned());
        }
    }

    pub(crate) fn cell(&self, fault: Fault, subject: Subject) -> Option<&Cell> {
        self.cells.iter().find(|cell| (cell.fault, cell.subject) == (fault, subject))
    }

    /// How a cell is to be shown, and its two lines: the median of its rounds, and the slowest.
    pub(crate) fn look(cell: &Cell) -> (Look, String, String) {
        let at_once = |millis: f64| millis < 0.05;
        let shown = |millis: f64| if at_once(millis) { "at once".to_owned() } else { time(millis * 1e3) };
        let median = cell.converged_ms().map(shown).unwrap_or_default();
        let slowest = cell.slowest_ms();
        let slowest =
            if at_once(slowest) { "each time".to_owned() } else { format!("slowest {}", time(slowest * 1e3)) };
        if !cell.broken().is_empty() {
            let word = if cell.failed.is_empty() { "broken" } else { "failed" };
            return (Look::Broken, word.to_owned(), slowest);
        }
        if cell.control_held().is_some() {
            return (Look::NoProof, "no proof".to_owned(), slowest);
        }
        match expected(cell.fault, cell.subject) {
            Expected::StaysStale(time) => (Look::Stale, "stale".to_owned(), format!("after {} s", time.as_secs())),
            Expected::Converges(_) => (Look::Converged, median, slowest),
        }
    }

    /// The strategies and faults that the run has cells of.
    pub(crate) fn axes(&self) -> (Vec<Subject>, Vec<Fault>) {
        let subjects = Subject::all().filter(|subject| self.cells.iter().any(|cell| cell.subject == *subject));
        let faults = Fault::ALL.into_iter().filter(|fault| self.cells.iter().any(|cell| cell.fault == *fault));
        (subjects.collect(), faults.collect())
    }

    /// The matrix, for a terminal.
    pub(crate) fn text(&self) -> String {
        let (subjects, faults) = self.axes();
        let columns: Vec<&str> = faults.iter().map(|fault| fault.as_str()).collect();
        let mut matrix = Group::new("TIME TO CONVERGE", &columns);
        for subject in subjects {
            let mut row = vec![subject.as_str().to_owned()];
            row.extend(faults.iter().map(|fault| match self.cell(*fault, subject) {
                None => "–".to_owned(),
                Some(cell) => {
                    let (_, first, second) = Self::look(cell);
                    format!("{first} ({second})")
                }
            }));
            matrix.cells(row);
        }
        let sum =
            |of: fn(&super::cell::Round) -> u64| count(self.cells.iter().flat_map(|cell| &cell.rounds).map(of).sum());
        matrix.note(format!(
            "{} cells of {} rounds; {} products written, {} writes applied, {} pending, {} deferred, {} without an answer",
            self.cells.len(),
            self.rounds,
            sum(|round| round.products),
            sum(|round| round.applied),
            sum(|round| round.pending),
            sum(|round| round.deferred),
            sum(|round| round.unacknowledged),
        ));
        matrix.note("median of the rounds: from the fault's end to the last answer of any replica that was not the newest version");
        matrix.note("at once: there was no such answer; –: the fault cannot touch the strategy");
        let mut text = format!(
            "lab shop faults, {}: {} replicas, {} products; {}{}\n\n{}",
            self.started_at,
            self.replicas,
            self.products,
            self.machine,
            BUILT,
            render(&[matrix])
        );
        if self.complete && self.broken.is_empty() {
            text.push_str("Every invariant that was checked held.\n");
        }
        text
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::cell::tests::cell;
    use super::*;
    use crate::shop::strategy::Strategy;
    use clap::Parser as _;

    #[derive(Debug, clap::Parser)]
    struct Cli {
        #[command(flatten)]
        args: FaultsArgs,
    }

    pub(crate) fn nothing() -> Report {
        Report::new(&Cli::parse_from(["lab"]).args, String::new())
    }

    /// A cell of each kind.
    pub(crate) fn report() -> Report {
        let mut report = nothing();
        let mut broken = cell(Fault::DatabaseStopped, Subject::Strategy(Strategy::Tags));
        broken.rounds[0].stale_reads = 2;
        let mut at_once = cell(Fault::ReplicaPaused, Subject::Strategy(Strategy::Explicit));
        at_once.rounds.iter_mut().for_each(|round| round.converged_ms = 0.0);
        let cells = vec![
            broken,
            at_once,
            cell(Fault::MessageLost, Subject::Strategy(Strategy::Event)),
            cell(Fault::MessageLost, Subject::EventUnrepaired),
        ];
        let wanted: Vec<_> = cells.iter().map(|cell| (cell.fault, cell.subject)).collect();
        report.finish(cells, &wanted);
        report
    }

    #[test]
    fn the_matrix_tells_all_kinds() {
        let report = report();
        assert!(report.complete);
        assert_eq!(report.broken.len(), 1, "{:?}", report.broken);
        assert!(report.broken[0].starts_with("database-stopped x tags: round 1: 2 reads"), "{:?}", report.broken);
        let text = report.text();
        for shown in ["340 ms", "at once", "stale (after 5 s)", "broken", "–"] {
            assert!(text.contains(shown), "{shown} is not in {text}");
        }
        assert!(!text.contains("Every invariant"), "{text}");
    }

    #[test]
    fn a_control_that_recovers_is_no_proof() {
        let mut control = cell(Fault::MessageLost, Subject::EventUnrepaired);
        control.rounds[0].unconverged = 0;
        let mut report = nothing();
        report.finish(vec![control], &[(Fault::MessageLost, Subject::EventUnrepaired)]);
        assert!(report.broken[0].starts_with("message-lost proved nothing: event-unrepaired"), "{:?}", report.broken);
        assert!(report.text().contains("no proof"));
    }

    #[test]
    fn cells_that_were_not_asked_for_are_not_told() {
        let mut report = nothing();
        let other = cell(Fault::ReplicaPaused, Subject::Strategy(Strategy::Swr));
        report.finish(vec![other], &[(Fault::ReplicaPaused, Subject::Strategy(Strategy::Ttl))]);
        assert!(report.cells.is_empty() && !report.complete);
        let mut none = nothing();
        none.finish(Vec::new(), &[]);
        assert_eq!(none.broken.len(), 1);
    }
}
