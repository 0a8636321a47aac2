//! A cache in Redis, in front of a database that stays the truth, whose stale fills are refused instead of
//! hoped away.
//!
//! # Guarantees
//!
//! - **Reads after writes.** Once a write has ended as [`WriteOutcome::Applied`], no fill and no put leaves an
//!   older version in the cache, and no read that begins later returns one: under delayed, lost, repeated and
//!   reordered commands, paused and killed processes, leases that lapse, eviction and expiry of any key, FLUSHALL,
//!   a Redis that comes back empty, and a Redis that cannot be reached.
//! - **One load.** Of all the readers of a key, in all processes, one loads; the others wait for its result. What
//!   breaks this (an invalidation in between, a lease that lapses) costs a load, never an old answer.
//! - **An end.** A read ends within the policy's `wait_max`, the gate's wait, two load deadlines and eight command
//!   timeouts.
//! - **Repair.** A write whose process dies after COMMIT, or that ends as [`WriteOutcome::Pending`], is finished by
//!   the outbox's relay as soon as it reaches Redis.
//! - **Trust.** After a connection was lost, nothing is read from Redis until every invalidation that may have been
//!   missed has been repeated there.
//!
//! - **Near hits**, which are off unless asked for, are outside of the first of these, within a bound: what is answered from
//!   this process's own memory is no older than what was applied [`near_grace`](Settings::near_grace) before the read began,
//!   half-open connections, lost pushes and an emptied server included; and never older than an `Applied` write of the same
//!   [`Cache`]. The first guarantee covers them too where writers are [strict](Settings::near_strict), and for a reader who
//!   hands on the version that it has seen ([`ReadOptions::at_least`]).
//!
//! A second run of one command, ACQUIRE, would break the first of these, so the client library's own retries are off.
//!
//! Not guaranteed: anything until a `Pending` write has been finished; reads while two primaries answer at the same
//! time; loads from a lagging database replica; rows changed past this crate by SQL that writes no outbox row.
//!
//! # How
//!
//! A reader that misses takes a **lease** on the key, loads, and fills only if the lease is still there; an
//! invalidation removes value and lease alike. So a value that was loaded before a write can not be stored after
//! it, however late it comes. Redis' single thread decides that; neither a clock nor a version floor does. The
//! idea of leases against stale sets is from Nishtala et al., *Scaling Memcache at Facebook* (NSDI 2013).
//!
//! A near cache keeps replies of plain reads that no push of Redis' client tracking has overtaken, and drops what a push
//! names. Every [`near_ping`](Settings::near_ping) it has Redis prove, over the same connection, that it has heard of every
//! change; without a proof that is younger than `near_grace` it answers nothing.
//!
//! # Use
//!
//! ```no_run
//! use std::{sync::Arc, time::Duration};
//! use fenced_cache::{BoxError, Cache, Effects, Keyspace, Loaded, NoJournal, Policy, Settings};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let keys = Keyspace::new("blog")?;
//! let cache = Cache::start(Settings::new("redis://127.0.0.1:6379", keys.clone()), Arc::new(NoJournal))?;
//! let posts = cache.policy(Policy::named("post", Duration::from_secs(60)))?;
//!
//! let read = cache
//!     .get_or_load(&keys.entry("post", 42_u64), &posts, || async {
//!         Ok::<_, BoxError>(Some(Loaded::new("{\"title\":\"...\"}").version(7)))
//!     })
//!     .await?;
//! println!("{}: {:?}, {:?} old", read.outcome.as_str(), read.value, read.age);
//!
//! let outcome = cache.invalidate(Effects::new().delete(&keys.entry("post", 42_u64))).await;
//! println!("{}", outcome.as_str());
//! # Ok(())
//! # }
//! ```
//!
//! Writes that change rows go through [`Cache::write`], whose transaction also records what it invalidates in an
//! outbox ([`Journal`]).
#![warn(missing_docs)]

mod breaker;
mod bypass;
mod cache;
mod effects;
mod entry;
mod error;
mod flight;
mod journal;
mod key;
mod layout;
mod listen;
pub mod metrics;
mod near;
mod options;
mod outcome;
mod policy;
mod read;
mod registry;
mod script;
mod session;
mod settings;
mod supervisor;
mod typed;
mod waiters;
mod write;

pub use breaker::BreakerState;
pub use cache::{Cache, Health};
pub use effects::{Commit, CommitState, Effects, Epochs, Put};
pub use error::{BoxError, ConfigError, ReadError, RedisError, Unconfirmed, WriteError};
pub use futures_util::future::BoxFuture;
pub use journal::{Identity, Invalidate, Journal, JournalError, NoJournal, Record, RecordId, Settled, TransactionId};
pub use key::{Key, KeyPart, Keyspace, Tag};
pub use options::ReadOptions;
pub use outcome::{Loaded, Outcome, Read, TypedRead, WriteOutcome, Written};
pub use policy::{Policy, PolicyBuilder};
pub use settings::Settings;
