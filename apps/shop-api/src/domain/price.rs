//! What things cost: whole numbers of a currency's smallest coin, and changes of them in per cent.

use std::fmt;
use std::str::FromStr;

use super::Invalid;

/// A sum of money, in the currency's smallest coin: 0 to 1,000,000,000,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Amount(i64);

/// A currency: three capital letters, as in ISO 4217.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Currency([u8; 3]);

/// What a product costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Price {
    /// How much.
    pub amount: Amount,
    /// In which currency.
    pub currency: Currency,
}

/// A change of prices in per cent: -99 to 900, and not 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Percent(i64);

impl Amount {
    /// The largest sum.
    pub const MAX: i64 = 1_000_000_000_000;

    /// # Errors
    /// What is allowed.
    pub fn parse(number: i64) -> Result<Self, Invalid> {
        match number {
            0..=Self::MAX => Ok(Self(number)),
            _ => Err(Invalid::rule("must be a whole number from 0 to 1000000000000")),
        }
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> i64 {
        self.0
    }
}

impl Currency {
    /// The three letters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl FromStr for Currency {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match <[u8; 3]>::try_from(text.as_bytes()) {
            Ok(letters) if letters.iter().all(u8::is_ascii_uppercase) => Ok(Self(letters)),
            _ => Err(Invalid::rule("must be three capital letters, such as EUR")),
        }
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Percent {
    /// # Errors
    /// What is allowed.
    pub fn parse(number: i64) -> Result<Self, Invalid> {
        match number {
            -99..=-1 | 1..=900 => Ok(Self(number)),
            _ => Err(Invalid::rule("must be a whole number from -99 to 900, and not 0")),
        }
    }

    /// What is left of 100.
    #[must_use]
    pub fn factor(self) -> i64 {
        100 + self.0
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> i64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_bounded_and_never_negative() {
        assert_eq!(Amount::parse(1_999).unwrap().get(), 1_999);
        assert!(Amount::parse(0).is_ok() && Amount::parse(Amount::MAX).is_ok());
        for odd in [-1, i64::MIN, Amount::MAX + 1, i64::MAX] {
            assert!(Amount::parse(odd).is_err(), "{odd}");
        }
    }

    #[test]
    fn currencies_are_three_capital_letters() {
        assert_eq!("EUR".parse::<Currency>().unwrap().to_string(), "EUR");
        for odd in ["", "eur", "EU", "EURO", "E R", "\u{20ac}", "EU\0"] {
            assert!(odd.parse::<Currency>().is_err(), "{odd:?}");
        }
    }

    #[test]
    fn per_cent_leaves_something_of_a_price() {
        for fine in [-99, -10, 1, 900] {
            assert_eq!(Percent::parse(fine).unwrap().get(), fine);
        }
        for odd in [-100, 0, 901, i64::MIN] {
            assert!(Percent::parse(odd).is_err(), "{odd}");
        }
    }
}
