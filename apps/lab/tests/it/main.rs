//! The lab from outside: its binary, against real servers and the real blog-api.

// Everything here is test code; clippy's own exception ends at the functions that are marked as tests.
#![allow(clippy::unwrap_used)]

mod booking;
mod booking_faults;
mod cli;
mod metrics;
mod programs;
mod seed;
mod seed_shop;
mod shop;
mod up;
