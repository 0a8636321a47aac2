//! What changes rows. Each function works inside of a transaction that its caller commits, together with the
//! outbox row that says what the change invalidates.

use std::collections::BTreeSet;

use sqlx::PgConnection;

use super::Store;
use super::read::PostRow;
use crate::domain::{AuthorName, Body, CommentBody, Commenter, PostId, Tags, Title};
use crate::error::Error;
use crate::model::{Comment, Post};
use service::FieldProblem;
use service::conditional::IfMatch;

/// A post to be written.
#[derive(Clone, Debug)]
pub struct NewPost {
    /// Who writes it.
    pub author: AuthorName,
    /// Its title.
    pub title: Title,
    /// Its text.
    pub body: Body,
    /// Its tags.
    pub tags: Tags,
}

/// What a post shall be from now on.
#[derive(Clone, Debug)]
pub struct PostUpdate {
    /// Who wrote it; without a name the author stays.
    pub author: Option<AuthorName>,
    /// Its title.
    pub title: Title,
    /// Its text.
    pub body: Body,
    /// Its tags.
    pub tags: Tags,
}

/// A comment to be written.
#[derive(Clone, Debug)]
pub struct NewComment {
    /// Who writes it.
    pub author: Commenter,
    /// What it says.
    pub body: CommentBody,
}

/// What a change touched: the post, and the authors and tags that it had before or has now. Every cached
/// document that shows something of the post is found by these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Touched {
    /// The post.
    pub post: PostId,
    /// Names of authors.
    pub authors: BTreeSet<String>,
    /// Tags.
    pub tags: BTreeSet<String>,
}

impl Touched {
    fn new(post: PostId) -> Self {
        Self { post, authors: BTreeSet::new(), tags: BTreeSet::new() }
    }

    fn state(mut self, author: &str, tags: &[String]) -> Self {
        self.authors.insert(author.to_owned());
        self.tags.extend(tags.iter().cloned());
        self
    }
}

/// A change of rows, not yet committed.
#[derive(Clone, Debug)]
pub struct Change<T> {
    /// What the client gets.
    pub value: T,
    /// What it touched.
    pub touched: Touched,
}

impl Store {
    /// Writes a post.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there is no such author, else the database's.
    pub async fn create(db: &mut PgConnection, new: &NewPost) -> Result<Change<Post>, Error> {
        let row = sqlx::query_as!(
            PostRow,
            "with author as (select id, name, display_name from blog.authors where name = $1),
                  post as (insert into blog.posts (author_id, title, body, tags)
                           select id, $2, $3, $4 from author
                           returning id, title, body, tags, comment_count, views, version, created_at, updated_at)
             select p.id, p.title, p.body, p.tags, a.name as author_name, a.display_name as author_display_name,
                    p.comment_count, p.views, p.version, p.created_at, p.updated_at
             from post p cross join author a",
            new.author.as_str(),
            new.title.as_str(),
            new.body.as_str(),
            new.tags.as_slice()
        )
        .fetch_optional(db)
        .await?
        .ok_or_else(|| no_such_author(&new.author))?;
        let post = Post::from(row);
        // The id too: somebody may have asked for it before it was there, and been told so by the cache.
        let touched = Touched::new(PostId::of_row(post.id)).state(&post.author.name, &post.tags);
        Ok(Change { value: post, touched })
    }

    /// Changes a post, if its version is one that the client expects.
    ///
    /// # Errors
    /// [`Error::NoSuchPost`], [`Error::PreconditionFailed`], [`Error::Invalid`] if there is no such author, else the
    /// database's.
    pub async fn update(
        db: &mut PgConnection,
        id: PostId,
        expected: &IfMatch,
        update: &PostUpdate,
    ) -> Result<Change<Post>, Error> {
        // First the lock on this one row, by itself: a join beside it would be evaluated with the author that the
        // row had before a concurrent change of it was waited for, and then find nothing.
        let before = sqlx::query!(
            r#"select p.version, p.tags, p.author_id,
                      (select name from blog.authors where id = p.author_id) as "author_name!",
                      (select id from blog.authors where name = $2) as "new_author_id?"
               from blog.posts p
               where p.id = $1
               for no key update"#,
            id.get(),
            update.author.as_ref().map(AuthorName::as_str)
        )
        .fetch_optional(&mut *db)
        .await?
        .ok_or(Error::NoSuchPost(id))?;
        expected.check(before.version)?;
        let author_id = match (&update.author, before.new_author_id) {
            (Some(author), None) => return Err(no_such_author(author)),
            (_, author_id) => author_id.unwrap_or(before.author_id),
        };
        let row = sqlx::query_as!(
            PostRow,
            "update blog.posts p
             set title = $2, body = $3, tags = $4, author_id = $5
             from blog.authors a
             where p.id = $1 and a.id = $5
             returning p.id, p.title, p.body, p.tags, a.name as author_name, a.display_name as author_display_name,
                       p.comment_count, p.views, p.version, p.created_at, p.updated_at",
            id.get(),
            update.title.as_str(),
            update.body.as_str(),
            update.tags.as_slice(),
            author_id
        )
        .fetch_one(&mut *db)
        .await?;
        let post = Post::from(row);
        let touched = Touched::new(id).state(&before.author_name, &before.tags).state(&post.author.name, &post.tags);
        Ok(Change { value: post, touched })
    }

    /// Deletes a post with its comments, if its version is one that the client expects.
    ///
    /// # Errors
    /// [`Error::NoSuchPost`], [`Error::PreconditionFailed`], else the database's.
    pub async fn delete(db: &mut PgConnection, id: PostId, expected: &IfMatch) -> Result<Change<()>, Error> {
        let before = sqlx::query!(
            r#"select p.version, p.tags,
                      (select name from blog.authors where id = p.author_id) as "author_name!"
               from blog.posts p
               where p.id = $1
               for update"#,
            id.get()
        )
        .fetch_optional(&mut *db)
        .await?
        .ok_or(Error::NoSuchPost(id))?;
        expected.check(before.version)?;
        sqlx::query!("delete from blog.posts where id = $1", id.get()).execute(&mut *db).await?;
        Ok(Change { value: (), touched: Touched::new(id).state(&before.author_name, &before.tags) })
    }

    /// Adds a comment to a post, whose count and version a trigger moves.
    ///
    /// # Errors
    /// [`Error::NoSuchPost`], else the database's.
    pub async fn comment(db: &mut PgConnection, id: PostId, new: &NewComment) -> Result<Change<Comment>, Error> {
        // The lock keeps author and tags as they are until the commit: the change touches these lists and no others.
        let post = sqlx::query!(
            r#"select p.tags, (select name from blog.authors where id = p.author_id) as "author_name!"
               from blog.posts p
               where p.id = $1
               for no key update"#,
            id.get()
        )
        .fetch_optional(&mut *db)
        .await?
        .ok_or(Error::NoSuchPost(id))?;
        let comment = sqlx::query_as!(
            Comment,
            "insert into blog.comments (post_id, author, body) values ($1, $2, $3)
             returning id, post_id, author, body, created_at",
            id.get(),
            new.author.as_str(),
            new.body.as_str()
        )
        .fetch_one(&mut *db)
        .await?;
        Ok(Change { value: comment, touched: Touched::new(id).state(&post.author_name, &post.tags) })
    }
}

fn no_such_author(name: &AuthorName) -> Error {
    Error::Invalid(vec![FieldProblem::new("/author", format!("there is no author {name}"))])
}
