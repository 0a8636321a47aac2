//! What the events of the shop mean in the cache.

use fenced_cache::{ConfigError, Effects, Key, Keyspace, Tag};

use crate::event::ShopEvent;

/// The namespace of the strategy `event`: what its reads store and its worker deletes.
pub const NAMESPACE: &str = "shop:event";

/// The names of a strategy's entries and tags. The API names what it stores by the same functions by which the worker names
/// what it deletes.
///
/// | entry | key | filed under |
/// | --- | --- | --- |
/// | a product | `{product:42}` | `{category:7}` |
/// | the category that a product is in | `{home:42}` | |
/// | a page of a category | the API's | `{category:7}`, `{category-list:7}` |
/// | a search | the API's | `{search:all}` |
#[derive(Clone, Debug)]
pub struct Names {
    keys: Keyspace,
}

impl Names {
    /// Names within this keyspace, which is a strategy's.
    #[must_use]
    pub fn new(keys: Keyspace) -> Self {
        Self { keys }
    }

    /// Names within [`NAMESPACE`].
    ///
    /// # Errors
    /// Never: it is a constant of the right form.
    pub fn of_events() -> Result<Self, ConfigError> {
        Keyspace::new(NAMESPACE).map(Self::new)
    }

    /// The keyspace.
    #[must_use]
    pub fn keyspace(&self) -> &Keyspace {
        &self.keys
    }

    /// The entry of a product, not yet [filed](Key::tagged) under any tag.
    #[must_use]
    pub fn product(&self, product_id: i64) -> Key {
        self.keys.entry("product", product_id)
    }

    /// The entry that says which category a product is in.
    #[must_use]
    pub fn home(&self, product_id: i64) -> Key {
        self.keys.entry("home", product_id)
    }

    /// The tag of all products and all pages of a category.
    #[must_use]
    pub fn category(&self, category_id: i64) -> Tag {
        self.keys.tag("category", category_id)
    }

    /// The tag of all pages of a category.
    #[must_use]
    pub fn category_list(&self, category_id: i64) -> Tag {
        self.keys.tag("category-list", category_id)
    }

    /// The tag of all searches.
    #[must_use]
    pub fn searches(&self) -> Tag {
        self.keys.tag("search", "all")
    }

    /// What an event does to the cache. Doing it twice, or in another order than that of the events, does no harm.
    pub fn effects(&self, event: &ShopEvent) -> Effects {
        let effects = Effects::new().tag(&self.searches());
        match *event {
            ShopEvent::ProductCreated { product_id, category_id, .. }
            | ShopEvent::ProductChanged { product_id, category_id, .. }
            | ShopEvent::ProductDeleted { product_id, category_id, .. } => effects
                .delete(&self.product(product_id))
                .delete(&self.home(product_id))
                .tag(&self.category_list(category_id)),
            ShopEvent::CategoryRepriced { category_id } => effects.tag(&self.category(category_id)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(effects: &Effects) -> Vec<String> {
        effects.keys().chain(effects.tags()).map(|name| String::from_utf8(name.to_vec()).unwrap()).collect()
    }

    #[test]
    fn names_are_those_of_the_table() {
        let names = Names::of_events().unwrap();
        let product = ["{product:42}", "{home:42}", "tag:{search:all}", "tag:{category-list:7}"];
        let product = product.map(|name| format!("shop:event:fc:{name}"));
        let (product_id, category_id, version) = (42, 7, 3);
        for event in [
            ShopEvent::ProductCreated { product_id, category_id, version },
            ShopEvent::ProductChanged { product_id, category_id, version },
            ShopEvent::ProductDeleted { product_id, category_id, version },
        ] {
            assert_eq!(text(&names.effects(&event)), product, "{event:?}");
        }
        let repriced = names.effects(&ShopEvent::CategoryRepriced { category_id });
        assert_eq!(text(&repriced), ["shop:event:fc:tag:{search:all}", "shop:event:fc:tag:{category:7}"]);
    }
}
