//! The three scripts of the protocol's section 2 and their replies.

use std::time::Duration;

use fred::bytes_utils::Str;
use fred::clients::Client;
use fred::types::{Key, Value};

use super::table::PROCESS_LENGTH;
use super::timing::Timing;
use crate::error::RedisError;
use crate::name::{Name, Namespace};
use crate::redis::script::{Script, script};

script!(ACQUIRE, "scripts/acquire.lua");
script!(EXTEND, "scripts/extend.lua");
script!(RELEASE, "scripts/release.lua");

pub(crate) static ALL: &[&Script] = &[&ACQUIRE, &EXTEND, &RELEASE];

/// The arguments that every call shares.
#[derive(Debug)]
pub(crate) struct Vocabulary {
    namespace: Namespace,
    first_lease: Value,
    lease: Value,
    keep: Value,
    channels: Value,
}

/// The two keys of one lock: its own, and that of its queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LockKeys([Key; 2]);

/// The hash slot: on a single server and behind Sentinel all locks share one.
const BUCKET: u32 = 0;

/// The place in the queue, as the caller knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ticket {
    /// Nothing was sent yet.
    First,
    /// Something was, and its reply did not come.
    Unknown,
    Known(u64),
}

/// ACQUIRE's reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Acquired {
    Owned {
        fence: u64,
        left: Duration,
    },
    Contended,
    Waiting {
        ticket: u64,
        /// Grants with a fence up to this one are old.
        seen: u64,
        /// Of the owner's lease.
        left: Duration,
    },
}

/// RELEASE's reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Freed {
    NotOwner,
    Done,
    /// The next owner is in this process, and nobody else tells it.
    HandedOver {
        next: Str,
        fence: u64,
    },
}

impl Vocabulary {
    pub(crate) fn new(namespace: &Namespace, timing: &Timing) -> Self {
        let micros = |time: Duration| number(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
        Self {
            namespace: namespace.clone(),
            first_lease: micros(timing.first_lease),
            lease: micros(timing.lease),
            keep: number(u64::try_from(timing.keep.as_millis()).unwrap_or(u64::MAX)),
            channels: text(format!("{}:fl:{{{BUCKET}}}:p:", namespace.as_str())),
        }
    }

    pub(crate) fn channel(&self, process: &str) -> String {
        format!("{}:fl:{{{BUCKET}}}:p:{process}", self.namespace.as_str())
    }

    pub(crate) fn keys(&self, name: &Name) -> LockKeys {
        let key = |kind: char| format!("{}:fl:{{{BUCKET}}}:{kind}:{}", self.namespace.as_str(), name.as_str());
        LockKeys([Key::from(key('l')), Key::from(key('q'))])
    }

    /// The keys of the lock that a push names.
    fn keys_of(lock: &str) -> Option<LockKeys> {
        let at = lock.find("}:l:")?;
        let queue = format!("{}}}:q:{}", &lock[..at], &lock[at + 4..]);
        Some(LockKeys([Key::from(lock), Key::from(queue)]))
    }

    pub(crate) async fn acquire(
        &self,
        client: &Client,
        keys: &LockKeys,
        token: &Str,
        ticket: Ticket,
        wait: bool,
    ) -> Result<Acquired, RedisError> {
        let args = [
            Value::String(token.clone()),
            ticket.value(),
            Value::from_static_str(if wait { "1" } else { "0" }),
            self.first_lease.clone(),
            self.keep.clone(),
            self.channels.clone(),
        ];
        let reply = ACQUIRE.run(client, &keys.0, args).await?;
        match integers(&reply) {
            Some([1, fence, left, _]) => Ok(Acquired::Owned { fence, left: Duration::from_micros(left) }),
            Some([0, 0, 0, 0]) => Ok(Acquired::Contended),
            Some([0, ticket, seen, left]) => Ok(Acquired::Waiting { ticket, seen, left: Duration::from_micros(left) }),
            _ => Err(strange("acquire", &reply)),
        }
    }

    /// The fence, if the lock is this token's; the new lease is `lease`.
    pub(crate) async fn extend(
        &self,
        client: &Client,
        keys: &LockKeys,
        token: &Str,
        floor: u64,
    ) -> Result<Option<u64>, RedisError> {
        let token = Value::String(token.clone());
        let args = [token, number(floor), self.lease.clone(), self.keep.clone()];
        let reply = EXTEND.run(client, &keys.0, args).await?;
        match integers(&reply) {
            Some([1, fence, ..]) => Ok(Some(fence)),
            Some([0, ..]) => Ok(None),
            _ => Err(strange("extend", &reply)),
        }
    }

    pub(crate) async fn release(
        &self,
        client: &Client,
        keys: &LockKeys,
        token: &Str,
        ticket: Ticket,
    ) -> Result<Freed, RedisError> {
        let ticket = if let Ticket::Known(_) = ticket { ticket.value() } else { Ticket::First.value() };
        let token = Value::String(token.clone());
        let args = [token, ticket, self.first_lease.clone(), self.keep.clone(), self.channels.clone()];
        let reply = RELEASE.run(client, &keys.0, args).await?;
        if let Value::Array(values) = &reply {
            match values.as_slice() {
                [Value::Integer(0)] => return Ok(Freed::NotOwner),
                [Value::Integer(1)] => return Ok(Freed::Done),
                [Value::Integer(1), Value::String(next), Value::Integer(fence)] => {
                    if let Ok(fence) = u64::try_from(*fence) {
                        return Ok(Freed::HandedOver { next: next.clone(), fence });
                    }
                }
                _ => {}
            }
        }
        Err(strange("release", &reply))
    }
}

impl Ticket {
    /// As the scripts know it.
    pub(crate) fn number(self) -> u64 {
        match self {
            Self::First => 0,
            Self::Unknown => 1,
            Self::Known(ticket) => ticket,
        }
    }

    pub(crate) fn from_number(number: u64) -> Self {
        match number {
            0 => Self::First,
            1 => Self::Unknown,
            ticket => Self::Known(ticket),
        }
    }

    fn value(self) -> Value {
        match self {
            Self::First => Value::from_static_str("0"),
            Self::Unknown => Value::from_static_str("1"),
            Self::Known(ticket) => text(format!("{ticket:016}")),
        }
    }
}

/// A push: `<token> <fence> <lock key>`.
#[derive(Debug)]
pub(crate) struct Push<'a> {
    pub(crate) token: &'a str,
    pub(crate) fence: u64,
    pub(crate) lock: &'a str,
}

impl<'a> Push<'a> {
    pub(crate) fn parse(payload: &'a [u8]) -> Option<Self> {
        let mut parts = std::str::from_utf8(payload).ok()?.splitn(3, ' ');
        let (token, fence, lock) = (parts.next()?, parts.next()?.parse().ok()?, parts.next()?);
        (token.len() > PROCESS_LENGTH).then_some(Self { token, fence, lock })
    }

    pub(crate) fn keys(&self) -> Option<LockKeys> {
        Vocabulary::keys_of(self.lock)
    }
}

fn text(text: impl Into<String>) -> Value {
    Value::String(text.into().into())
}

fn number(number: u64) -> Value {
    text(number.to_string())
}

/// Up to four, with zeros for those that are not there.
fn integers(reply: &Value) -> Option<[u64; 4]> {
    let Value::Array(values) = reply else { return None };
    let mut integers = [0; 4];
    for (at, value) in values.iter().enumerate() {
        *integers.get_mut(at)? = value.as_u64()?;
    }
    (!values.is_empty()).then_some(integers)
}

/// A reply that no script of this crate makes, so somebody else's under the same digest: not to be acted on.
fn strange(script: &str, reply: &Value) -> RedisError {
    RedisError::Refused(format!("{script} answered {reply:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_push_names_the_keys_of_its_lock() {
        let words = Vocabulary::new(&Namespace::new("ns").unwrap(), &Timing::default());
        let name = Name::new("event", "a b}:l:c").unwrap();
        let keys = words.keys(&name);
        let payload = format!("{}:7 1790000000000000 {}", "p".repeat(16), keys.0[0].as_str_lossy());
        let push = Push::parse(payload.as_bytes()).unwrap();
        assert_eq!((push.token, push.fence), ("pppppppppppppppp:7", 1_790_000_000_000_000));
        assert_eq!(push.keys().unwrap(), keys);
        assert!(Push::parse(b"nonsense").is_none());
    }
}
