//! What a run of the experiment found, as it goes into the JSON file, and the figures it is measured by.

use serde::Serialize;

use crate::measure::statistics::Spread;

/// One figure that the project wants to reach.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Figure {
    pub(crate) what: String,
    /// As shown, with its unit.
    pub(crate) measured: String,
    pub(crate) value: Option<f64>,
    pub(crate) target: String,
    /// Absent when it was not measured.
    pub(crate) reached: Option<bool>,
}

impl Figure {
    /// A ratio that should be at least so much.
    pub(crate) fn at_least(what: &str, value: Option<f64>, least: f64, unit: &str) -> Self {
        Self::new(what, value, &format!("at least {}{unit}", number(least)), unit, |value| value >= least)
    }

    /// An amount that should be at most so much.
    pub(crate) fn at_most(what: &str, value: Option<f64>, most: f64, unit: &str) -> Self {
        Self::new(what, value, &format!("at most {}{unit}", number(most)), unit, |value| value <= most)
    }

    /// A count that should be exactly so much.
    pub(crate) fn exactly(what: &str, value: Option<f64>, wanted: f64, unit: &str) -> Self {
        Self::new(what, value, &format!("{}{unit}", number(wanted)), unit, |value| (value - wanted).abs() < 1e-9)
    }

    fn new(what: &str, value: Option<f64>, target: &str, unit: &str, reached: impl Fn(f64) -> bool) -> Self {
        Self {
            what: what.to_owned(),
            measured: value.map_or_else(|| "not measured".to_owned(), |value| format!("{}{unit}", number(value))),
            value,
            target: target.to_owned(),
            reached: value.map(reached),
        }
    }

    pub(crate) fn mark(&self) -> &'static str {
        match self.reached {
            Some(true) => "reached",
            Some(false) => "MISSED",
            None => "-",
        }
    }
}

/// A figure without more digits than it has.
fn number(value: f64) -> String {
    if value.fract().abs() < 1e-9 && value.abs() < 1e15 {
        crate::measure::table::whole(value)
    } else {
        crate::measure::table::three_digits(value)
    }
}

/// The median of a figure's rounds.
pub(crate) fn median(spread: Option<Spread>) -> Option<f64> {
    spread.map(|spread| spread.median)
}

#[cfg(test)]
mod tests {
    use super::Figure;

    #[test]
    fn a_figure_says_what_was_wanted_and_whether_it_was_reached() {
        let ratio = Figure::at_least("hit", Some(0.534), 0.5, "x");
        assert_eq!(
            (ratio.measured.as_str(), ratio.target.as_str(), ratio.mark()),
            ("0.53x", "at least 0.50x", "reached")
        );
        assert_eq!(Figure::at_most("memory", Some(61.2), 60.0, " MiB").mark(), "MISSED");
        assert_eq!(Figure::exactly("loads", Some(1.0), 1.0, "").mark(), "reached");
        assert_eq!(Figure::exactly("loads", Some(2.0), 1.0, "").mark(), "MISSED");
        let none = Figure::at_least("hit", None, 0.5, "x");
        assert_eq!((none.measured.as_str(), none.mark()), ("not measured", "-"));
    }
}
