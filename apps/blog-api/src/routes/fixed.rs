//! Descriptions of the routes that crate `service` answers.

use utoipa::OpenApi as _;

use super::problems::Malformed;

#[derive(utoipa::OpenApi)]
#[openapi(paths(noop, document))]
struct Fixed;

pub(super) fn openapi() -> utoipa::openapi::OpenApi {
    Fixed::openapi()
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
