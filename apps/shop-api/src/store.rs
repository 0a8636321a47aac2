//! All SQL of the shop, checked against the schema when it is compiled.
//!
//! Reads answer documents that are ready to be sent: what is cached is exactly what a client gets. Writes take the
//! transaction they belong to and answer what they touched, from which a strategy knows what to tell the cache.

mod bulk;
mod read;
mod write;

use bytes::Bytes;
use serde::Serialize;
use service::conditional::EntityTag;
use sqlx::PgPool;

pub use bulk::{Bulk, Detail};
pub use write::{Change, NewProduct, ProductUpdate, State, Touched, What};

/// The rows of the shop. Cheap to clone.
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

    fn of_content(value: &impl Serialize) -> Result<Self, serde_json::Error> {
        let json = serde_json::to_vec(value)?;
        Ok(Self { validator: EntityTag::hash(&json), json: json.into() })
    }
}

impl Store {
    /// The rows behind this pool.
    #[must_use]
    pub fn new(pool: PgPool) -> Self {
        Self { pool }
    }
}
