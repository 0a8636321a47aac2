//! The picture of a sweep: hits and stale reads over the TTL, as measured and by the formula.

use super::formula::{self, Expected};
use super::report::{Point, Report};
use crate::measure::panel::{BAD, GOOD, INK, LINE, PAPER, Place, SOFT, Sheet, legend, not_measured, panel};
use crate::measure::svg::{Font, Picture, log_share};
use crate::measure::table::count;
use crate::measure::unfinished::Findings as _;

const SHEET: Sheet<'_> = Sheet { head: 122.0, rows: &[400.0] };
/// Points of a curve.
const CURVE: u32 = 60;

/// Draws the whole picture. What was not measured says so.
pub(crate) fn draw(report: &Report) -> String {
    let machine = &report.machine;
    let subtitle = format!(
        "{} reads a second of {} products for each TTL, {} writes a second; everything on {} cores ({}); {}",
        count(report.rate.into()),
        count(report.products.into()),
        report.writes,
        machine.cores,
        machine.processor,
        report.started_at
    );
    let mut picture = SHEET.begin("What a TTL buys, and what it costs", subtitle);
    legend(&mut picture, (Sheet::MARGIN, 100.0), &[("hits", GOOD), ("stale reads", BAD)]);
    let hits = Curve {
        title: "Hits",
        color: GOOD,
        measured: |point| point.hit_ratio,
        expected: |expected| expected.hit_ratio,
    };
    let stale = Curve {
        title: "Stale reads",
        color: BAD,
        measured: |point| point.stale_share,
        expected: |expected| expected.stale_share,
    };
    for (column, shown) in [hits, stale].iter().enumerate() {
        curve(&mut picture, SHEET.place(0, column), report, shown);
    }
    picture.finish("lab shop ttl-sweep", &report.text())
}

/// One share of all reads.
struct Curve {
    title: &'static str,
    color: &'static str,
    measured: fn(&Point) -> f64,
    expected: fn(&Expected) -> f64,
}

/// The formula as a line, what was measured as points on it or beside it.
fn curve(picture: &mut Picture, place: Place, report: &Report, shown: &Curve) {
    let Curve { title, color, measured, expected } = *shown;
    panel(picture, place, title, "share of all reads; line: the formula; points: measured");
    let (Some(first), Some(last)) = (report.points.first(), report.points.last()) else {
        return not_measured(picture, place);
    };
    let (left, right) = (place.x + 70.0, place.x + place.width - 50.0);
    let (top, bottom) = (place.y + 74.0, place.y + place.height - 56.0);
    let (from, to) = (f64::from(first.ttl_s), f64::from(last.ttl_s).max(f64::from(first.ttl_s) * 2.0));
    // The first point keeps off the labels of the axis.
    let x_of = |ttl: f64| left + 24.0 + (right - left - 24.0) * log_share(ttl, from, to);
    let y_of = |share: f64| bottom - (bottom - top) * share;
    for percent in [0_u32, 20, 40, 60, 80, 100] {
        let y = y_of(f64::from(percent) / 100.0);
        picture.line((left, y), (right, y), LINE, 1.0);
        picture.text((left - 10.0, y + 4.0), Font::new(12.0, SOFT).end(), format!("{percent} %"));
    }
    let products = usize::try_from(report.products).unwrap_or(usize::MAX);
    let line: Vec<(f64, f64)> = (0..=CURVE)
        .map(|step| {
            let ttl = from * (to / from).powf(f64::from(step) / f64::from(CURVE));
            let said = formula::of_all(products, report.rate.into(), report.writes.into(), ttl);
            (x_of(ttl), y_of(expected(&said)))
        })
        .collect();
    picture.path(&line, color, 2.0);
    for point in &report.points {
        let (x, y) = (x_of(point.ttl_s.into()), y_of(measured(point)));
        picture.circle((x, y), 6.5, PAPER);
        picture.circle((x, y), 5.0, color);
        let label = format!("{:.1}", measured(point) * 100.0);
        // Below the line where there is no room above it.
        let beside = if y - top < 24.0 { y + 22.0 } else { y - 12.0 };
        picture.text((x, beside), Font::new(12.5, INK).bold().middle(), label);
        picture.text((x, bottom + 18.0), Font::new(12.0, SOFT).middle(), format!("{} s", point.ttl_s));
    }
    picture.text((left.midpoint(right), bottom + 38.0), Font::new(12.5, SOFT).middle(), "TTL");
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::{full, nothing};
    use super::draw;
    use crate::measure::svg::tests::assert_well_formed;

    #[test]
    fn a_sweep_is_a_well_formed_picture() {
        let picture = draw(&full());
        assert_well_formed(&picture);
        for shown in ["30 s", "line: the formula", "100 %"] {
            assert!(picture.contains(shown), "{shown} is not in the picture");
        }
        let nothing = draw(&nothing());
        assert_well_formed(&nothing);
        assert!(nothing.contains("not measured"));
    }
}
