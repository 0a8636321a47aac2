//! The picture of a run: six panels, each of which says in its title what there is to see.

use super::findings::Hunt;
use super::report::Report;
use super::stampede::Stampede;
use super::throughput::Kind;
use crate::measure::latencies::as_f64;
use crate::measure::panel::{
    BAD, FLOOR, GOOD as HIT, INK, LINE, OTHER as MISS, Place, SOFT, Sheet, decade, legend, not_measured, panel,
    tick_label,
};
use crate::measure::svg::{Font, Picture, log_share};
use crate::measure::table::{count, replicas, three_digits, time, whole};

const SHEET: Sheet<'_> = Sheet { head: 92.0, rows: &[318.0, 250.0, 400.0] };
const PANEL_WIDTH: f64 = Sheet::COLUMN;

/// Draws the whole picture. What was not measured says so.
pub(crate) fn draw(report: &Report) -> String {
    let machine = &report.machine;
    let subtitle = format!(
        "{} posts in PostgreSQL, {} of blog-api; everything, the load included, on {} cores ({}); {}",
        count(report.posts as u64),
        replicas(report.replicas),
        machine.cores,
        machine.processor,
        report.started_at
    );
    let mut picture = SHEET.begin("What the cache gains, and whether it ever lies", subtitle);
    latency(&mut picture, SHEET.place(0, 0), report);
    throughput(&mut picture, SHEET.place(0, 1), report);
    stampede(&mut picture, SHEET.place(1, 0), report);
    staleness(&mut picture, SHEET.place(1, 1), report);
    open_loop(&mut picture, SHEET.place(2, 0), report);
    figures(&mut picture, SHEET.place(2, 1), report);
    picture.finish("lab blog performance", &report.text())
}

/// Hit and miss of each endpoint, on an axis in which each step is a factor of ten.
fn latency(picture: &mut Picture, place: Place, report: &Report) {
    panel(
        picture,
        place,
        "One read: from the cache, and from the database",
        "median time of one request at a time; each grid line is ten times the one before",
    );
    let Some(found) = &report.latency else {
        return not_measured(picture, place);
    };
    let times: Vec<f64> =
        found.endpoints.iter().flat_map(|row| [row.hit, row.miss]).flatten().map(|times| times.p50_us).collect();
    let from = decade(times.iter().copied().fold(f64::INFINITY, f64::min).clamp(1.0, 1e7));
    let to = decade(times.iter().copied().fold(1.0, f64::max).clamp(1.0, 1e7)) * 10.0;
    let (left, right) = (place.x + 150.0, place.x + PANEL_WIDTH - 140.0);
    let (top, bottom) = (place.y + 66.0, place.y + place.height - 34.0);
    let mut tick = from;
    while tick <= to * 1.001 {
        let x = left + (right - left) * log_share(tick, from, to);
        picture.line((x, top), (x, bottom), LINE, 1.0);
        picture.text((x, bottom + 18.0), Font::new(12.0, SOFT).middle(), tick_label(tick));
        tick *= 10.0;
    }
    let step = (bottom - top) / as_f64(found.endpoints.len().max(1) as u64);
    for (number, row) in found.endpoints.iter().enumerate() {
        let y = top + step * as_f64(number as u64) + 4.0;
        picture.text((place.x + 18.0, y + 23.0), Font::new(13.0, INK), row.endpoint.label().trim_start_matches("GET "));
        for (times, color, down) in [(row.hit, HIT, 0.0), (row.miss, MISS, 17.0)] {
            let Some(times) = times else { continue };
            let width = ((right - left) * log_share(times.p50_us, from, to)).max(2.0);
            picture.rect((left, y + down), (width, 15.0), color, 2.0);
            picture.text((left + width + 5.0, y + down + 12.0), Font::new(12.0, INK), time(times.p50_us));
        }
        if let Some(gain) = row.gain {
            let at = (place.x + PANEL_WIDTH - 16.0, y + 25.0);
            picture.text(at, Font::new(19.0, INK).bold().end(), format!("{}×", short(gain)));
        }
    }
    legend(picture, (place.x + PANEL_WIDTH - 136.0, place.y + 30.0), &[("hit", HIT), ("miss", MISS)]);
}

/// A factor, as it is said.
fn short(value: f64) -> String {
    if value < 9.95 { format!("{value:.1}") } else { whole(value) }
}

/// Requests a second beside what is the least that each must cost.
fn throughput(picture: &mut Picture, place: Place, report: &Report) {
    let connections = report.throughput.as_ref().map_or(64, |found| found.connections);
    panel(
        picture,
        place,
        &format!("Requests per second over {connections} connections"),
        "grey: what the parts below do by themselves in the same minute, so that a bar can be judged",
    );
    let Some(found) = &report.throughput else {
        return not_measured(picture, place);
    };
    let rows = [
        (Kind::BareHttp, "bare HTTP server in the lab", FLOOR),
        (Kind::Noop, "the service's no-op route", FLOOR),
        (Kind::RedisGet, "bare GET from Redis", FLOOR),
        (Kind::HitOne, "hits, one replica", HIT),
        (Kind::HitAll, "hits, all replicas", HIT),
        (Kind::Sql, "bare SQL of a post", FLOOR),
        (Kind::MissOne, "misses, one replica", MISS),
        (Kind::MissAll, "misses, all replicas", MISS),
    ];
    let rates: Vec<Option<f64>> =
        rows.iter().map(|(kind, ..)| found.spread(*kind).map(|spread| spread.median)).collect();
    let most = rates.iter().flatten().copied().fold(1.0, f64::max);
    let (left, right) = (place.x + 200.0, place.x + PANEL_WIDTH - 128.0);
    let top = place.y + 66.0;
    let step = (place.height - 80.0) / as_f64(rows.len() as u64);
    for (number, ((kind, name, color), rate)) in rows.iter().zip(&rates).enumerate() {
        let y = top + step * as_f64(number as u64);
        picture.text((left - 10.0, y + 17.0), Font::new(13.0, INK).end(), name);
        let Some(rate) = rate else { continue };
        let width = ((right - left) * rate / most).max(2.0);
        picture.rect((left, y + 3.0), (width, 19.0), color, 2.0);
        let of = match kind {
            Kind::HitOne | Kind::HitAll => found.ratio(*kind, Kind::Noop),
            Kind::MissOne | Kind::MissAll => found.ratio(*kind, Kind::Sql),
            _ => None,
        };
        let text = match of {
            Some(ratio) => format!("{} ({}× floor)", whole(*rate), three_digits(ratio.median)),
            None => whole(*rate),
        };
        picture.text((left + width + 6.0, y + 17.0), Font::new(13.0, INK), text);
    }
}

/// How the replicas under test cache, as a name.
fn cache(report: &Report) -> &'static str {
    match report.cache {
        "fenced" => "fenced-cache",
        "naive" => "naive cache-aside",
        _ => "no cache",
    }
}

/// The worst stampede of each kind of replicas: one dot for each reader, filled for each load.
fn stampede(picture: &mut Picture, place: Place, report: &Report) {
    let readers = report.stampede.tested.as_ref().map_or(64, |found| found.readers);
    panel(
        picture,
        place,
        &format!("{readers} readers at once on an entry that just expired"),
        "a dot for each reader, filled for each time that the database had to answer (worst of all rounds)",
    );
    let (Some(tested), naive) = (&report.stampede.tested, &report.stampede.naive) else {
        return not_measured(picture, place);
    };
    herd(picture, (place.x + 18.0, place.y + 74.0), cache(report), HIT, tested);
    match naive {
        Some(naive) => {
            herd(picture, (place.x + 18.0 + PANEL_WIDTH / 2.0, place.y + 74.0), "naive cache-aside", BAD, naive);
        }
        None => picture.text(
            (place.x + 18.0 + PANEL_WIDTH / 2.0, place.y + 130.0),
            Font::new(14.0, SOFT),
            "naive: not measured",
        ),
    }
}

fn herd(picture: &mut Picture, (x, y): (f64, f64), name: &str, color: &'static str, found: &Stampede) {
    let loads = usize::try_from(found.most_loads().unwrap_or(0)).unwrap_or(0);
    let across = 16;
    for reader in 0..found.readers.min(128) {
        let at = (x + 6.0 + 15.0 * as_f64((reader % across) as u64), y + 6.0 + 15.0 * as_f64((reader / across) as u64));
        picture.circle(at, 5.5, if reader < loads { color } else { LINE });
    }
    let below = y + 15.0 * as_f64(found.readers.min(128).div_ceil(across) as u64) + 36.0;
    let noun = if loads == 1 { "load" } else { "loads" };
    picture.text((x, below), Font::new(30.0, color).bold(), format!("{loads} {noun}"));
    picture.text((x, below + 22.0), Font::new(13.0, INK), format!("{name}, {}", replicas(found.replicas)));
}

/// Stale reads of each kind of replicas, as a share of the reads.
fn staleness(picture: &mut Picture, place: Place, report: &Report) {
    panel(
        picture,
        place,
        "Reads that were older than an acknowledged write",
        "readers and writers on the same few posts, over all replicas",
    );
    let (Some(tested), naive) = (&report.staleness.tested, &report.staleness.naive) else {
        return not_measured(picture, place);
    };
    let half = PANEL_WIDTH / 2.0;
    verdict(picture, (place.x + 18.0, place.y + 74.0), cache(report), HIT, tested);
    match naive {
        Some(naive) => {
            verdict(picture, (place.x + 18.0 + half, place.y + 74.0), "naive cache-aside (control)", BAD, naive);
        }
        None => picture.text((place.x + 18.0 + half, place.y + 130.0), Font::new(14.0, SOFT), "naive: not measured"),
    }
}

fn verdict(picture: &mut Picture, (x, y): (f64, f64), name: &str, color: &'static str, found: &Hunt) {
    // Lists that live until they expire are stale without any race: the posts are what the race is about.
    let (number, noun) = match (found.violations, found.list_violations) {
        (0, lists @ 1..) => (lists, "stale lists"),
        (1, _) => (1, "stale read of a post"),
        (posts, _) => (posts, "stale reads of posts"),
    };
    let color = if found.stale() == 0 { HIT } else { color };
    picture.text((x, y + 52.0), Font::new(54.0, color).bold(), count(number));
    picture.text((x, y + 78.0), Font::new(16.0, INK).bold(), noun);
    picture.text((x, y + 102.0), Font::new(13.0, INK), name);
    let mut lines = vec![format!(
        "{} reads, {} writes, {} s",
        count(found.reads),
        count(found.writes),
        three_digits(found.seconds)
    )];
    if !found.kills.is_empty() {
        lines.push(format!("Redis killed {} times meanwhile", found.kills.len()));
    }
    if found.stale() > 0 {
        lines.push(format!("up to {} after the write", time(found.stale_for_ms * 1e3)));
    }
    if found.violations > 0 && found.list_violations > 0 {
        lines.push(format!("and {} stale lists", count(found.list_violations)));
    }
    for (number, line) in lines.iter().enumerate() {
        picture.text((x, y + 121.0 + 18.0 * as_f64(number as u64)), Font::new(13.0, SOFT), line);
    }
}

/// How long readers waited at a fixed rate, by the share of them that waited no longer.
fn open_loop(picture: &mut Picture, place: Place, report: &Report) {
    let Some(found) = report.open_loop.as_ref().filter(|found| found.curve.len() > 1) else {
        panel(picture, place, "Waiting at a fixed arrival rate", "");
        return not_measured(picture, place);
    };
    panel(
        picture,
        place,
        &format!("Waiting at {} arrivals a second", whole(found.rate)),
        "posts by popularity, over all replicas; counted from when each request was due",
    );
    let (left, right) = (place.x + 70.0, place.x + PANEL_WIDTH - 30.0);
    let (top, bottom) = (place.y + 74.0, place.y + place.height - 52.0);
    let least = found.curve.iter().map(|(_, us)| *us).fold(f64::INFINITY, f64::min).max(1.0);
    let most = found.curve.iter().map(|(_, us)| *us).fold(1.0, f64::max);
    let (from, to) = (decade(least), decade(most) * 10.0);
    let mut tick = from;
    while tick <= to * 1.001 {
        let y = bottom - (bottom - top) * log_share(tick, from, to);
        picture.line((left, y), (right, y), LINE, 1.0);
        picture.text((left - 8.0, y + 4.0), Font::new(12.0, SOFT).end(), tick_label(tick));
        tick *= 10.0;
    }
    // Nines: each step along the axis is a tenth of the readers before.
    let last = found.curve.last().map_or(0.9, |(quantile, _)| *quantile);
    let nines = |quantile: f64| -(1.0 - quantile).log10();
    let x_of = |quantile: f64| left + (right - left) * nines(quantile) / nines(last).max(0.1);
    for (quantile, label) in
        [(0.0, "all"), (0.5, "50 %"), (0.9, "90 %"), (0.99, "99 %"), (0.999, "99.9 %"), (0.9999, "99.99 %")]
    {
        if quantile <= last {
            picture.line((x_of(quantile), bottom), (x_of(quantile), bottom + 5.0), SOFT, 1.0);
            let label = if quantile == 0.0 { "fastest" } else { label };
            picture.text((x_of(quantile), bottom + 20.0), Font::new(12.0, SOFT).middle(), label);
        }
    }
    let middle = left.midpoint(right);
    picture.text((middle, bottom + 40.0), Font::new(12.5, SOFT).middle(), "share of the readers that waited no longer");
    let points: Vec<(f64, f64)> = found
        .curve
        .iter()
        .map(|(quantile, us)| (x_of(*quantile), bottom - (bottom - top) * log_share(*us, from, to)))
        .collect();
    picture.path(&points, HIT, 2.5);
    for ((quantile, us), point) in found.curve.iter().zip(&points) {
        if [0.5, 0.9, 0.99, 0.999].iter().any(|shown| (shown - quantile).abs() < 1e-9) {
            picture.circle(*point, 4.0, HIT);
            picture.text((point.0 - 6.0, point.1 - 9.0), Font::new(12.5, INK).bold().end(), time(*us));
        }
    }
}

/// The figures that the project wants to reach, and whether it does.
fn figures(picture: &mut Picture, place: Place, report: &Report) {
    let reached = report.figures.iter().filter(|figure| figure.reached == Some(true)).count();
    let measured = report.figures.iter().filter(|figure| figure.reached.is_some()).count();
    panel(
        picture,
        place,
        &format!("{reached} of {measured} figures reached"),
        "blue: reached, orange: missed; beside each figure what was to be reached",
    );
    let rows = report.figures.len().max(1);
    let step = ((place.height - 74.0) / as_f64(rows as u64)).min(24.0);
    for (number, figure) in report.figures.iter().enumerate() {
        let y = place.y + 78.0 + step * as_f64(number as u64);
        let color = match figure.reached {
            Some(true) => HIT,
            Some(false) => BAD,
            None => FLOOR,
        };
        picture.circle((place.x + 24.0, y - 4.5), 5.0, color);
        picture.text((place.x + 38.0, y), Font::new(12.5, INK), &figure.what);
        let right = place.x + PANEL_WIDTH - 16.0;
        picture.text((right - 112.0, y), Font::new(12.5, color).bold().end(), &figure.measured);
        picture.text((right, y), Font::new(12.0, SOFT).end(), &figure.target);
    }
}

#[cfg(test)]
mod tests {
    use super::draw;
    use crate::blog::performance::report::tests::{full, nothing};
    use crate::measure::svg::tests::assert_well_formed;

    #[test]
    fn a_run_of_everything_is_a_well_formed_picture() {
        let picture = draw(&full());
        assert_well_formed(&picture);
        for shown in
            ["1 load", "64 loads", "stale reads of posts", "/posts/popular", "4,604 (0.50× floor)", "&lt;b&gt;"]
        {
            assert!(picture.contains(shown), "{shown} is not in the picture");
        }
        assert!(!picture.contains("not measured"), "a panel is empty");
    }

    #[test]
    fn a_run_of_nothing_says_so() {
        let picture = draw(&nothing());
        assert_well_formed(&picture);
        assert_eq!(picture.matches("not measured in this run").count(), 5);
    }
}
