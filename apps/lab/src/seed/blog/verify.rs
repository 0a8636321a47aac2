//! What was loaded, held against what had to be loaded.

use anyhow::Context as _;
use sqlx::postgres::PgConnection;

use super::content::{self, Content};
use crate::screen::Bar;
use crate::seed::filling::Filling as _;
use crate::seed::{Plan, structure};

/// Rows by id, so that what somebody writes meanwhile does not count.
const COUNTS: &str = "
    select (select count(*) from blog.authors where id <= $1),
           (select count(*) from blog.posts where id <= $2),
           (select count(*) from blog.post_tags where post_id <= $2),
           (select count(*) from blog.comments where id <= $3)";

/// Posts whose counter is not the number of their comments.
const WRONG_COMMENT_COUNTS: &str = "
    select count(*)
    from blog.posts p
    full join (select post_id, count(*) as n from blog.comments group by post_id) c on c.post_id = p.id
    where p.comment_count is distinct from coalesce(c.n, 0)";

/// The pairs of both sides, counted and added up as 64-bit hashes: equal sums of 1.5 million hashes by
/// accident are not to be expected, and neither side needs a sort.
const TAGS_AGREE: &str = "
    select (select (count(*), sum(hashtextextended(t.tag, t.post_id))) from blog.post_tags t)
         = (select (count(*), sum(hashtextextended(tag, p.id))) from blog.posts p cross join unnest(p.tags) as tag)";

/// Sequences that would give out an id that is taken.
const SEQUENCES_BEHIND: &str = "
    select t.name
    from (values ('blog.authors', (select max(id) from blog.authors)),
                 ('blog.posts', (select max(id) from blog.posts)),
                 ('blog.comments', (select max(id) from blog.comments))) as t (name, last)
    where coalesce(pg_sequence_last_value(pg_get_serial_sequence(t.name, 'id')::regclass), 0) < t.last";

/// Returns one line per thing that is not as it should be.
pub(super) async fn verify(db: &mut PgConnection, plan: &Plan, content: &Content) -> anyhow::Result<Vec<String>> {
    let mut broken = Vec::new();
    let mut bar = Bar::new("checks", 4, 0);
    let expected = content.totals(plan.items);
    let counted: (i64, i64, i64, i64) = sqlx::query_as(COUNTS)
        .bind(i64::from(content::AUTHORS))
        .bind(expected.posts.cast_signed())
        .bind(expected.comments.cast_signed())
        .fetch_one(&mut *db)
        .await
        .context("cannot count the rows")?;
    for (table, counted, expected) in [
        ("authors", counted.0, u64::from(content::AUTHORS)),
        ("posts", counted.1, expected.posts),
        ("post_tags", counted.2, expected.post_tags),
        ("comments", counted.3, expected.comments),
    ] {
        if counted.unsigned_abs() != expected {
            broken.push(format!("blog.{table} has {counted} seeded rows instead of {expected}"));
        }
    }
    bar.advance(1);
    let wrong: i64 =
        sqlx::query_scalar(WRONG_COMMENT_COUNTS).fetch_one(&mut *db).await.context("cannot check comment_count")?;
    if wrong != 0 {
        broken.push(format!("{wrong} posts have a comment_count that is not the number of their comments"));
    }
    bar.advance(1);
    let agree: bool = sqlx::query_scalar(TAGS_AGREE).fetch_one(&mut *db).await.context("cannot check post_tags")?;
    if !agree {
        broken.push("blog.post_tags does not agree with blog.posts.tags".to_owned());
    }
    bar.advance(1);
    broken.extend(structure::not_in_order(db, Content::LEDGER.service, SEQUENCES_BEHIND).await?);
    bar.done();
    Ok(broken)
}
