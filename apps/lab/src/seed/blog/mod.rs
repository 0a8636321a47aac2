//! The blog's rows: authors, posts, their tags, their comments.

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

/// Fills the blog, or finishes what an interrupted run began.
///
/// # Errors
/// As [`fill`].
pub(crate) async fn seed(plan: &Plan) -> anyhow::Result<Seeded> {
    fill(plan, Content::new).await
}

impl Filling for Content {
    const LEDGER: Ledger = Ledger { service: "blog", relation: "blog.posts", generator: content::GENERATOR };
    const LOCK: i32 = 1;
    const ITEMS: &'static str = "posts";
    const CHUNK: u64 = load::CHUNK;
    // `blog.authors` is too small to gain by it.
    const LARGE_TABLES: &'static [&'static str] = &["blog.posts", "blog.post_tags", "blog.comments"];
    const VACUUMED: &'static [&'static [&'static str]] = &[
        &["vacuum (analyze) blog.posts"],
        &["vacuum (analyze) blog.comments", "vacuum (analyze) blog.post_tags", "vacuum (analyze) blog.authors"],
    ];
    const OCCUPIED: &'static str = "select exists (select from blog.posts) or exists (select from blog.authors)";
    const TRUNCATE: &'static str = "truncate blog.authors, blog.posts, blog.post_tags, blog.comments";

    async fn load_few(&self, db: &mut PgConnection) -> Result<(), sqlx::Error> {
        load::authors(db, self).await
    }

    fn last_ids(&self, posts: u64) -> Vec<(&'static str, u64)> {
        let last_comment = self.comments_before(posts + 1);
        vec![
            ("blog.authors", u64::from(content::AUTHORS)),
            ("blog.posts", posts),
            ("blog.comments", last_comment.max(1)),
        ]
    }

    async fn load(
        &self,
        db: &mut PgConnection,
        buffer: &mut CopyBuffer,
        posts: Range<u64>,
    ) -> Result<u64, sqlx::Error> {
        load::posts(db, self, buffer, posts).await
    }

    async fn verify(&self, db: &mut PgConnection, plan: &Plan) -> anyhow::Result<Vec<String>> {
        verify::verify(db, plan, self).await
    }
}
