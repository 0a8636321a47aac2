//! What services have in common that read through `fenced-cache`: documents as they lie in Redis and as they are sent, the headers
//! that tell how an answer came about, what a read without an answer is to a client, and the health checks of Redis.
//!
//! It knows no service. What is cached under which key, for how long, and what a write does to it, is each service's own.
#![warn(missing_docs)]

mod answer;
mod document;
mod headers;
mod problem;
mod running;

use std::time::Duration;

use fenced_cache::Settings;

pub use answer::Answer;
pub use document::{Document, LoadError, Validator};
pub use headers::{CACHE_STATUS, CacheNames, JSON, REVALIDATE, UNKNOWN, X_CACHE, X_CACHE_WRITE, x_cache_write};
pub use problem::unreadable;
pub use running::Running;

/// Connections that stay free for writes while the cache is away and all reads go to the database.
const KEPT_FOR_WRITES: u32 = 2;

/// The gate in front of the database for when the cache is away: as many reads at once as a pool of this size has room for beside
/// writes. A thousand keys may wait for it, for a second.
pub fn gated(settings: Settings, database_pool: u32) -> Settings {
    let permits = database_pool.saturating_sub(KEPT_FOR_WRITES).max(1);
    settings.gate(usize::try_from(permits).unwrap_or(1), 1_024, Duration::from_secs(1))
}
