//! How an entry is laid out in Redis: one string, whose first bytes the scripts read and write in place.
//!
//! The protocol's hash fields become fixed positions, so that a hit is a plain GET of one string: half the work of an
//! `HMGET` at both ends, and none of the per-field memory. `docs/decisions/0002-entries-are-strings.md` has the
//! figures. Everything that happens to an entry happens to the same fields in the same single steps.
//!
//! | bytes | field | content |
//! | --- | --- | --- |
//! | 0 | | format, 1 |
//! | 1 | `s`, .. | flags: 1 = negative, 2 = versioned, 4 = softly invalidated |
//! | 2..18 | `t` | the lease's token; zeros: no lease |
//! | 18..31 | `u` | the lease's end, milliseconds of Redis' clock, 13 decimal digits |
//! | 31..47 | `n` | token of the fill or put that stored the value |
//! | 47..67 | `v` | row version, 20 decimal digits, so that text order is number order |
//! | 67..75 | `h` | stored at, milliseconds of Unix time, little-endian |
//! | 75..83 | `h` | fresh until, the same |
//! | 83..87 | `h` | cost of the load, microseconds, saturating |
//! | 87 | `h` | number of captured epochs |
//! | 88.. | `h` | the epochs, 16 bytes each, in the order of the key's tags |
//! | then | `d` | the payload |
//!
//! A lease without a value is the first 31 bytes alone. The format number is in the value and never in the key:
//! with two keys for one row during a rolling update, a write by an old process would not invalidate what a new one
//! reads. Every later format keeps the first 47 bytes, so that processes of both can replace each other's entries.

use std::io::Write;
use std::time::Duration;

use bytes::Bytes;

const FORMAT: u8 = 1;
const NEGATIVE: u8 = 1;
const VERSIONED: u8 = 2;
const SOFTENED: u8 = 4;

const LEASE_END: usize = 31;
const TOKEN_END: usize = 47;
/// What stands before the epochs.
pub(crate) const FIXED: usize = 88;

/// A tag's epoch: a random id, never a counter, so that one that was lost never comes back.
pub(crate) type Epoch = [u8; 16];

/// What is stored beside a payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) negative: bool,
    /// Only on a positive entry that shows one row.
    pub(crate) version: Option<u64>,
    pub(crate) stored_at_ms: u64,
    pub(crate) fresh_until_ms: u64,
    pub(crate) cost: Duration,
}

/// The value part of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decoded {
    pub(crate) meta: Meta,
    pub(crate) softened: bool,
    /// 16 bytes each, in the order of the key's tags.
    pub(crate) epochs: Bytes,
    pub(crate) payload: Bytes,
}

/// The version as the scripts compare it.
pub(crate) fn version_digits(version: u64) -> String {
    format!("{version:020}")
}

/// A whole entry without a lease.
pub(crate) fn encode(meta: &Meta, token: &[u8; 16], epochs: &[Epoch], payload: &[u8]) -> Bytes {
    let mut bytes = Vec::with_capacity(FIXED + 16 * epochs.len() + payload.len());
    let version = meta.version.filter(|_| !meta.negative);
    bytes.push(FORMAT);
    bytes.push(if meta.negative { NEGATIVE } else { 0 } | if version.is_some() { VERSIONED } else { 0 });
    bytes.extend_from_slice(&[0; 16]);
    bytes.extend_from_slice(&[b'0'; LEASE_END - 18]);
    bytes.extend_from_slice(token);
    write!(bytes, "{:020}", version.unwrap_or(0)).expect("writing to a Vec does not fail");
    bytes.extend_from_slice(&meta.stored_at_ms.to_le_bytes());
    bytes.extend_from_slice(&meta.fresh_until_ms.to_le_bytes());
    bytes.extend_from_slice(&u32::try_from(meta.cost.as_micros()).unwrap_or(u32::MAX).to_le_bytes());
    bytes.push(u8::try_from(epochs.len()).expect("a key has at most 255 tags"));
    for epoch in epochs {
        bytes.extend_from_slice(epoch);
    }
    bytes.extend_from_slice(payload);
    bytes.into()
}

/// Whether there is a value part, be it of this format or another.
pub(crate) fn has_value(entry: &[u8]) -> bool {
    entry.len() > LEASE_END
}

/// Whether somebody's lease is in it, be it lapsed.
pub(crate) fn has_lease(entry: &[u8]) -> bool {
    entry.len() >= LEASE_END && entry[2..18] != [0; 16]
}

/// The token of the fill or put that stored the value; empty where there is none.
pub(crate) fn token(entry: &Bytes) -> Bytes {
    if entry.len() >= TOKEN_END { entry.slice(LEASE_END..TOKEN_END) } else { Bytes::new() }
}

/// `None` for an unknown format, and for bytes that no encoder of this format wrote.
pub(crate) fn decode(entry: &Bytes) -> Option<Decoded> {
    let fixed: &[u8; FIXED] = entry.first_chunk()?;
    let flags = fixed[1];
    if fixed[0] != FORMAT || flags & !(NEGATIVE | VERSIONED | SOFTENED) != 0 {
        return None;
    }
    let epochs_end = FIXED + 16 * usize::from(fixed[87]);
    if entry.len() < epochs_end {
        return None;
    }
    let version = if flags & VERSIONED == 0 { None } else { Some(decimal(&fixed[TOKEN_END..67])?) };
    let u64_at = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| fixed[at + i]));
    let cost = u32::from_le_bytes(std::array::from_fn(|i| fixed[83 + i]));
    Some(Decoded {
        meta: Meta {
            negative: flags & NEGATIVE != 0,
            version,
            stored_at_ms: u64_at(67),
            fresh_until_ms: u64_at(75),
            cost: Duration::from_micros(u64::from(cost)),
        },
        softened: flags & SOFTENED != 0,
        epochs: entry.slice(FIXED..epochs_end),
        payload: entry.slice(epochs_end..),
    })
}

fn decimal(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0_u64, |number, digit| {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit < 10)?;
        number.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

impl Decoded {
    /// Whether these are exactly the epochs captured by the entry, in the key's order.
    pub(crate) fn has_epochs<'e>(&self, current: impl ExactSizeIterator<Item = Option<&'e [u8]>>) -> bool {
        let captured = self.epochs.chunks_exact(16);
        captured.len() == current.len() && captured.zip(current).all(|(captured, now)| now == Some(captured))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta() -> Meta {
        Meta {
            negative: false,
            version: Some(u64::MAX),
            stored_at_ms: 5,
            fresh_until_ms: 6,
            cost: Duration::from_micros(1_234),
        }
    }

    #[test]
    fn an_entry_comes_back_as_it_was_written() {
        let bytes = encode(&meta(), &[3; 16], &[[7; 16], [9; 16]], b"payload");
        let decoded = decode(&bytes).unwrap();
        assert_eq!((&decoded.meta, decoded.softened, decoded.payload.as_ref()), (&meta(), false, &b"payload"[..]));
        assert_eq!(token(&bytes).as_ref(), [3; 16]);
        assert!(has_value(&bytes) && !has_value(&bytes[..31]));
        assert!(!has_lease(&bytes) && !has_lease(b""));
        let mut leased = bytes[..31].to_vec();
        leased[17] = 1;
        assert!(has_lease(&leased));
        assert!(decoded.has_epochs([Some(&[7; 16][..]), Some(&[9; 16][..])].into_iter()));
    }

    #[test]
    fn a_negative_entry_never_carries_a_version_that_a_put_could_compare_with() {
        let bytes = encode(&Meta { negative: true, ..meta() }, &[3; 16], &[], b"");
        let decoded = decode(&bytes).unwrap();
        assert_eq!((decoded.meta.negative, decoded.meta.version), (true, None));
        assert_eq!(bytes[1] & VERSIONED, 0);
    }

    #[test]
    fn a_missing_or_different_epoch_is_invalid() {
        let decoded = decode(&encode(&meta(), &[3; 16], &[[7; 16]], b"")).unwrap();
        assert!(!decoded.has_epochs([None].into_iter()));
        assert!(!decoded.has_epochs([Some(&[8; 16][..])].into_iter()));
        assert!(!decoded.has_epochs([Some(&[7; 16][..]), Some(&[7; 16][..])].into_iter()));
        assert!(!decoded.has_epochs(std::iter::empty::<Option<&[u8]>>()));
    }

    #[test]
    fn what_is_not_of_this_format_is_no_entry() {
        let good = encode(&meta(), &[3; 16], &[[7; 16]], b"");
        assert!(decode(&good).is_some());
        for length in 0..good.len() {
            assert_eq!(decode(&good.slice(..length)), None, "{length} bytes");
        }
        let with = |at: usize, byte: u8| {
            let mut other = good.to_vec();
            other[at] = byte;
            decode(&Bytes::from(other))
        };
        assert_eq!(with(0, FORMAT + 1), None);
        assert_eq!(with(1, 128), None);
        assert_eq!(with(50, b'x'), None);
        assert_eq!(with(47, b'9'), None, "a version above 2^64");
    }

    #[test]
    fn version_digits_order_as_numbers_do() {
        assert!(version_digits(9) < version_digits(10));
        assert_eq!(version_digits(u64::MAX).len(), 20);
    }

    #[test]
    fn a_cost_beyond_its_field_saturates() {
        let bytes = encode(&Meta { cost: Duration::from_secs(1 << 20), ..meta() }, &[0; 16], &[], b"");
        assert_eq!(decode(&bytes).unwrap().meta.cost, Duration::from_micros(u64::from(u32::MAX)));
    }
}
