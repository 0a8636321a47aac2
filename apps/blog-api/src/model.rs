//! The documents that the API answers with.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

/// Who wrote a post, as part of the post.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Byline {
    /// The author's name; the page of the author is `/authors/{name}`.
    #[schema(example = "author-0042")]
    pub name: String,
    /// The name to show.
    #[schema(example = "Ada Lindqvist")]
    pub display_name: String,
}

/// A post.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Post {
    /// Counted up from 1; the id of a deleted post never comes back.
    #[schema(minimum = 1)]
    pub id: i64,
    /// 1 to 200 characters.
    #[schema(max_length = 200)]
    pub title: String,
    /// At most 64 KiB of UTF-8.
    pub body: String,
    /// Each tag once, in lower case.
    #[schema(max_items = 10)]
    pub tags: Vec<String>,
    /// Who wrote it.
    pub author: Byline,
    /// How many comments it has.
    #[schema(minimum = 0)]
    pub comment_count: i32,
    /// How often it was read.
    #[schema(minimum = 0)]
    pub views: i64,
    /// Grows by one with each change of the post, its comment count included. The ETag is this number in quotes.
    #[schema(minimum = 1)]
    pub version: i64,
    /// When it was written.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// When it was last changed.
    #[serde(with = "time::serde::rfc3339")]
    pub updated_at: OffsetDateTime,
}

/// A post without its text, as lists show it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Summary {
    /// The post's id.
    #[schema(minimum = 1)]
    pub id: i64,
    /// Its title.
    #[schema(max_length = 200)]
    pub title: String,
    /// Its tags.
    #[schema(max_items = 10)]
    pub tags: Vec<String>,
    /// Who wrote it.
    pub author: Byline,
    /// How many comments it has.
    #[schema(minimum = 0)]
    pub comment_count: i32,
    /// How often it was read.
    #[schema(minimum = 0)]
    pub views: i64,
    /// Its version.
    #[schema(minimum = 1)]
    pub version: i64,
    /// When it was written.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// When it was last changed.
    #[serde(with = "time::serde::rfc3339")]
    pub updated_at: OffsetDateTime,
}

/// One page of a list of posts, newest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Page {
    /// The posts of this page.
    #[schema(max_items = 100)]
    pub items: Vec<Summary>,
    /// What to pass as `after` to get the next page; null on the last one.
    #[schema(required)]
    pub next: Option<String>,
}

/// A post in the list of the most popular ones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Ranked {
    /// The post.
    #[serde(flatten)]
    pub post: Summary,
    /// Its views, plus 20 for each comment.
    #[schema(minimum = 0)]
    pub score: i64,
}

/// The most popular posts, the one with the highest score first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Popular {
    /// The posts.
    #[schema(max_items = 100)]
    pub items: Vec<Ranked>,
}

/// An author's page.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AuthorPage {
    /// The name in URLs; it never changes.
    #[schema(example = "author-0042")]
    pub name: String,
    /// The name to show.
    pub display_name: String,
    /// A few words about the author.
    pub bio: String,
    /// Since when there is this author.
    #[serde(with = "time::serde::rfc3339")]
    pub joined_at: OffsetDateTime,
    /// How many posts the author has written.
    #[schema(minimum = 0)]
    pub post_count: i64,
    /// How many comments these posts have together.
    #[schema(minimum = 0)]
    pub comment_count: i64,
    /// The ten newest of them.
    #[schema(max_items = 10)]
    pub latest: Vec<Summary>,
}

/// A comment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Comment {
    /// The comment's id.
    #[schema(minimum = 1)]
    pub id: i64,
    /// The post that it is about.
    #[schema(minimum = 1)]
    pub post_id: i64,
    /// Who wrote it.
    #[schema(max_length = 100)]
    pub author: String,
    /// What it says.
    pub body: String,
    /// When it was written.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
}
