//! `/s/{strategy}/products/{id}`: one product.

use std::convert::Infallible;

use axum::extract::{FromRequestParts, State};
use axum::response::Response;
use http::header::{CONTENT_TYPE, ETAG, LOCATION};
use http::request::Parts;
use http::{HeaderValue, StatusCode};
use serde::Deserialize;
use service::conditional::{EntityTag, IfMatch, IfNoneMatch};
use service::{Json, Path};
use service_cache::{JSON, X_CACHE_WRITE, x_cache_write};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::bodies::{ReplaceProduct, SetPrice};
use super::chosen::Chosen;
use super::problems::{Always, Changed, Malformed, Missing, WrongBody};
use super::{Shop, answered};
use crate::catalog::Scale;
use crate::domain::ProductId;
use crate::entry::Entry;
use crate::error::Error;
use crate::model::Product;
use crate::seen::X_SEEN_VERSION;
use crate::store::{State as Row, Store};
use fenced_cache::Written;

pub(super) fn router() -> OpenApiRouter<Shop> {
    OpenApiRouter::new().routes(routes!(get, replace, delete)).routes(routes!(set_price))
}

/// What the client says that it was shown: `X-Seen-Version`. All headers would be a copy of all of them.
#[derive(Debug)]
struct Shown(Option<HeaderValue>);

impl<S: Sync> FromRequestParts<S> for Shown {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(parts.headers.get(X_SEEN_VERSION).cloned()))
    }
}

/// Which product.
#[derive(Debug, Deserialize)]
struct ById {
    id: ProductId,
}

/// A product
#[utoipa::path(
    get, path = "/s/{strategy}/products/{id}", operation_id = "getProduct", tag = "products", params(
        ("strategy" = String, Path, description = "By which strategy", example = "combined"),
        ("id" = i64, Path, description = "The product's id", minimum = 1),
        ("If-None-Match" = Option<String>, Header, description = "The ETag of the version that the client has"),
        ("X-Seen-Version" = Option<String>, Header, description = "As a write of this product was answered with: no older version is shown"),
    ),
    responses(
        (status = 200, description = "The product", body = Product, headers(
            ("ETag" = String, description = "Its version, in quotes"),
            ("Age" = u64, description = "Seconds since it was read from the database; only if it was cached"),
            ("X-Cache" = String, description = "NEAR_HIT, HIT, STALE, MISS, COALESCED or BYPASS"),
            ("Cache-Status" = String, description = "The same as RFC 9211 has it"),
            ("X-Seen-Version" = String, description = "To be handed on instead; only to a client that has handed one on"),
        )),
        (status = 304, description = "The client has this version already"),
        Malformed, Missing, Always,
    )
)]
async fn get(
    State(shop): State<Shop>,
    Chosen(strategy): Chosen,
    Path(ById { id }): Path<ById>,
    Shown(shown): Shown,
    known: IfNoneMatch,
) -> Result<Response, Error> {
    let entry = Entry::Product(id);
    let store = shop.catalog.store();
    // What few reads need is boxed, so that the future of the others stays small.
    let seen = match shown {
        Some(header) => Box::pin(shop.seen.read(store, id, &header)).await,
        None => None,
    };
    let answer = shop.catalog.get(&*strategy, &entry, seen).await?;
    let mut response = answered(&known, &entry, &answer, || Error::NoSuchProduct(id));
    if let (Some(_), Some(document)) = (seen, &answer.document)
        && let Some(seen) = Box::pin(shop.seen.sign(store, id, document.validator)).await
    {
        response.headers_mut().insert(X_SEEN_VERSION, seen);
    }
    Ok(response)
}

/// Change a product
///
/// Replaces everything but its category and its currency. With `If-Match`, only if the product still has that version.
#[utoipa::path(
    put, path = "/s/{strategy}/products/{id}", operation_id = "replaceProduct", tag = "products", request_body = ReplaceProduct, params(
        ("strategy" = String, Path, description = "By which strategy", example = "combined"),
        ("id" = i64, Path, description = "The product's id", minimum = 1),
        ("If-Match" = Option<String>, Header, description = "The ETag of the version that is to be changed"),
    ),
    responses(
        (status = 200, description = "The product as it is now", body = Product, headers(
            ("ETag" = String, description = "Its new version, in quotes"),
            ("X-Cache-Write" = String, description = "applied, pending or deferred"),
            ("X-Seen-Version" = String, description = "To be handed on by whoever wants to read this write under any strategy"),
        )),
        Malformed, Missing, Changed, WrongBody, Always,
    )
)]
async fn replace(
    State(shop): State<Shop>,
    Chosen(strategy): Chosen,
    Path(ById { id }): Path<ById>,
    expected: IfMatch,
    Json(body): Json<ReplaceProduct>,
) -> Result<Response, Error> {
    let update = body.parse()?;
    let written = shop
        .catalog
        .write(&strategy, Scale::One(id), move |db| {
            Box::pin(async move { Store::update(db, id, &expected, &update).await })
        })
        .await?;
    Ok(shop.changed(StatusCode::OK, written).await)
}

/// Change the price of a product
///
/// In the currency that it has. With `If-Match`, only if the product still has that version.
#[utoipa::path(
    patch, path = "/s/{strategy}/products/{id}/price", operation_id = "setPrice", tag = "products", request_body = SetPrice, params(
        ("strategy" = String, Path, description = "By which strategy", example = "combined"),
        ("id" = i64, Path, description = "The product's id", minimum = 1),
        ("If-Match" = Option<String>, Header, description = "The ETag of the version that is to be changed"),
    ),
    responses(
        (status = 200, description = "The product as it is now", body = Product, headers(
            ("ETag" = String, description = "Its new version, in quotes"),
            ("X-Cache-Write" = String, description = "applied, pending or deferred"),
            ("X-Seen-Version" = String, description = "To be handed on by whoever wants to read this write under any strategy"),
        )),
        Malformed, Missing, Changed, WrongBody, Always,
    )
)]
async fn set_price(
    State(shop): State<Shop>,
    Chosen(strategy): Chosen,
    Path(ById { id }): Path<ById>,
    expected: IfMatch,
    Json(body): Json<SetPrice>,
) -> Result<Response, Error> {
    let price = body.parse()?;
    let written = shop
        .catalog
        .write(&strategy, Scale::One(id), move |db| {
            Box::pin(async move { Store::set_price(db, id, &expected, price).await })
        })
        .await?;
    Ok(shop.changed(StatusCode::OK, written).await)
}

/// Delete a product
///
/// With `If-Match`, only if the product still has that version.
#[utoipa::path(
    delete, path = "/s/{strategy}/products/{id}", operation_id = "deleteProduct", tag = "products", params(
        ("strategy" = String, Path, description = "By which strategy", example = "combined"),
        ("id" = i64, Path, description = "The product's id", minimum = 1),
        ("If-Match" = Option<String>, Header, description = "The ETag of the version that is to be deleted"),
    ),
    responses(
        (status = 204, description = "It is gone", headers(
            ("X-Cache-Write" = String, description = "applied, pending or deferred"),
        )),
        Malformed, Missing, Changed, Always,
    )
)]
async fn delete(
    State(shop): State<Shop>,
    Chosen(strategy): Chosen,
    Path(ById { id }): Path<ById>,
    expected: IfMatch,
) -> Result<Response, Error> {
    let written = shop
        .catalog
        .write(&strategy, Scale::One(id), move |db| Box::pin(async move { Store::delete(db, id, &expected).await }))
        .await?;
    let mut response = Response::new(axum::body::Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().insert(X_CACHE_WRITE, x_cache_write(written.outcome));
    Ok(response)
}

impl Shop {
    /// A product as a write left it.
    pub(super) async fn changed(&self, status: StatusCode, written: Written<Row>) -> Response {
        let Row { id, version, json } = written.value;
        let mut response = Response::new(axum::body::Body::from(json));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, JSON);
        headers.insert(ETAG, EntityTag::of_version(version).header());
        headers.insert(X_CACHE_WRITE, x_cache_write(written.outcome));
        if let Some(seen) = self.seen.sign(self.catalog.store(), id, version).await {
            headers.insert(X_SEEN_VERSION, seen);
        }
        response
    }
}

/// The path of a product.
pub(super) fn location(strategy: &str, id: ProductId) -> (http::HeaderName, HeaderValue) {
    let path = format!("/s/{strategy}/products/{id}");
    (LOCATION, HeaderValue::try_from(path).expect("a path of letters and digits"))
}
