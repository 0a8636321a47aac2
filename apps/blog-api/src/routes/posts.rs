//! `/posts`: lists of posts, and new ones.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{ETAG, LOCATION};
use http::{HeaderValue, StatusCode};
use serde::Deserialize;
use service::{Json, Query};
use service_cache::{X_CACHE_WRITE, x_cache_write};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Blog;
use super::bodies::CreatePost;
use super::problems::{Always, Malformed, WrongBody};
use crate::domain::{AuthorName, Cursor, Filter, Limit, Listing, Tag};
use crate::entry::Entry;
use crate::error::Error;
use crate::model::{Page, Post};
use crate::store::Store;
use service::conditional::{EntityTag, IfNoneMatch};

pub(super) fn router() -> OpenApiRouter<Blog> {
    OpenApiRouter::new().routes(routes!(list, create))
}

/// Which page of which list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Only posts of this author.
    #[param(value_type = Option<String>, max_length = 63, pattern = "^[a-z0-9][a-z0-9-]*$", example = "author-0042")]
    author: Option<AuthorName>,
    /// Only posts with this tag.
    #[param(value_type = Option<String>, min_length = 1, max_length = 50, example = "rust")]
    tag: Option<Tag>,
    /// Most posts of a page.
    #[serde(default)]
    #[param(value_type = Option<u8>, minimum = 1, maximum = 100, default = 20)]
    limit: Limit,
    /// The `next` of the page before.
    #[param(value_type = Option<String>, min_length = 12, max_length = 12)]
    after: Option<Cursor>,
}

/// A page of posts, newest first
///
/// All posts, or those of one author, or those with a tag, or both. A filter that nothing matches gives an empty page.
#[utoipa::path(
    get, path = "/posts", operation_id = "listPosts", tag = "posts", params(
        ListQuery,
        ("If-None-Match" = Option<String>, Header, description = "The ETag of a page that the client has"),
    ),
    responses(
        (status = 200, description = "The page", body = Page, headers(
            ("ETag" = String, description = "Changes when the page does"),
            ("Age" = u64, description = "Seconds since the page was read from the database; only if it was cached"),
            ("X-Cache" = String, description = "HIT, STALE, MISS, COALESCED or BYPASS"),
            ("Cache-Status" = String, description = "The same as RFC 9211 has it"),
        )),
        (status = 304, description = "The client has this page already"),
        Malformed, Always,
    )
)]
async fn list(State(blog): State<Blog>, Query(query): Query<ListQuery>, known: IfNoneMatch) -> Result<Response, Error> {
    let ListQuery { author, tag, limit, after } = query;
    let listing = Listing { filter: Filter::new(author, tag), limit, after };
    blog.send(&known, Entry::Page(listing), || Error::Panicked).await
}

/// Write a post
#[utoipa::path(
    post, path = "/posts", operation_id = "createPost", tag = "posts", request_body = CreatePost,
    responses(
        (status = 201, description = "The post as it was written", body = Post, headers(
            ("Location" = String, description = "The post's path"),
            ("ETag" = String, description = "Its version, in quotes"),
            ("X-Cache-Write" = String, description = "applied: every read from now on shows it; pending: soon; deferred: this replica has no cache"),
        )),
        Malformed, WrongBody, Always,
    )
)]
async fn create(State(blog): State<Blog>, Json(body): Json<CreatePost>) -> Result<Response, Error> {
    let new = body.parse()?;
    let written = blog.reads.write(move |db| Box::pin(async move { Store::create(db, &new).await })).await?;
    let post = written.value;
    let location = HeaderValue::try_from(format!("/posts/{}", post.id)).expect("a path of letters and digits");
    let headers = [
        (LOCATION, location),
        (ETAG, EntityTag::of_version(post.version.unsigned_abs()).header()),
        (X_CACHE_WRITE, x_cache_write(written.outcome)),
    ];
    Ok((StatusCode::CREATED, headers, Json(post)).into_response())
}
