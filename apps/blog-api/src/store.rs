//! All SQL of the blog, checked against the schema when it is compiled.
//!
//! Reads answer documents that are ready to be sent: what is cached is exactly what a client gets. Writes take the
//! transaction they belong to and answer what they touched, from which the cache knows what to invalidate.

mod popular;
mod read;
mod write;

use std::future::Future;
use std::hash::{DefaultHasher, Hasher};
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use sqlx::PgPool;

pub(crate) use popular::SEPARATOR as POPULAR_SEPARATOR;
pub use write::{Change, NewComment, NewPost, PostUpdate, Touched};

/// The rows of the blog. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    pool: PgPool,
}

/// Why something could not be read.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The database.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    /// A row cannot be written as JSON.
    #[error("a document cannot be encoded")]
    Encode(#[from] serde_json::Error),
}

/// A JSON document as it will be sent, and what its ETag is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document {
    /// The JSON.
    pub json: Bytes,
    /// The version of the row that it shows, or a hash of the JSON where no single row's version says it all.
    pub validator: u64,
}

impl Document {
    fn of_version(version: i64, value: &impl Serialize) -> Result<Self, serde_json::Error> {
        Ok(Self { json: serde_json::to_vec(value)?.into(), validator: version.unsigned_abs() })
    }

    fn of_content(json: Vec<u8>) -> Self {
        // SipHash with fixed keys. A build with another one only makes a client fetch a list once more.
        let mut hasher = DefaultHasher::new();
        hasher.write(&json);
        Self { validator: hasher.finish(), json: json.into() }
    }
}

impl Store {
    /// The rows behind this pool.
    #[must_use]
    pub fn new(pool: PgPool) -> Self {
        Self { pool }
    }
}

/// Runs a question again whose connection turned out to be dead: the pool hands out what died since it was last used,
/// and after a restart of PostgreSQL that is all of it. Only for what changes nothing.
async fn again_if_cut<T, F>(ask: impl Fn() -> F) -> Result<T, sqlx::Error>
where
    F: Future<Output = Result<T, sqlx::Error>>,
{
    let mut left = 3_u32;
    loop {
        match ask().await {
            Err(error) if left > 0 && is_cut(&error) => {
                tracing::debug!(%error, left, "the connection was dead: asking again");
                left -= 1;
                // Nothing but a yield: what is wrong is this connection, not the database.
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            result => return result,
        }
    }
}

/// Whether this connection was lost, as opposed to none being available.
pub(crate) fn is_cut(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(error) => error.kind() != std::io::ErrorKind::TimedOut,
        // admin_shutdown, crash_shutdown: said on the connection that ends with it.
        sqlx::Error::Database(error) => matches!(error.code().as_deref(), Some("57P01" | "57P02")),
        _ => false,
    }
}
