//! What is around an event on the channel.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use outbox::events::{Event, Message};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::event::{MAX_BYTES, Unreadable, malformed};

/// The version of envelopes that this release writes, and the only one that it reads.
const VERSION: u64 = 1;

#[derive(Serialize)]
struct Written<'e> {
    v: u64,
    kind: &'static str,
    number: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    recorded_at_us: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'e RawValue>,
}

#[derive(Deserialize)]
struct Head {
    v: u64,
}

#[derive(Deserialize)]
struct Read<'m> {
    kind: String,
    number: u64,
    #[serde(default)]
    recorded_at_us: u64,
    #[serde(borrow, default, deserialize_with = "present")]
    event: Option<&'m RawValue>,
}

/// Also where it is `null`, which would else be none.
fn present<'m, D: Deserializer<'m>>(deserializer: D) -> Result<Option<&'m RawValue>, D::Error> {
    Deserialize::deserialize(deserializer).map(Some)
}

/// A message as it goes over the channel. `None` for an event whose payload can not be part of one, because it is no JSON: its
/// number is then missing on the channel, and readers find it in the table as it was written.
#[must_use]
pub fn encode(message: &Message) -> Option<Bytes> {
    let written = match message {
        Message::Event(event) => Written {
            v: VERSION,
            kind: "event",
            number: event.number,
            recorded_at_us: Some(micros(event.recorded_at)),
            event: Some(serde_json::from_slice(&event.payload).ok()?),
        },
        Message::Heartbeat { last } => {
            Written { v: VERSION, kind: "heartbeat", number: *last, recorded_at_us: None, event: None }
        }
        // A later release's outbox says something that this release has no words for.
        _ => return None,
    };
    serde_json::to_vec(&written).ok().map(Bytes::from)
}

/// The message in these bytes, which may come from any release, or from anybody. The event's payload is as the writer wrote
/// it, and not looked at.
///
/// # Errors
/// [`Unreadable`] says why it is not understood.
pub fn decode(bytes: &[u8]) -> Result<Message, Unreadable> {
    if bytes.len() > MAX_BYTES {
        return Err(Unreadable::TooLong(bytes.len()));
    }
    let head: Head = serde_json::from_slice(bytes).map_err(malformed)?;
    if head.v != VERSION {
        return Err(Unreadable::Version(head.v));
    }
    let Read { kind, number, recorded_at_us, event } = serde_json::from_slice(bytes).map_err(malformed)?;
    // The outbox counts in the database's signed numbers.
    if i64::try_from(number).is_err() {
        return Err(Unreadable::Malformed(format!("{number} is no number of an event")));
    }
    match (kind.as_str(), event) {
        ("event", Some(event)) if number > 0 => {
            let recorded_at = UNIX_EPOCH + Duration::from_micros(recorded_at_us);
            Ok(Message::Event(Event { number, payload: Bytes::copy_from_slice(event.get().as_bytes()), recorded_at }))
        }
        ("event", _) => Err(Unreadable::Malformed("an event without a number, or a number without an event".into())),
        ("heartbeat", _) => Ok(Message::Heartbeat { last: number }),
        (other, _) => Err(Unreadable::Kind(other.chars().take(64).collect())),
    }
}

fn micros(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
