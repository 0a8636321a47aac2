//! What a product consists of beside its price.

use service::parse::one_line;

use super::Invalid;

/// A product's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(String);

/// What is said about a product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description(String);

/// How many pieces there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stock(i32);

impl Name {
    /// Most characters of a name.
    pub const MAX: usize = 200;

    /// # Errors
    /// What is allowed.
    pub fn parse(text: String) -> Result<Self, Invalid> {
        one_line(&text, Self::MAX, "must have 1 to 200 characters, not only space").map(|()| Self(text))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Description {
    /// Most bytes (UTF-8) of a description.
    pub const MAX: usize = 8 << 10;

    /// # Errors
    /// What is allowed.
    pub fn parse(text: String) -> Result<Self, Invalid> {
        if text.len() > Self::MAX {
            return Err(Invalid::rule("must have at most 8192 bytes"));
        }
        // PostgreSQL cannot hold it in a text.
        if text.bytes().any(|byte| byte == 0) {
            return Err(Invalid::rule("must not have the character NUL"));
        }
        Ok(Self(text))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Stock {
    /// Most pieces.
    pub const MAX: i32 = 1_000_000_000;

    /// # Errors
    /// What is allowed.
    pub fn parse(number: i64) -> Result<Self, Invalid> {
        match i32::try_from(number) {
            Ok(stock @ 0..=Self::MAX) => Ok(Self(stock)),
            _ => Err(Invalid::rule("must be a whole number from 0 to 1000000000")),
        }
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> i32 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_count_characters_in_names_and_bytes_in_descriptions() {
        assert!(Name::parse("\u{1f980}".repeat(200)).is_ok());
        for odd in ["", " ", "a\0b", "a\nb", &"x".repeat(201)] {
            assert!(Name::parse(odd.to_owned()).is_err(), "{odd:?}");
        }
        assert!(Description::parse(String::new()).is_ok());
        assert!(Description::parse("\u{e9}".repeat(4_096)).is_ok());
        assert!(Description::parse("x".repeat(8_193)).is_err());
        assert!(Description::parse("a\0b".to_owned()).is_err());
    }

    #[test]
    fn there_is_no_negative_stock() {
        assert_eq!(Stock::parse(0).unwrap().get(), 0);
        assert!(Stock::parse(i64::from(Stock::MAX)).is_ok());
        for odd in [-1, i64::from(Stock::MAX) + 1, i64::MAX] {
            assert!(Stock::parse(odd).is_err(), "{odd}");
        }
    }
}
