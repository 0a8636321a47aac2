//! Chunks of posts, with their tags and comments, into the database.

use std::ops::Range;

use sqlx::postgres::PgConnection;

use super::content::{self, Content};
use crate::seed::bulk::copy;
use crate::seed::copy::CopyBuffer;

/// Posts in one transaction: about 7 MB, and a twentieth of a second. A multiple of the block within which
/// comments are counted, so that a chunk's first comment id is known at once.
pub(super) const CHUNK: u64 = 5_000;

/// Loads these posts; in a transaction. Returns how many rows that were.
pub(super) async fn posts(
    db: &mut PgConnection,
    content: &Content,
    buffer: &mut CopyBuffer,
    posts: Range<u64>,
) -> Result<u64, sqlx::Error> {
    // The triggers that keep tags and counts in step stand aside: the rows below are in step already.
    sqlx::query("set local blog.bulk_load = 'on'").execute(&mut *db).await?;
    let mut rows = copy(db, buffer, "blog.posts", content::POST_COLUMNS, posts.clone(), |out, id| {
        content.write_post(out, id);
    })
    .await?;
    rows += copy(db, buffer, "blog.post_tags", content::POST_TAG_COLUMNS, posts.clone(), |out, id| {
        content.write_post_tags(out, id);
    })
    .await?;
    let mut comment = content.comments_before(posts.start) + 1;
    rows += copy(db, buffer, "blog.comments", content::COMMENT_COLUMNS, posts, |out, id| {
        comment += content.write_comments(out, id, comment);
    })
    .await?;
    Ok(rows)
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
