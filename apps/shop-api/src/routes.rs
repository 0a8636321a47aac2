//! The routes, one file per resource, each with its own `router()`.

mod bodies;
mod category;
mod chosen;
mod problems;
mod product;
mod products;
mod strategies;

use axum::Router;
use axum::response::Response;
use service::Problem;
use service::conditional::IfNoneMatch;
use service_cache::{Answer, CacheNames, REVALIDATE, cache_names};
use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use crate::catalog::Catalog;
use crate::entry::Entry;
use crate::error::Error;
use crate::seen::Seen;
use crate::strategies::Strategy;

/// What the caches are called in `Cache-Status`.
const CACHES: CacheNames = cache_names!("shop");

/// What every handler needs.
#[derive(Clone, Debug)]
pub struct Shop {
    /// The products.
    pub catalog: Catalog,
    /// What clients have seen of them.
    pub seen: Seen,
}

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Shop",
        description = "A catalog of products, read through a cache which learns of changes in seven ways. The strategy is part of \
            the path, so that they can be compared on the same rows; `/strategies` says what each promises, what it costs, and when \
            to choose it.\n\n\
            **A write tells only the cache of the strategy under which it was sent.** What is read under another one is as old as \
            the TTL there allows: read and write under the same.\n\n\
            **`X-Cache-Write: applied`**: the cache knows. Under `explicit`, `write-through`, `tags` and `combined` no read that \
            begins later, on any replica, shows what was before. `pending`: committed, and the cache is being told. `deferred`: by \
            its strategy, the write leaves the cache to a TTL or an event.\n\n\
            **Who hands on `X-Seen-Version`**, as a write was answered with it, is shown no older version of that product, under any \
            strategy.\n\n\
            Every error is a problem document (RFC 9457)."
    ),
    components(schemas(service::ProblemDocument, service::FieldProblem)),
    tags(
        (name = "strategies", description = "How the cache learns of changes"),
        (name = "products", description = "Products"),
        (name = "categories", description = "Categories of products"),
        (name = "service", description = "The service itself")
    )
)]
struct Document;

fn documented() -> OpenApiRouter<Shop> {
    OpenApiRouter::with_openapi(Document::openapi())
        .merge(strategies::router())
        .merge(products::router())
        .merge(product::router())
        .merge(category::router())
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
pub fn router(shop: Shop) -> Result<Router, serde_json::Error> {
    let routes: Router<Shop> = documented().into();
    Ok(routes.with_state(shop).merge(service::noop_router()).merge(service::docs_router(&openapi())?))
}

impl Shop {
    /// Answers with a document as it is in the cache; `missing` is the answer where there is no such thing.
    async fn send(
        &self,
        strategy: &dyn Strategy,
        known: &IfNoneMatch,
        entry: &Entry,
        missing: impl FnOnce() -> Error,
    ) -> Result<Response, Error> {
        let answer = self.catalog.get(strategy, entry, None).await?;
        Ok(answered(known, entry, &answer, missing))
    }
}

fn answered(known: &IfNoneMatch, entry: &Entry, answer: &Answer, missing: impl FnOnce() -> Error) -> Response {
    match &answer.document {
        Some(document) => {
            let (json, tag) = (document.json.clone(), document.entity_tag(entry.validator()));
            CACHES.document(known, answer, json, tag, REVALIDATE)
        }
        None => CACHES.not_found(Problem::from(missing()), answer),
    }
}
