//! What the domain types of services are made with: each is parsed from its text once, and is right ever after.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::Deserializer;
use serde::de::{Error, Visitor};

use crate::FieldProblem;

/// Why a text is not a value of its type: what is allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(Cow<'static, str>);

impl Invalid {
    /// The rule that was broken, such as `must be a whole number from 1 to 10`.
    #[must_use]
    pub fn rule(rule: impl Into<Cow<'static, str>>) -> Self {
        Self(rule.into())
    }
}

/// Deserializes a type from its text, without a copy of the text; see [`parsed_text!`](crate::parsed_text).
///
/// # Errors
/// The deserializer's, or what is allowed.
pub fn parsed<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: FromStr<Err = Invalid>,
    D: Deserializer<'de>,
{
    deserializer.deserialize_str(Parsing(PhantomData))
}

struct Parsing<T>(PhantomData<T>);

impl<T: FromStr<Err = Invalid>> Visitor<'_> for Parsing<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

/// `Deserialize` for types by way of their `FromStr`, whose error is [`Invalid`](crate::parse::Invalid).
#[macro_export]
macro_rules! parsed_text {
    ($($type:ty),* $(,)?) => {$(
        impl<'de> ::serde::Deserialize<'de> for $type {
            fn deserialize<D: ::serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::parse::parsed(deserializer)
            }
        }
    )*};
}

/// Types for the ids of rows, one for each table: parsed by [`row_id`](crate::parse::row_id), and deserialized from their text.
#[macro_export]
macro_rules! row_ids {
    ($($(#[$doc:meta])* $id:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $id(i64);

        impl $id {
            /// The id of a row.
            #[must_use]
            pub fn of_row(id: i64) -> Self {
                Self(id)
            }

            /// The number.
            #[must_use]
            pub fn get(self) -> i64 {
                self.0
            }
        }

        impl ::std::str::FromStr for $id {
            type Err = $crate::parse::Invalid;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                $crate::parse::row_id(text).map(Self)
            }
        }

        impl ::std::fmt::Display for $id {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                ::std::fmt::Display::fmt(&self.0, f)
            }
        }

        $crate::parsed_text!($id);
    )*};
}

/// The id of a row in a URL: a whole number from 1 on. One thing has one URL: neither `+1` nor `01`.
///
/// # Errors
/// What is allowed.
pub fn row_id(text: &str) -> Result<i64, Invalid> {
    let canonical = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    match text.parse() {
        Ok(id) if canonical => Ok(id),
        _ => Err(Invalid::rule("must be a whole number from 1 to 9223372036854775807")),
    }
}

/// Checks one line of text of at most so many characters; `rule` says what is allowed.
///
/// # Errors
/// What is allowed.
pub fn one_line(text: &str, most: usize, rule: &'static str) -> Result<(), Invalid> {
    if text.trim().is_empty() || text.chars().nth(most).is_some() {
        return Err(Invalid::rule(rule));
    }
    if text.chars().any(char::is_control) {
        return Err(Invalid::rule("must not have control characters"));
    }
    Ok(())
}

/// Collects what is wrong with a body, field by field, so that all of it is told at once.
#[derive(Debug, Default)]
pub struct Checked {
    wrong: Vec<FieldProblem>,
}

impl Checked {
    /// Nothing wrong yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The value of the field at this JSON pointer, or a note of what is wrong with it.
    pub fn field<T>(&mut self, pointer: &str, parsed: Result<T, Invalid>) -> Option<T> {
        parsed.map_err(|invalid| self.wrong(pointer, &invalid)).ok()
    }

    /// Notes what is wrong with the field at this JSON pointer.
    pub fn wrong(&mut self, pointer: impl Into<String>, invalid: &Invalid) {
        self.wrong.push(FieldProblem::new(pointer, invalid.to_string()));
    }

    /// The value, which is whole if nothing was wrong.
    ///
    /// # Errors
    /// All that is wrong.
    pub fn finish<T>(self, value: Option<T>) -> Result<T, Vec<FieldProblem>> {
        match value {
            Some(value) if self.wrong.is_empty() => Ok(value),
            _ => Err(self.wrong),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thing_has_one_id() {
        assert_eq!(row_id("1"), Ok(1));
        assert_eq!(row_id("9223372036854775807"), Ok(i64::MAX));
        for odd in ["", "0", "-1", "+1", "01", "1 ", "1.0", "9223372036854775808", "\u{661}", "1e3", "x"] {
            assert!(row_id(odd).is_err(), "{odd:?}");
        }
    }

    #[test]
    fn lines_are_counted_in_characters() {
        assert!(one_line(&"\u{1f980}".repeat(200), 200, "rule").is_ok());
        assert!(one_line(&"\u{1f980}".repeat(201), 200, "rule").is_err());
        for odd in ["", " ", "\u{3000}", "a\0b", "a\nb"] {
            assert!(one_line(odd, 200, "rule").is_err(), "{odd:?}");
        }
    }
}
