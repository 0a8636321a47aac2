//! `/posts/{id}`: one post.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::ETAG;
use service::{Json, Path};
use service_cache::{X_CACHE_WRITE, x_cache_write};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Blog;
use super::bodies::ReplacePost;
use super::problems::{Always, Changed, Malformed, Missing, WrongBody};
use crate::domain::PostId;
use crate::entry::Entry;
use crate::error::Error;
use crate::model::Post;
use crate::store::Store;
use service::conditional::{EntityTag, IfMatch, IfNoneMatch};

pub(super) fn router() -> OpenApiRouter<Blog> {
    OpenApiRouter::new().routes(routes!(get, replace, delete))
}

/// A post with its author, tags and number of comments
#[utoipa::path(
    get, path = "/posts/{id}", operation_id = "getPost", tag = "posts", params(
        ("id" = i64, Path, description = "The post's id", minimum = 1),
        ("If-None-Match" = Option<String>, Header, description = "The ETag of the version that the client has"),
    ),
    responses(
        (status = 200, description = "The post", body = Post, headers(
            ("ETag" = String, description = "Its version, in quotes"),
            ("Age" = u64, description = "Seconds since it was read from the database; only if it was cached"),
            ("X-Cache" = String, description = "HIT, STALE, MISS, COALESCED or BYPASS"),
            ("Cache-Status" = String, description = "The same as RFC 9211 has it"),
        )),
        (status = 304, description = "The client has this version already"),
        Malformed, Missing, Always,
    )
)]
async fn get(State(blog): State<Blog>, Path(id): Path<PostId>, known: IfNoneMatch) -> Result<Response, Error> {
    blog.send(&known, Entry::Post(id), || Error::NoSuchPost(id)).await
}

/// Change a post
///
/// Replaces title, text and tags, and the author if one is given. With `If-Match`, only if the post still has that version.
#[utoipa::path(
    put, path = "/posts/{id}", operation_id = "replacePost", tag = "posts", request_body = ReplacePost, params(
        ("id" = i64, Path, description = "The post's id", minimum = 1),
        ("If-Match" = Option<String>, Header, description = "The ETag of the version that is to be changed"),
    ),
    responses(
        (status = 200, description = "The post as it is now", body = Post, headers(
            ("ETag" = String, description = "Its new version, in quotes"),
            ("X-Cache-Write" = String, description = "applied: every read from now on shows it; pending: soon; deferred: this replica has no cache"),
        )),
        Malformed, Missing, Changed, WrongBody, Always,
    )
)]
async fn replace(
    State(blog): State<Blog>,
    Path(id): Path<PostId>,
    expected: IfMatch,
    Json(body): Json<ReplacePost>,
) -> Result<Response, Error> {
    let update = body.parse()?;
    let written =
        blog.reads.write(move |db| Box::pin(async move { Store::update(db, id, &expected, &update).await })).await?;
    let headers = [
        (ETAG, EntityTag::of_version(written.value.version.unsigned_abs()).header()),
        (X_CACHE_WRITE, x_cache_write(written.outcome)),
    ];
    Ok((headers, Json(written.value)).into_response())
}

/// Delete a post with its comments
///
/// With `If-Match`, only if the post still has that version.
#[utoipa::path(
    delete, path = "/posts/{id}", operation_id = "deletePost", tag = "posts", params(
        ("id" = i64, Path, description = "The post's id", minimum = 1),
        ("If-Match" = Option<String>, Header, description = "The ETag of the version that is to be deleted"),
    ),
    responses(
        (status = 204, description = "It is gone", headers(
            ("X-Cache-Write" = String, description = "applied: no read from now on shows it; pending: soon; deferred: this replica has no cache"),
        )),
        Malformed, Missing, Changed, Always,
    )
)]
async fn delete(State(blog): State<Blog>, Path(id): Path<PostId>, expected: IfMatch) -> Result<Response, Error> {
    let written = blog.reads.write(move |db| Box::pin(async move { Store::delete(db, id, &expected).await })).await?;
    Ok((StatusCode::NO_CONTENT, [(X_CACHE_WRITE, x_cache_write(written.outcome))]).into_response())
}
