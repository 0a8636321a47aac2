//! Private PostgreSQL and Redis processes, and a TCP proxy with faults by script: for tests, and for a local mode that
//! needs nothing but the two programs.
//!
//! - [`database`] and [`redis`] give one test its own stores: a database copied from a migrated template, on one
//!   PostgreSQL server per test process that starts with the first call (about a second, then some 30 ms per database);
//!   a Redis process (some 25 ms).
//! - [`PostgresServer`] and [`RedisServer`] are servers that a test kills, pauses and restarts, or that a program keeps
//!   with their data.
//! - [`FaultProxy`] stands between a client and a server and delays, holds, loses and cuts, between two messages of its
//!   choice.
//!
//! ```no_run
//! use testbed::{Cut, Direction, FaultProxy};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let redis = testbed::redis().await;
//! let proxy = FaultProxy::start(redis.url()).await?;
//! // A client of proxy.url() sends its SET, the server runs it, and the client never hears of it.
//! let cut = proxy.cut_when(Direction::ClientToServer, "SET", Cut::After);
//! # Ok(())
//! # }
//! ```
//!
//! # Guarantees
//! - **Nothing is left behind**, however this process ends: return, panic, Ctrl-C, SIGKILL. Each server is the child of a
//!   small shell, its guardian, in a process group of its own, which reads from a pipe that only we hold. At the end of
//!   that pipe it stops the server (at once if the server is throw-away, in order if its folder is kept) and removes the
//!   server's folder if that was temporary. This happens within moments *after* our end; `stop().await` waits for it.
//!   What it cannot survive is a SIGKILL of the guardian itself.
//! - **A port stays a server's own** through kill and restart: it is chosen below the ports that the system hands out to
//!   outgoing connections. A start that loses the race for its port takes another one; a start again waits ten seconds.
//! - **One server per folder.** A kept folder is locked by us and by the guardian, so the lock ends with the server and
//!   not before. A start on a folder whose last server is still shutting down waits; on one in use it is
//!   [`TestbedError::InUse`]. A stale `postmaster.pid` is dealt with.
//! - **Ready means ready**: a start returns when this very process has answered a query. What does not come up is an
//!   error with the end of its log.
//! - Servers listen on 127.0.0.1 only, PostgreSQL without a Unix socket. There is no password: whoever can log in to this
//!   machine can use them.
//!
//! # What it needs
//! PostgreSQL 15 and Redis 7, or newer. They are looked for on `PATH`, below `/usr/lib/postgresql` and `/usr/pgsql-*`, and
//! in Homebrew's folders; `POSTGRES_BIN` (a bin folder) and `REDIS_SERVER` (a program) override that. Temporary folders
//! are made in `TMPDIR`, `/tmp` or `/var/tmp`.
//!
//! PostgreSQL refuses to run as root. When we are root it runs as the user `postgres`, else `nobody`, who must be able to
//! reach its folder ([`reachable`] tells); Redis runs as we do.
#![warn(missing_docs)]

mod account;
#[cfg(feature = "api")]
pub mod api;
mod binaries;
mod database;
mod error;
mod folder;
mod guardian;
mod port;
mod postgres;
mod process;
mod proxy;
mod redis;

pub use account::reachable;
pub use database::{Database, database, redis, try_database};
pub use error::TestbedError;
pub use guardian::Exit;
pub use postgres::{PostgresBuilder, PostgresServer};
pub use proxy::{Armed, Cut, Direction, FaultProxy, Held};
pub use redis::{RedisBuilder, RedisServer};
