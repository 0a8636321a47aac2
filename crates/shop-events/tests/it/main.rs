//! The wire types against committed JSON, and the channel's two ends on a real Redis.
#![expect(clippy::unwrap_used, reason = "clippy sees the functions beside the tests as no tests")]

mod channel;
mod wire;
