//! Posts, pages of posts, and authors.

use time::OffsetDateTime;

use service::postgres::again_if_cut;

use super::{Document, LoadError, Store};
use crate::domain::{AuthorName, Cursor, Filter, Listing, PostId};
use crate::model::{AuthorPage, Byline, Page, Post, Summary};

/// How many posts an author's page shows.
pub(super) const LATEST: i64 = 10;

/// A row that becomes a [`Summary`].
pub(super) struct SummaryRow {
    pub(super) id: i64,
    pub(super) title: String,
    pub(super) tags: Vec<String>,
    pub(super) author_name: String,
    pub(super) author_display_name: String,
    pub(super) comment_count: i32,
    pub(super) views: i64,
    pub(super) version: i64,
    pub(super) created_at: OffsetDateTime,
    pub(super) updated_at: OffsetDateTime,
}

impl From<SummaryRow> for Summary {
    fn from(row: SummaryRow) -> Self {
        Self {
            id: row.id,
            title: row.title,
            tags: row.tags,
            author: Byline { name: row.author_name, display_name: row.author_display_name },
            comment_count: row.comment_count,
            views: row.views,
            version: row.version,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// A row that becomes a [`Post`].
pub(super) struct PostRow {
    pub(super) id: i64,
    pub(super) title: String,
    pub(super) body: String,
    pub(super) tags: Vec<String>,
    pub(super) author_name: String,
    pub(super) author_display_name: String,
    pub(super) comment_count: i32,
    pub(super) views: i64,
    pub(super) version: i64,
    pub(super) created_at: OffsetDateTime,
    pub(super) updated_at: OffsetDateTime,
}

impl From<PostRow> for Post {
    fn from(row: PostRow) -> Self {
        Self {
            id: row.id,
            title: row.title,
            body: row.body,
            tags: row.tags,
            author: Byline { name: row.author_name, display_name: row.author_display_name },
            comment_count: row.comment_count,
            views: row.views,
            version: row.version,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

impl Store {
    /// A post.
    ///
    /// # Errors
    /// [`LoadError`].
    pub async fn post(&self, id: PostId) -> Result<Option<Document>, LoadError> {
        let row = again_if_cut(|| {
            sqlx::query_as!(
                PostRow,
                "select p.id, p.title, p.body, p.tags, a.name as author_name, a.display_name as author_display_name,
                        p.comment_count, p.views, p.version, p.created_at, p.updated_at
                 from blog.posts p
                 join blog.authors a on a.id = p.author_id
                 where p.id = $1",
                id.get()
            )
            .fetch_optional(&self.pool)
        })
        .await?;
        let Some(post) = row.map(Post::from) else { return Ok(None) };
        Ok(Some(Document::of_version(post.version, &post)?))
    }

    /// A page of a list. A filter that nothing matches gives an empty page.
    ///
    /// # Errors
    /// [`LoadError`].
    pub async fn page(&self, listing: &Listing) -> Result<Document, LoadError> {
        let mut rows = again_if_cut(|| self.page_rows(listing)).await?;
        let next = listing.limit.cut(&mut rows, |last| Cursor::after(PostId::of_row(last.id)).to_string());
        let page = Page { items: rows.into_iter().map(Summary::from).collect(), next };
        Ok(Document::of_content(&page)?)
    }

    /// One row more than the page has, if there is one: so it is known whether there is a next page.
    async fn page_rows(&self, listing: &Listing) -> Result<Vec<SummaryRow>, sqlx::Error> {
        let below = listing.after.map_or(i64::MAX, |cursor| cursor.id().get());
        let rows = listing.limit.rows();
        match &listing.filter {
            Filter::Recent => {
                sqlx::query_as!(
                    SummaryRow,
                    "select p.id, p.title, p.tags, a.name as author_name, a.display_name as author_display_name,
                            p.comment_count, p.views, p.version, p.created_at, p.updated_at
                     from blog.posts p
                     join blog.authors a on a.id = p.author_id
                     where p.id < $1
                     order by p.id desc
                     limit $2",
                    below,
                    rows
                )
                .fetch_all(&self.pool)
                .await
            }
            // The author's id by a subquery: with a join, the planner does not see that the index on
            // (author_id, id desc) has the order already.
            Filter::Author(author) => {
                sqlx::query_as!(
                    SummaryRow,
                    "select p.id, p.title, p.tags, a.name as author_name, a.display_name as author_display_name,
                            p.comment_count, p.views, p.version, p.created_at, p.updated_at
                     from blog.posts p
                     join blog.authors a on a.id = p.author_id
                     where p.author_id = (select id from blog.authors where name = $1) and p.id < $2
                     order by p.id desc
                     limit $3",
                    author.as_str(),
                    below,
                    rows
                )
                .fetch_all(&self.pool)
                .await
            }
            Filter::Tag(tag) => {
                sqlx::query_as!(
                    SummaryRow,
                    "select p.id, p.title, p.tags, a.name as author_name, a.display_name as author_display_name,
                            p.comment_count, p.views, p.version, p.created_at, p.updated_at
                     from (select post_id from blog.post_tags
                           where tag = $1 and post_id < $2
                           order by post_id desc
                           limit $3) t
                     join blog.posts p on p.id = t.post_id
                     join blog.authors a on a.id = p.author_id
                     order by p.id desc",
                    tag.as_str(),
                    below,
                    rows
                )
                .fetch_all(&self.pool)
                .await
            }
            // The posts of one author are few enough to look at each one's tags.
            Filter::AuthorAndTag(author, tag) => {
                sqlx::query_as!(
                    SummaryRow,
                    "select p.id, p.title, p.tags, a.name as author_name, a.display_name as author_display_name,
                            p.comment_count, p.views, p.version, p.created_at, p.updated_at
                     from blog.posts p
                     join blog.authors a on a.id = p.author_id
                     where p.author_id = (select id from blog.authors where name = $1) and p.id < $2 and $3 = any (p.tags)
                     order by p.id desc
                     limit $4",
                    author.as_str(),
                    below,
                    tag.as_str(),
                    rows
                )
                .fetch_all(&self.pool)
                .await
            }
        }
    }

    /// An author's page. One statement, so that its numbers and its posts are of one moment.
    ///
    /// # Errors
    /// [`LoadError`].
    pub async fn author(&self, name: &AuthorName) -> Result<Option<Document>, LoadError> {
        let rows = again_if_cut(|| {
            sqlx::query!(
                r#"select a.name, a.display_name, a.bio, a.joined_at,
                          s.post_count as "post_count!", s.comment_count as "comment_count!",
                          p.id as "id?", p.title as "title?", p.tags as "tags?", p.comment_count as "post_comment_count?",
                          p.views as "views?", p.version as "version?", p.created_at as "created_at?", p.updated_at as "updated_at?"
                   from blog.authors a
                   cross join lateral (select count(*) as post_count, coalesce(sum(comment_count), 0)::bigint as comment_count
                                       from blog.posts where author_id = a.id) s
                   left join lateral (select id, title, tags, comment_count, views, version, created_at, updated_at
                                      from blog.posts where author_id = a.id
                                      order by id desc
                                      limit $2) p on true
                   where a.name = $1
                   order by p.id desc"#,
                name.as_str(),
                LATEST
            )
            .fetch_all(&self.pool)
        })
        .await?;
        let Some(first) = rows.first() else { return Ok(None) };
        let author = Byline { name: first.name.clone(), display_name: first.display_name.clone() };
        let mut page = AuthorPage {
            name: first.name.clone(),
            display_name: first.display_name.clone(),
            bio: first.bio.clone(),
            joined_at: first.joined_at,
            post_count: first.post_count,
            comment_count: first.comment_count,
            latest: Vec::with_capacity(rows.len()),
        };
        // An author without posts is one row without a post.
        page.latest.extend(rows.into_iter().filter_map(|row| {
            Some(Summary {
                id: row.id?,
                title: row.title?,
                tags: row.tags?,
                author: author.clone(),
                comment_count: row.post_comment_count?,
                views: row.views?,
                version: row.version?,
                created_at: row.created_at?,
                updated_at: row.updated_at?,
            })
        }));
        Ok(Some(Document::of_content(&page)?))
    }
}
