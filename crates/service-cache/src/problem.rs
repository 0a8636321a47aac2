//! What a read without an answer is to a client.

use std::time::Duration;

use fenced_cache::ReadError;
use service::Problem;
use service::postgres::{is_unavailable, is_unmigrated};

use crate::document::LoadError;

/// The problem document. `retry_after`: how long a client should wait before it repeats what could not be done now.
#[must_use]
pub fn unreadable(error: ReadError, retry_after: Duration) -> Problem {
    match error {
        // One failure is shared by all who waited for the load.
        ReadError::Load(cause) => match cause.downcast_ref::<LoadError>() {
            Some(LoadError::Database(error)) if is_unavailable(error) || is_unmigrated(error) => {
                tracing::warn!(%error, "database unavailable");
                Problem::unavailable("The database cannot be used right now.", retry_after)
            }
            _ => Problem::internal(cause.as_ref()),
        },
        ReadError::LoadTimeout => {
            tracing::warn!("a load did not end within its deadline");
            Problem::unavailable("The database did not answer in time.", retry_after)
        }
        ReadError::Overloaded { retry_after } => {
            Problem::unavailable("The cache is away, and the database has no more room for reads.", retry_after)
        }
        error => Problem::internal(&error),
    }
}
