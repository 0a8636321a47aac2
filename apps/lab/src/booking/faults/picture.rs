//! The matrix as a picture: a row for each strategy, a column for each fault.

use super::report::{Look, Report};
use crate::measure::latencies::as_f64;
use crate::measure::panel::{BAD, FLOOR, GOOD, INK, LINE, OTHER, PAPER, SOFT, legend};
use crate::measure::svg::{Font, Picture};
use crate::measure::table::{count, replicas};

const MARGIN: f64 = 30.0;
const NAMES: f64 = 140.0;
const COLUMN: f64 = 134.0;
const ROW: f64 = 52.0;
const HEAD: f64 = 150.0;
const GAP: f64 = 4.0;
/// Readable on every colour of a cell that needs it.
const LIGHT: &str = "#ffffff";
/// An invariant that is broken: of no other picture, because it is of no other kind.
const BROKEN: &str = "#8b0000";
const UNHARMED: &str = "#a9cbe4";

/// The ground of a cell, and the colour of its text.
fn colors(look: Look) -> (&'static str, &'static str) {
    match look {
        Look::Held => (GOOD, LIGHT),
        Look::Unharmed => (UNHARMED, INK),
        Look::Oversold => (BAD, LIGHT),
        Look::Broken => (BROKEN, LIGHT),
        Look::NoProof => (OTHER, INK),
        Look::NotRun => (FLOOR, INK),
        Look::Meaningless => (LINE, SOFT),
    }
}

/// Draws it.
pub(super) fn draw(report: &Report) -> String {
    let (strategies, faults) = report.axes();
    let width = (2.0 * MARGIN + NAMES + COLUMN * as_f64(faults.len() as u64)).max(1_000.0);
    let height = HEAD + ROW * as_f64(strategies.len() as u64) + 84.0;
    let mut picture = Picture::new(width, height);
    picture.rect((0.0, 0.0), (width, height), PAPER, 0.0);
    picture.text((MARGIN, 42.0), Font::new(26.0, INK).bold(), "Seats sold twice, under every fault");
    let bookings = report.cells.iter().filter(|cell| cell.ran()).map(|cell| cell.judged.bookings).sum();
    let subtitle = format!(
        "{} bookings, {}, a fault in each of {} rounds a cell while a booking was in its section; {} cores; {}",
        count(bookings),
        replicas(usize::from(report.replicas)),
        report.rounds,
        report.machine.cores,
        report.started_at
    );
    picture.text((MARGIN, 68.0), Font::new(14.0, SOFT), subtitle);
    let below = "in a cell: seats oversold, by PostgreSQL's own count; below: the time from the fault to the next booking (median), if the holder was touched";
    picture.text((MARGIN, 90.0), Font::new(13.0, SOFT), below);
    for (column, fault) in faults.iter().enumerate() {
        let x = MARGIN + NAMES + COLUMN * as_f64(column as u64);
        picture.text((x + COLUMN / 2.0, HEAD - 14.0), Font::new(14.0, INK).bold().middle(), fault.as_str());
        for (row, strategy) in strategies.iter().enumerate() {
            let y = HEAD + ROW * as_f64(row as u64);
            if column == 0 {
                picture.text((MARGIN, y + 31.0), Font::new(15.0, INK), strategy.as_str());
            }
            let Some(cell) = report.cell(*fault, *strategy) else { continue };
            let (look, first, second) = report.look(cell);
            let (ground, ink) = colors(look);
            picture.rect((x + GAP / 2.0, y + GAP / 2.0), (COLUMN - GAP, ROW - GAP), ground, 4.0);
            let middle = x + COLUMN / 2.0;
            let lower = if second.is_empty() { 31.0 } else { 24.0 };
            picture.text((middle, y + lower), Font::new(17.0, ink).bold().middle(), first);
            picture.text((middle, y + 41.0), Font::new(12.0, ink).middle(), second);
        }
    }
    let foot = HEAD + ROW * as_f64(strategies.len() as u64) + 34.0;
    let kinds = [
        ("kept its promise", Look::Held),
        ("no promise, but none sold twice", Look::Unharmed),
        ("oversold, as it may", Look::Oversold),
        ("broken", Look::Broken),
        ("proved nothing", Look::NoProof),
        ("– cannot be touched", Look::Meaningless),
    ];
    legend(&mut picture, (MARGIN, foot), &kinds.map(|(name, look)| (name, colors(look).0)));
    let total = |of: fn(&super::judge::Judged) -> u64| {
        count(report.cells.iter().filter(|cell| cell.ran()).map(|cell| of(&cell.judged)).sum())
    };
    let line = format!(
        "bookings lost {}, doubled {}, in doubt {}",
        total(|judged| judged.lost),
        total(|judged| judged.doubled),
        total(|judged| judged.in_doubt)
    );
    picture.text((MARGIN, foot + 28.0), Font::new(14.0, INK).bold(), line);
    picture.finish("lab booking faults", &report.text())
}

#[cfg(test)]
mod tests {
    use super::super::report::{Report, tests::report};
    use super::draw;
    use crate::measure::svg::tests::assert_well_formed;

    #[test]
    fn a_run_is_a_well_formed_picture() {
        let picture = draw(&report(16));
        assert_well_formed(&picture);
        for shown in ["holder-stopped", "redis-fenced", "+16", "1.34 s", "broken, +2", "not run"] {
            assert!(picture.contains(shown), "{shown} is not in the picture");
        }
    }

    #[test]
    fn a_run_of_nothing_is_one_as_well() {
        assert_well_formed(&draw(&Report::new(3, 4, 1_000, String::new())));
    }
}
