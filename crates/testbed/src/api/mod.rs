//! Tests of an API (feature `api`): a client whose answers are held against the OpenAPI document, the real program as a
//! process, and the committed query cache against the schema.
//!
//! Everything here panics where a test has to fail.
#![expect(clippy::unwrap_used, reason = "this is part of tests: one that cannot go on fails")]

mod contract;
mod http;
mod process;
mod queries;

use std::time::{Duration, Instant};

pub use contract::Contract;
pub use http::{Answer, Request};
pub use process::{Process, output, text};
pub use queries::check_queries;

/// How long a condition may take to come true.
pub const SOON: Duration = Duration::from_secs(20);

/// Asks again and again until there is something; panics when that takes longer than [`SOON`].
pub async fn until<T>(what: &str, ask: impl AsyncFn() -> Option<T>) -> T {
    let deadline = Instant::now() + SOON;
    loop {
        if let Some(found) = ask().await {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {SOON:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
