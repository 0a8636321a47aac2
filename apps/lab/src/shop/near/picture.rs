//! The picture: what a near cache gains, and what it is behind.

use super::report::{Report, phase};
use super::staleness::Fault;
use super::throughput::{Kind, Throughput};
use crate::measure::latencies::as_f64;
use crate::measure::panel::{BAD, FLOOR, GOOD, INK, OTHER, Place, SOFT, Sheet, not_measured, panel};
use crate::measure::svg::{Font, Picture};
use crate::measure::table::{count, three_digits, time, whole};
use crate::measure::unfinished::Findings as _;

const SHEET: Sheet<'_> = Sheet { head: 100.0, rows: &[260.0] };

/// Draws the whole picture. What was not measured says so.
pub(super) fn draw(report: &Report) -> String {
    let machine = &report.machine;
    let subtitle = format!(
        "{} replicas, {} reads and {} writes a second; everything on {} cores ({}); {}",
        report.replicas,
        count(report.rate.into()),
        report.writes,
        machine.cores,
        machine.processor,
        report.started_at
    );
    let mut picture = SHEET.begin("What a near cache gains, and what it is behind", subtitle);
    speeds(&mut picture, SHEET.place(0, 0), report.throughput.as_ref());
    ages(&mut picture, SHEET.place(0, 1), report);
    picture.finish("lab shop near", &report.text())
}

/// Where the bars of a panel lie: the names end at `left`.
struct Bars {
    left: f64,
    right: f64,
    top: f64,
    step: f64,
}

impl Bars {
    fn of(place: Place, rows: usize) -> Self {
        Self {
            left: place.x + 150.0,
            right: place.x + place.width - 130.0,
            top: place.y + 76.0,
            step: (place.height - 100.0) / as_f64(rows as u64),
        }
    }

    /// A bar of this share of the width, with what it is before it and what it says behind it.
    fn draw(&self, picture: &mut Picture, row: usize, name: &str, share: f64, color: &'static str, text: String) {
        let y = self.top + self.step * as_f64(row as u64);
        picture.text((self.left - 10.0, y + 20.0), Font::new(13.0, INK).end(), name);
        let width = ((self.right - self.left) * share).max(2.0);
        picture.rect((self.left, y + 4.0), (width, 24.0), color, 2.0);
        picture.text((self.left + width + 8.0, y + 20.0), Font::new(13.0, INK), text);
    }
}

fn speeds(picture: &mut Picture, place: Place, found: Option<&Throughput>) {
    let connections = found.map_or(0, |found| found.connections);
    panel(picture, place, "Answers a second", &format!("one replica, {connections} connections"));
    let Some(found) = found else { return not_measured(picture, place) };
    let most =
        Kind::ALL.iter().filter_map(|&kind| found.spread(kind)).fold(1.0, |most, spread| spread.median.max(most));
    let bars = Bars::of(place, Kind::ALL.len());
    let shown = [(Kind::Noop, "no-op route", FLOOR), (Kind::Near, "near cache", GOOD), (Kind::Redis, "Redis", OTHER)];
    for (row, (kind, name, color)) in shown.into_iter().enumerate() {
        let Some(spread) = found.spread(kind) else { continue };
        let ratio = found.ratio(kind, Kind::Noop).filter(|_| kind != Kind::Noop);
        let of = ratio.map(|ratio| format!(" ({}x)", three_digits(ratio.median))).unwrap_or_default();
        bars.draw(picture, row, name, spread.median / most, color, format!("{}{of}", whole(spread.median)));
    }
}

fn ages(picture: &mut Picture, place: Place, report: &Report) {
    let bound = f64::from(report.near_grace_ms) * 1e3;
    let note = format!("the most that any replica was behind an acknowledged write; line: the bound, {}", time(bound));
    panel(picture, place, "Behind", &note);
    if report.staleness.is_empty() {
        return not_measured(picture, place);
    }
    let phases = [None, Some(Fault::Cut), Some(Fault::Silent)];
    let bars = Bars::of(place, phases.len());
    // The bound has room behind it, for what is not to be there.
    let scale = 0.8 / bound;
    for (row, fault) in phases.into_iter().enumerate() {
        let Some(times) = report.phase(fault).and_then(|found| found.times) else { continue };
        let color = if times.max_us > bound { BAD } else { GOOD };
        let text = format!("{} (p99 {})", time(times.max_us), time(times.p99_us));
        bars.draw(picture, row, phase(fault), (times.max_us * scale).min(1.0), color, text);
    }
    let x = bars.left + (bars.right - bars.left) * 0.8;
    picture.line((x, bars.top), (x, place.y + place.height - 20.0), SOFT, 1.5);
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::{full, nothing};
    use super::draw;
    use crate::measure::svg::tests::assert_well_formed;

    #[test]
    fn it_is_well_formed_with_figures_and_without() {
        let picture = draw(&full());
        assert_well_formed(&picture);
        for shown in ["near cache", "0.90x", "connections silent", "480 ms"] {
            assert!(picture.contains(shown), "{shown} is not in the picture");
        }
        let nothing = draw(&nothing());
        assert_well_formed(&nothing);
        assert!(nothing.contains("not measured"));
    }
}
