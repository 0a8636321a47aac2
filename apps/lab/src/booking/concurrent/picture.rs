//! The picture of a run: who sold too much, how fast each strategy sells, how long a buyer waits, and the figures.

use super::report::{Report, Row};
use crate::booking::strategy::{Promise, Strategy};
use crate::measure::latencies::{Percentiles, as_f64};
use crate::measure::panel::{
    BAD, FLOOR, GOOD, INK, LINE, OTHER, PANEL, Place, SOFT, Sheet, THIRD, decade, legend, not_measured, panel,
    tick_label,
};
use crate::measure::statistics::Spread;
use crate::measure::svg::{Font, Picture, log_share};
use crate::measure::table::{replicas, three_digits, time, whole};
use crate::measure::unfinished::Findings as _;

const SHEET: Sheet<'_> = Sheet { head: 92.0, rows: &[388.0, 388.0, 190.0] };

/// Draws the whole picture. What was not measured says so.
pub(crate) fn draw(report: &Report) -> String {
    let machine = &report.machine;
    let subtitle = format!(
        "{} buyers over {} of booking-api; everything, the buyers included, on {} cores ({}); {}",
        report.buyers,
        replicas(report.replicas),
        machine.cores,
        machine.processor,
        report.started_at
    );
    let mut picture = SHEET.begin("Who sells a seat twice, and what it costs not to", subtitle);
    sold(&mut picture, SHEET.place(0, 0), report);
    rates(&mut picture, SHEET.place(0, 1), report);
    waits(&mut picture, SHEET.place(1, 0), report);
    costs(&mut picture, SHEET.place(1, 1), report);
    figures(&mut picture, Place { width: Sheet::WHOLE, ..SHEET.place(2, 0) }, report);
    picture.finish("lab booking concurrent", &report.text())
}

fn color(strategy: Strategy) -> &'static str {
    match strategy.promise() {
        Promise::Nothing => BAD,
        Promise::Undisturbed => OTHER,
        Promise::Always if matches!(strategy, Strategy::PgConditional | Strategy::PgUnits | Strategy::RedisReserve) => {
            THIRD
        }
        Promise::Always => GOOD,
    }
}

const KINDS: [(&str, &str); 4] =
    [("no lock", BAD), ("lock without fences", OTHER), ("lock that holds", GOOD), ("needs no lock", THIRD)];

/// The rows of a panel: one for each strategy, with its name to the left. Calls `draw` with the y of each.
fn each(picture: &mut Picture, place: Place, report: &Report, mut draw: impl FnMut(&mut Picture, &Row, f64)) {
    let top = place.y + 88.0;
    let step = (place.height - 124.0) / as_f64(report.rows.len().max(1) as u64);
    for (number, row) in report.rows.iter().enumerate() {
        let y = top + step * as_f64(number as u64);
        picture.text((place.x + 118.0, y + 15.0), Font::new(13.0, INK).end(), row.strategy);
        if row.missing.is_some() {
            picture.text((place.x + 130.0, y + 15.0), Font::new(12.5, SOFT), "not to be had in this run");
        } else {
            draw(picture, row, y);
        }
    }
}

/// Seats sold of the event that was sold out, against the seats that there are.
fn sold(picture: &mut Picture, place: Place, report: &Report) {
    panel(
        picture,
        place,
        &format!("Seats sold, of {} that there are", report.seats),
        &format!("counted by the lab's own SQL; {} ms of payment in the middle of each booking", report.work_ms),
    );
    let sold = |row: &Row| row.small.as_ref().map(|found| (found.rows.seats_sold, found.rows.oversold));
    let Some(most) = report.rows.iter().filter_map(sold).map(|(sold, _)| sold).max() else {
        return not_measured(picture, place);
    };
    legend(picture, (place.x + 18.0, place.y + 74.0), &KINDS);
    let (left, right) = (place.x + 130.0, place.x + place.width - 130.0);
    let most = float(most).max(f64::from(report.seats)).max(1.0);
    let x_of = |seats: f64| left + (right - left) * seats / most;
    each(picture, place, report, |picture, row, y| {
        let Some((sold, oversold)) = sold(row) else { return };
        let end = x_of(float(sold - oversold));
        picture.rect((left, y + 2.0), (end - left, 17.0), color(row.strategy), 2.0);
        if oversold > 0 {
            picture.rect((end, y + 2.0), (x_of(float(sold)) - end, 17.0), BAD, 2.0);
            let text = format!("{} OVERSOLD", whole(float(oversold)));
            picture.text((x_of(float(sold)) + 6.0, y + 15.0), Font::new(13.0, BAD).bold(), text);
        } else {
            picture.text((x_of(float(sold)) + 6.0, y + 15.0), Font::new(13.0, INK), whole(float(sold)));
        }
    });
    let x = x_of(f64::from(report.seats));
    picture.line((x, place.y + 84.0), (x, place.y + place.height - 34.0), INK, 1.5);
    let under = (x, place.y + place.height - 16.0);
    picture.text(under, Font::new(12.0, SOFT).middle(), format!("capacity {}", report.seats));
}

/// Bookings a second on the hot event, beside the floor.
fn rates(picture: &mut Picture, place: Place, report: &Report) {
    panel(
        picture,
        place,
        "Bookings per second on one hot event",
        "no payment; median of all turns. Grey line: pgbench under the event's row lock, without HTTP",
    );
    let rate = |row: &Row| Spread::of(&row.per_second).map(|spread| spread.median);
    let floor = Spread::of(&report.floor).map(|spread| spread.median);
    let most = report.rows.iter().filter_map(rate).chain(floor).fold(0.0, f64::max);
    if most <= 0.0 {
        return not_measured(picture, place);
    }
    let (left, right) = (place.x + 130.0, place.x + place.width - 150.0);
    let x_of = |rate: f64| left + (right - left) * rate / most;
    if let Some(floor) = floor {
        let (top, bottom) = (place.y + 76.0, place.y + place.height - 34.0);
        picture.line((x_of(floor), top), (x_of(floor), bottom), FLOOR, 2.0);
        let text = format!("row lock by pgbench {}", whole(floor));
        picture.text((x_of(floor), bottom + 18.0), Font::new(12.0, SOFT).middle(), text);
    }
    each(picture, place, report, |picture, row, y| {
        let Some(rate) = rate(row) else { return };
        picture.rect((left, y + 2.0), ((x_of(rate) - left).max(2.0), 17.0), color(row.strategy), 2.0);
        let text = match report.of_the_floor(row) {
            Some(ratio) => format!("{} ({:.2}× floor)", whole(rate), ratio.median),
            None => whole(rate),
        };
        // The line of the floor ends where a text stands.
        let width = 6.8 * as_f64(text.chars().count() as u64);
        picture.rect((x_of(rate) + 3.0, y), (width, 21.0), PANEL, 0.0);
        picture.text((x_of(rate) + 6.0, y + 15.0), Font::new(13.0, INK), text);
    });
}

/// How long a buyer waits on the hot event: half of them, 99 %, 99.9 %.
fn waits(picture: &mut Picture, place: Place, report: &Report) {
    panel(
        picture,
        place,
        "A buyer waits (one hot event, no payment)",
        "from the left: p50, p99, p99.9, refused tries included; each grid line is ten times the one before",
    );
    let of = |row: &Row| row.waits;
    let all: Vec<Percentiles> = report.rows.iter().filter_map(of).collect();
    if all.is_empty() {
        return not_measured(picture, place);
    }
    let from = decade(all.iter().map(|waits| waits.p50_us).fold(f64::INFINITY, f64::min).clamp(1.0, 1e8));
    let to = decade(all.iter().map(|waits| waits.p999_us).fold(1.0, f64::max).clamp(1.0, 1e8)) * 10.0;
    let (left, right) = (place.x + 130.0, place.x + place.width - 90.0);
    let (top, bottom) = (place.y + 76.0, place.y + place.height - 34.0);
    let x_of = |us: f64| left + (right - left) * log_share(us, from, to);
    let mut tick = from;
    while tick <= to * 1.001 {
        picture.line((x_of(tick), top), (x_of(tick), bottom), LINE, 1.0);
        picture.text((x_of(tick), bottom + 18.0), Font::new(12.0, SOFT).middle(), tick_label(tick));
        tick *= 10.0;
    }
    each(picture, place, report, |picture, row, y| {
        let Some(waits) = of(row) else { return };
        let color = color(row.strategy);
        picture.line((x_of(waits.p50_us), y + 10.5), (x_of(waits.p999_us), y + 10.5), color, 3.0);
        for (us, radius) in [(waits.p50_us, 6.0), (waits.p99_us, 5.0), (waits.p999_us, 4.0)] {
            picture.circle((x_of(us), y + 10.5), radius, color);
        }
        picture.text((x_of(waits.p999_us) + 9.0, y + 15.0), Font::new(12.5, INK), time(waits.p999_us));
    });
}

/// What one booking costs the stores, and how fair it was, in numbers.
fn costs(picture: &mut Picture, place: Place, report: &Report) {
    panel(
        picture,
        place,
        "What one booking costs, and how fair it is",
        "the stores' own counters, contended; fairness: Jain's index, 1 is perfect",
    );
    if report.rows.iter().all(|row| row.counted.is_none()) {
        return not_measured(picture, place);
    }
    let columns = [(230.0, "Redis sent"), (320.0, "executed"), (410.0, "SQL"), (490.0, "buyers"), (570.0, "replicas")];
    for (x, name) in columns {
        picture.text((place.x + x, place.y + 78.0), Font::new(12.0, SOFT).end(), name);
    }
    each(picture, place, report, |picture, row, y| {
        let counted = row.counted.as_ref();
        let index = |value: Option<f64>| value.map(|value| format!("{value:.3}"));
        let cells = [
            counted.and_then(|counted| counted.redis_sent).map(three_digits),
            counted.and_then(|counted| counted.redis_executed).map(three_digits),
            counted.and_then(|counted| counted.statements).map(three_digits),
            index(row.fairness_of_buyers),
            index(row.fairness_of_replicas),
        ];
        for ((x, _), cell) in columns.into_iter().zip(cells) {
            let at = (place.x + x, y + 15.0);
            picture.text(at, Font::new(13.0, INK).end(), cell.as_deref().unwrap_or("-"));
        }
    });
}

/// The figures that the project wants to reach, and whether it does.
fn figures(picture: &mut Picture, place: Place, report: &Report) {
    let reached = report.figures.iter().filter(|figure| figure.reached == Some(true)).count();
    let title = format!("{reached} of {} figures reached", report.figures.len());
    panel(picture, place, &title, "blue: reached, orange: missed; beside each figure what was to be reached");
    for (number, figure) in report.figures.iter().enumerate() {
        let y = place.y + 84.0 + 24.0 * as_f64(number as u64);
        let color = match figure.reached {
            Some(true) => GOOD,
            Some(false) => BAD,
            None => FLOOR,
        };
        picture.circle((place.x + 24.0, y - 4.5), 5.0, color);
        picture.text((place.x + 38.0, y), Font::new(13.0, INK), &figure.what);
        picture.text((place.x + 640.0, y), Font::new(13.0, color).bold().end(), &figure.measured);
        picture.text((place.x + 660.0, y), Font::new(12.5, SOFT), format!("to be reached: {}", figure.target));
    }
}

/// Seats are few: nothing is lost.
fn float(count: i64) -> f64 {
    as_f64(count.max(0).unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::draw;
    use crate::booking::concurrent::report::tests::{full, nothing};
    use crate::measure::svg::tests::assert_well_formed;

    #[test]
    fn a_run_of_everything_is_a_well_formed_picture() {
        let picture = draw(&full());
        assert_well_formed(&picture);
        for shown in ["1,234 OVERSOLD", "capacity 200", "× floor)", "not to be had in this run", "row lock by pgbench"]
        {
            assert!(picture.contains(shown), "{shown} is not in the picture");
        }
        assert!(!picture.contains("not measured in this run"), "a panel is empty");
    }

    #[test]
    fn a_run_of_nothing_says_so() {
        let picture = draw(&nothing());
        assert_well_formed(&picture);
        assert_eq!(picture.matches("not measured in this run").count(), 4);
    }
}
