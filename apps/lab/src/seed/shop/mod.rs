//! The shop's rows: categories and their products.

mod content;
mod load;
mod verify;

use std::ops::Range;

use sqlx::postgres::PgConnection;

use super::copy::CopyBuffer;
use super::filling::{Filling, fill};
use super::ledger::Ledger;
use super::{Plan, Seeded};

use content::Content;

/// Fills the shop, or finishes what an interrupted run began.
///
/// # Errors
/// As [`fill`].
pub(crate) async fn seed(plan: &Plan) -> anyhow::Result<Seeded> {
    fill(plan, Content::new).await
}

impl Filling for Content {
    const LEDGER: Ledger = Ledger { service: "shop", relation: "shop.products", generator: content::GENERATOR };
    const LOCK: i32 = 3;
    const ITEMS: &'static str = "products";
    const CHUNK: u64 = load::CHUNK;
    // `shop.categories` is too small to gain by it.
    const LARGE_TABLES: &'static [&'static str] = &["shop.products"];
    const VACUUMED: &'static [&'static [&'static str]] =
        &[&["vacuum (analyze) shop.products", "vacuum (analyze) shop.categories"]];
    const OCCUPIED: &'static str = "select exists (select from shop.products) or exists (select from shop.categories)";
    const TRUNCATE: &'static str = "truncate shop.categories, shop.products";

    async fn load_few(&self, db: &mut PgConnection) -> Result<(), sqlx::Error> {
        load::categories(db, self).await
    }

    fn last_ids(&self, products: u64) -> Vec<(&'static str, u64)> {
        vec![("shop.categories", u64::from(content::CATEGORIES)), ("shop.products", products)]
    }

    async fn load(
        &self,
        db: &mut PgConnection,
        buffer: &mut CopyBuffer,
        products: Range<u64>,
    ) -> Result<u64, sqlx::Error> {
        load::products(db, self, buffer, products).await
    }

    async fn verify(&self, db: &mut PgConnection, plan: &Plan) -> anyhow::Result<Vec<String>> {
        verify::verify(db, plan, self).await
    }
}
