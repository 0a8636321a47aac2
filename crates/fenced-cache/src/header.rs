//! The header of an entry: everything about a value but the value.
//!
//! Little-endian, fixed positions; the format number comes first and is never part of the key: with two keys
//! for one row during a rolling update, a write by an old process would not invalidate what a new one reads.
//!
//! | bytes | content |
//! | --- | --- |
//! | 0 | format, 1 |
//! | 1 | flags: 1 = negative, 2 = versioned |
//! | 2..10 | stored at, milliseconds of Unix time |
//! | 10..18 | fresh until, milliseconds of Unix time |
//! | 18..22 | cost of the load, microseconds, saturating |
//! | 22..30 | version |
//! | 30 | number of epochs |
//! | 31.. | the captured epochs, 16 bytes each, in the order of the key's tags |

use std::time::Duration;

pub(crate) const FORMAT: u8 = 1;
const NEGATIVE: u8 = 1;
const VERSIONED: u8 = 2;
const FIXED: usize = 31;

/// A tag's epoch: a random id, never a counter, so that one that was lost never comes back.
pub(crate) type Epoch = [u8; 16];

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header<'a> {
    pub(crate) negative: bool,
    pub(crate) version: Option<u64>,
    pub(crate) stored_at_ms: u64,
    pub(crate) fresh_until_ms: u64,
    pub(crate) cost: Duration,
    epochs: &'a [u8],
}

impl<'a> Header<'a> {
    /// `None` for an unknown format, and for bytes that no encoder of this format wrote.
    pub(crate) fn decode(bytes: &'a [u8]) -> Option<Self> {
        let fixed: &[u8; FIXED] = bytes.first_chunk()?;
        let epochs = &bytes[FIXED..];
        if fixed[0] != FORMAT || fixed[1] & !(NEGATIVE | VERSIONED) != 0 || epochs.len() != usize::from(fixed[30]) * 16
        {
            return None;
        }
        let u64_at = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| fixed[at + i]));
        let cost = u32::from_le_bytes(std::array::from_fn(|i| fixed[18 + i]));
        Some(Self {
            negative: fixed[1] & NEGATIVE != 0,
            version: (fixed[1] & VERSIONED != 0).then(|| u64_at(22)),
            stored_at_ms: u64_at(2),
            fresh_until_ms: u64_at(10),
            cost: Duration::from_micros(u64::from(cost)),
            epochs,
        })
    }

    /// Whether these are exactly the epochs captured by the entry, in the key's order.
    pub(crate) fn has_epochs<'e>(&self, current: impl ExactSizeIterator<Item = Option<&'e [u8]>>) -> bool {
        let captured = self.epochs.chunks_exact(16);
        captured.len() == current.len() && captured.zip(current).all(|(captured, now)| now == Some(captured))
    }
}

/// The bytes of a header.
pub(crate) fn encode(
    negative: bool,
    version: Option<u64>,
    stored_at_ms: u64,
    fresh_until_ms: u64,
    cost: Duration,
    epochs: &[Epoch],
) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(FIXED + 16 * epochs.len());
    bytes.push(FORMAT);
    bytes.push(if negative { NEGATIVE } else { 0 } | if version.is_some() { VERSIONED } else { 0 });
    bytes.extend_from_slice(&stored_at_ms.to_le_bytes());
    bytes.extend_from_slice(&fresh_until_ms.to_le_bytes());
    bytes.extend_from_slice(&u32::try_from(cost.as_micros()).unwrap_or(u32::MAX).to_le_bytes());
    bytes.extend_from_slice(&version.unwrap_or(0).to_le_bytes());
    bytes.push(u8::try_from(epochs.len()).expect("a key has at most 255 tags"));
    for epoch in epochs {
        bytes.extend_from_slice(epoch);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_comes_back_as_it_was_written() {
        let epochs = [[7; 16], [9; 16]];
        let cost = Duration::from_micros(1_234);
        let bytes = encode(true, Some(u64::MAX), 5, 6, cost, &epochs);
        let header = Header::decode(&bytes).unwrap();
        assert!(header.negative);
        assert_eq!(
            (header.version, header.stored_at_ms, header.fresh_until_ms, header.cost),
            (Some(u64::MAX), 5, 6, cost)
        );
        assert!(header.has_epochs([Some(&[7; 16][..]), Some(&[9; 16][..])].into_iter()));
    }

    #[test]
    fn a_missing_or_different_epoch_is_invalid() {
        let bytes = encode(false, None, 0, 0, Duration::ZERO, &[[7; 16]]);
        let header = Header::decode(&bytes).unwrap();
        assert_eq!(header.version, None);
        assert!(!header.has_epochs([None].into_iter()));
        assert!(!header.has_epochs([Some(&[8; 16][..])].into_iter()));
        assert!(!header.has_epochs([Some(&[7; 16][..]), Some(&[7; 16][..])].into_iter()));
        assert!(!header.has_epochs(std::iter::empty::<Option<&[u8]>>()));
    }

    #[test]
    fn what_is_not_of_this_format_is_no_header() {
        let good = encode(false, Some(1), 2, 3, Duration::ZERO, &[[7; 16]]);
        assert!(Header::decode(&good).is_some());
        for length in 0..good.len() {
            assert_eq!(Header::decode(&good[..length]), None, "{length} bytes");
        }
        let mut other = good.clone();
        other[0] = FORMAT + 1;
        assert_eq!(Header::decode(&other), None);
        other = good.clone();
        other[1] |= 128;
        assert_eq!(Header::decode(&other), None);
        other = good;
        other.push(0);
        assert_eq!(Header::decode(&other), None);
    }

    #[test]
    fn a_cost_beyond_its_field_saturates() {
        let bytes = encode(false, None, 0, 0, Duration::from_secs(1 << 20), &[]);
        assert_eq!(Header::decode(&bytes).unwrap().cost, Duration::from_micros(u64::from(u32::MAX)));
    }
}
