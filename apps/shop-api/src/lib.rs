//! A product catalog over PostgreSQL, read through a cache in Redis under seven strategies of invalidation.
//!
//! The strategy is a part of the path (`/s/{strategy}/products/42`), so that one workload can compare them on the same rows. Each
//! keeps its entries under a prefix of its own, and a write tells only the cache of the strategy under which it was sent:
//! **what is read under one strategy and written under another is as old as its TTL allows.** In production there is one; here an
//! experiment writes and reads under the same.
//!
//! # What it guarantees
//! - **Each strategy says what it promises**, in its file and at `GET /strategies`. Under `explicit`, `write-through`, `tags` and
//!   `combined`, after a write that was answered with `X-Cache-Write: applied`, no read that begins later, on any replica, shows
//!   what was before it; see crate `fenced-cache` for under which failures. The near cache, which `combined` has if it is told so,
//!   turns this into a bound.
//! - **Own writes are read** under every strategy by whoever hands on the `X-Seen-Version` that the write was answered with.
//! - **A client that hangs up does not cut a write in half.** What was begun is committed and invalidated, or neither.
//! - **A wrong request is a 4xx** with a problem document that names what is wrong; nothing that a client sends
//!   reaches SQL, or a key of the cache, before it was parsed into a type of [`domain`].
//! - **Redis away** slows reads down and makes writes end as `pending`. **PostgreSQL away** is a 503 with `Retry-After`, except for
//!   what the cache still has.
//!
//! # Where things are
//! [`strategies`] has one trait and one file per strategy; [`catalog`] reads and writes by them; [`entry`] what is cached under
//! which key and tags; [`homes`] which category a product is in; [`store`] all SQL; [`routes`] a file per resource; [`app`]
//! puts a replica together.
#![warn(missing_docs)]

pub mod app;
pub mod catalog;
mod command;
pub mod config;
pub mod domain;
pub mod entry;
mod error;
pub mod homes;
pub mod metrics;
pub mod migrate;
pub mod model;
pub mod routes;
pub mod seen;
pub mod store;
pub mod strategies;

pub use app::{build, telemetry};
pub use command::main;
pub use error::Error;
pub use seen::X_SEEN_VERSION;
pub use service_cache::{CACHE_STATUS, X_CACHE, X_CACHE_WRITE};

/// The schema in PostgreSQL that is all this service's.
pub const SCHEMA: &str = "shop";

/// What every key in Redis begins with; the name of the strategy follows.
pub const NAMESPACE: &str = "shop";
