//! A document as it lies in Redis.

use bytes::{BufMut, Bytes, BytesMut};
use fenced_cache::Loaded;

use crate::entry::Entry;
use crate::store::Document;

/// Bytes in front of a document whose validator no row's version gives: the hash of the document.
const HASH: usize = 8;

/// A version belongs to one row, so only a product has one; what other documents are told apart by goes in front of them.
pub(super) fn encode(entry: &Entry, document: &Document) -> Loaded {
    if entry.is_versioned() {
        return Loaded::new(document.json.clone()).version(document.validator);
    }
    let mut value = BytesMut::with_capacity(HASH + document.json.len());
    value.put_u64(document.validator);
    value.put_slice(&document.json);
    Loaded::new(value.freeze())
}

pub(super) fn decode(entry: &Entry, mut value: Bytes, version: Option<u64>) -> Document {
    if entry.is_versioned() {
        return Document { json: value, validator: version.unwrap_or_default() };
    }
    // Whatever else lies there was put there by another hand; then the text is what it is, under a tag of its own.
    let Some(hash) = value.first_chunk::<HASH>().copied() else { return Document { json: value, validator: 0 } };
    let json = value.split_off(HASH);
    Document { json, validator: u64::from_be_bytes(hash) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{CategoryId, Listing, ProductId};

    #[test]
    fn a_document_without_a_version_carries_its_hash() {
        let document = Document { json: Bytes::from_static(b"{}"), validator: 0x0102_0304_0506_0708 };
        let page = Entry::Page(Listing::first(CategoryId::of_row(1)));
        assert_eq!(encode(&page, &document), Loaded::new(b"\x01\x02\x03\x04\x05\x06\x07\x08{}".as_slice()));
        let stored = Bytes::from_static(b"\x01\x02\x03\x04\x05\x06\x07\x08{}");
        assert_eq!(decode(&page, stored, None), document);
        assert_eq!(decode(&page, Bytes::from_static(b"short"), None).json, "short");
        let product = Entry::Product(ProductId::of_row(1));
        assert_eq!(decode(&product, Bytes::from_static(b"{}"), Some(7)), Document { json: "{}".into(), validator: 7 });
    }
}
