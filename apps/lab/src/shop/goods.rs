//! The products that an experiment reads and writes.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use sqlx::PgPool;

use super::api;
use super::strategy::Strategy;
use crate::measure::zipf::Random;

/// Fixed, so that each run and each strategy has the same products in the same order.
const SEED: u64 = 0x5b0b;

/// Products by their popularity, the hottest first. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Goods(Arc<[Product]>);

/// What a writer has to know of a product.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Product {
    pub(crate) id: i64,
    pub(crate) category_id: i64,
    pub(crate) price_cents: i64,
    pub(crate) currency: String,
}

impl Goods {
    /// So many of the shop's products, from all over it.
    ///
    /// # Errors
    /// There are fewer.
    pub(crate) async fn pick(database: &PgPool, count: usize) -> anyhow::Result<Self> {
        let mut ids: Vec<i64> = sqlx::query_scalar("select id from shop.products order by id")
            .fetch_all(database)
            .await
            .context("the products of the shop")?;
        ensure!(ids.len() >= count, "the shop has {} products and not {count}: run `lab shop seed`", ids.len());
        Random::new(SEED).shuffle(&mut ids);
        ids.truncate(count);
        let rows: Vec<(i64, i64, i64, String)> = sqlx::query_as(
            "select p.id, p.category_id, p.price_cents, p.currency::text \
             from unnest($1::bigint[]) with ordinality as wanted (id, place) \
             join shop.products p on p.id = wanted.id \
             order by wanted.place",
        )
        .bind(&ids)
        .fetch_all(database)
        .await?;
        ensure!(rows.len() == count, "products of the shop vanish while they are looked at");
        let product = |(id, category_id, price_cents, currency)| Product { id, category_id, price_cents, currency };
        Ok(Self(rows.into_iter().map(product).collect()))
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn get(&self, at: usize) -> &Product {
        &self.0[at]
    }

    /// Where the products of a category are, the hottest first.
    pub(crate) fn of_category(&self, category: i64) -> impl Iterator<Item = usize> {
        self.0.iter().enumerate().filter(move |(_, product)| product.category_id == category).map(|(at, _)| at)
    }

    /// Their versions, as the database has them now.
    pub(crate) async fn versions(&self, database: &PgPool) -> anyhow::Result<Vec<u64>> {
        let ids: Vec<i64> = self.0.iter().map(|product| product.id).collect();
        let versions: Vec<i64> = sqlx::query_scalar(
            "select p.version from unnest($1::bigint[]) with ordinality as wanted (id, place) \
             join shop.products p on p.id = wanted.id \
             order by wanted.place",
        )
        .bind(&ids)
        .fetch_all(database)
        .await?;
        ensure!(versions.len() == ids.len(), "products of the shop vanish while they are looked at");
        Ok(versions.into_iter().map(i64::unsigned_abs).collect())
    }

    /// A read of each, as a request.
    pub(crate) fn reads(&self, strategy: Strategy) -> Arc<[Vec<u8>]> {
        self.0.iter().map(|product| api::read(strategy, product.id)).collect()
    }

    /// The `number`th new price of a product: another one each time, and never far from the old.
    pub(crate) fn set_price(&self, strategy: Strategy, at: usize, number: u64) -> Vec<u8> {
        let Product { id, price_cents, currency, .. } = self.get(at);
        let amount = price_cents + i64::try_from(number % 100).unwrap_or(0) + 1;
        api::set_price(strategy, *id, amount, currency.trim_end())
    }

    #[cfg(test)]
    pub(crate) fn of(products: Vec<Product>) -> Self {
        Self(products.into())
    }
}

#[cfg(test)]
mod tests {
    use super::{Goods, Product, Strategy};

    #[test]
    fn a_price_is_in_the_currency_that_the_product_has() {
        let product = |id, category_id| Product { id, category_id, price_cents: 500, currency: "GBP".to_owned() };
        let goods = Goods::of(vec![product(9, 1), product(4, 2), product(7, 1)]);
        let request = String::from_utf8(goods.set_price(Strategy::WriteThrough, 1, 100)).unwrap();
        assert!(request.starts_with("PATCH /s/write-through/products/4/price "), "{request}");
        assert!(request.ends_with(r#"{"price":{"amount":501,"currency":"GBP"}}"#), "{request}");
        assert_eq!(goods.of_category(1).collect::<Vec<_>>(), [0, 2]);
        assert!(goods.reads(Strategy::Swr)[2].starts_with(b"GET /s/swr/products/7 "));
    }
}
