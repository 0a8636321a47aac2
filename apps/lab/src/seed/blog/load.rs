//! Chunks of posts, with their tags and comments, into the database.

use std::ops::Range;

use sqlx::Connection as _;
use sqlx::postgres::PgConnection;

use super::content::{self, Content};
use crate::seed::bulk::copy;
use crate::seed::copy::CopyBuffer;
use crate::seed::ledger::{Chunk, Ledger};

/// Posts in one transaction: about 7 MB, and a twentieth of a second. A multiple of the block within which
/// comments are counted, so that a chunk's first comment id is known at once.
pub(super) const CHUNK: u64 = 5_000;

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
        posts: Range<u64>,
    ) -> Result<(), sqlx::Error> {
        let content = self.content;
        let mut tx = db.begin().await?;
        // The triggers that keep tags and counts in step stand aside: the rows below are in step already.
        sqlx::query("set local blog.bulk_load = 'on'").execute(&mut *tx).await?;
        let buffer = &mut self.buffer;
        let mut rows = copy(&mut tx, buffer, "blog.posts", content::POST_COLUMNS, posts.clone(), |out, id| {
            content.write_post(out, id);
        })
        .await?;
        rows += copy(&mut tx, buffer, "blog.post_tags", content::POST_TAG_COLUMNS, posts.clone(), |out, id| {
            content.write_post_tags(out, id);
        })
        .await?;
        let mut comment = content.comments_before(posts.start) + 1;
        rows += copy(&mut tx, buffer, "blog.comments", content::COMMENT_COLUMNS, posts.clone(), |out, id| {
            comment += content.write_comments(out, id, comment);
        })
        .await?;
        let chunk = Chunk { first: posts.start, items: posts.end - posts.start, rows };
        ledger.record(&mut tx, chunk).await?;
        tx.commit().await
    }
}

/// Loads all authors; there are few.
pub(super) async fn authors(db: &mut PgConnection, content: &Content) -> Result<(), sqlx::Error> {
    let ids = 1..u64::from(content::AUTHORS) + 1;
    copy(db, &mut CopyBuffer::default(), "blog.authors", content::AUTHOR_COLUMNS, ids, |out, id| {
        content.write_author(out, u32::try_from(id).expect("there are 5,000 authors"));
    })
    .await?;
    Ok(())
}
