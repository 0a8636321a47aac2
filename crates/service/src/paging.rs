//! Pages of lists.

use std::fmt;
use std::str::FromStr;

use crate::parse::Invalid;

/// Most items of one page: 1 to 100, 20 unless told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limit(u8);

impl Limit {
    /// Most items that a page may have.
    pub const MAX: u8 = 100;

    /// The number.
    #[must_use]
    pub fn get(self) -> usize {
        self.0.into()
    }

    /// How many rows to ask for: one more than the page has tells whether there is a next one.
    #[must_use]
    pub fn rows(self) -> i64 {
        i64::from(self.0) + 1
    }

    /// Cuts `rows`, of which [`rows`](Self::rows) were asked for, to the page; the last item's place, if there is a next page.
    pub fn cut<T, P>(self, rows: &mut Vec<T>, place: impl FnOnce(&T) -> P) -> Option<P> {
        let more = rows.len() > self.get();
        rows.truncate(self.get());
        rows.last().filter(|_| more).map(place)
    }
}

impl Default for Limit {
    fn default() -> Self {
        Self(20)
    }
}

impl FromStr for Limit {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse() {
            Ok(limit @ 1..=Self::MAX) if digits => Ok(Self(limit)),
            _ => Err(Invalid::rule("must be a whole number from 1 to 100")),
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

crate::parsed_text!(Limit);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits() {
        assert_eq!("1".parse::<Limit>().unwrap().get(), 1);
        assert_eq!("100".parse::<Limit>().unwrap().get(), 100);
        for odd in ["", "0", "101", "-1", "+5", "1.5", "ten", "99999999999999999999"] {
            assert!(odd.parse::<Limit>().is_err(), "{odd:?}");
        }
    }

    #[test]
    fn there_is_a_next_page_only_if_there_is_more() {
        let two: Limit = "2".parse().unwrap();
        assert_eq!(two.rows(), 3);
        for (found, kept, next) in [(0, 0, None), (1, 1, None), (2, 2, None), (3, 2, Some(1))] {
            let mut rows: Vec<i64> = (0..found).collect();
            assert_eq!((two.cut(&mut rows, |row| *row), rows.len()), (next, kept));
        }
    }
}
