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
    pub(crate) payload: Bytes,
    pub(crate) meta: Meta,
    pub(crate) softened: bool,
    /// The token of the fill or put that stored it.
    pub(crate) token: Bytes,
    /// The epochs that it captured, 16 bytes each, in the order of its key's tags.
    pub(crate) epochs: Bytes,
}

impl Stored {
    /// Whether its freshness lasts, by this process's wall clock.
    pub(crate) fn is_fresh(&self, now_ms: u64) -> bool {
        !self.softened && now_ms < self.meta.fresh_until_ms
    }

    /// What it keeps in memory, where all of its parts are slices of one copy.
    pub(crate) fn held_bytes(&self) -> usize {
        layout::FIXED + self.epochs.len() + self.payload.len()
    }

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

/// READ's reply as it came.
pub(crate) struct Fetched {
    /// The entry's bytes, a slice of the connection's read buffer; none where there is no entry.
    pub(crate) entry: Option<Bytes>,
    /// The current epochs of the key's tags, in their order.
    pub(crate) epochs: Vec<Option<Bytes>>,
}

impl Fetched {
    /// The same with the entry in an allocation of its own: what is kept as a slice of the read buffer keeps all of it.
    pub(crate) fn copied(self) -> Self {
        Self { entry: self.entry.map(|entry| Bytes::copy_from_slice(&entry)), ..self }
    }

    pub(crate) fn judge(self) -> Reply {
        let Some(entry) = self.entry else { return Reply { seen: Seen::Absent, leased: false } };
        Reply { leased: layout::has_lease(&entry), seen: judge_value(entry, self.epochs.iter().map(Option::as_deref)) }
    }
}

/// READ: a plain GET, one round trip, with the tags' epochs beside it.
///
/// It is no script: client tracking remembers a plain read, and its reply is all that a hit needs. Whether a lease that
/// is in it has lapsed is ACQUIRE's to say, by Redis' own clock.
pub(crate) async fn read(client: &Client, key: &Key) -> Result<Reply, RedisError> {
    fetch(client, key).await.map(Fetched::judge)
}

/// The same, without a judgement.
pub(crate) async fn fetch(client: &Client, key: &Key) -> Result<Fetched, RedisError> {
    let entry = client.get::<Value, _>(key.name().clone());
    if key.tags().is_empty() {
        Ok(Fetched { entry: bytes_of(entry.await?), epochs: Vec::new() })
    } else {
        // The epochs may be read in any order with the entry: each is random and never comes back.
        let epochs = try_join_all(key.tags().iter().map(|tag| client.get::<Option<Bytes>, _>(tag.name().clone())));
        let (entry, epochs) = try_join(entry, epochs).await?;
        Ok(Fetched { entry: bytes_of(entry), epochs })
    }
}

fn bytes_of(reply: Value) -> Option<Bytes> {
    match reply {
        Value::Bytes(bytes) => Some(bytes),
        // A reply that happens to be UTF-8: the same bytes, not copied.
        Value::String(text) => Some(text.into_inner()),
        _ => None,
    }
}

fn judge_value<'e>(entry: Bytes, epochs: impl ExactSizeIterator<Item = Option<&'e [u8]>>) -> Seen {
    if !layout::has_value(&entry) {
        return Seen::Absent;
    }
    let token = layout::token(&entry);
    match layout::decode(&entry) {
        Some(decoded) if decoded.has_epochs(epochs) => {
            let Decoded { meta, softened, epochs, payload } = decoded;
            let stored = Stored { payload, meta, softened, token, epochs };
            if stored.is_fresh(now_ms()) { Seen::Fresh(stored) } else { Seen::Stale(stored) }
        }
        _ => Seen::Invalid(token),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::Epoch;

    fn reply(meta: &Meta, flip: impl FnOnce(&mut Vec<u8>)) -> Value {
        let mut bytes = layout::encode(meta, &[0xff; 16], &[], b"payload").to_vec();
        flip(&mut bytes);
        Value::Bytes(bytes.into())
    }

    fn judge_reply(reply: Value, epochs: &[Epoch]) -> Seen {
        let epochs = epochs.iter().map(|epoch| Some(Bytes::copy_from_slice(epoch))).collect();
        let reply = Fetched { entry: bytes_of(reply), epochs }.judge();
        assert!(!reply.leased);
        reply.seen
    }

    fn meta(fresh_until_ms: u64) -> Meta {
        Meta { negative: false, version: Some(3), stored_at_ms: 5, fresh_until_ms, cost: Duration::ZERO }
    }

    #[test]
    fn fresh_stale_soft_absent_and_invalid_are_told_apart() {
        assert!(matches!(judge_reply(reply(&meta(u64::MAX), |_| ()), &[]), Seen::Fresh(_)));
        assert!(matches!(judge_reply(reply(&meta(u64::MAX), |entry| entry[1] |= 4), &[]), Seen::Stale(_)));
        assert!(matches!(judge_reply(reply(&meta(1), |_| ()), &[]), Seen::Stale(_)));
        assert!(matches!(judge_reply(reply(&meta(u64::MAX), |entry| entry.truncate(31)), &[]), Seen::Absent));
        assert!(matches!(judge_reply(Value::Null, &[]), Seen::Absent));
        let Seen::Invalid(token) = judge_reply(reply(&meta(1), |entry| entry[0] = 9), &[]) else { panic!() };
        assert_eq!(token.as_ref(), [0xff; 16]);
        assert!(matches!(judge_reply(reply(&meta(u64::MAX), |_| ()), &[[1; 16]]), Seen::Invalid(_)));
    }

    #[test]
    fn a_copy_holds_nothing_of_the_read_buffer() {
        let entry = layout::encode(&meta(u64::MAX), &[0xff; 16], &[[1; 16]], b"payload");
        let buffer = Bytes::from([&[0; 4_096], &entry[..], &[0; 4_096]].concat());
        let fetched = || Fetched {
            entry: Some(buffer.slice(4_096..4_096 + entry.len())),
            epochs: vec![Some(Bytes::copy_from_slice(&[1; 16]))],
        };
        let Seen::Fresh(held) = fetched().judge().seen else { panic!() };
        assert!(!buffer.is_unique());
        drop(held);
        let Seen::Fresh(held) = fetched().copied().judge().seen else { panic!() };
        assert!(buffer.is_unique());
        assert_eq!((held.payload.as_ref(), held.held_bytes()), (&b"payload"[..], entry.len()));
    }

    #[test]
    fn a_negative_hit_says_so_and_has_no_value() {
        let negative = Meta { negative: true, ..meta(50) };
        let Seen::Stale(stored) = judge_reply(reply(&negative, |_| ()), &[]) else { panic!() };
        let read = stored.read(Outcome::Hit, 30);
        assert_eq!((read.value, read.outcome), (None, Outcome::Negative));
        assert_eq!((read.age, read.fresh_for), (Duration::from_millis(25), Duration::from_millis(20)));
    }
}
