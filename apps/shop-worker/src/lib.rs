//! The worker of the strategy `event`: it hears of the shop's changes over a channel and deletes what they make stale.
//!
//! # What it guarantees
//! - **Every committed event is applied**, at least once, however workers, relays and servers die: an event leaves the list of
//!   those to be applied only when each of its deletions was confirmed.
//! - **A lost message is noticed.** Numbers have no gaps, so a missing one shows with the next; the last number is repeated as
//!   a heartbeat, so a lost *last* message shows with that; and where nothing is heard at all, the table is asked. What is
//!   missing is read from the table ([`outbox::events`]).
//! - **What is not understood** (an unknown version, garbage) is kept aside, counted and logged, and stops nothing. An event kept
//!   aside is applied by the first release that understands it.
//! - **One leads**, by an advisory lock of its session in PostgreSQL; others stand by, connected and subscribed. Two that both
//!   believe to lead do no harm: deleting twice is deleting.
//! - **Long absences** are caught up in pages, each name once per page, and as fast as Redis confirms, not faster.
//!
//! It guarantees no time: how stale the strategy's reads are is this worker's delay, which it exports.
//!
//! # Where things are
//! `listen` keeps a subscription, `lead` the seat of the leader, `follow` puts the two together: what is next, what is missing.
//! `apply` is what happens to events, `replay` what the cache is told after Redis was replaced, [`app`] puts it all together.
#![warn(missing_docs)]

pub mod app;
mod apply;
mod command;
pub mod config;
mod follow;
mod lead;
mod listen;
pub mod metrics;
mod replay;
mod sometimes;
mod status;
mod worker;

pub use app::{build, telemetry};
pub use command::main;

/// The schema in PostgreSQL, which is the shop's.
pub const SCHEMA: &str = "shop";

/// The name under which the worker's progress is recorded, whichever process leads.
pub const READER: &str = "worker";
