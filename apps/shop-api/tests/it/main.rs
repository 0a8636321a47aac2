//! The API over real stores: PostgreSQL and Redis processes of `testbed`, replicas in this process or as processes of their own.

#![expect(
    clippy::unwrap_used,
    reason = "clippy takes the functions beside the tests for no tests; a test that cannot go on fails"
)]

mod bulk;
mod conditional;
mod guarantees;
mod near;
mod openapi;
mod postgres;
mod process;
mod products;
mod queries;
mod redis;
mod rows;
mod seen;
mod stage;
mod stale;
