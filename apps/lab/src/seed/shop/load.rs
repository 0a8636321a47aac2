//! Chunks of products into the database.

use std::ops::Range;

use sqlx::postgres::PgConnection;

use super::content::{self, Content};
use crate::seed::bulk::copy;
use crate::seed::copy::CopyBuffer;

/// Products in one transaction. Fewer than of posts: the server takes each one's words apart for the search.
pub(super) const CHUNK: u64 = 2_500;

/// Loads these products; in a transaction. Returns how many rows that were.
pub(super) async fn products(
    db: &mut PgConnection,
    content: &Content,
    buffer: &mut CopyBuffer,
    products: Range<u64>,
) -> Result<u64, sqlx::Error> {
    let write = |out: &mut CopyBuffer, id| content.write_product(out, id);
    copy(db, buffer, "shop.products", content::PRODUCT_COLUMNS, products, write).await
}

/// Loads all categories; there are few.
pub(super) async fn categories(db: &mut PgConnection, content: &Content) -> Result<(), sqlx::Error> {
    let ids = 1..u64::from(content::CATEGORIES) + 1;
    let write = |out: &mut CopyBuffer, id| content.write_category(out, id);
    copy(db, &mut CopyBuffer::default(), "shop.categories", content::CATEGORY_COLUMNS, ids, write).await?;
    Ok(())
}
