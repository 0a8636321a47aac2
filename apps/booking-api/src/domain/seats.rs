//! How many, and for whom.

use super::Invalid;

/// Seats of one booking: 1 to 10.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seats(i32);

/// Seats of an event: 1 to 100,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity(i32);

/// The name of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventName(String);

/// Whose booking it is, as a client says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Buyer(String);

impl Seats {
    /// Most seats of one booking.
    pub const MAX: i32 = 10;

    /// # Errors
    /// What is allowed.
    pub fn parse(number: i64) -> Result<Self, Invalid> {
        match i32::try_from(number) {
            Ok(seats @ 1..=Self::MAX) => Ok(Self(seats)),
            _ => Err(Invalid::rule("must be a whole number from 1 to 10")),
        }
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> i32 {
        self.0
    }
}

impl Capacity {
    /// Most seats of an event.
    pub const MAX: i32 = 100_000;

    /// # Errors
    /// What is allowed.
    pub fn parse(number: i64) -> Result<Self, Invalid> {
        match i32::try_from(number) {
            Ok(capacity @ 1..=Self::MAX) => Ok(Self(capacity)),
            _ => Err(Invalid::rule("must be a whole number from 1 to 100000")),
        }
    }

    /// The capacity of a row, whose constraint has checked it.
    #[must_use]
    pub fn of_row(capacity: i32) -> Self {
        Self(capacity)
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> i32 {
        self.0
    }
}

impl EventName {
    /// Most characters of a name.
    pub const MAX: usize = 200;

    /// # Errors
    /// What is allowed.
    pub fn parse(text: String) -> Result<Self, Invalid> {
        let rule = "must have 1 to 200 characters, not only space";
        service::parse::one_line(&text, Self::MAX, rule).map(|()| Self(text))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Buyer {
    /// Most characters.
    pub const MAX: usize = 100;

    /// # Errors
    /// What is allowed.
    pub fn parse(text: String) -> Result<Self, Invalid> {
        let rule = "must have 1 to 100 characters, not only space";
        service::parse::one_line(&text, Self::MAX, rule).map(|()| Self(text))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_both_ends() {
        assert_eq!([1, 10].map(|n| Seats::parse(n).unwrap().get()), [1, 10]);
        assert_eq!([1, 100_000].map(|n| Capacity::parse(n).unwrap().get()), [1, 100_000]);
        for odd in [0, -1, 11, i64::MIN, i64::MAX, 1 << 32 | 5] {
            assert!(Seats::parse(odd).is_err(), "{odd}");
        }
        for odd in [0, -1, 100_001, i64::MAX, 1 << 32 | 5] {
            assert!(Capacity::parse(odd).is_err(), "{odd}");
        }
    }

    #[test]
    fn texts_have_both_ends() {
        assert!(EventName::parse("x".repeat(200)).is_ok() && EventName::parse("x".repeat(201)).is_err());
        assert!(Buyer::parse("x".repeat(100)).is_ok() && Buyer::parse("x".repeat(101)).is_err());
        assert!(Buyer::parse(String::new()).is_err() && Buyer::parse("a\nb".to_owned()).is_err());
    }
}
