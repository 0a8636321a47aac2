//! Locks for critical sections in many processes, behind one interface, of which two kinds are safe: those whose
//! writes the database checks, and those that are the database's own.
//!
//! # Guarantees
//!
//! For `redis-fenced` with [`Sections`] (feature `postgres`):
//!
//! - **Serial.** Sections of one row are serial: no lost update, no oversell. Two SQL statements see to that, whatever
//!   Redis does: under pauses, failovers, split brain, eviction, wrong clocks and equal fences. The entry raises the
//!   row's fence strictly before the first read; the write locks the row if it still carries that fence.
//! - **Exclusive.** Whoever is not [`lost`](Guard::lost) owns the lock at Redis: under pauses, late or lost messages and
//!   lost connections; not under a failover, a step of Redis' clock, or a suspended virtual machine.
//! - **Order.** First come, first served, among waiters that run and are connected; a lost connection keeps its place.
//!   Of all waiters one release wakes one, and passes the lock on to it: while its process lives, the lock is not idle.
//! - **An end.** A lost wake-up costs at most a poll (1 s). A holder that has died or stopped costs the rest of its lease
//!   (10 s); a waiter's process that has, one first lease (3 s), or nothing if its connection is closed.
//! - **No orphans.** The future of an acquisition may be dropped at any await: lock and place are back within a round
//!   trip; after a broken connection within a first lease.
//! - **Closed on failure.** A Redis that is away grants nothing.
//!
//! Not guaranteed: that two holders never *believe* at once, after a failover or a step of the clock (PostgreSQL is
//! protected then, a payment is not); order across a failover that has lost the queue; anything about a row that
//! somebody writes without the lock.
//!
//! What the other backends keep and do not keep is measured: see [`conformance`].
//!
//! # How
//!
//! **Redis decides who tries; PostgreSQL decides who may write.** A waiter stands in a list; the script of the release
//! itself makes the first one that lives the owner, gives it a fence and tells its process. Each acquisition is a task
//! of this library, which is also its watchdog: what was sent to the store belongs to the task, and not to a future that
//! may be dropped. A lease is counted by the local clock from when its request was *sent*. Fences against paused holders
//! are from Kleppmann, *How to do distributed locking* (2016); that the fence must be raised before the *read* is the
//! part which a check at the last write misses.
//!
//! # Use
//!
//! ```no_run
//! # #[cfg(feature = "postgres")]
//! # async fn example(pool: sqlx::PgPool) -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use fenced_lock::{FencedSettings, Lock, Namespace, Options, RedisFenced, Rows, Sections};
//!
//! let redis = RedisFenced::start(FencedSettings::new("redis://127.0.0.1:6379", Namespace::new("booking")?))?;
//! let events = Sections::new(Lock::new(redis), pool, Rows::new("event", "booking.events", "id")?);
//!
//! let mut section = events.enter(42, Options::within(Duration::from_secs(5))?).await?;
//! let lost = section.lost();
//! let booking = async {
//!     let free: i64 = sqlx::query_scalar("select capacity - booked from booking.events where id = 42")
//!         .fetch_one(&mut *section.reader().await?)
//!         .await?;
//!     if free > 0 {
//!         let mut write = section.write().await?;
//!         sqlx::query("update booking.events set booked = booked + 1 where id = 42").execute(&mut *write).await?;
//!         write.commit().await?;
//!     }
//!     Ok::<_, Box<dyn std::error::Error>>(free > 0)
//! };
//! let booked = lost.run(booking).await??;
//! # Ok(())
//! # }
//! ```
//!
//! Without PostgreSQL there is the bare [`Guard`] of [`Lock::acquire`]: hand its [`fence`](Guard::fence) to whatever
//! store can refuse a lower one.
#![warn(missing_docs)]
#![cfg_attr(not(feature = "postgres"), allow(rustdoc::broken_intra_doc_links))]

mod attend;
mod backend;
mod error;
mod guard;
#[cfg(feature = "k8s")]
mod k8s;
mod lock;
pub mod metrics;
mod name;
mod none;
mod options;
#[cfg(feature = "postgres")]
mod postgres;
mod random;
mod redis;
mod slot;
mod tenure;

#[doc = include_str!("../CONFORMANCE.md")]
pub mod conformance {}

pub use backend::{Acquiring, Backend, Kind, Request};
pub use error::{ConfigError, LockError, RedisError};
pub use guard::Guard;
#[cfg(feature = "k8s")]
pub use k8s::{ClusterError, K8sLease, K8sLeaseSettings};
pub use lock::Lock;
pub use name::{Key, Name, Namespace};
pub use none::NoLock;
pub use options::Options;
#[cfg(feature = "postgres")]
pub use postgres::{
    CommitError, Doubt, Enter, PgLock, PgLockSettings, Reader, Rows, Section, SectionError, Sections, Unsettled, Write,
};
pub use redis::{FencedSettings, PlainSettings, RedisFenced, RedisPlain, Redlock, RedlockSettings, Timing};
pub use tenure::Lost;
