//! The picture of a run: how long buyers wait with more and more replicas, on one hot event and on many.

use super::point::Point;
use super::report::Report;
use crate::booking::strategy::Strategy;
use crate::measure::latencies::as_f64;
use crate::measure::panel::{
    BAD, FLOOR, GOOD, INK, LINE, OTHER, Place, SOFT, Sheet, THIRD, decade, legend, not_measured, panel, tick_label,
};
use crate::measure::svg::{Font, Picture, log_share};
use crate::measure::table::{three_digits, time};
use crate::measure::unfinished::Findings as _;

const SHEET: Sheet<'_> = Sheet { head: 122.0, rows: &[360.0, 280.0] };

/// Draws the whole picture. What was not measured says so.
pub(crate) fn draw(report: &Report) -> String {
    let machine = &report.machine;
    let subtitle = format!(
        "{} bookings arrive a second, {} ms of payment each; everything on {} cores ({}); {}",
        report.rate, report.work_ms, machine.cores, machine.processor, report.started_at
    );
    let mut picture = SHEET.begin("One hot event against many, with more and more replicas", subtitle);
    let names: Vec<(&str, &str)> =
        report.strategies().into_iter().map(|strategy| (strategy.as_str(), color(strategy))).collect();
    legend(&mut picture, (Sheet::MARGIN, 100.0), &names);
    let many = format!("{} events", report.events);
    for (column, hot, of) in [(0, true, "one hot event"), (1, false, many.as_str())] {
        waits(&mut picture, SHEET.place(0, column), report, hot, of);
        achieved(&mut picture, SHEET.place(1, column), report, hot, of);
    }
    picture.finish("lab booking contention", &report.text())
}

fn color(strategy: Strategy) -> &'static str {
    match strategy {
        Strategy::None => BAD,
        Strategy::Redis => OTHER,
        Strategy::RedisFenced => GOOD,
        Strategy::Redlock => "#cc79a7",
        Strategy::PgAdvisory => "#56b4e9",
        Strategy::PgRow => INK,
        Strategy::K8sLease => FLOOR,
        Strategy::PgConditional => THIRD,
        Strategy::PgUnits => "#8c6d1f",
        Strategy::RedisReserve => "#6a3d9a",
    }
}

/// The numbers of replicas, evenly spread from `left` to `right`.
fn x_of(report: &Report, replicas: usize, (left, right): (f64, f64)) -> f64 {
    let mut sizes: Vec<usize> = report.points.iter().map(|point| point.replicas).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let at = sizes.iter().position(|size| *size == replicas).unwrap_or(0);
    let steps = as_f64(sizes.len().saturating_sub(1).max(1) as u64);
    left + (right - left) * as_f64(at as u64) / steps
}

fn axis(picture: &mut Picture, report: &Report, bottom: f64, ends: (f64, f64)) {
    let mut sizes: Vec<usize> = report.points.iter().map(|point| point.replicas).collect();
    sizes.dedup();
    for size in sizes {
        let x = x_of(report, size, ends);
        picture.text((x, bottom + 18.0), Font::new(12.0, SOFT).middle(), size);
    }
    let middle = ends.0.midpoint(ends.1);
    picture.text((middle, bottom + 36.0), Font::new(12.5, SOFT).middle(), "replicas");
}

/// The median as a thin line, the 99th percentile as a thick one.
fn waits(picture: &mut Picture, place: Place, report: &Report, hot: bool, of: &str) {
    panel(
        picture,
        place,
        &format!("A buyer waits: {of}"),
        "thick: p99, thin: p50; from when each booking was due; each grid line is ten times the one before",
    );
    let points: Vec<&Point> = report.points.iter().filter(|point| point.hot == hot).collect();
    let waits: Vec<_> = points.iter().filter_map(|point| point.waits).collect();
    if waits.is_empty() {
        return not_measured(picture, place);
    }
    let ends = (place.x + 90.0, place.x + place.width - 90.0);
    let (top, bottom) = (place.y + 74.0, place.y + place.height - 52.0);
    let from = decade(waits.iter().map(|waits| waits.p50_us).fold(f64::INFINITY, f64::min).clamp(1.0, 1e8));
    let to = decade(waits.iter().map(|waits| waits.p99_us).fold(1.0, f64::max).clamp(1.0, 1e8)) * 10.0;
    let y_of = |us: f64| bottom - (bottom - top) * log_share(us, from, to);
    let mut tick = from;
    while tick <= to * 1.001 {
        picture.line((ends.0 - 15.0, y_of(tick)), (ends.1 + 15.0, y_of(tick)), LINE, 1.0);
        picture.text((ends.0 - 22.0, y_of(tick) + 4.0), Font::new(12.0, SOFT).end(), tick_label(tick));
        tick *= 10.0;
    }
    axis(picture, report, bottom, ends);
    let mut ends_at = Vec::new();
    for strategy in report.strategies() {
        let line = |read: fn(&crate::measure::latencies::Percentiles) -> f64| -> Vec<(f64, f64)> {
            let of = report.of(strategy, hot).filter_map(|point| Some((point.replicas, read(point.waits.as_ref()?))));
            of.map(|(replicas, us)| (x_of(report, replicas, ends), y_of(us))).collect()
        };
        picture.path(&line(|waits| waits.p50_us), color(strategy), 1.0);
        let high = line(|waits| waits.p99_us);
        picture.path(&high, color(strategy), 3.0);
        high.iter().for_each(|point| picture.circle(*point, 4.0, color(strategy)));
        let last = report.of(strategy, hot).last().and_then(|point| point.waits).zip(high.last());
        ends_at.extend(last.map(|(waits, (x, y))| (*x, *y, color(strategy), time(waits.p99_us))));
    }
    // Lines that end at one place have their texts one below the other.
    ends_at.sort_by(|one, other| one.1.total_cmp(&other.1));
    let mut above = f64::NEG_INFINITY;
    for (x, y, color, text) in ends_at {
        above = y.max(above + 14.0);
        picture.text((x + 10.0, above + 4.0), Font::new(12.0, color).bold(), text);
    }
}

/// Bookings made a second, against what arrives.
fn achieved(picture: &mut Picture, place: Place, report: &Report, hot: bool, of: &str) {
    panel(
        picture,
        place,
        &format!("Booked per second: {of}"),
        &format!(
            "grey: the {} that arrive; whoever does not get the lock within its deadline is answered 423",
            report.rate
        ),
    );
    if !report.points.iter().any(|point| point.hot == hot) {
        return not_measured(picture, place);
    }
    let ends = (place.x + 90.0, place.x + place.width - 90.0);
    let (top, bottom) = (place.y + 84.0, place.y + place.height - 52.0);
    let most = f64::from(report.rate) * 1.05;
    let y_of = |rate: f64| bottom - (bottom - top) * (rate / most).min(1.0);
    for (rate, color, width) in [(0.0, LINE, 1.0), (f64::from(report.rate), FLOOR, 2.0)] {
        picture.line((ends.0 - 15.0, y_of(rate)), (ends.1 + 15.0, y_of(rate)), color, width);
        picture.text((ends.0 - 22.0, y_of(rate) + 4.0), Font::new(12.0, SOFT).end(), three_digits(rate));
    }
    axis(picture, report, bottom, ends);
    for strategy in report.strategies() {
        let points: Vec<(f64, f64)> = report
            .of(strategy, hot)
            .map(|point| (x_of(report, point.replicas, ends), y_of(point.per_second)))
            .collect();
        picture.path(&points, color(strategy), 2.5);
        points.iter().for_each(|point| picture.circle(*point, 4.0, color(strategy)));
    }
}

#[cfg(test)]
mod tests {
    use super::draw;
    use crate::booking::contention::report::tests::{full, nothing};
    use crate::measure::svg::tests::assert_well_formed;

    #[test]
    fn a_run_of_everything_is_a_well_formed_picture() {
        let picture = draw(&full());
        assert_well_formed(&picture);
        assert!(!picture.contains("not measured"), "a panel is empty");
        assert!(picture.contains("A buyer waits: 64 events") && picture.contains("redis-fenced"));
    }

    #[test]
    fn a_run_of_nothing_says_so() {
        let picture = draw(&nothing());
        assert_well_formed(&picture);
        assert_eq!(picture.matches("not measured in this run").count(), 4);
    }
}
