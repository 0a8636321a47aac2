//! Which page of which list.

use std::str::FromStr;
use std::sync::Arc;

use service::parse::one_line;

use super::{CategoryId, Invalid, Limit, ProductId};

/// One page of a category, by ascending id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Listing {
    /// Which category.
    pub category: CategoryId,
    /// After which product; from the first one on without it.
    pub after: Option<ProductId>,
    /// How many at most.
    pub limit: Limit,
}

impl Listing {
    /// The page that clients open first: from the beginning, as long as it is unless told.
    #[must_use]
    pub fn first(category: CategoryId) -> Self {
        Self { category, after: None, limit: Limit::default() }
    }

    /// Whether this is the first page, of the usual length.
    #[must_use]
    pub fn is_first(&self) -> bool {
        *self == Self::first(self.category)
    }
}

/// A search.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Search {
    /// For what.
    pub phrase: Phrase,
    /// How many products at most.
    pub limit: Limit,
}

/// What is searched for, in the form in which phrases are compared: in lower case, one space between words.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Phrase(Arc<str>);

impl Phrase {
    /// Most characters of a phrase.
    pub const MAX: usize = 200;

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Phrase {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let rule = "must have 1 to 200 characters, not only space";
        one_line(text, Self::MAX, rule)?;
        let words: Vec<String> = text.split_whitespace().map(str::to_lowercase).collect();
        let phrase = words.join(" ");
        // A few characters have a lower case of two.
        if phrase.chars().nth(Self::MAX).is_some() {
            return Err(Invalid::rule(rule));
        }
        Ok(Self(phrase.into()))
    }
}

service::parsed_text!(Phrase);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phrases_are_normalized_and_bounded() {
        assert_eq!("  Oak   TABLE ".parse::<Phrase>().unwrap().as_str(), "oak table");
        assert!("\u{1f980}".repeat(200).parse::<Phrase>().is_ok());
        let long = "x".repeat(10_000);
        for odd in ["", "  ", "a\0b", "a\nb", &"x".repeat(201), &"\u{130}".repeat(150), &long] {
            assert!(odd.parse::<Phrase>().is_err(), "{:?}", &odd[..odd.len().min(20)]);
        }
    }

    #[test]
    fn the_first_page_is_one_page() {
        let category = CategoryId::of_row(7);
        assert!(Listing::first(category).is_first());
        assert!(!Listing { after: Some(ProductId::of_row(1)), ..Listing::first(category) }.is_first());
        assert!(!Listing { limit: "10".parse().unwrap(), ..Listing::first(category) }.is_first());
    }
}
