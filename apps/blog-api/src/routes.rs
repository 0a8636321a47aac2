//! The routes, one file per resource, each with its own `router()`.

mod authors;
mod bodies;
mod comments;
mod popular;
mod post;
mod posts;
mod problems;

use axum::Router;
use axum::response::Response;
use service::Problem;
use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use crate::entry::Entry;
use crate::error::Error;
use crate::reads::Reads;
use service::conditional::IfNoneMatch;
use service_cache::{CacheNames, REVALIDATE, cache_names};

/// What the caches are called in `Cache-Status`.
const CACHES: CacheNames = cache_names!("blog");

/// What every handler needs.
#[derive(Clone, Debug)]
pub struct Blog {
    /// How documents are read and changed.
    pub reads: Reads,
}

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Blog",
        description = "Posts, their authors and comments, read through a cache.\n\n\
            **After a write that was answered with `X-Cache-Write: applied`, no read that begins later, on any \
            replica, shows what was before it.** With `pending` the write is committed and the cache is being told; until then a \
            read may show what was before. `/posts/popular` is outside of this: it is up to half a minute old, or older while it \
            is computed anew.\n\n\
            Every error is a problem document (RFC 9457)."
    ),
    components(schemas(service::ProblemDocument, service::FieldProblem)),
    tags(
        (name = "posts", description = "Posts and lists of them"),
        (name = "authors", description = "Who writes them"),
        (name = "comments", description = "What others say about them"),
        (name = "service", description = "The service itself")
    )
)]
struct Document;

fn documented() -> OpenApiRouter<Blog> {
    OpenApiRouter::with_openapi(Document::openapi())
        .merge(posts::router())
        .merge(popular::router())
        .merge(post::router())
        .merge(comments::router())
        .merge(authors::router())
}

/// The OpenAPI document of all routes.
#[must_use]
pub fn openapi() -> OpenApi {
    let mut document = documented().to_openapi();
    // These two are answered by crate `service`, which describes nothing.
    document.merge(service::fixed_openapi());
    document
}

/// All routes of the API.
///
/// # Errors
/// When the OpenAPI document cannot be written as JSON.
pub fn router(blog: Blog) -> Result<Router, serde_json::Error> {
    let routes: Router<Blog> = documented().into();
    Ok(routes.with_state(blog).merge(service::noop_router()).merge(service::docs_router(&openapi())?))
}

impl Blog {
    /// Answers with a document as it is in the cache; `missing` is the answer where there is no such thing.
    async fn send(
        &self,
        known: &IfNoneMatch,
        entry: Entry,
        missing: impl FnOnce() -> Error,
    ) -> Result<Response, Error> {
        let answer = self.reads.get(&entry).await?;
        Ok(match &answer.document {
            Some(document) => {
                let (json, tag) = (document.json.clone(), document.entity_tag(entry.validator()));
                CACHES.document(known, &answer, json, tag, REVALIDATE)
            }
            None => CACHES.not_found(Problem::from(missing()), &answer),
        })
    }
}
