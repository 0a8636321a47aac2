//! The API over real stores: PostgreSQL and Redis processes of `testbed`, replicas in this process or as processes of their own.

#![expect(
    clippy::unwrap_used,
    reason = "clippy takes the functions beside the tests for no tests; a test that cannot go on fails"
)]

mod conditional;
mod invalidation;
mod lists;
mod modes;
mod openapi;
mod outcomes;
mod postgres;
mod posts;
mod process;
mod queries;
mod redis;
mod rows;
mod stage;
