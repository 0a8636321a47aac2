//! READ: the one command of a hit, and what its reply says.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use fred::clients::Client;
use fred::interfaces::KeysInterface;
use fred::types::Value;
use futures_util::future::{try_join, try_join_all};

use crate::error::RedisError;
use crate::key::Key;
use crate::layout::{self, Decoded, Meta};
use crate::outcome::{Outcome, Read};

/// A valid value as it stands in Redis.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    payload: Bytes,
    pub(crate) meta: Meta,
    pub(crate) softened: bool,
    /// The token of the fill or put that stored it.
    pub(crate) token: Bytes,
}

impl Stored {
    /// The answer to a reader; `outcome` as it would be for a positive value.
    pub(crate) fn read(&self, outcome: Outcome, now_ms: u64) -> Read {
        let negative = self.meta.negative;
        let fresh_for_ms = if self.softened { 0 } else { self.meta.fresh_until_ms.saturating_sub(now_ms) };
        Read {
            value: (!negative).then(|| self.payload.clone()),
            outcome: if negative && outcome == Outcome::Hit { Outcome::Negative } else { outcome },
            age: Duration::from_millis(now_ms.saturating_sub(self.meta.stored_at_ms)),
            fresh_for: Duration::from_millis(fresh_for_ms),
            version: self.meta.version,
        }
    }
}

/// What a reader makes of READ's reply.
#[derive(Clone, Debug)]
pub(crate) enum Seen {
    /// No value part.
    Absent,
    /// A value whose epochs or format are not the current ones; stored by this token.
    Invalid(Bytes),
    /// Valid, not softly invalidated, within its freshness.
    Fresh(Stored),
    /// Valid, and softly invalidated or past its freshness.
    Stale(Stored),
}

impl Seen {
    /// ACQUIRE's `seen`: the token of the value that this reader judged.
    pub(crate) fn token(&self) -> Bytes {
        match self {
            Self::Absent => Bytes::new(),
            Self::Invalid(token) => token.clone(),
            Self::Fresh(stored) | Self::Stale(stored) => stored.token.clone(),
        }
    }
}

/// READ's reply.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) seen: Seen,
    /// Somebody is loading, or was.
    pub(crate) leased: bool,
}

/// The wall clock in milliseconds. Its skew shifts freshness between processes and touches no guarantee.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// READ: a plain GET, one round trip, with the tags' epochs beside it.
///
/// It is no script: client tracking remembers a plain read, and its reply is all that a hit needs. Whether a lease that
/// is in it has lapsed is ACQUIRE's to say, by Redis' own clock.
pub(crate) async fn read(client: &Client, key: &Key) -> Result<Reply, RedisError> {
    let entry = client.get::<Value, _>(key.name().clone());
    if key.tags().is_empty() {
        Ok(judge(entry.await?, std::iter::empty()))
    } else {
        // The epochs may be read in any order with the entry: each is random and never comes back.
        let epochs = try_join_all(key.tags().iter().map(|tag| client.get::<Option<Bytes>, _>(tag.name().clone())));
        let (entry, epochs) = try_join(entry, epochs).await?;
        Ok(judge(entry, epochs.iter().map(Option::as_deref)))
    }
}

fn judge<'e>(reply: Value, epochs: impl ExactSizeIterator<Item = Option<&'e [u8]>>) -> Reply {
    let entry = match reply {
        Value::Bytes(bytes) => bytes,
        // A reply that happens to be UTF-8: the same bytes, not copied.
        Value::String(text) => text.into_inner(),
        _ => return Reply { seen: Seen::Absent, leased: false },
    };
    Reply { leased: layout::has_lease(&entry), seen: judge_value(entry, epochs) }
}

fn judge_value<'e>(entry: Bytes, epochs: impl ExactSizeIterator<Item = Option<&'e [u8]>>) -> Seen {
    if !layout::has_value(&entry) {
        return Seen::Absent;
    }
    let token = layout::token(&entry);
    match layout::decode(&entry) {
        Some(decoded) if decoded.has_epochs(epochs) => {
            let Decoded { meta, softened, payload, .. } = decoded;
            let stored = Stored { payload, meta, softened, token };
            if !softened && now_ms() < stored.meta.fresh_until_ms { Seen::Fresh(stored) } else { Seen::Stale(stored) }
        }
        _ => Seen::Invalid(token),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(meta: &Meta, flip: impl FnOnce(&mut Vec<u8>)) -> Value {
        let mut bytes = layout::encode(meta, &[0xff; 16], &[], b"payload").to_vec();
        flip(&mut bytes);
        Value::Bytes(bytes.into())
    }

    fn judge_reply<'e>(reply: Value, epochs: impl ExactSizeIterator<Item = Option<&'e [u8]>>) -> Seen {
        let reply = judge(reply, epochs);
        assert!(!reply.leased);
        reply.seen
    }

    fn meta(fresh_until_ms: u64) -> Meta {
        Meta { negative: false, version: Some(3), stored_at_ms: 5, fresh_until_ms, cost: Duration::ZERO }
    }

    #[test]
    fn fresh_stale_soft_absent_and_invalid_are_told_apart() {
        let none = std::iter::empty;
        assert!(matches!(judge_reply(reply(&meta(u64::MAX), |_| ()), none()), Seen::Fresh(_)));
        assert!(matches!(judge_reply(reply(&meta(u64::MAX), |entry| entry[1] |= 4), none()), Seen::Stale(_)));
        assert!(matches!(judge_reply(reply(&meta(1), |_| ()), none()), Seen::Stale(_)));
        assert!(matches!(judge_reply(reply(&meta(u64::MAX), |entry| entry.truncate(31)), none()), Seen::Absent));
        assert!(matches!(judge(Value::Null, none()).seen, Seen::Absent));
        let Seen::Invalid(token) = judge_reply(reply(&meta(1), |entry| entry[0] = 9), none()) else { panic!() };
        assert_eq!(token.as_ref(), [0xff; 16]);
        let other_epoch = [Some(&[1; 16][..])].into_iter();
        assert!(matches!(judge_reply(reply(&meta(u64::MAX), |_| ()), other_epoch), Seen::Invalid(_)));
    }

    #[test]
    fn a_negative_hit_says_so_and_has_no_value() {
        let negative = Meta { negative: true, ..meta(50) };
        let Seen::Stale(stored) = judge_reply(reply(&negative, |_| ()), std::iter::empty()) else { panic!() };
        let read = stored.read(Outcome::Hit, 30);
        assert_eq!((read.value, read.outcome), (None, Outcome::Negative));
        assert_eq!((read.age, read.fresh_for), (Duration::from_millis(25), Duration::from_millis(20)));
    }
}
