//! The outbox on a real PostgreSQL.
#![expect(clippy::unwrap_used, reason = "clippy sees the functions beside the tests as no tests")]

mod cache;
mod commit;
mod doubt;
mod events;
mod events_table;
mod events_takeover;
mod journal;
mod marks;
mod migration;
mod prune;
mod relay;
mod restart;
mod support;
