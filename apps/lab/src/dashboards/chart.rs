//! One panel of a dashboard as a drawing.

use super::prometheus::Span;
use super::source::{Field, Panel};
use super::units::{format, marks};
use crate::measure::panel::{FLOOR, INK, LINE, PANEL, Place, SOFT};
use crate::measure::svg::{Font, Picture, log_share};

/// Told apart by people who do not see red and green as others do: Okabe and Ito's first.
const PALETTE: [&str; 12] = [
    "#0072b2", "#e69f00", "#009e73", "#d55e00", "#56b4e9", "#cc79a7", "#5f4690", "#8c6d1f", "#38a6a5", "#94346e",
    "#666666", "#1d6996",
];
/// Lines of the legend below a chart.
const LEGEND: usize = 2;
const SMALL: f64 = 10.5;
/// The width of a letter of the size [`SMALL`], about.
const LETTER: f64 = 5.6;

/// A name, and the values at their times.
pub(super) type Line = (String, Vec<(f64, f64)>);

/// What a panel shows.
#[derive(Debug)]
pub(super) enum Content {
    Lines(Vec<Line>),
    /// A name, and the value now.
    Values(Vec<(String, f64)>),
    /// A heading, and lines.
    Table(Vec<String>, Vec<Vec<String>>),
}

/// Something that happened.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) from: f64,
    pub(super) to: f64,
    pub(super) color: &'static str,
}

/// A colour by the name that the dashboards use.
pub(super) fn paint(name: &str) -> &'static str {
    match name {
        "green" => "#009e73",
        "orange" => "#e69f00",
        "red" => "#d55e00",
        "blue" => "#56b4e9",
        "purple" => "#cc79a7",
        "transparent" => "none",
        _ => INK,
    }
}

/// Draws a panel: its frame, its title, and what it shows.
pub(super) fn draw(
    picture: &mut Picture,
    place: Place,
    panel: &Panel,
    content: &Content,
    span: Span,
    events: &[Event],
) {
    picture.rect((place.x, place.y), (place.width, place.height), PANEL, 4.0);
    let title = clipped(&panel.title, (place.width - 16.0) / 6.6);
    picture.text((place.x + 8.0, place.y + 17.0), Font::new(12.0, INK).bold(), title);
    let inner = Place { x: place.x + 8.0, y: place.y + 26.0, width: place.width - 16.0, height: place.height - 34.0 };
    let empty = match content {
        Content::Lines(lines) => lines.iter().all(|(_, points)| points.is_empty()),
        Content::Values(values) => values.iter().all(|(_, value)| !value.is_finite()),
        Content::Table(_, rows) => rows.is_empty(),
    };
    if empty {
        let middle = (inner.x + inner.width / 2.0, inner.y + inner.height / 2.0);
        picture.text(middle, Font::new(12.0, FLOOR).middle(), "no data");
        return;
    }
    match content {
        Content::Lines(lines) if panel.kind == "state-timeline" => states(picture, inner, panel.field(), lines, span),
        Content::Lines(lines) => chart(picture, inner, panel.field(), lines, span, events),
        Content::Values(values) if panel.kind == "bargauge" => bars(picture, inner, panel.field(), values),
        Content::Values(values) => number(picture, inner, panel.field(), values),
        Content::Table(head, rows) => table(picture, inner, head, rows),
    }
}

fn number(picture: &mut Picture, place: Place, field: &Field, values: &[(String, f64)]) {
    let Some((_, value)) = values.iter().find(|(_, value)| value.is_finite()) else { return };
    let (text, color) = field.shown(*value).map_or_else(
        || (format(*value, &field.unit, field.decimals), field.color_at(*value).map_or(INK, paint)),
        |shown| (shown.text.clone(), paint(&shown.color)),
    );
    let size = (place.width / (text.chars().count().max(3) as f64) * 1.5).min(32.0);
    let middle = (place.x + place.width / 2.0, place.y + place.height / 2.0 + size * 0.35);
    picture.text(middle, Font::new(size, color).bold().middle(), text);
}

fn bars(picture: &mut Picture, place: Place, field: &Field, values: &[(String, f64)]) {
    let values: Vec<_> = values.iter().filter(|(_, value)| value.is_finite()).collect();
    let most = values.iter().map(|(_, value)| *value).fold(0.0, f64::max).max(f64::MIN_POSITIVE);
    let height = (place.height / values.len() as f64).min(24.0);
    let left = place.x + 110.0;
    for (at, (name, value)) in values.iter().enumerate() {
        let y = place.y + at as f64 * height;
        let color = field.color_at(*value).map_or(INK, paint);
        picture.text((left - 6.0, y + height * 0.7), Font::new(SMALL, INK).end(), clipped(name, 18.0));
        let width = (place.width - 170.0) * (value / most).clamp(0.0, 1.0);
        picture.rect((left, y + 2.0), (width.max(1.0), height - 4.0), color, 2.0);
        let text = format(*value, &field.unit, field.decimals);
        picture.text((left + width + 6.0, y + height * 0.7), Font::new(SMALL, color).bold(), text);
    }
}

fn table(picture: &mut Picture, place: Place, head: &[String], rows: &[Vec<String>]) {
    let width = place.width / head.len().max(1) as f64;
    for (line, cells) in std::iter::once(head).chain(rows.iter().map(Vec::as_slice)).enumerate() {
        if 17.0 * (line + 1) as f64 > place.height {
            return;
        }
        let font = if line == 0 { Font::new(SMALL, SOFT).bold() } else { Font::new(SMALL, INK) };
        for (column, cell) in cells.iter().enumerate() {
            let at = (place.x + column as f64 * width, place.y + 12.0 + line as f64 * 17.0);
            picture.text(at, font, clipped(cell, width / LETTER));
        }
    }
}

fn states(picture: &mut Picture, place: Place, field: &Field, lines: &[Line], span: Span) {
    let left = place.x + 130.0;
    let right = place.x + place.width;
    let height = ((place.height - 16.0) / lines.len() as f64).min(26.0);
    let x_of = |time: f64| left + (right - left) * ((time - span.from) / (span.to - span.from)).clamp(0.0, 1.0);
    for (at, (name, points)) in lines.iter().enumerate() {
        let y = place.y + at as f64 * height;
        picture.text((left - 6.0, y + height * 0.7), Font::new(SMALL, INK).end(), clipped(name, 22.0));
        let mut rest = points.as_slice();
        while let Some(&(from, value)) = rest.first() {
            let same =
                |pair: &[(f64, f64)]| (pair[1].1 - value).abs() < 1e-9 && pair[1].0 - pair[0].0 < span.step * 1.5;
            let run = 1 + rest.windows(2).take_while(|pair| same(pair)).count();
            let to = rest[run - 1].0 + span.step;
            let color = field.shown(value).map_or(FLOOR, |shown| paint(&shown.color));
            picture.rect((x_of(from), y + 2.0), (x_of(to) - x_of(from), height - 4.0), color, 1.0);
            rest = &rest[run..];
        }
    }
    clock(picture, left, right, place.y + place.height, span);
}

fn chart(picture: &mut Picture, place: Place, field: &Field, lines: &[Line], span: Span, events: &[Event]) {
    let lines = if field.stacked() { stacked(lines, span) } else { lines.to_vec() };
    let (left, right) = (place.x + 58.0, place.x + place.width);
    let (top, bottom) = (place.y, place.y + place.height - 14.0 * LEGEND as f64 - 18.0);
    let x_of = |time: f64| left + (right - left) * ((time - span.from) / (span.to - span.from)).clamp(0.0, 1.0);
    for Event { from, to, color } in events {
        let width = (x_of(*to) - x_of(*from)).max(1.0);
        picture.area(
            &[(x_of(*from), top), (x_of(*from) + width, top), (x_of(*from) + width, bottom), (x_of(*from), bottom)],
            color,
            0.25,
        );
    }
    let axis = Axis::of(field, &lines);
    let y_of = |value: f64| bottom - (bottom - top) * axis.share(value);
    for mark in axis.marks() {
        let y = y_of(mark);
        picture.line((left, y), (right, y), LINE, 1.0);
        picture.text((left - 5.0, y + 3.5), Font::new(SMALL, SOFT).end(), format(mark, &field.unit, None));
    }
    for (value, color) in field.lines().filter(|(value, _)| *value <= axis.to) {
        picture.line((left, y_of(value)), (right, y_of(value)), paint(color), 1.0);
    }
    // The last of a stack is the highest, and is drawn first, so that the areas of the others lie on it.
    for (at, (_, points)) in lines.iter().enumerate().rev() {
        let color = PALETTE[at % PALETTE.len()];
        for run in runs(points, span.step * 1.5) {
            let drawn: Vec<_> = run.iter().map(|&(time, value)| (x_of(time), y_of(value))).collect();
            if field.stacked() {
                let (first, last) = (drawn[0].0, drawn[drawn.len() - 1].0);
                let closed: Vec<_> = drawn.iter().copied().chain([(last, bottom), (first, bottom)]).collect();
                // What lies behind is not part of this one.
                picture.area(&closed, PANEL, 1.0);
                picture.area(&closed, color, 0.35);
            }
            if let [(x, y)] = drawn[..] {
                picture.circle((x, y), 1.2, color);
            }
            picture.path(&bent(&drawn), color, 1.2);
        }
    }
    clock(picture, left, right, bottom + 13.0, span);
    legend(picture, place, bottom + 28.0, &lines);
}

/// Each line on top of those before it.
fn stacked(lines: &[Line], span: Span) -> Vec<Line> {
    let slot = |time: f64| ((time - span.from) / span.step).round() as i64;
    let mut sums = std::collections::BTreeMap::new();
    let raise = |(name, points): &Line| {
        let raised = points.iter().map(|&(time, value)| {
            let sum = sums.entry(slot(time)).or_insert(0.0);
            *sum += value;
            (time, *sum)
        });
        (name.clone(), raised.collect())
    };
    lines.iter().map(raise).collect()
}

/// The axis of values.
struct Axis {
    from: f64,
    to: f64,
    /// The distance of the marks; `None` on a logarithmic axis, which has one for each power of ten.
    step: Option<f64>,
}

impl Axis {
    fn of(field: &Field, lines: &[Line]) -> Self {
        let values = || lines.iter().flat_map(|(_, points)| points.iter().map(|(_, value)| *value));
        let most = values().fold(0.0, f64::max);
        if field.logarithmic() {
            let least = values().filter(|value| *value > 0.0).fold(f64::INFINITY, f64::min);
            if least.is_finite() {
                let from = 10_f64.powf(least.log10().floor());
                return Self { from, to: 10_f64.powf(most.log10().ceil()).max(from * 10.0), step: None };
            }
        }
        let (step, to) = marks(field.max.unwrap_or(if most > 0.0 { most } else { 1.0 }), 4.0, field.unit == "bytes");
        Self { from: 0.0, to, step: Some(step) }
    }

    fn share(&self, value: f64) -> f64 {
        match self.step {
            Some(_) => ((value - self.from) / (self.to - self.from)).clamp(0.0, 1.0),
            None => log_share(value, self.from, self.to),
        }
    }

    fn marks(&self) -> Vec<f64> {
        match self.step {
            Some(step) => up_to(self.to, |at| self.from + f64::from(at) * step),
            None => up_to(self.to, |at| self.from * 10_f64.powf(f64::from(at))),
        }
    }
}

/// The values of a growing row up to `most`, whatever was rounded.
fn up_to(most: f64, value: impl Fn(u32) -> f64) -> Vec<f64> {
    (0..).map(value).take_while(|value| *value <= most * 1.001).collect()
}

/// The parts of a line between its gaps.
fn runs(points: &[(f64, f64)], gap: f64) -> impl Iterator<Item = &[(f64, f64)]> {
    points.chunk_by(move |before, after| after.0 - before.0 < gap)
}

/// Without the points that lie on the straight line between their neighbours.
fn bent(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mut kept: Vec<(f64, f64)> = Vec::with_capacity(points.len());
    for &point in points {
        if let [.., before, last] = kept[..] {
            let flat = (last.1 - before.1).abs() < 0.05 && (point.1 - last.1).abs() < 0.05;
            if flat {
                kept.pop();
            }
        }
        kept.push(point);
    }
    kept
}

/// Begin, middle and end of the time span, in UTC.
fn clock(picture: &mut Picture, left: f64, right: f64, y: f64, span: Span) {
    let middle = f64::midpoint(span.from, span.to);
    let at = |time: f64| {
        let time = time::OffsetDateTime::from_unix_timestamp(time as i64).map(time::OffsetDateTime::time);
        time.map(|time| format!("{:02}:{:02}:{:02}", time.hour(), time.minute(), time.second())).unwrap_or_default()
    };
    picture.text((left, y), Font::new(SMALL, SOFT), at(span.from));
    picture.text((f64::midpoint(left, right), y), Font::new(SMALL, SOFT).middle(), at(middle));
    picture.text((right, y), Font::new(SMALL, SOFT).end(), at(span.to));
}

/// As many names as fit, and how many did not.
fn legend(picture: &mut Picture, place: Place, y: f64, lines: &[Line]) {
    let (mut x, mut line) = (place.x, 0);
    for (at, (name, _)) in lines.iter().enumerate() {
        let name = clipped(name, 44.0);
        let width = 14.0 + name.chars().count() as f64 * LETTER + 12.0;
        if x > place.x && x + width > place.x + place.width - 40.0 {
            line += 1;
            x = place.x;
        }
        if line == LEGEND {
            let rest = format!("+{}", lines.len() - at);
            let last = y + 14.0 * (LEGEND - 1) as f64;
            picture.text((place.x + place.width, last), Font::new(SMALL, SOFT).end(), rest);
            return;
        }
        let row = y + 14.0 * line as f64;
        picture.rect((x, row - 8.0), (9.0, 9.0), PALETTE[at % PALETTE.len()], 2.0);
        picture.text((x + 13.0, row), Font::new(SMALL, INK), name);
        x += width;
    }
}

fn clipped(text: &str, letters: f64) -> String {
    if text.chars().count() as f64 <= letters {
        return text.to_owned();
    }
    let fits = text.chars().enumerate().take_while(|(at, _)| (at + 1) as f64 <= letters - 1.0);
    fits.map(|(_, letter)| letter).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::{Axis, Line, bent, runs, stacked};
    use crate::dashboards::prometheus::Span;
    use crate::dashboards::source::Field;

    fn line(points: &[(f64, f64)]) -> Line {
        (String::new(), points.to_vec())
    }

    #[test]
    fn a_stack_adds_what_is_there_at_the_same_time() {
        let span = Span { from: 0.0, to: 20.0, step: 10.0 };
        let lines = [line(&[(0.0, 1.0), (10.0, 2.0), (20.0, 3.0)]), line(&[(10.0, 5.0), (20.0, 1.0)])];
        let raised = stacked(&lines, span);
        assert_eq!(raised[1].1, [(10.0, 7.0), (20.0, 4.0)]);
    }

    #[test]
    fn a_gap_is_not_bridged_and_a_flat_line_is_short() {
        let points = [(0.0, 1.0), (10.0, 1.0), (20.0, 1.0), (60.0, 2.0)];
        assert_eq!(runs(&points, 15.0).map(<[_]>::len).collect::<Vec<_>>(), [3, 1]);
        assert_eq!(bent(&points), [(0.0, 1.0), (20.0, 1.0), (60.0, 2.0)]);
    }

    #[test]
    fn an_axis_holds_every_value() {
        let axis = Axis::of(&Field::default(), &[line(&[(0.0, 3.0), (1.0, 93.0)])]);
        assert_eq!((axis.from, axis.to), (0.0, 100.0));
        assert!((axis.share(50.0) - 0.5).abs() < 1e-9);
        let log: Field = serde_json::from_str(r#"{"custom":{"scaleDistribution":{"type":"log"}}}"#).unwrap();
        let axis = Axis::of(&log, &[line(&[(0.0, 0.002), (1.0, 0.3)])]);
        assert!((axis.from - 0.001).abs() < 1e-12 && (axis.to - 1.0).abs() < 1e-9);
        assert_eq!(axis.marks().len(), 4);
        // Nothing above 0 has no logarithm.
        assert!(Axis::of(&log, &[line(&[(0.0, 0.0)])]).step.is_some());
    }
}
