//! What the pictures of all experiments share: their colours, panels and legends.

use super::latencies::as_f64;
use super::svg::{Font, Picture};

pub(crate) const INK: &str = "#1f2933";
pub(crate) const SOFT: &str = "#616e7c";
pub(crate) const LINE: &str = "#d9dee4";
pub(crate) const PAPER: &str = "#ffffff";
pub(crate) const PANEL: &str = "#f7f9fb";
// Told apart by people who do not see red and green as others do (Okabe and Ito).
pub(crate) const GOOD: &str = "#0072b2";
pub(crate) const OTHER: &str = "#e69f00";
pub(crate) const FLOOR: &str = "#9aa5b1";
pub(crate) const BAD: &str = "#d55e00";
pub(crate) const THIRD: &str = "#009e73";

/// A panel's place in its picture.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) x: f64,
    pub(crate) y: f64,
    pub(crate) width: f64,
    pub(crate) height: f64,
}

/// A picture's frame: a title, and panels in two columns below it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sheet<'a> {
    /// Where the first row of panels begins.
    pub(crate) head: f64,
    /// The height of each row.
    pub(crate) rows: &'a [f64],
}

impl Sheet<'_> {
    const WIDTH: f64 = 1240.0;
    pub(crate) const MARGIN: f64 = 30.0;
    const GAP: f64 = 20.0;
    /// The width of a panel.
    pub(crate) const COLUMN: f64 = (Self::WIDTH - 2.0 * Self::MARGIN - Self::GAP) / 2.0;
    /// The width of a panel that has a row for itself.
    pub(crate) const WHOLE: f64 = Self::WIDTH - 2.0 * Self::MARGIN;

    /// Begins the picture.
    pub(crate) fn begin(&self, title: &str, subtitle: String) -> Picture {
        let height = self.below(self.rows.len()) - Self::GAP + Self::MARGIN;
        let mut picture = Picture::new(Self::WIDTH, height);
        picture.rect((0.0, 0.0), (Self::WIDTH, height), PAPER, 0.0);
        picture.text((Self::MARGIN, 42.0), Font::new(26.0, INK).bold(), title);
        picture.text((Self::MARGIN, 68.0), Font::new(14.0, SOFT), subtitle);
        picture
    }

    /// The place of a panel.
    pub(crate) fn place(&self, row: usize, column: usize) -> Place {
        let x = if column == 0 { Self::MARGIN } else { Self::MARGIN + Self::COLUMN + Self::GAP };
        Place { x, y: self.below(row), width: Self::COLUMN, height: self.rows[row] }
    }

    /// Where a row begins.
    fn below(&self, row: usize) -> f64 {
        self.head + self.rows[..row].iter().map(|height| height + Self::GAP).sum::<f64>()
    }
}

/// The panel's ground, with its title, and what is to be known to read it.
pub(crate) fn panel(picture: &mut Picture, place: Place, title: &str, subtitle: &str) {
    picture.rect((place.x, place.y), (place.width, place.height), PANEL, 8.0);
    picture.text((place.x + 18.0, place.y + 30.0), Font::new(17.0, INK).bold(), title);
    picture.text((place.x + 18.0, place.y + 50.0), Font::new(12.5, SOFT), subtitle);
}

/// What a panel shows of something that was left out.
pub(crate) fn not_measured(picture: &mut Picture, place: Place) {
    let at = (place.x + place.width / 2.0, place.y + place.height / 2.0 + 16.0);
    picture.text(at, Font::new(15.0, SOFT).middle(), "not measured in this run");
}

/// Names beside their colours, from left to right.
pub(crate) fn legend(picture: &mut Picture, (x, y): (f64, f64), entries: &[(&str, &'static str)]) {
    let mut x = x;
    for (name, color) in entries {
        picture.rect((x, y - 10.0), (12.0, 12.0), color, 2.0);
        picture.text((x + 17.0, y), Font::new(13.0, INK), name);
        x += 17.0 + 8.5 * as_f64(name.len() as u64) + 18.0;
    }
}

/// A whole time at a tick of an axis.
pub(crate) fn tick_label(micros: f64) -> String {
    match micros {
        ..999.0 => format!("{micros:.0} µs"),
        ..999_000.0 => format!("{:.0} ms", micros / 1e3),
        _ => format!("{:.0} s", micros / 1e6),
    }
}

/// The power of ten at or below a value.
pub(crate) fn decade(value: f64) -> f64 {
    10_f64.powf(value.log10().floor())
}
