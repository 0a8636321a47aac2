//! The API over real stores: PostgreSQL and Redis processes of `testbed`, replicas in this process or as processes of their own.

#![expect(
    clippy::unwrap_used,
    reason = "clippy takes the functions beside the tests for no tests; a test that cannot go on fails"
)]

mod background;
mod bookings;
mod events;
mod idempotency;
mod locks;
mod openapi;
mod orders;
mod pages;
mod postgres;
mod process;
mod queries;
mod redis;
mod reserve;
mod selling;
mod stage;
mod units;
