//! A document: as it is loaded, as it lies in Redis, and as it is sent.

use bytes::{BufMut, Bytes, BytesMut};
use fenced_cache::Loaded;
use serde::Serialize;
use service::conditional::EntityTag;

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

/// What the validator of a kind of documents is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validator {
    /// The version of the one row that the document shows.
    Version,
    /// A hash of the document.
    Hash,
}

/// Bytes in front of a document whose validator no row's version gives: the hash of the document.
const HASH: usize = 8;

impl Document {
    /// Shows one row, at this version.
    ///
    /// # Errors
    /// When the value cannot be written as JSON.
    pub fn of_version(version: i64, value: &impl Serialize) -> Result<Self, serde_json::Error> {
        Ok(Self { json: serde_json::to_vec(value)?.into(), validator: version.unsigned_abs() })
    }

    /// Shows what no single row's version says.
    ///
    /// # Errors
    /// When the value cannot be written as JSON.
    pub fn of_content(value: &impl Serialize) -> Result<Self, serde_json::Error> {
        Ok(Self::of_json(serde_json::to_vec(value)?))
    }

    /// The same, of JSON that is written already.
    #[must_use]
    pub fn of_json(json: Vec<u8>) -> Self {
        Self { validator: EntityTag::hash(&json), json: json.into() }
    }

    /// The entity tag of a document of this kind.
    #[must_use]
    pub fn entity_tag(&self, validator: Validator) -> EntityTag {
        match validator {
            Validator::Version => EntityTag::of_version(self.validator),
            Validator::Hash => EntityTag::of_content(self.validator),
        }
    }

    /// As it lies in Redis. A version belongs to one row; what other documents are told apart by goes in front of them.
    #[must_use]
    pub fn encode(&self, validator: Validator) -> Loaded {
        match validator {
            Validator::Version => Loaded::new(self.json.clone()).version(self.validator),
            Validator::Hash => {
                let mut value = BytesMut::with_capacity(HASH + self.json.len());
                value.put_u64(self.validator);
                value.put_slice(&self.json);
                Loaded::new(value.freeze())
            }
        }
    }

    /// What [`encode`](Self::encode) made, with the version that the cache has kept beside it.
    #[must_use]
    pub fn decode(validator: Validator, mut value: Bytes, version: Option<u64>) -> Self {
        if validator == Validator::Version {
            return Self { json: value, validator: version.unwrap_or_default() };
        }
        // Whatever else lies there was put there by another hand; then the text is what it is, under a tag of its own.
        let Some(hash) = value.first_chunk::<HASH>().copied() else { return Self { json: value, validator: 0 } };
        let json = value.split_off(HASH);
        Self { json, validator: u64::from_be_bytes(hash) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_without_a_version_carries_its_hash() {
        let document = Document { json: Bytes::from_static(b"{}"), validator: 0x0102_0304_0506_0708 };
        let stored = b"\x01\x02\x03\x04\x05\x06\x07\x08{}".as_slice();
        assert_eq!(document.encode(Validator::Hash), Loaded::new(stored));
        assert_eq!(Document::decode(Validator::Hash, Bytes::from_static(stored), None), document);
        assert_eq!(Document::decode(Validator::Hash, Bytes::from_static(b"short"), None).json, "short");
        assert_eq!(document.entity_tag(Validator::Hash), EntityTag::of_content(document.validator));
    }

    #[test]
    fn a_document_of_one_row_leaves_its_version_to_the_cache() {
        let document = Document { json: Bytes::from_static(b"{}"), validator: 7 };
        assert_eq!(document.encode(Validator::Version), Loaded::new("{}").version(7));
        assert_eq!(Document::decode(Validator::Version, Bytes::from_static(b"{}"), Some(7)), document);
        assert_eq!(document.entity_tag(Validator::Version), EntityTag::of_version(7));
    }
}
