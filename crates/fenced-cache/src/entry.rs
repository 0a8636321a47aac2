//! READ: the one command of a hit, and what its reply says.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use fred::clients::Client;
use fred::interfaces::{HashesInterface, KeysInterface};
use fred::types::{Key as RedisKey, Value};
use futures_util::future::{try_join, try_join_all};

use crate::error::RedisError;
use crate::header::Header;
use crate::key::Key;
use crate::outcome::{Outcome, Read};

/// A valid value as it stands in Redis.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    payload: Bytes,
    negative: bool,
    version: Option<u64>,
    stored_at_ms: u64,
    pub(crate) fresh_until_ms: u64,
    pub(crate) cost: Duration,
    pub(crate) softened: bool,
    /// The token of the fill or put that stored it.
    pub(crate) token: Bytes,
}

impl Stored {
    /// The answer to a reader; `outcome` as it would be for a positive value.
    pub(crate) fn read(&self, outcome: Outcome, now_ms: u64) -> Read {
        let outcome = if self.negative && outcome == Outcome::Hit { Outcome::Negative } else { outcome };
        Read {
            value: (!self.negative).then(|| self.payload.clone()),
            outcome,
            age: Duration::from_millis(now_ms.saturating_sub(self.stored_at_ms)),
            fresh_for: if self.softened {
                Duration::ZERO
            } else {
                Duration::from_millis(self.fresh_until_ms.saturating_sub(now_ms))
            },
            version: self.version,
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

/// The wall clock in milliseconds. Its skew shifts freshness between processes and touches no guarantee.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// READ: `HMGET key h d n s` in one round trip, with the tags' epochs beside it.
///
/// It is a plain command and no script: client tracking remembers it, and the reply is all that a hit needs.
/// The lease is not asked for: whether there is one is ACQUIRE's to say.
pub(crate) async fn read(client: &Client, key: &Key) -> Result<Seen, RedisError> {
    let fields = vec![
        RedisKey::from_static(b"h"),
        RedisKey::from_static(b"d"),
        RedisKey::from_static(b"n"),
        RedisKey::from_static(b"s"),
    ];
    let entry = client.hmget::<Value, _, _>(key.name().clone(), fields);
    if key.tags().is_empty() {
        Ok(judge(entry.await?, std::iter::empty()))
    } else {
        // The epochs may be read in any order with the entry: each is random and never comes back.
        let epochs = try_join_all(key.tags().iter().map(|tag| client.get::<Option<Bytes>, _>(tag.name().clone())));
        let (entry, epochs) = try_join(entry, epochs).await?;
        Ok(judge(entry, epochs.iter().map(Option::as_deref)))
    }
}

fn judge<'e>(reply: Value, epochs: impl ExactSizeIterator<Item = Option<&'e [u8]>>) -> Seen {
    let Value::Array(fields) = reply else { return Seen::Absent };
    let mut fields = fields.into_iter().map(bytes_of);
    let mut field = || fields.next().flatten();
    let (header, payload, token, softened) = (field(), field(), field(), field());
    let Some(header) = header else { return Seen::Absent };
    let token = token.unwrap_or_default();
    let (Some(head), Some(payload)) = (Header::decode(&header), payload) else { return Seen::Invalid(token) };
    if !head.has_epochs(epochs) {
        return Seen::Invalid(token);
    }
    let stored = Stored {
        payload,
        negative: head.negative,
        version: head.version,
        stored_at_ms: head.stored_at_ms,
        fresh_until_ms: head.fresh_until_ms,
        cost: head.cost,
        softened: softened.is_some(),
        token,
    };
    if !stored.softened && now_ms() < stored.fresh_until_ms { Seen::Fresh(stored) } else { Seen::Stale(stored) }
}

fn bytes_of(value: Value) -> Option<Bytes> {
    match value {
        Value::Bytes(bytes) => Some(bytes),
        // A reply that happens to be UTF-8: the same bytes, not copied.
        Value::String(text) => Some(text.into_inner()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::encode;

    fn reply(header: Option<Vec<u8>>, softened: bool) -> Value {
        let bytes = |b: Vec<u8>| Value::Bytes(b.into());
        Value::Array(vec![
            header.map_or(Value::Null, bytes),
            Value::String("payload".into()),
            bytes(vec![0xff; 16]),
            if softened { Value::String("1".into()) } else { Value::Null },
        ])
    }

    fn header(fresh_until_ms: u64) -> Vec<u8> {
        encode(false, Some(3), 1, fresh_until_ms, Duration::ZERO, &[])
    }

    #[test]
    fn fresh_stale_soft_absent_and_invalid_are_told_apart() {
        let none = || std::iter::empty();
        assert!(matches!(judge(reply(Some(header(u64::MAX)), false), none()), Seen::Fresh(_)));
        assert!(matches!(judge(reply(Some(header(u64::MAX)), true), none()), Seen::Stale(_)));
        assert!(matches!(judge(reply(Some(header(1)), false), none()), Seen::Stale(_)));
        assert!(matches!(judge(reply(None, false), none()), Seen::Absent));
        assert!(matches!(judge(Value::Null, none()), Seen::Absent));
        let Seen::Invalid(token) = judge(reply(Some(vec![9; 40]), false), none()) else { panic!() };
        assert_eq!(token.as_ref(), [0xff; 16]);
        assert!(matches!(
            judge(reply(Some(header(u64::MAX)), false), [Some(&[1; 16][..])].into_iter()),
            Seen::Invalid(_)
        ));
    }

    #[test]
    fn a_negative_hit_says_so_and_has_no_value() {
        let head = encode(true, None, 5, 50, Duration::ZERO, &[]);
        let Seen::Stale(stored) = judge(reply(Some(head), false), std::iter::empty()) else { panic!() };
        let read = stored.read(Outcome::Hit, 30);
        assert_eq!((read.value, read.outcome), (None, Outcome::Negative));
        assert_eq!((read.age, read.fresh_for), (Duration::from_millis(25), Duration::from_millis(20)));
    }
}
