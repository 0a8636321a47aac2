//! The pool of an event's free seats: Redis' side of a reservation, which decides nothing.
//!
//! Three keys per event, all in one slot:
//!
//! | key | type | content |
//! | --- | --- | --- |
//! | `booking:r:{EVENT}:free` | bitmap | bit N: seat N is free; no seat can be in it twice; 100,000 are 12.5 kB |
//! | `booking:r:{EVENT}:held` | hash | reservation's token: since when (milliseconds of Redis' clock), and its seats |
//! | `booking:r:{EVENT}:generation` | string | drawn anew by each rebuild |

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fred::clients::Client;
use fred::error::{Error, ErrorKind};
use fred::interfaces::{ClientLike, HashesInterface, KeysInterface};
use fred::types::config::{Config, ReconnectPolicy, UnresponsiveConfig};
use fred::types::scripts::Script;
use fred::types::{Builder, ConnectHandle, Value};
use futures_util::future::{BoxFuture, FutureExt};
use tokio::time::timeout;

use crate::domain::{Event, EventId};
use crate::strategies::Refusal;

/// Longest wait for one command; after it, what became of the command is not known.
const COMMAND: Duration = Duration::from_millis(500);
/// How often a reservation is asked for again whose connection was lost.
const AGAIN: u32 = 2;
/// A pool is made anew once a day: nobody has to remember to remove those of past events, and no small mistake lives on.
const LIFE_SECONDS: i64 = 24 * 3600;

/// The pools of all events. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Pool {
    connection: Arc<Connection>,
}

#[derive(Debug)]
struct Connection {
    client: Client,
    task: ConnectHandle,
    scripts: Scripts,
    /// With the counter: unlike any other process' tokens.
    origin: u64,
    tokens: AtomicU64,
}

impl Drop for Connection {
    fn drop(&mut self) {
        // A client that is merely dropped leaves its task and its connection behind.
        self.task.abort();
    }
}

#[derive(Debug)]
struct Scripts {
    reserve: Script,
    release: Script,
    restore: Script,
    look: Script,
    rebuild: Script,
    drop: Script,
}

/// What Redis says to an order.
#[derive(Debug)]
pub(super) enum Reserved {
    /// These seats are nobody else's for now, as far as Redis knows.
    Seats(Reservation),
    /// There are not so many in the pool.
    Short,
    /// There is no pool: Redis is new, or was restarted, or has evicted it.
    Missing,
}

/// Seats that were handed out.
#[derive(Debug)]
pub(super) struct Reservation {
    pub(super) token: String,
    /// The pool's that they come from.
    pub(super) generation: String,
    pub(super) seats: Vec<i32>,
}

/// A pool as it is at a moment.
#[derive(Debug)]
pub(super) struct Look {
    /// `None`: there is no pool.
    pub(super) generation: Option<String>,
    pub(super) free: i64,
    /// Seats that are reserved.
    pub(super) held: i64,
    /// Reservations that are older than they should get.
    pub(super) expired: Vec<Expired>,
}

#[derive(Debug)]
pub(super) struct Expired {
    pub(super) token: String,
    pub(super) seats: Vec<i32>,
}

impl Pool {
    /// Connects in the background, and again whenever the connection is lost.
    pub(super) fn connect(url: &str) -> Result<Self, Error> {
        let mut builder = Builder::from_config(Config { fail_fast: false, ..Config::from_url(url)? });
        builder.set_policy(ReconnectPolicy::new_exponential(0, 20, 500, 2));
        builder.with_performance_config(|performance| performance.default_command_timeout = COMMAND);
        builder.with_connection_config(|connection| {
            connection.connection_timeout = COMMAND;
            connection.internal_command_timeout = COMMAND;
            // Never replay: what may be sent again is said here.
            connection.max_command_attempts = 1;
            connection.unresponsive =
                UnresponsiveConfig { max_timeout: Some(4 * COMMAND), interval: Duration::from_millis(250) };
            connection.tcp.nodelay = Some(true);
            connection.tcp.user_timeout = Some(4 * COMMAND);
        });
        let client = builder.build()?;
        let task = client.connect();
        let scripts = Scripts {
            reserve: Script::from_lua(include_str!("scripts/reserve.lua")),
            release: Script::from_lua(include_str!("scripts/release.lua")),
            restore: Script::from_lua(include_str!("scripts/restore.lua")),
            look: Script::from_lua(include_str!("scripts/look.lua")),
            rebuild: Script::from_lua(include_str!("scripts/rebuild.lua")),
            drop: Script::from_lua(include_str!("scripts/drop.lua")),
        };
        let (origin, tokens) = (fastrand::u64(..), AtomicU64::new(0));
        Ok(Self { connection: Arc::new(Connection { client, task, scripts, origin, tokens }) })
    }

    /// Ends the connection.
    pub(super) async fn close(&self) {
        // It can hang on a server that is stopped.
        if timeout(COMMAND, self.connection.client.quit()).await.is_err() {
            tracing::debug!("the reservations' redis did not answer at the end");
        }
    }

    fn token(&self) -> String {
        format!("{:016x}:{:x}", self.connection.origin, self.connection.tokens.fetch_add(1, Ordering::Relaxed))
    }

    /// In a box: a command of fred is a future of several kilobytes, which would otherwise be part of every future around it.
    fn run<'a>(&'a self, script: &'a Script, event: EventId, args: Vec<Value>) -> BoxFuture<'a, Result<Value, Error>> {
        let keys = vec![key(event, "free"), key(event, "held"), key(event, "generation")];
        script.evalsha_with_reload(&self.connection.client, keys, args).boxed()
    }

    /// Reserves `seats` seats. A connection that is lost may have made a reservation all the same, so it is asked for again
    /// under the same token. A server that does not answer is not asked again: whatever comes of it is given back.
    pub(super) async fn reserve(&self, event: EventId, seats: i32) -> Result<Reserved, Refusal> {
        let token = self.token();
        let mut left = AGAIN;
        let reply = loop {
            let args = vec![token.as_str().into(), seats.into()];
            match self.run(&self.connection.scripts.reserve, event, args).await {
                Ok(reply) => break reply,
                Err(error) if left == 0 || *error.kind() == ErrorKind::Timeout => {
                    let this = self.clone();
                    // Behind the others on the connection: if those are only late, nothing is left of them. Else it leaks.
                    tokio::spawn(async move { this.release(event, &token, &[]).await });
                    return Err(unavailable(&error));
                }
                Err(error) => tracing::debug!(%error, %event, "a reservation was not answered: asking again"),
            }
            left -= 1;
        };
        match reply {
            Value::Integer(0) => Ok(Reserved::Short),
            Value::Integer(-1) => Ok(Reserved::Missing),
            Value::Array(parts) => {
                let mut parts = parts.into_iter();
                let generation = parts.next().and_then(Value::into_string).ok_or_else(strange)?;
                let seats = parts.map(Value::convert).collect::<Result<_, _>>().map_err(|error| unavailable(&error))?;
                Ok(Reserved::Seats(Reservation { token, generation, seats }))
            }
            _ => Err(strange()),
        }
    }

    /// Ends a reservation and frees its seats, but for those `kept`. False if there is no such reservation (any more). What does
    /// not get through is found later.
    pub(super) async fn release(&self, event: EventId, token: &str, kept: &[i32]) -> Result<bool, Refusal> {
        let args = std::iter::once(token.into()).chain(kept.iter().map(|seat| (*seat).into())).collect();
        self.yes(&self.connection.scripts.release, event, args).await
    }

    /// Ends a reservation whose seats are claimed.
    pub(super) async fn confirm(&self, event: EventId, token: String) {
        if let Err(error) = self.connection.client.hdel::<(), _, _>(key(event, "held"), token).await {
            tracing::debug!(%error, %event, "a reservation was claimed, and redis was not told");
        }
    }

    /// Frees seats whose claims are deleted.
    pub(super) async fn restore(&self, event: EventId, seats: &[i32]) -> Result<bool, Refusal> {
        let args = seats.iter().map(|seat| (*seat).into()).collect();
        self.yes(&self.connection.scripts.restore, event, args).await
    }

    /// Looks at the pool, and for reservations that are older than this.
    pub(super) async fn look(&self, event: EventId, timeout: Duration) -> Result<Look, Refusal> {
        let milliseconds = i64::try_from(timeout.as_millis()).unwrap_or(i64::MAX);
        let reply = self.run(&self.connection.scripts.look, event, vec![milliseconds.into()]).await;
        let mut parts = reply.map_err(|error| unavailable(&error))?.into_array().into_iter();
        let generation = parts.next().and_then(Value::into_string).ok_or_else(strange)?;
        let mut count = || parts.next().and_then(|count| count.as_i64()).ok_or_else(strange);
        let (free, held) = (count()?, count()?);
        let mut expired = Vec::new();
        while let (Some(token), Some(entry)) = (parts.next(), parts.next()) {
            let token = token.into_string().ok_or_else(strange)?;
            let entry = entry.into_string().ok_or_else(strange)?;
            let seats = entry.split(' ').skip(1).filter_map(|seat| seat.parse().ok()).collect();
            expired.push(Expired { token, seats });
        }
        Ok(Look { generation: Some(generation).filter(|generation| !generation.is_empty()), free, held, expired })
    }

    /// Whether there is a pool.
    pub(super) async fn exists(&self, event: EventId) -> Result<bool, Refusal> {
        let there = self.connection.client.exists(vec![key(event, "free"), key(event, "generation")]).boxed();
        there.await.map(|there: i64| there == 2).map_err(|error| unavailable(&error))
    }

    /// Makes the pool if there is none, of all seats but the claimed ones and those that are reserved. False if there is one.
    pub(super) async fn rebuild(&self, event: &Event, claimed: &[i32]) -> Result<bool, Refusal> {
        let bitmap = bitmap(event.capacity.get(), claimed);
        let args = vec![Value::Bytes(bitmap.into()), self.token().into(), LIFE_SECONDS.into()];
        self.yes(&self.connection.scripts.rebuild, event.id, args).await
    }

    /// Takes the pool away, if it is still the one of this generation.
    pub(super) async fn drop(&self, event: EventId, generation: &str) -> Result<bool, Refusal> {
        self.yes(&self.connection.scripts.drop, event, vec![generation.into()]).await
    }

    async fn yes(&self, script: &Script, event: EventId, args: Vec<Value>) -> Result<bool, Refusal> {
        let reply = self.run(script, event, args).await.map_err(|error| unavailable(&error))?;
        Ok(reply.as_i64() == Some(1))
    }

    /// The events that have reservations, as far as this page of the keys shows: them, and where the next page begins.
    ///
    /// On one server. On a cluster this would have to ask each of its nodes.
    pub(super) async fn held(&self, cursor: String) -> Result<(Vec<EventId>, Option<String>), Refusal> {
        let page = self.connection.client.scan_page(cursor, "booking:r:{*}:held", Some(1_000), None).boxed();
        let (next, keys): (String, Vec<String>) = page.await.map_err(|error| unavailable(&error))?;
        let event = |key: &String| key.strip_prefix("booking:r:{")?.strip_suffix("}:held")?.parse().ok();
        Ok((keys.iter().filter_map(event).collect(), Some(next).filter(|next| next != "0")))
    }
}

fn key(event: EventId, part: &str) -> String {
    format!("{}:r:{{{event}}}:{part}", crate::NAMESPACE)
}

/// As Redis counts bits: seat 0, which there is not, is the highest bit of the first byte.
fn bitmap(capacity: i32, claimed: &[i32]) -> Vec<u8> {
    let capacity = usize::try_from(capacity).unwrap_or(0);
    let mut bits = vec![0_u8; capacity / 8 + 1];
    for seat in 1..=capacity {
        bits[seat / 8] |= 0x80 >> (seat % 8);
    }
    for seat in claimed.iter().filter_map(|seat| usize::try_from(*seat).ok()) {
        if let Some(byte) = bits.get_mut(seat / 8) {
            *byte &= !(0x80 >> (seat % 8));
        }
    }
    bits
}

fn unavailable(error: &Error) -> Refusal {
    Refusal::Unavailable { store: "the reservations' Redis", cause: error.to_string() }
}

fn strange() -> Refusal {
    Refusal::Unavailable { store: "the reservations' Redis", cause: "a reply that is none of the script's".into() }
}

#[cfg(test)]
mod tests {
    use super::bitmap;

    #[test]
    fn bits_are_seats() {
        for (capacity, claimed, expected) in [
            (1, &[][..], &[0b0100_0000][..]),
            (7, &[], &[0b0111_1111]),
            (8, &[], &[0b0111_1111, 0b1000_0000]),
            (9, &[1, 8], &[0b0011_1111, 0b0100_0000]),
            (3, &[3, 1, 2], &[0]),
            // A claim that the schema would not allow makes no panic.
            (3, &[0, -1, 100], &[0b0111_0000]),
        ] {
            assert_eq!(bitmap(capacity, claimed), expected, "{capacity} {claimed:?}");
        }
    }
}
