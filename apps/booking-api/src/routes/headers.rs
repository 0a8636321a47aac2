//! The headers of requests and answers that are this API's own.

use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Response};
use fenced_cache::WriteOutcome;
use http::header::{ETAG, LOCATION};
use http::request::Parts;
use http::{HeaderName, HeaderValue, StatusCode};
use serde::Serialize;
use service::Json;
use service::conditional::{EntityTag, IfNoneMatch};
use service_cache::{X_CACHE_WRITE, x_cache_write};

use crate::domain::IdempotencyKey;
use crate::error::Error;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Says of an answer that it was given before.
pub(super) const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// `Idempotency-Key`, if there is one.
#[derive(Debug)]
pub(super) struct Key(pub(super) Option<IdempotencyKey>);

impl<S: Send + Sync> FromRequestParts<S> for Key {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        let mut values = parts.headers.get_all(IDEMPOTENCY_KEY).iter();
        let key = match (values.next(), values.next()) {
            (None, _) => None,
            (Some(value), None) => {
                let read = IdempotencyKey::parse(value.as_bytes());
                Some(read.map_err(|invalid| Error::MalformedKey(invalid.to_string()))?)
            }
            // Which one is meant cannot be known.
            (Some(_), Some(_)) => return Err(Error::MalformedKey("may be sent only once".to_owned())),
        };
        Ok(Self(key))
    }
}

/// A document under this tag, or 304 without it if the client has it already.
pub(super) fn tagged(known: &IfNoneMatch, tag: EntityTag, document: impl Serialize) -> Response {
    let mut response =
        if known.names(tag) { StatusCode::NOT_MODIFIED.into_response() } else { Json(document).into_response() };
    response.headers_mut().insert(ETAG, tag.header());
    response
}

/// Says how the change stands with the cache, if there was one.
pub(super) fn say_told(mut response: Response, told: Option<WriteOutcome>) -> Response {
    if let Some(outcome) = told {
        response.headers_mut().insert(X_CACHE_WRITE, x_cache_write(outcome));
    }
    response
}

/// 201 with the path of what was made.
pub(super) fn created(path: &str, tag: EntityTag, document: impl Serialize) -> Response {
    let location = HeaderValue::try_from(path).expect("a path of letters and digits");
    (StatusCode::CREATED, [(LOCATION, location), (ETAG, tag.header())], Json(document)).into_response()
}
