//! Which category a product is in.
//!
//! The tags of an entry must follow from its key: they are captured before anything is loaded. That of a product's category does,
//! because a product stays in its category for its whole life; but the id alone does not show which one it is. So it is looked up
//! once, and then known: in this process, without a doubt and for every strategy, and in Redis, so that the database is asked once
//! and not by each replica. Only that there is *no* such product can become wrong; it is an entry like others, which the write
//! that makes the product deletes.

use std::sync::Arc;

use bytes::Bytes;
use fenced_cache::{Loaded, Read};
use quick_cache::sync::Cache;

use crate::domain::{CategoryId, ProductId};

/// How many products this process knows the category of; some ten megabytes.
const KNOWN: usize = 200_000;

/// The categories that this process knows. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Homes(Arc<Cache<ProductId, CategoryId>>);

impl Homes {
    /// Knows none yet.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Cache::new(KNOWN)))
    }

    /// The category of a product, if it is known.
    #[must_use]
    pub fn known(&self, id: ProductId) -> Option<CategoryId> {
        self.0.get(&id)
    }

    /// Takes note of what a read answered.
    pub(crate) fn learn(&self, id: ProductId, read: &Read) -> Option<CategoryId> {
        let category = read.value.as_deref().and_then(decode)?;
        self.0.insert(id, category);
        Some(category)
    }
}

impl Default for Homes {
    fn default() -> Self {
        Self::new()
    }
}

/// As it lies in Redis.
pub(crate) fn encode(category: CategoryId) -> Loaded {
    Loaded::new(Bytes::copy_from_slice(&category.get().to_be_bytes()))
}

fn decode(value: &[u8]) -> Option<CategoryId> {
    value.try_into().ok().map(i64::from_be_bytes).map(CategoryId::of_row)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_stored_reads_back_and_garbage_is_nothing() {
        let category = CategoryId::of_row(7);
        assert_eq!(encode(category), Loaded::new(7_i64.to_be_bytes().to_vec()));
        assert_eq!(decode(&7_i64.to_be_bytes()), Some(category));
        assert_eq!(decode(b"short"), None);
    }
}
