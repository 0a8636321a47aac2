//! `/authors/{name}`: an author's page.

use axum::extract::State;
use axum::response::Response;
use service::Path;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Blog;
use super::problems::{Always, Malformed, Missing};
use crate::domain::AuthorName;
use crate::entry::Entry;
use crate::error::Error;
use crate::model::AuthorPage;
use service::conditional::IfNoneMatch;

pub(super) fn router() -> OpenApiRouter<Blog> {
    OpenApiRouter::new().routes(routes!(get))
}

/// An author, with the ten newest posts
#[utoipa::path(
    get, path = "/authors/{name}", operation_id = "getAuthor", tag = "authors", params(
        ("name" = String, Path, description = "The author's name", max_length = 63, pattern = "^[a-z0-9][a-z0-9-]*$", example = "author-0042"),
        ("If-None-Match" = Option<String>, Header, description = "The ETag of the page that the client has"),
    ),
    responses(
        (status = 200, description = "The author's page", body = AuthorPage, headers(
            ("ETag" = String, description = "Changes when the page does"),
            ("Age" = u64, description = "Seconds since it was read from the database; only if it was cached"),
            ("X-Cache" = String, description = "HIT, STALE, MISS, COALESCED or BYPASS"),
            ("Cache-Status" = String, description = "The same as RFC 9211 has it"),
        )),
        (status = 304, description = "The client has this page already"),
        Malformed, Missing, Always,
    )
)]
async fn get(State(blog): State<Blog>, Path(name): Path<AuthorName>, known: IfNoneMatch) -> Result<Response, Error> {
    blog.send(&known, Entry::Author(name.clone()), || Error::NoSuchAuthor(name)).await
}
