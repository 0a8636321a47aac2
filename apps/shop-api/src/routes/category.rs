//! `/s/{strategy}/categories/{id}`: the products of a category, and their prices.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use service::conditional::IfNoneMatch;
use service::{Json, Path, Query};
use service_cache::{X_CACHE_WRITE, x_cache_write};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Shop;
use super::bodies::Reprice;
use super::chosen::Chosen;
use super::problems::{Always, Malformed, Missing, WrongBody};
use crate::catalog::Scale;
use crate::domain::{CategoryId, Limit, Listing, ProductId};
use crate::entry::Entry;
use crate::error::Error;
use crate::model::{Page, Repriced};
use crate::store::Store;

pub(super) fn router() -> OpenApiRouter<Shop> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(reprice))
}

/// Which category.
#[derive(Debug, Deserialize)]
struct ById {
    id: CategoryId,
}

/// Which page of its products.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Only products with a higher id: the `next` of the page before.
    #[param(value_type = Option<i64>, minimum = 1)]
    after: Option<ProductId>,
    /// Most products of a page.
    #[serde(default)]
    #[param(value_type = Option<u8>, minimum = 1, maximum = 100, default = 20)]
    limit: Limit,
}

/// A page of a category's products, by ascending id
#[utoipa::path(
    get, path = "/s/{strategy}/categories/{id}/products", operation_id = "listProducts", tag = "categories", params(
        ("strategy" = String, Path, description = "By which strategy", example = "combined"),
        ("id" = i64, Path, description = "The category's id", minimum = 1),
        ListQuery,
        ("If-None-Match" = Option<String>, Header, description = "The ETag of a page that the client has"),
    ),
    responses(
        (status = 200, description = "The page", body = Page, headers(
            ("ETag" = String, description = "Changes when the page does"),
            ("Age" = u64, description = "Seconds since the page was read from the database; only if it was cached"),
            ("X-Cache" = String, description = "NEAR_HIT, HIT, STALE, MISS, COALESCED or BYPASS"),
            ("Cache-Status" = String, description = "The same as RFC 9211 has it"),
        )),
        (status = 304, description = "The client has this page already"),
        Malformed, Missing, Always,
    )
)]
async fn list(
    State(shop): State<Shop>,
    Chosen(strategy): Chosen,
    Path(ById { id }): Path<ById>,
    Query(ListQuery { after, limit }): Query<ListQuery>,
    known: IfNoneMatch,
) -> Result<Response, Error> {
    let entry = Entry::Page(Listing { category: id, after, limit });
    shop.send(&*strategy, &known, &entry, || Error::NoSuchCategory(id)).await
}

/// Change the prices of all products of a category
///
/// In one transaction. Rounded to the nearest coin, half a coin up.
#[utoipa::path(
    post, path = "/s/{strategy}/categories/{id}/reprice", operation_id = "repriceCategory", tag = "categories", request_body = Reprice, params(
        ("strategy" = String, Path, description = "By which strategy", example = "combined"),
        ("id" = i64, Path, description = "The category's id", minimum = 1),
    ),
    responses(
        (status = 200, description = "All have their new price", body = Repriced, headers(
            ("X-Cache-Write" = String, description = "applied, pending or deferred"),
        )),
        Malformed, Missing, WrongBody, Always,
    )
)]
async fn reprice(
    State(shop): State<Shop>,
    Chosen(strategy): Chosen,
    Path(ById { id }): Path<ById>,
    Json(body): Json<Reprice>,
) -> Result<Response, Error> {
    let percent = body.parse()?;
    let detail = strategy.detail();
    let written = shop
        .catalog
        .write(&strategy, Scale::Bulk, move |db| Box::pin(async move { Store::reprice(db, id, percent, detail).await }))
        .await?;
    Ok(([(X_CACHE_WRITE, x_cache_write(written.outcome))], Json(written.value)).into_response())
}
