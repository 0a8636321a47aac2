//! The one expensive question: an aggregate over all posts and all comments.

use service::postgres::again_if_cut;

use super::read::SummaryRow;
use super::{Document, LoadError, Store};
use crate::domain::Limit;
use crate::model::{Ranked, Summary};

/// What separates two items. JSON escapes line breaks in texts, so in the document there are no others:
/// the first items of the list can be cut off without decoding it.
pub(crate) const SEPARATOR: u8 = b'\n';

/// How many posts are ranked: as many as anybody may ask for, so that one question serves every limit.
const RANKED: i64 = Limit::MAX as i64;

impl Store {
    /// The most popular posts, as many as a page may have; one item per line.
    ///
    /// # Errors
    /// [`LoadError`].
    pub async fn popular(&self) -> Result<Document, LoadError> {
        let pool = &self.pool;
        let rows = again_if_cut(|| async move {
            let mut transaction = pool.begin().await?;
            // This question alone may take longer than what a client usually waits for.
            sqlx::query!("select set_config('statement_timeout', '10s', true)").fetch_one(&mut *transaction).await?;
            let rows = sqlx::query!(
                r#"with top as (
                       select p.id, p.views + 20 * coalesce(c.n, 0) as score
                       from blog.posts p
                       left join (select post_id, count(*) as n from blog.comments group by post_id) c on c.post_id = p.id
                       order by score desc, p.id desc
                       limit $1
                   )
                   select p.id, p.title, p.tags, a.name as author_name, a.display_name as author_display_name,
                          p.comment_count, p.views, p.version, p.created_at, p.updated_at, top.score as "score!"
                   from top
                   join blog.posts p on p.id = top.id
                   join blog.authors a on a.id = p.author_id
                   order by top.score desc, p.id desc"#,
                RANKED
            )
            .fetch_all(&mut *transaction)
            .await?;
            transaction.commit().await?;
            Ok(rows)
        })
        .await?;
        let mut json = br#"{"items":["#.to_vec();
        for (index, row) in rows.into_iter().enumerate() {
            if index > 0 {
                json.extend([b',', SEPARATOR]);
            }
            let score = row.score;
            let post = Summary::from(SummaryRow {
                id: row.id,
                title: row.title,
                tags: row.tags,
                author_name: row.author_name,
                author_display_name: row.author_display_name,
                comment_count: row.comment_count,
                views: row.views,
                version: row.version,
                created_at: row.created_at,
                updated_at: row.updated_at,
            });
            serde_json::to_writer(&mut json, &Ranked { post, score })?;
        }
        json.extend(b"]}");
        Ok(Document::of_json(json))
    }
}
