//! A transactional outbox in PostgreSQL: what a change means for a cache is written down in the transaction of the
//! change, and reaches the cache even if the process that made the change does not live to see to it.
//!
//! # Guarantees
//!
//! - **Together or not at all.** A row of the outbox is there if and only if its change is committed.
//! - **At least once.** Every committed row is applied ([`Invalidate`]) once PostgreSQL and Redis can be reached by any
//!   process that runs [`Outbox::start`], however writers, relays and servers die. It may be applied more than once; a
//!   deletion may.
//! - **None skipped.** Rows are found by what they lack, not by "after the last id": ids are drawn before COMMIT, so a
//!   lower id may become visible after a higher one.
//! - **Doubt is told.** A COMMIT whose answer was lost is neither a success nor a failure; [`Transaction::commit`] says
//!   so, and the [`Journal`] finds out. It says `Committed` only of rows that every later snapshot sees, and in the
//!   process that committed it is right even if the server crashed and gave the transaction's id to another.
//! - **Replay.** A row is kept for [`keep`](RelaySettings::keep) after it was applied, and for ever until then.
//! - **An end.** Each statement of this crate ends within the outbox's deadline (5 s unless told), and so does the wait for
//!   a connection: a PostgreSQL that is stopped or cut off hangs nobody, and costs the pool no place. Your own statements
//!   on [`Transaction::connection`] need a limit of yours.
//!
//! Not guaranteed: any order among rows (among events there is one); rows for changes that are made past the outbox; commits that PostgreSQL itself
//! loses (`synchronous_commit = off`, a failover to a standby that lags).
//!
//! # How
//!
//! The writer applies its own row right after COMMIT and [marks] it; marks are collected and written
//! many at a time. The **relay** takes what is still unmarked after [`relay_after`](RelaySettings::relay_after): the
//! rows of writers that died or could not reach Redis. Every replica runs one, and an advisory lock of the schema, held
//! for one batch at a time, lets one of them work. Nothing is lost with a mark, a relay or a lock: a row without a
//! mark is applied again.
//!
//! Three tables in the service's schema: `outbox` (`id`, `keys`, `tags`, `created_at`, `applied_at`), `cache_identity`
//! (to which Redis the last replay went) and `outbox_version`; [`Outbox::migrate`] makes them. PostgreSQL 13 or newer.
//!
//! A row may also be written by a statement of one's own, which saves a round trip where the change is one statement anyway: `keys` and
//! `tags` are full names in Redis, the rest has defaults. A service none of whose replicas has a cache at present runs
//! [`Outbox::start_without_cache`] instead of a relay, so that rows which nobody reads go away.
//!
//! Beside invalidations an outbox can hold [`events`]: payloads that are numbered without gaps and published to whoever
//! listens. They have tables of their own ([`Outbox::migrate_events`]) and a relay of their own ([`Outbox::start_events`]).
//!
//! # Use
//!
//! ```no_run
//! use std::sync::Arc;
//! use fenced_cache::{Cache, Effects, Keyspace, Settings};
//! use outbox::{Outbox, RelaySettings};
//! use sqlx::{Connection, PgConnection, PgPool};
//! use tokio_util::sync::CancellationToken;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let url = "postgres://localhost/shop";
//! let outbox = Outbox::new(PgPool::connect_lazy(url)?, "blog")?;
//! outbox.migrate(&mut PgConnection::connect(url).await?).await?;
//!
//! let keys = Keyspace::new("blog")?;
//! let cache = Cache::start(Settings::new("redis://127.0.0.1:6379", keys.clone()), Arc::new(outbox.clone()))?;
//! let shutdown = CancellationToken::new();
//! let background = outbox.start(RelaySettings::default(), Arc::new(cache.clone()), shutdown.clone())?;
//!
//! let written = cache
//!     .write(async move {
//!         let mut transaction = outbox.begin().await?;
//!         let changed = sqlx::query("update blog.posts set title = $1 where id = $2")
//!             .bind("A better title")
//!             .bind(42_i64)
//!             .execute(transaction.connection())
//!             .await?;
//!         transaction.commit(changed.rows_affected(), Effects::new().delete(&keys.entry("post", 42_u64))).await
//!     })
//!     .await?;
//! println!("{} rows, {}", written.value, written.outcome.as_str());
//!
//! shutdown.cancel();
//! background.stopped().await;
//! # Ok(())
//! # }
//! ```
//!
//! [`Invalidate`]: fenced_cache::Invalidate
//! [`Journal`]: fenced_cache::Journal
//! [marks]: fenced_cache::Journal::applied
#![warn(missing_docs)]

mod background;
mod condition;
mod doubt;
pub mod events;
mod journal;
mod marker;
pub mod metrics;
mod migration;
mod outbox;
mod progress;
mod prune;
mod relay;
mod schema;
mod session;
mod settings;
mod transaction;

pub use background::Background;
pub use outbox::{Outbox, Recorded};
pub use settings::RelaySettings;
pub use transaction::Transaction;
