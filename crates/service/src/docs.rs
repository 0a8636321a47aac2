//! The OpenAPI document of an API, and a page to try it.

use std::sync::Arc;

use axum::Router;
use axum::extract::Path;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use utoipa::openapi::OpenApi;
use utoipa_swagger_ui::Config;

use crate::Problem;
use crate::problem::described::Malformed;

#[derive(utoipa::OpenApi)]
#[openapi(paths(noop, document))]
struct Fixed;

/// Descriptions of `/noop` and `/openapi.json`, to be merged into an API's document: this crate answers them, for every API.
#[must_use]
pub fn fixed_openapi() -> OpenApi {
    <Fixed as utoipa::OpenApi>::openapi()
}

/// A body that means nothing
///
/// What a request costs before the application does anything: the floor of every measurement.
#[utoipa::path(
    get, path = "/noop", tag = "service",
    params(("bytes" = Option<u32>, Query, description = "Size of the body", minimum = 0, maximum = 65536, example = 1600)),
    responses((status = 200, description = "As many bytes as asked for", content_type = "application/json"), Malformed)
)]
#[expect(dead_code, reason = "a description, never called")]
fn noop() {}

/// This document
#[utoipa::path(
    get, path = "/openapi.json", operation_id = "openapi", tag = "service",
    responses((status = 200, description = "This document; `/docs/` is a page to try it", body = serde_json::Value))
)]
#[expect(dead_code, reason = "a description, never called")]
fn document() {}

/// `GET /openapi.json`, and Swagger UI at `GET /docs/`, all of it from this binary: no internet is needed.
///
/// # Errors
/// When the document cannot be written as JSON.
pub fn docs_router(openapi: &OpenApi) -> Result<Router, serde_json::Error> {
    let document = Bytes::from(openapi.to_json()?);
    let config = Arc::new(Config::from("/openapi.json"));
    let openapi = async move || ([(CONTENT_TYPE, "application/json")], document);
    let index = config.clone();
    Ok(Router::new()
        .route("/openapi.json", get(openapi))
        .route("/docs", get(async || Redirect::to("/docs/")))
        .route("/docs/", get(async move || file("index.html", index)))
        .route("/docs/{*file}", get(async move |Path(name): Path<String>| file(&name, config))))
}

fn file(name: &str, config: Arc<Config<'static>>) -> Response {
    match utoipa_swagger_ui::serve(name, config) {
        Ok(Some(file)) => ([(CONTENT_TYPE, file.content_type)], Bytes::from(file.bytes.into_owned())).into_response(),
        Ok(None) => Problem::not_found("The documentation has no such file.").into_response(),
        Err(error) => Problem::internal(error.as_ref()).into_response(),
    }
}
