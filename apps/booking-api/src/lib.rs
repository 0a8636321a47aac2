//! Books seats of events, and never sells one twice, under interchangeable locks and without any.
//!
//! # What it guarantees
//! - **No seat is sold twice** by the strategies that are safe (all but `none`, `redis` and `redlock`), whatever is paused, dies or
//!   loses its connection. What keeps it is the strategy; the schema refuses what slips through, and that is counted
//!   ([`metrics::SCHEMA_REFUSALS`] must stay 0).
//! - **A request with an `Idempotency-Key` books at most once.** The key is written in the booking's own transaction.
//! - **A booking is all or nothing**: a client that hangs up does not cut it in half, a section that loses its lock writes nothing,
//!   and a commit that was not answered is asked after.
//! - **A wrong request is a 4xx** with a problem document that names what is wrong; nothing that a client sends reaches SQL, or a key
//!   of Redis, before it was parsed into a type of [`domain`].
//! - **An event's page is right**, although it is cached: after a booking or cancellation that was answered with `X-Cache-Write:
//!   applied`, no read that begins later, on any replica, shows more seats than are left ([`pages`]).
//! - **The locks' Redis away** is a 503 for the events whose strategy needs it, and nothing to the others. **The cache's Redis away**
//!   slows pages down, and no booking. **PostgreSQL away** is a 503, except for pages that the cache still has.
//!
//! # Where things are
//! [`routes`] has a file per resource, [`store`] the SQL that strategies share, [`strategies`] a file per way to sell a seat once
//! ([`strategies::locked`] is seven of them), [`pages`] the cache, [`app`] puts a replica together.
#![warn(missing_docs)]

pub mod app;
pub mod background;
mod command;
pub mod config;
pub mod domain;
mod error;
pub mod metrics;
pub mod migrate;
pub mod model;
pub mod pages;
pub mod routes;
pub mod store;
pub mod strategies;

pub use app::{build, telemetry};
pub use command::main;
pub use error::{Error, Refused};

/// The schema in PostgreSQL that is all this service's.
pub const SCHEMA: &str = "booking";

/// What every key in Redis begins with.
pub const NAMESPACE: &str = "booking";
