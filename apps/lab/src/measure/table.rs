//! Tables for a terminal.

use std::fmt::Write as _;

/// One group of rows under one heading.
#[derive(Debug, Clone, Default)]
pub(crate) struct Group {
    title: String,
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
    notes: Vec<String>,
}

impl Group {
    /// `columns` head the columns after the first, whose heading is the title. All but the first are
    /// aligned to the right, because they hold numbers.
    pub(crate) fn new(title: &str, columns: &[&str]) -> Self {
        Self {
            title: title.to_owned(),
            columns: columns.iter().map(|&column| column.to_owned()).collect(),
            ..Self::default()
        }
    }

    /// Cells that are missing at the end stay empty.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }

    /// [`Self::row`] with as many cells as there happen to be.
    pub(crate) fn cells(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// A line of text below the rows.
    pub(crate) fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }
}

/// Lays out all groups with the same width of their first column, so that they read as one table.
pub(crate) fn render(groups: &[Group]) -> String {
    let first = groups
        .iter()
        .flat_map(|group| group.rows.iter().filter_map(|row| row.first()).map(|cell| width(cell) + 2))
        .chain(groups.iter().map(|group| width(&group.title)))
        .max()
        .unwrap_or(0);
    let mut text = String::new();
    for group in groups {
        let widths: Vec<usize> = group
            .columns
            .iter()
            .enumerate()
            .map(|(at, column)| {
                let cells = group.rows.iter().filter_map(|row| row.get(at + 1)).map(|cell| width(cell));
                cells.chain([width(column)]).max().unwrap_or(0)
            })
            .collect();
        line(&mut text, &group.title, first, &group.columns, &widths);
        for row in &group.rows {
            let (name, cells) = row.split_first().map_or(("", &[][..]), |(name, cells)| (name.as_str(), cells));
            line(&mut text, &format!("  {name}"), first, cells, &widths);
        }
        for note in &group.notes {
            let _ = writeln!(text, "  {note}");
        }
        text.push('\n');
    }
    text
}

fn line(text: &mut String, name: &str, first: usize, cells: &[String], widths: &[usize]) {
    let start = text.len();
    let _ = write!(text, "{name}{:1$}", "", first.saturating_sub(width(name)));
    for (cell, column) in cells.iter().zip(widths) {
        let _ = write!(text, "  {:1$}{cell}", "", column.saturating_sub(width(cell)));
    }
    text.truncate(start + text[start..].trim_end().len());
    text.push('\n');
}

/// Cells that one text takes: its characters, for those that the lab prints.
fn width(text: &str) -> usize {
    text.chars().count()
}

/// A time in the unit that suits it, with three digits: `87.3 µs`, `1.24 ms`, `2.50 s`.
pub(crate) fn time(micros: f64) -> String {
    if micros < 999.5 {
        format!("{} µs", three_digits(micros))
    } else if micros < 999_500.0 {
        format!("{} ms", three_digits(micros / 1e3))
    } else {
        format!("{} s", three_digits(micros / 1e6))
    }
}

/// A number with about three digits and no exponent.
pub(crate) fn three_digits(value: f64) -> String {
    match value.abs() {
        ..9.995 => format!("{value:.2}"),
        ..99.95 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// A whole number with its thousands separated.
pub(crate) fn whole(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    if value <= -0.5 { format!("-{text}") } else { text }
}

/// [`whole`] of a count.
pub(crate) fn count(value: u64) -> String {
    whole(super::latencies::as_f64(value))
}

/// So many replicas, in words.
pub(crate) fn replicas(number: usize) -> String {
    if number == 1 { "1 replica".to_owned() } else { format!("{number} replicas") }
}

#[cfg(test)]
mod tests {
    use super::{Group, count, render, three_digits, time, whole};

    #[test]
    fn columns_line_up_over_all_groups() {
        let mut one = Group::new("latency", &["p50", "p99"]);
        one.row(["GET /posts/{id}".to_owned(), "87.3 µs".to_owned(), "1.20 ms".to_owned()]);
        one.row(["GET".to_owned(), "5 µs".to_owned()]);
        one.note("one at a time");
        let mut two = Group::new("loads", &["n"]);
        two.row(["x".to_owned(), "1".to_owned()]);
        assert_eq!(
            render(&[one, two]),
            "latency                p50      p99\n\
             \x20 GET /posts/{id}  87.3 µs  1.20 ms\n\
             \x20 GET                 5 µs\n\
             \x20 one at a time\n\
             \n\
             loads              n\n\
             \x20 x                1\n\
             \n"
        );
    }

    #[test]
    fn no_groups_are_no_text() {
        assert_eq!(render(&[]), "");
    }

    #[test]
    fn times_have_the_unit_that_suits_them() {
        for (micros, text) in [
            (0.5, "0.50 µs"),
            (87.34, "87.3 µs"),
            (999.4, "999 µs"),
            (999.6, "1.00 ms"),
            (12_345.0, "12.3 ms"),
            (999_600.0, "1.00 s"),
            (2_500_000.0, "2.50 s"),
        ] {
            assert_eq!(time(micros), text);
        }
    }

    #[test]
    fn numbers_are_readable() {
        assert_eq!((whole(0.0), whole(999.6), whole(1_234_567.0)), ("0".into(), "1,000".into(), "1,234,567".into()));
        assert_eq!((whole(-1_234.0), count(56_789)), ("-1,234".into(), "56,789".into()));
        assert_eq!(
            (three_digits(0.5), three_digits(12.34), three_digits(123.4)),
            ("0.50".into(), "12.3".into(), "123".into())
        );
    }
}
