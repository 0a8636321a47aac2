//! Chunks of products into the database.

use std::ops::Range;

use sqlx::Connection as _;
use sqlx::postgres::PgConnection;

use super::content::{self, Content};
use crate::seed::bulk::copy;
use crate::seed::copy::CopyBuffer;
use crate::seed::ledger::{Chunk, Ledger};

/// Products in one transaction. Fewer than of posts: the server takes each one's words apart for the search.
pub(super) const CHUNK: u64 = 2_500;

/// One stream's way into the database; its memory serves chunk after chunk.
#[derive(Debug)]
pub(super) struct Loader<'a> {
    content: &'a Content,
    buffer: CopyBuffer,
}

impl<'a> Loader<'a> {
    pub(super) fn new(content: &'a Content) -> Self {
        Self { content, buffer: CopyBuffer::default() }
    }

    /// Loads a chunk and its line in the ledger, both or neither.
    pub(super) async fn load(
        &mut self,
        db: &mut PgConnection,
        ledger: &Ledger,
        products: Range<u64>,
    ) -> Result<(), sqlx::Error> {
        let content = self.content;
        let mut tx = db.begin().await?;
        let (columns, ids) = (content::PRODUCT_COLUMNS, products.clone());
        let write = |out: &mut CopyBuffer, id| content.write_product(out, id);
        let rows = copy(&mut tx, &mut self.buffer, "shop.products", columns, ids, write).await?;
        let chunk = Chunk { first: products.start, items: products.end - products.start, rows };
        ledger.record(&mut tx, chunk).await?;
        tx.commit().await
    }
}

/// Loads all categories; there are few.
pub(super) async fn categories(db: &mut PgConnection, content: &Content) -> Result<(), sqlx::Error> {
    let ids = 1..u64::from(content::CATEGORIES) + 1;
    let write = |out: &mut CopyBuffer, id| content.write_category(out, id);
    copy(db, &mut CopyBuffer::default(), "shop.categories", content::CATEGORY_COLUMNS, ids, write).await?;
    Ok(())
}
