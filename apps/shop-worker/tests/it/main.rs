//! The worker as a process of its own, over real stores: PostgreSQL and Redis processes of `testbed`.

#![expect(
    clippy::unwrap_used,
    reason = "clippy takes the functions beside the tests for no tests; a test that cannot go on fails"
)]

mod absence;
mod death;
mod gaps;
mod garbage;
mod outage;
mod process;
mod stage;
