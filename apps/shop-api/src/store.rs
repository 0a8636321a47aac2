//! All SQL of the shop, checked against the schema when it is compiled.
//!
//! Reads answer documents that are ready to be sent: what is cached is exactly what a client gets. Writes take the
//! transaction they belong to and answer what they touched, from which a strategy knows what to tell the cache.

mod bulk;
mod read;
mod write;

pub use service_cache::{Document, LoadError};
use sqlx::PgPool;

pub use bulk::{Bulk, Detail};
pub use write::{Change, NewProduct, ProductUpdate, State, Touched, What};

/// The rows of the shop. Cheap to clone.
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
