//! A route that does nothing, through everything that a real route goes through.

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use serde::Deserialize;

use crate::{Problem, Query};

/// Largest body that the route answers with, in bytes.
const MOST: usize = 65_536;

/// About the size of a post.
const USUAL: usize = 1_600;

/// A JSON string of the largest size, cut anew for each request: its quotes are put in front and behind.
static FILLING: [u8; MOST] = [b'x'; MOST];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Size {
    bytes: Option<usize>,
}

/// `GET /noop?bytes=N`: 200 with a constant body of N bytes (0 to 65,536; 1,600 if not given), `application/json`.
///
/// It is the floor of the lab's measurements: what a request costs before the application does anything.
pub fn noop_router() -> Router {
    Router::new().route("/noop", get(noop))
}

async fn noop(Query(size): Query<Size>) -> Result<Response, Problem> {
    let bytes = size.bytes.unwrap_or(USUAL);
    if bytes > MOST {
        let allowed = format!("must be a whole number from 0 to {MOST}");
        return Err(Problem::bad_request("The query string is not understood.").field("bytes", allowed));
    }
    let body = Bytes::from_static(&FILLING[..bytes]);
    Ok(([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response())
}
