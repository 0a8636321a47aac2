//! All SQL of the blog, checked against the schema when it is compiled.
//!
//! Reads answer documents that are ready to be sent: what is cached is exactly what a client gets. Writes take the
//! transaction they belong to and answer what they touched, from which the cache knows what to invalidate.

mod popular;
mod read;
mod write;

pub use service_cache::{Document, LoadError};
use sqlx::PgPool;

pub(crate) use popular::SEPARATOR as POPULAR_SEPARATOR;
pub use write::{Change, NewComment, NewPost, PostUpdate, Touched};

/// The rows of the blog. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    pool: PgPool,
}

impl Store {
    /// The rows behind this pool.
    #[must_use]
    pub fn new(pool: PgPool) -> Self {
        Self { pool }
    }
}
