//! `/s/{strategy}/products`: searches, and new products.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde::Deserialize;
use service::conditional::IfNoneMatch;
use service::{Json, Query};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Shop;
use super::bodies::CreateProduct;
use super::chosen::Chosen;
use super::problems::{Always, Malformed, Missing, WrongBody};
use super::product::location;
use crate::catalog::Scale;
use crate::domain::{Limit, Phrase, Search};
use crate::entry::Entry;
use crate::error::Error;
use crate::model::{Found, Product};
use crate::store::Store;

pub(super) fn router() -> OpenApiRouter<Shop> {
    OpenApiRouter::new().routes(routes!(search)).routes(routes!(create))
}

/// What is searched for.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct SearchQuery {
    /// Words, "phrases", or, -not; case and space around them do not count.
    #[param(value_type = String, min_length = 1, max_length = 200, example = "oak table -round")]
    q: Phrase,
    /// Most products that are found.
    #[serde(default)]
    #[param(value_type = Option<u8>, minimum = 1, maximum = 100, default = 20)]
    limit: Limit,
}

/// Search products, the best match first
#[utoipa::path(
    get, path = "/s/{strategy}/products/search", operation_id = "searchProducts", tag = "products", params(
        ("strategy" = String, Path, description = "By which strategy", example = "combined"),
        SearchQuery,
        ("If-None-Match" = Option<String>, Header, description = "The ETag of an answer that the client has"),
    ),
    responses(
        (status = 200, description = "What was found", body = Found, headers(
            ("ETag" = String, description = "Changes when the answer does"),
            ("Age" = u64, description = "Seconds since it was read from the database; only if it was cached"),
            ("X-Cache" = String, description = "NEAR_HIT, HIT, STALE, MISS, COALESCED or BYPASS"),
            ("Cache-Status" = String, description = "The same as RFC 9211 has it"),
        )),
        (status = 304, description = "The client has this answer already"),
        Malformed, Missing, Always,
    )
)]
async fn search(
    State(shop): State<Shop>,
    Chosen(strategy): Chosen,
    Query(SearchQuery { q, limit }): Query<SearchQuery>,
    known: IfNoneMatch,
) -> Result<Response, Error> {
    let entry = Entry::Search(Search { phrase: q, limit });
    shop.send(&*strategy, &known, &entry, || Error::Panicked).await
}

/// Add a product
#[utoipa::path(
    post, path = "/s/{strategy}/products", operation_id = "createProduct", tag = "products", request_body = CreateProduct, params(
        ("strategy" = String, Path, description = "By which strategy", example = "combined"),
    ),
    responses(
        (status = 201, description = "The product as it was added", body = Product, headers(
            ("Location" = String, description = "The product's path"),
            ("ETag" = String, description = "Its version, in quotes"),
            ("X-Cache-Write" = String, description = "applied, pending or deferred"),
            ("X-Seen-Version" = String, description = "To be handed on by whoever wants to read this write under any strategy"),
        )),
        Malformed, Missing, WrongBody, Always,
    )
)]
async fn create(
    State(shop): State<Shop>,
    Chosen(strategy): Chosen,
    Json(body): Json<CreateProduct>,
) -> Result<Response, Error> {
    let new = body.parse()?;
    let written = shop
        .catalog
        .write(&strategy, Scale::New, move |db| Box::pin(async move { Store::create(db, &new).await }))
        .await?;
    let (name, value) = location(strategy.about().name, written.value.id);
    let mut response = shop.changed(StatusCode::CREATED, written).await;
    response.headers_mut().insert(name, value);
    Ok(response)
}
