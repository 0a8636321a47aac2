//! What is cached: which documents there are, what loads each, and the names that they have in Redis.
//!
//! | entry | key, after the strategy's prefix | tags, in strategies that have them |
//! | --- | --- | --- |
//! | a product | `{product:42}` | `{product:42}`, `{category:7}` |
//! | a page of a category | `{page:7/20/<after>}` | `{category-list:7}`, `{category:7}` |
//! | a search | `{search:20/oak table}` | `{search:all}` |
//! | the category of a product | `{home:42}` | |
//!
//! Two tags say different things of a category. `{category-list:7}` changes with each of its products, because each stands on some
//! page; `{category:7}` changes when all of them do, and both its products and its pages are filed under it. So a change of one
//! product leaves the other products alone, and a change of all is one write to Redis.
//!
//! Any change of any product may change any search. Where searches are cached without being allowed to be stale, they are filed
//! under one tag that every write changes.

use fenced_cache::{Key, Keyspace, Tag};
use service_cache::Validator;

use crate::domain::{CategoryId, Listing, ProductId, Search};
use crate::store::{Document, LoadError, Store};

/// One cached document.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Entry {
    /// A product.
    Product(ProductId),
    /// A page of a category.
    Page(Listing),
    /// A search.
    Search(Search),
}

impl Entry {
    /// Reads the document from the database.
    ///
    /// # Errors
    /// [`LoadError`].
    pub async fn load(&self, store: &Store) -> Result<Option<Document>, LoadError> {
        match self {
            Self::Product(id) => store.product(*id).await,
            Self::Page(listing) => store.page(*listing).await,
            Self::Search(search) => store.search(search).await.map(Some),
        }
    }

    /// What tells one state of the document from another: the version of the one row that it shows, or a hash.
    #[must_use]
    pub fn validator(&self) -> Validator {
        if matches!(self, Self::Product(_)) { Validator::Version } else { Validator::Hash }
    }
}

/// The names of one strategy's entries and tags.
#[derive(Clone, Debug)]
pub struct Names {
    /// Those that the worker has to know as well.
    shared: shop_events::Names,
}

impl Names {
    /// Names within this keyspace.
    #[must_use]
    pub fn new(keys: Keyspace) -> Self {
        Self { shared: shop_events::Names::new(keys) }
    }

    fn keys(&self) -> &Keyspace {
        self.shared.keyspace()
    }

    /// The entry's key, filed under nothing.
    #[must_use]
    pub fn entry(&self, entry: &Entry) -> Key {
        match entry {
            Entry::Product(id) => self.product(*id),
            Entry::Page(listing) => self.page(listing),
            Entry::Search(search) => self.search(search),
        }
    }

    /// The key of a product.
    #[must_use]
    pub fn product(&self, id: ProductId) -> Key {
        self.shared.product(id.get())
    }

    /// The key of a page.
    #[must_use]
    pub fn page(&self, listing: &Listing) -> Key {
        let Listing { category, after, limit } = listing;
        let after = after.map(|id| id.to_string()).unwrap_or_default();
        self.keys().entry("page", format!("{category}/{limit}/{after}"))
    }

    /// The key of a search: its length in front of the phrase, which could hold anything.
    #[must_use]
    pub fn search(&self, search: &Search) -> Key {
        self.keys().entry("search", format!("{}/{}", search.limit, search.phrase.as_str()))
    }

    /// The key under which the category of a product is kept.
    #[must_use]
    pub fn home(&self, id: ProductId) -> Key {
        self.shared.home(id.get())
    }

    /// What changes with one product.
    #[must_use]
    pub fn of_product(&self, id: ProductId) -> Tag {
        self.keys().tag("product", id.get())
    }

    /// What changes with all products of a category at once.
    #[must_use]
    pub fn of_category(&self, id: CategoryId) -> Tag {
        self.shared.category(id.get())
    }

    /// What changes with each product of a category.
    #[must_use]
    pub fn of_list(&self, id: CategoryId) -> Tag {
        self.shared.category_list(id.get())
    }

    /// What changes with each product at all.
    #[must_use]
    pub fn of_searches(&self) -> Tag {
        self.shared.searches()
    }

    /// The key of a page or a search, filed under what its products change.
    #[must_use]
    pub fn filed_list(&self, entry: &Entry) -> Key {
        match entry {
            Entry::Product(id) => self.product(*id),
            Entry::Page(listing) => {
                let category = listing.category;
                self.page(listing).tagged([self.of_list(category), self.of_category(category)])
            }
            Entry::Search(search) => self.search(search).tagged([self.of_searches()]),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn names() -> Names {
        Names::new(Keyspace::new("shop:tags").unwrap())
    }

    fn page(category: i64, limit: &str, after: Option<i64>) -> Entry {
        Entry::Page(Listing {
            category: CategoryId::of_row(category),
            after: after.map(ProductId::of_row),
            limit: limit.parse().unwrap(),
        })
    }

    fn search(phrase: &str, limit: &str) -> Entry {
        Entry::Search(Search { phrase: phrase.parse().unwrap(), limit: limit.parse().unwrap() })
    }

    fn text(name: &bytes::Bytes) -> String {
        String::from_utf8(name.to_vec()).unwrap()
    }

    #[test]
    fn keys_and_tags_are_those_of_the_table() {
        let key = |entry: &Entry| text(names().entry(entry).name());
        let tags = |entry: &Entry| -> Vec<String> {
            names().filed_list(entry).tags().iter().map(|tag| text(tag.name())).collect()
        };
        assert_eq!(key(&Entry::Product(ProductId::of_row(42))), "shop:tags:fc:{product:42}");
        let second = page(7, "20", Some(140));
        assert_eq!(key(&second), "shop:tags:fc:{page:7/20/140}");
        assert_eq!(tags(&second), ["shop:tags:fc:tag:{category-list:7}", "shop:tags:fc:tag:{category:7}"]);
        let found = search("Oak  table", "5");
        assert_eq!(key(&found), "shop:tags:fc:{search:5/oak table}");
        assert_eq!(tags(&found), ["shop:tags:fc:tag:{search:all}"]);
        assert_eq!(text(names().home(ProductId::of_row(42)).name()), "shop:tags:fc:{home:42}");
    }

    #[test]
    fn no_two_entries_share_a_key() {
        let entries = [
            Entry::Product(ProductId::of_row(1)),
            page(1, "1", None),
            page(1, "1", Some(1)),
            page(1, "11", None),
            page(11, "1", None),
            search("1/x", "1"),
            search("x", "1"),
            search("x", "11"),
        ];
        let keys: HashSet<String> = entries.iter().map(|entry| text(names().entry(entry).name())).collect();
        assert_eq!(keys.len(), entries.len());
    }
}
