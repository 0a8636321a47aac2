//! What a run says: the matrix, what is broken, what was not proved.

use serde::Serialize;

use super::super::strategy::Strategy;
use super::cell::Cell;
use super::matrix::{Expected, Fault, TIMES, Times, expected, strategies_here};
use crate::measure::machine::Machine;
use crate::measure::table::{Group, count, render, time};

/// Everything about a run.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// RFC 3339, in UTC.
    pub(super) started_at: String,
    pub(super) machine: Machine,
    pub(super) replicas: u16,
    pub(super) rounds: u32,
    /// Least bookings of a safe cell.
    pub(super) bookings: u64,
    pub(super) times: Times,
    /// Whether every cell that was asked for has run.
    pub(super) complete: bool,
    pub(super) broken: Vec<String>,
    pub(super) cells: Vec<Cell>,
}

/// How a cell is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// Kept its promise.
    Held,
    /// Promises nothing, or is the control, and oversold.
    Oversold,
    /// Promises nothing here, and nothing happened.
    Unharmed,
    Broken,
    /// The control did not fail.
    NoProof,
    Meaningless,
    NotRun,
}

impl Report {
    pub(super) fn new(replicas: u16, rounds: u32, bookings: u64, started_at: String) -> Self {
        Self {
            started_at,
            machine: Machine::look(),
            replicas,
            rounds,
            bookings,
            times: TIMES,
            complete: false,
            broken: Vec::new(),
            cells: Vec::new(),
        }
    }

    /// Judges what is there. `wanted` are the cells that were asked for.
    pub(super) fn finish(&mut self, mut cells: Vec<Cell>, wanted: &[(Fault, Strategy)]) {
        let place = |cell: &Cell| wanted.iter().position(|wanted| *wanted == (cell.fault, cell.strategy));
        cells.retain(|cell| place(cell).is_some());
        cells.sort_by_key(place);
        self.cells = cells;
        self.complete = self.cells.len() == wanted.len() && self.cells.iter().all(|cell| cell.not_run.is_none());
        for cell in &self.cells {
            let name = format!("{} x {}", cell.fault.as_str(), cell.strategy);
            self.broken
                .extend(cell.broken(self.rounds, self.bookings).into_iter().map(|what| format!("{name}: {what}")));
            if let Some(held) = cell.control_held(self.rounds) {
                self.broken.push(format!("{} proved nothing: {} {held}", cell.fault.as_str(), cell.strategy));
            }
        }
        let mut missing: Vec<String> = Vec::new();
        for cell in &self.cells {
            if let Some(why) = &cell.not_run {
                let line = format!("{} was not run, so nothing is proved: {why}", cell.fault.as_str());
                if !missing.contains(&line) {
                    missing.push(line);
                }
            }
        }
        self.broken.extend(missing);
    }

    pub(super) fn cell(&self, fault: Fault, strategy: Strategy) -> Option<&Cell> {
        self.cells.iter().find(|cell| (cell.fault, cell.strategy) == (fault, strategy))
    }

    /// How a cell is to be shown, and its two lines: seats oversold, and the time to recover.
    pub(super) fn look(&self, cell: &Cell) -> (Look, String, String) {
        let recovery = match cell.recovery_ms {
            Some(ms) => time(ms * 1e3),
            None if cell.rounds.iter().any(|round| round.undisturbed) => "untouched".to_owned(),
            None => String::new(),
        };
        if cell.meaningless.is_some() {
            return (Look::Meaningless, "–".to_owned(), String::new());
        }
        if cell.not_run.is_some() {
            return (Look::NotRun, "not run".to_owned(), String::new());
        }
        if !cell.broken(self.rounds, self.bookings).is_empty() {
            let word =
                if cell.failed.is_empty() { format!("broken, +{}", cell.judged.oversold) } else { "failed".to_owned() };
            return (Look::Broken, word, recovery);
        }
        if cell.control_held(self.rounds).is_some() {
            return (Look::NoProof, "no proof".to_owned(), recovery);
        }
        let safe = expected(cell.fault, cell.strategy, self.rounds) == Ok(Expected::Safe);
        match cell.judged.oversold {
            0 if safe => (Look::Held, "0".to_owned(), recovery),
            0 => (Look::Unharmed, "0".to_owned(), recovery),
            seats => (Look::Oversold, format!("+{}", count(seats)), recovery),
        }
    }

    /// The strategies and faults that the run has cells of.
    pub(super) fn axes(&self) -> (Vec<Strategy>, Vec<Fault>) {
        let strategies = strategies_here().filter(|strategy| self.cells.iter().any(|cell| cell.strategy == *strategy));
        let faults = Fault::ALL.into_iter().filter(|fault| self.cells.iter().any(|cell| cell.fault == *fault));
        (strategies.collect(), faults.collect())
    }

    /// The matrix, for a terminal.
    pub(super) fn text(&self) -> String {
        let (strategies, faults) = self.axes();
        let columns: Vec<&str> = faults.iter().map(|fault| fault.as_str()).collect();
        let mut matrix = Group::new("seats oversold, time to recover", &columns);
        for strategy in strategies {
            // Cells beyond the columns are not shown.
            let mut row: [String; Fault::ALL.len() + 1] = Default::default();
            strategy.as_str().clone_into(&mut row[0]);
            for (shown, fault) in row[1..].iter_mut().zip(&faults) {
                let Some(cell) = self.cell(*fault, strategy) else { continue };
                let (_, first, second) = self.look(cell);
                *shown = if second.is_empty() { first } else { format!("{first}  {second}") };
            }
            matrix.row(row);
        }
        let ran: Vec<&Cell> = self.cells.iter().filter(|cell| cell.ran()).collect();
        let sum = |of: fn(&Cell) -> u64| count(ran.iter().map(|cell| of(cell)).sum());
        matrix.note(format!(
            "{} cells, {} bookings; lost {}, doubled {}, in doubt {}, refused by the schema's check {}, stuck {}",
            ran.len(),
            sum(|cell| cell.judged.bookings),
            sum(|cell| cell.judged.lost),
            sum(|cell| cell.judged.doubled),
            sum(|cell| cell.judged.in_doubt),
            sum(|cell| cell.schema_refusals),
            sum(|cell| cell.stuck.len() as u64),
        ));
        if let Some(later) = self.cell(Fault::HolderKilled, Strategy::RedisFenced).and_then(|cell| cell.after_lease_ms)
        {
            matrix.note(format!(
                "redis-fenced: the next booking {later:.0} ms after the lease of the killed holder (to reach: 100)"
            ));
        }
        matrix.note("time to recover: from the fault, or from its end for those who need the store that was away, to the next booking");
        matrix.note("untouched: the holder booked as if nothing had happened, and the others after it");
        render(&[matrix])
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::cell::tests::cell;
    use super::*;

    /// All kinds of cells.
    pub(in super::super) fn report(control: u64) -> Report {
        let mut report = Report::new(3, 4, 1_000, "2026-11-24T12:00:00Z".to_owned());
        let mut dash = cell(Fault::PushDropped, Strategy::PgRow, 0);
        dash.meaningless = Some("no pushes".to_owned());
        let mut missing = cell(Fault::ClockBack, Strategy::RedisFenced, 0);
        missing.not_run = Some("needs libfaketime".to_owned());
        let cells = vec![
            cell(Fault::HolderStopped, Strategy::RedisFenced, 0),
            cell(Fault::HolderStopped, Strategy::None, control),
            cell(Fault::RedisKilled, Strategy::PgRow, 2),
            cell(Fault::RedisKilled, Strategy::Redlock, 0),
            dash,
            missing,
        ];
        let wanted: Vec<_> = cells.iter().map(|cell| (cell.fault, cell.strategy)).collect();
        report.finish(cells, &wanted);
        report
    }

    #[test]
    fn a_control_that_held_is_no_proof() {
        let report = report(0);
        assert!(
            report.broken.iter().any(|line| line.starts_with("holder-stopped proved nothing: none")),
            "{:?}",
            report.broken
        );
        assert!(report.text().contains("no proof"), "{}", report.text());
    }

    #[test]
    fn what_is_broken_and_what_was_not_run_is_said() {
        let report = report(16);
        assert_eq!(report.broken.len(), 2, "{:?}", report.broken);
        assert!(report.broken[0].contains("redis-killed x pg-row: 2 seats oversold"), "{:?}", report.broken);
        assert!(report.broken[1].contains("needs libfaketime") && !report.complete);
        let text = report.text();
        for shown in ["+16  1.34 s", "0  1.34 s", "broken, +2", "–", "not run"] {
            assert!(text.contains(shown), "{shown} is not in {text}");
        }
    }

    #[test]
    fn cells_that_were_not_asked_for_are_not_told() {
        let mut report = Report::new(3, 4, 1_000, String::new());
        let other = cell(Fault::RedisKilled, Strategy::PgRow, 2);
        report.finish(vec![other], &[(Fault::RedisKilled, Strategy::None)]);
        assert!(report.cells.is_empty() && !report.complete);
    }
}
