//! `/posts/{id}/comments`: what others say about a post.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use service::{Json, Path};
use service_cache::{X_CACHE_WRITE, x_cache_write};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Blog;
use super::bodies::CreateComment;
use super::problems::{Always, Malformed, Missing, WrongBody};
use crate::domain::PostId;
use crate::error::Error;
use crate::model::Comment;
use crate::store::Store;

pub(super) fn router() -> OpenApiRouter<Blog> {
    OpenApiRouter::new().routes(routes!(create))
}

/// Comment on a post
///
/// The post's comment count and version grow by one.
#[utoipa::path(
    post, path = "/posts/{id}/comments", operation_id = "createComment", tag = "comments", request_body = CreateComment, params(
        ("id" = i64, Path, description = "The post's id", minimum = 1),
    ),
    responses(
        (status = 201, description = "The comment", body = Comment, headers(
            ("X-Cache-Write" = String, description = "applied: every read of the post from now on counts it; pending: soon; deferred: this replica has no cache"),
        )),
        Malformed, Missing, WrongBody, Always,
    )
)]
async fn create(
    State(blog): State<Blog>,
    Path(id): Path<PostId>,
    Json(body): Json<CreateComment>,
) -> Result<Response, Error> {
    let new = body.parse()?;
    let written = blog.reads.write(move |db| Box::pin(async move { Store::comment(db, id, &new).await })).await?;
    let headers = [(X_CACHE_WRITE, x_cache_write(written.outcome))];
    Ok((StatusCode::CREATED, headers, Json(written.value)).into_response())
}
