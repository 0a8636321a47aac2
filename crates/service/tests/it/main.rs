//! The crate against real listeners, real processes and a real PostgreSQL.

// In a test a panic is the answer; clippy's own exception for tests stops at the helpers of tests.
#![allow(clippy::unwrap_used)]

mod client;
mod config;
mod docs;
mod identity;
mod metrics;
mod migrations;
mod postgres;
mod problems;
mod process;
mod server;
mod shutdown;
