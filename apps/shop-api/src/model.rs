//! The documents that the API answers with.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

/// A sum of money.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Money {
    /// In units of the currency's smallest coin: 1999 is 19.99.
    #[schema(minimum = 0, example = 1999)]
    pub amount: i64,
    /// Three letters, as in ISO 4217.
    #[schema(min_length = 3, max_length = 3, example = "EUR")]
    pub currency: String,
}

/// A product.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Product {
    /// Counted up from 1; the id of a deleted product never comes back.
    #[schema(minimum = 1)]
    pub id: i64,
    /// The category that it is in, for its whole life.
    #[schema(minimum = 1)]
    pub category_id: i64,
    /// 1 to 200 characters.
    #[schema(max_length = 200)]
    pub name: String,
    /// At most 8 KiB of UTF-8.
    pub description: String,
    /// What it costs.
    pub price: Money,
    /// How many pieces there are.
    #[schema(minimum = 0)]
    pub stock: i32,
    /// Grows by one with each change of the product. The ETag is this number in quotes.
    #[schema(minimum = 1)]
    pub version: i64,
    /// When it was last changed.
    #[serde(with = "time::serde::rfc3339")]
    pub updated_at: OffsetDateTime,
}

/// A product without its description, as lists show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Summary {
    /// The product's id.
    #[schema(minimum = 1)]
    pub id: i64,
    /// Its category.
    #[schema(minimum = 1)]
    pub category_id: i64,
    /// Its name.
    #[schema(max_length = 200)]
    pub name: String,
    /// What it costs.
    pub price: Money,
    /// How many pieces there are.
    #[schema(minimum = 0)]
    pub stock: i32,
    /// Its version.
    #[schema(minimum = 1)]
    pub version: i64,
}

/// One page of a category, by ascending id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Page {
    /// The products of this page.
    #[schema(max_items = 100)]
    pub items: Vec<Summary>,
    /// What to pass as `after` to get the next page; null on the last one.
    #[schema(required)]
    pub next: Option<i64>,
}

/// What a search found, the best match first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Found {
    /// The products.
    #[schema(max_items = 100)]
    pub items: Vec<Summary>,
}

/// What became of the prices of a category.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Repriced {
    /// The category.
    #[schema(minimum = 1)]
    pub category_id: i64,
    /// By how much.
    #[schema(minimum = -99, maximum = 900)]
    pub percent: i64,
    /// How many products have a new price.
    #[schema(minimum = 0)]
    pub products: u64,
}

/// A strategy of invalidation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct StrategyDocument {
    /// Its name in paths: `/s/{name}/products/42`.
    #[schema(example = "combined")]
    pub name: &'static str,
    /// What its keys in Redis begin with.
    #[schema(example = "shop:combined:")]
    pub prefix: String,
    /// What its reads promise after a write.
    pub guarantee: String,
    /// What it costs.
    pub cost: String,
    /// When to choose it.
    pub choose_when: String,
}

/// All strategies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct StrategyList {
    /// The strategies.
    pub items: Vec<StrategyDocument>,
}
