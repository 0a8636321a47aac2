//! The matrix as a picture: a row for each strategy, a column for each fault.

use super::report::{Look, Report};
use crate::measure::latencies::as_f64;
use crate::measure::panel::{BAD, GOOD, INK, LINE, OTHER, PAPER, SOFT, legend};
use crate::measure::svg::{Font, Picture};
use crate::measure::table::replicas;

const MARGIN: f64 = 30.0;
const NAMES: f64 = 170.0;
const COLUMN: f64 = 165.0;
const ROW: f64 = 52.0;
const HEAD: f64 = 150.0;
const GAP: f64 = 4.0;
/// Readable on every colour of a cell that needs it.
const LIGHT: &str = "#ffffff";
/// An invariant that is broken: of no other picture, because it is of no other kind.
const BROKEN: &str = "#8b0000";

/// The ground of a cell, and the colour of its text.
fn colors(look: Look) -> (&'static str, &'static str) {
    match look {
        Look::Converged => (GOOD, LIGHT),
        Look::Stale => (BAD, LIGHT),
        Look::Broken => (BROKEN, LIGHT),
        Look::NoProof => (OTHER, INK),
    }
}

/// Draws it.
pub(super) fn draw(report: &Report) -> String {
    let (subjects, faults) = report.axes();
    let width = (2.0 * MARGIN + NAMES + COLUMN * as_f64(faults.len() as u64)).max(1_000.0);
    let height = HEAD + ROW * as_f64(subjects.len() as u64) + 60.0;
    let mut picture = Picture::new(width, height);
    picture.rect((0.0, 0.0), (width, height), PAPER, 0.0);
    picture.text((MARGIN, 42.0), Font::new(26.0, INK).bold(), "How long until every replica is right again");
    let subtitle = format!(
        "{}, {} products, a fault in each of {} rounds a cell while all of them are read and written; {} cores; {}",
        replicas(usize::from(report.replicas)),
        report.products,
        report.rounds,
        report.machine.cores,
        report.started_at
    );
    picture.text((MARGIN, 68.0), Font::new(14.0, SOFT), subtitle);
    let below = "in a cell: from the fault's end to the last answer of any replica that was not the newest version, the median of the rounds";
    picture.text((MARGIN, 90.0), Font::new(13.0, SOFT), below);
    for (column, fault) in faults.iter().enumerate() {
        let x = MARGIN + NAMES + COLUMN * as_f64(column as u64);
        picture.text((x + COLUMN / 2.0, HEAD - 14.0), Font::new(14.0, INK).bold().middle(), fault.as_str());
        for (row, subject) in subjects.iter().enumerate() {
            let y = HEAD + ROW * as_f64(row as u64);
            if column == 0 {
                picture.text((MARGIN, y + 31.0), Font::new(15.0, INK), subject.as_str());
            }
            let middle = x + COLUMN / 2.0;
            let Some(cell) = report.cell(*fault, *subject) else {
                picture.rect((x + GAP / 2.0, y + GAP / 2.0), (COLUMN - GAP, ROW - GAP), LINE, 4.0);
                picture.text((middle, y + 31.0), Font::new(17.0, SOFT).middle(), "–");
                continue;
            };
            let (look, first, second) = Report::look(cell);
            let (ground, ink) = colors(look);
            picture.rect((x + GAP / 2.0, y + GAP / 2.0), (COLUMN - GAP, ROW - GAP), ground, 4.0);
            picture.text((middle, y + 24.0), Font::new(17.0, ink).bold().middle(), first);
            picture.text((middle, y + 41.0), Font::new(12.0, ink).middle(), second);
        }
    }
    let foot = HEAD + ROW * as_f64(subjects.len() as u64) + 34.0;
    let kinds = [
        ("every replica right in time", Look::Converged),
        ("the control: stays stale", Look::Stale),
        ("broken", Look::Broken),
        ("proved nothing", Look::NoProof),
    ];
    legend(&mut picture, (MARGIN, foot), &kinds.map(|(name, look)| (name, colors(look).0)));
    picture.finish("lab shop faults", &report.text())
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::{nothing, report};
    use super::draw;
    use crate::measure::svg::tests::assert_well_formed;

    #[test]
    fn a_run_is_a_well_formed_picture() {
        let picture = draw(&report());
        assert_well_formed(&picture);
        for shown in ["event-unrepaired", "message-lost", "340 ms", "at once", "after 5 s", "broken"] {
            assert!(picture.contains(shown), "{shown} is not in the picture");
        }
        assert_well_formed(&draw(&nothing()));
    }
}
