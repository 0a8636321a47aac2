//! What can happen in the shop.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The version of events that this release writes, and the only one that it reads.
pub(crate) const VERSION: u64 = 1;

/// The most bytes that a message is looked at. Ours have some hundred.
pub const MAX_BYTES: usize = 64 * 1_024;

/// One committed change of the catalog. Ids are 1 or more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum ShopEvent {
    /// There is a new product.
    ProductCreated {
        /// The product.
        product_id: i64,
        /// The category that it is in; it never moves.
        category_id: i64,
        /// Its version.
        version: i64,
    },
    /// A product was changed.
    ProductChanged {
        /// The product.
        product_id: i64,
        /// The category that it is in.
        category_id: i64,
        /// Its version after the change.
        version: i64,
    },
    /// A product is no more.
    ProductDeleted {
        /// The product.
        product_id: i64,
        /// The category that it was in.
        category_id: i64,
        /// Its last version.
        version: i64,
    },
    /// Every product of a category may have another price. One event, however many there are.
    CategoryRepriced {
        /// The category.
        category_id: i64,
    },
}

/// Why something is not understood.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unreadable {
    /// Of a version that this release does not know.
    #[error("version {0} is not known")]
    Version(u64),
    /// Of a kind that this release does not know, in a version that it does.
    #[error("{0:?} is not known")]
    Kind(String),
    /// Not what any version looks like.
    #[error("malformed: {0}")]
    Malformed(String),
    /// Longer than [`MAX_BYTES`].
    #[error("{0} bytes are too many")]
    TooLong(usize),
}

impl Unreadable {
    /// The kind of reason, for a metric's label.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Version(_) => "version",
            Self::Kind(_) => "kind",
            Self::Malformed(_) => "malformed",
            Self::TooLong(_) => "too_long",
        }
    }
}

#[derive(Serialize)]
struct Written<'e> {
    v: u64,
    #[serde(flatten)]
    event: &'e ShopEvent,
}

#[derive(Deserialize)]
struct Head {
    v: u64,
    #[serde(rename = "type")]
    kind: Option<String>,
}

/// The types of [`VERSION`].
const KINDS: [&str; 4] = ["product_created", "product_changed", "product_deleted", "category_repriced"];

impl ShopEvent {
    /// The event as JSON, for [`Transaction::event`](outbox::Transaction::event).
    #[must_use]
    pub fn to_payload(&self) -> Bytes {
        let written = serde_json::to_vec(&Written { v: VERSION, event: self });
        written.expect("integers and constant names are always JSON").into()
    }

    /// The event of this payload, which may come from any release, or from anybody.
    ///
    /// # Errors
    /// [`Unreadable`] says why it is not understood.
    pub fn parse(payload: &[u8]) -> Result<Self, Unreadable> {
        if payload.len() > MAX_BYTES {
            return Err(Unreadable::TooLong(payload.len()));
        }
        let head: Head = serde_json::from_slice(payload).map_err(malformed)?;
        if head.v != VERSION {
            return Err(Unreadable::Version(head.v));
        }
        let kind = head.kind.ok_or_else(|| Unreadable::Malformed("there is no type".into()))?;
        if !KINDS.contains(&kind.as_str()) {
            return Err(Unreadable::Kind(kind.chars().take(64).collect()));
        }
        let event: Self = serde_json::from_slice(payload).map_err(malformed)?;
        let (ids, version) = match event {
            Self::ProductCreated { product_id, category_id, version }
            | Self::ProductChanged { product_id, category_id, version }
            | Self::ProductDeleted { product_id, category_id, version } => ([product_id, category_id], version),
            Self::CategoryRepriced { category_id } => ([category_id, category_id], 0),
        };
        if ids.iter().any(|id| *id < 1) || version < 0 {
            return Err(Unreadable::Malformed("an id is less than 1, or a version less than 0".into()));
        }
        Ok(event)
    }
}

pub(crate) fn malformed(error: serde_json::Error) -> Unreadable {
    Unreadable::Malformed(error.to_string())
}
