//! A blog over PostgreSQL, read through a cache in Redis: cache-aside as it should be.
//!
//! # What it guarantees
//! - **After a write that was answered with `X-Cache-Write: applied`, no read that begins later, on any replica, shows what was
//!   before it**; see crate `fenced-cache` for under which failures. `/posts/popular` is outside of this, by choice.
//! - **A client that hangs up does not cut a write in half.** What was begun is committed and invalidated, or neither.
//! - **A wrong request is a 4xx** with a problem document that names what is wrong; nothing that a client sends
//!   reaches SQL, or a key of the cache, before it was parsed into a type of [`domain`].
//! - **Redis away** slows reads down and makes writes end as `pending`. **PostgreSQL away** is a 503 with `Retry-After`, except for what
//!   the cache still has.
//!
//! # Where things are
//! [`routes`] has a file per resource, [`store`] all SQL, [`entry`] what is cached under which key and tags and what a change
//! invalidates, [`reads`] the three ways to read and write (`--cache fenced|naive|off`), [`app`] puts a replica together.
#![warn(missing_docs)]

pub mod app;
mod command;
pub mod config;
pub mod domain;
pub mod entry;
mod error;
pub mod migrate;
pub mod model;
pub mod reads;
pub mod routes;
pub mod store;

pub use app::{build, telemetry};
pub use command::main;
pub use error::Error;
pub use service_cache::{CACHE_STATUS, X_CACHE, X_CACHE_WRITE};

/// The schema in PostgreSQL that is all this service's.
pub const SCHEMA: &str = "blog";

/// What every key in Redis begins with.
pub const NAMESPACE: &str = "blog";
