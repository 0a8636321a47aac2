//! The picture of a run: what each strategy costs the database, and how old what it answers may be; and what writes cost.

use super::report::{Report, shown};
use super::row::Row;
use crate::measure::latencies::as_f64;
use crate::measure::panel::{
    BAD, GOOD, INK, LINE, OTHER, PAPER, Place, SOFT, Sheet, decade, legend, not_measured, panel, tick_label,
};
use crate::measure::svg::{Font, Picture, log_share};
use crate::measure::table::{count, replicas, three_digits, time};
use crate::measure::unfinished::Findings as _;
use crate::shop::strategy::{Promise, Strategy};

const SHEET: Sheet<'_> = Sheet { head: 122.0, rows: &[470.0, 320.0] };
/// The least distance of two labels.
const LABEL: f64 = 18.0;
/// Staleness below this is drawn as this.
const SHORTEST_US: f64 = 100.0;

/// Draws the whole picture. What was not measured says so.
pub(crate) fn draw(report: &Report) -> String {
    let machine = &report.machine;
    let subtitle = format!(
        "{} reads and {} new prices a second over {}; everything on {} cores ({}); {}",
        count(report.rate.into()),
        report.writes,
        replicas(report.replicas),
        machine.cores,
        machine.processor,
        report.started_at
    );
    let mut picture = SHEET.begin("Seven ways to keep a cache true: how stale, and at what cost", subtitle);
    let kinds = [
        ("nothing stale once a write is applied", color(Promise::Applied)),
        ("stale for a moment", color(Promise::Soon)),
        ("stale until it expires", color(Promise::Expiry)),
    ];
    legend(&mut picture, (Sheet::MARGIN, 100.0), &kinds);
    trade_off(&mut picture, Place { width: Sheet::WHOLE, ..SHEET.place(0, 0) }, report);
    let bars = |of: fn(&Row) -> Option<f64>| report.rows.iter().map(|row| (row.strategy, of(row))).collect::<Vec<_>>();
    let single = bars(|row| row.single.map(|times| times.p50_us));
    let bulk = bars(|row| row.quiet.bulk().map(|millis| millis * 1e3));
    writes(&mut picture, SHEET.place(1, 0), "A new price", "median, under the load", &single);
    let products = report.rows.first().map_or(0, |row| row.quiet.products);
    let title = format!("New prices for {} products", count(products));
    writes(&mut picture, SHEET.place(1, 1), &title, "median, without a load", &bulk);
    picture.finish("lab shop strategies", &report.text())
}

fn color(promise: Promise) -> &'static str {
    match promise {
        Promise::Applied => GOOD,
        Promise::Soon => OTHER,
        Promise::Expiry => BAD,
    }
}

/// Staleness against loads, a point for each strategy. What is never stale has a line of its own below the others.
fn trade_off(picture: &mut Picture, place: Place, report: &Report) {
    panel(
        picture,
        place,
        "The trade-off: staleness against database load",
        "up: how long after an acknowledged write any replica still answered with the old price, p99; each grid line is ten times the one below",
    );
    let points: Vec<(&Row, f64, f64)> =
        report.rows.iter().filter_map(|row| Some((row, row.loads_per_second?, row.staleness?.p99_us))).collect();
    if points.is_empty() {
        return not_measured(picture, place);
    }
    let (left, right) = (place.x + 90.0, place.x + place.width - 200.0);
    let (top, never) = (place.y + 74.0, place.y + place.height - 62.0);
    // Between the shortest staleness and none is a gap: a logarithm has no zero.
    let bottom = never - 50.0;
    let most = points.iter().map(|(_, loads, _)| *loads).fold(1.0, f64::max);
    let (step, end) = scale(most);
    let longest = points.iter().map(|(.., stale)| *stale).fold(SHORTEST_US * 10.0, f64::max);
    let ceiling = decade(longest) * 10.0;
    let x_of = |loads: f64| left + (right - left) * loads / end;
    let y_of = |stale: f64| {
        if stale < 0.1 { never } else { bottom - (bottom - top) * log_share(stale, SHORTEST_US, ceiling) }
    };
    let mut grid = SHORTEST_US;
    while grid <= ceiling * 1.01 {
        picture.line((left, y_of(grid)), (right, y_of(grid)), LINE, 1.0);
        picture.text((left - 10.0, y_of(grid) + 4.0), Font::new(12.0, SOFT).end(), tick_label(grid));
        grid *= 10.0;
    }
    picture.line((left, never), (right, never), SOFT, 1.5);
    picture.text((left - 10.0, never + 4.0), Font::new(12.0, INK).bold().end(), "never");
    let mut tick = 0.0;
    while tick <= end * 1.001 {
        picture.line((x_of(tick), never), (x_of(tick), never + 5.0), SOFT, 1.0);
        picture.text((x_of(tick), never + 20.0), Font::new(12.0, SOFT).middle(), three_digits_or_whole(tick));
        tick += step;
    }
    let middle = left.midpoint(right);
    picture.text((middle, never + 42.0), Font::new(12.5, SOFT).middle(), "loads from the database a second");
    let mut drawn: Vec<(&Row, f64, f64, f64)> =
        points.iter().map(|(row, loads, stale)| (*row, *stale, x_of(*loads), y_of(*stale))).collect();
    // From the top, so that labels that give way go down, and at the bottom up.
    drawn.sort_by(|a, b| a.3.total_cmp(&b.3).then(b.2.total_cmp(&a.2)));
    let wanted: Vec<(f64, f64)> = drawn.iter().map(|(.., x, y)| (*x, *y)).collect();
    // Above the axis, not on it.
    let labels = spread(&wanted, never - LABEL);
    for ((row, stale, x, y), label) in drawn.into_iter().zip(labels) {
        let color = color(row.strategy.promise());
        picture.line((x, y), (x + 16.0, label), color, 1.0);
        picture.circle((x, y), 7.0, PAPER);
        picture.circle((x, y), 5.5, color);
        picture.text((x + 20.0, label + 5.0), Font::new(14.0, INK).bold(), row.strategy.as_str());
        let behind = 20.0 + 9.4 * as_f64(row.strategy.as_str().len() as u64) + 8.0;
        let said = if stale < 0.1 { String::new() } else { format!("{}, ", shown(stale)) };
        let said = format!("{said}{:.1} % hits", row.hit_ratio * 100.0);
        picture.text((x + behind, label + 5.0), Font::new(12.0, SOFT), said);
    }
}

/// A step of an axis, and its end: a round number above the most.
fn scale(most: f64) -> (f64, f64) {
    let unit = decade(most);
    let step = [0.2, 0.5, 1.0, 2.0].into_iter().map(|part| part * unit).find(|step| most / step <= 6.0).unwrap_or(unit);
    (step, (most / step).ceil() * step)
}

fn three_digits_or_whole(value: f64) -> String {
    if value.fract().abs() < 1e-9 { format!("{value:.0}") } else { three_digits(value) }
}

/// Heights of labels that are close to their points and do not lie on each other. Points come from the top to the bottom.
fn spread(points: &[(f64, f64)], lowest: f64) -> Vec<f64> {
    let mut heights: Vec<f64> = Vec::with_capacity(points.len());
    for &(_, y) in points {
        let above = heights.last().map_or(f64::NEG_INFINITY, |last| last + LABEL);
        heights.push(y.max(above));
    }
    // What has been pushed below the floor pushes back.
    let mut limit = lowest;
    for height in heights.iter_mut().rev() {
        *height = height.min(limit);
        limit = *height - LABEL;
    }
    heights
}

/// A bar for each strategy.
fn writes(picture: &mut Picture, place: Place, title: &str, subtitle: &str, bars: &[(Strategy, Option<f64>)]) {
    panel(picture, place, title, subtitle);
    let longest = bars.iter().filter_map(|(_, micros)| *micros).fold(0.0, f64::max);
    if longest <= 0.0 {
        return not_measured(picture, place);
    }
    let left = place.x + 130.0;
    let room = place.width - 130.0 - 100.0;
    for (number, (strategy, micros)) in bars.iter().enumerate() {
        let y = place.y + 72.0 + 34.0 * as_f64(number as u64);
        picture.text((left - 12.0, y + 15.0), Font::new(13.5, INK).end(), strategy.as_str());
        let Some(micros) = micros else { continue };
        let width = room * micros / longest;
        picture.rect((left, y), (width, 21.0), color(strategy.promise()), 3.0);
        picture.text((left + width + 8.0, y + 15.0), Font::new(13.0, INK), time(*micros));
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::{full, nothing};
    use super::{LABEL, draw, scale, spread};
    use crate::measure::svg::tests::assert_well_formed;

    #[test]
    fn a_run_is_a_well_formed_picture() {
        let picture = draw(&full());
        assert_well_formed(&picture);
        for shown in ["write-through", "never", "9.40 s", "loads from the database a second", "14,700 products"] {
            assert!(picture.contains(shown), "{shown} is not in the picture");
        }
        let nothing = draw(&nothing());
        assert_well_formed(&nothing);
        assert!(nothing.contains("not measured"));
    }

    #[test]
    fn labels_of_points_on_one_line_do_not_lie_on_each_other() {
        let heights = spread(&[(1.0, 10.0), (5.0, 100.0), (4.0, 100.0), (3.0, 100.0), (2.0, 100.0)], 100.0);
        assert_eq!(heights[0], 10.0);
        assert_eq!(heights[4], 100.0);
        assert!(heights.windows(2).all(|pair| pair[1] - pair[0] >= LABEL - 1e-9), "{heights:?}");
    }

    #[test]
    fn an_axis_has_few_round_steps_and_ends_above_the_most() {
        for most in [1.0, 7.3, 37.0, 99.0, 140.0, 1_234.0] {
            let (step, end) = scale(most);
            assert!(end >= most && end / step <= 7.0 && end / step >= 2.0, "{most}: {step}, {end}");
        }
    }
}
