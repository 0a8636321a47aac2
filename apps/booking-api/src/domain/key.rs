//! How a client says that a request is a repetition.

use std::str::FromStr;

use sha2::{Digest as _, Sha256};

use super::{Buyer, EventId, Invalid, Seats};

/// The value of `Idempotency-Key`: 1 to 255 visible ASCII characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// Most characters of a key.
    pub const MAX: usize = 255;

    /// The key.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The key in a header's value: as it is, or a string of RFC 8941, which the draft of the header asks for.
    ///
    /// # Errors
    /// What is allowed.
    pub fn parse(header: &[u8]) -> Result<Self, Invalid> {
        let rule = || Invalid::rule("must have 1 to 255 visible ASCII characters");
        let text = std::str::from_utf8(header).map_err(|_| rule())?;
        match text.strip_prefix('"') {
            Some(quoted) => {
                unquoted(quoted).ok_or_else(|| Invalid::rule("begins with a quote and is no string"))?.parse()
            }
            None => text.parse(),
        }
    }
}

/// What is between the quotes of a string of RFC 8941, whose first one has been read.
fn unquoted(text: &str) -> Option<String> {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    loop {
        match characters.next()? {
            '"' => return characters.next().is_none().then_some(plain),
            '\\' => plain.push(characters.next().filter(|escaped| matches!(escaped, '"' | '\\'))?),
            plainly => plain.push(plainly),
        }
    }
}

impl FromStr for IdempotencyKey {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if text.is_empty() || text.len() > Self::MAX || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Invalid::rule("must have 1 to 255 visible ASCII characters"));
        }
        Ok(Self(text.to_owned()))
    }
}

/// What was asked for under a key: SHA-256 of the event, the seats and the buyer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of a booking of these seats.
    #[must_use]
    pub fn of(event: EventId, seats: Seats, buyer: Option<&Buyer>) -> Self {
        let mut hash = Sha256::new();
        hash.update(event.get().to_be_bytes());
        hash.update(seats.get().to_be_bytes());
        // No buyer is another request than any buyer.
        if let Some(buyer) = buyer {
            hash.update([1]);
            hash.update(buyer.as_str());
        }
        Self(hash.finalize().into())
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_taken_with_and_without_quotes() {
        let read = |header: &[u8]| IdempotencyKey::parse(header).map(|key| key.as_str().to_owned());
        assert_eq!(read(b"abc-1").unwrap(), "abc-1");
        assert_eq!(read(b"\"abc-1\"").unwrap(), "abc-1");
        assert_eq!(read(b"\"a\\\"b\\\\c\"").unwrap(), "a\"b\\c");
        assert_eq!(read(b"a\"b").unwrap(), "a\"b");
        assert_eq!(read("x".repeat(255).as_bytes()).unwrap().len(), 255);
        assert_eq!(read(format!("\"{}\"", "x".repeat(255)).as_bytes()).unwrap().len(), 255);
        let long = "x".repeat(300);
        let odd: [&[u8]; 11] = [
            b"",
            b"\"\"",
            b"\"",
            b"\"abc",
            b"\"abc\"d",
            b"\"a\\b\"",
            b"a b",
            b"\"a b\"",
            b"a\tb",
            "\u{e9}".as_bytes(),
            b"\xff",
        ];
        for odd in odd.into_iter().chain([long.as_bytes()]) {
            assert!(read(odd).is_err(), "{:?}", String::from_utf8_lossy(odd));
        }
    }

    #[test]
    fn every_part_of_the_request_is_in_the_fingerprint() {
        let of = |event, seats, buyer: Option<&str>| {
            let buyer = buyer.map(|buyer| Buyer::parse(buyer.to_owned()).unwrap());
            Fingerprint::of(EventId::of_row(event), Seats::parse(seats).unwrap(), buyer.as_ref())
        };
        let all = [of(1, 1, None), of(2, 1, None), of(1, 2, None), of(1, 1, Some("a")), of(1, 1, Some("b"))];
        for (at, one) in all.iter().enumerate() {
            assert!(all[at + 1..].iter().all(|other| other != one));
        }
        assert_eq!(of(1, 1, Some("a")), of(1, 1, Some("a")));
    }
}
