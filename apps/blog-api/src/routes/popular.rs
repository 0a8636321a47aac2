//! `/posts/popular`: the one list that is allowed to be old.

use axum::extract::State;
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use http::HeaderValue;
use serde::Deserialize;
use service::Query;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::problems::{Always, Malformed};
use super::{Blog, CACHES};
use crate::domain::Limit;
use crate::entry::Entry;
use crate::error::Error;
use crate::model::Popular;
use crate::store::POPULAR_SEPARATOR;
use service::conditional::IfNoneMatch;

pub(super) fn router() -> OpenApiRouter<Blog> {
    OpenApiRouter::new().routes(routes!(list))
}

/// A client, or a cache in between, may use the list for half a minute, as the service itself does.
const REUSE: HeaderValue = HeaderValue::from_static("public, max-age=30, stale-while-revalidate=300");

/// How many of them.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct PopularQuery {
    /// Most posts of the answer.
    #[serde(default)]
    #[param(value_type = Option<u8>, minimum = 1, maximum = 100, default = 20)]
    limit: Limit,
}

/// The most popular posts, the highest score first
///
/// An aggregate over all posts and comments. Unlike everything else here it is not invalidated by writes: it is up to 30 seconds old,
/// and up to five minutes older than that while it is computed anew in the background (`X-Cache: STALE`). `Cache-Control`
/// allows a client the same.
#[utoipa::path(
    get, path = "/posts/popular", operation_id = "listPopular", tag = "posts", params(
        PopularQuery,
        ("If-None-Match" = Option<String>, Header, description = "The ETag of the list that the client has"),
    ),
    responses(
        (status = 200, description = "The posts", body = Popular, headers(
            ("ETag" = String, description = "Changes when the list does"),
            ("Age" = u64, description = "Seconds since it was computed; only if it was cached"),
            ("X-Cache" = String, description = "HIT, STALE, MISS, COALESCED or BYPASS"),
            ("Cache-Status" = String, description = "The same as RFC 9211 has it"),
        )),
        (status = 304, description = "The client has this list already"),
        Malformed, Always,
    )
)]
async fn list(
    State(blog): State<Blog>,
    Query(query): Query<PopularQuery>,
    known: IfNoneMatch,
) -> Result<Response, Error> {
    let entry = Entry::Popular;
    let answer = blog.reads.get(&entry).await?;
    // There is always a list, if an empty one.
    let document = answer.document.clone().unwrap_or_default();
    let json = first_items(&document.json, query.limit.get());
    Ok(CACHES.document(&known, &answer, json, document.entity_tag(entry.validator()), REUSE))
}

/// The list's first items, cut off between two lines.
fn first_items(json: &Bytes, limit: usize) -> Bytes {
    let mut line_breaks = json.iter().enumerate().filter(|(_, byte)| **byte == POPULAR_SEPARATOR);
    match line_breaks.nth(limit - 1) {
        // There is a comma in front of the line break.
        Some((end, _)) => {
            let mut cut = BytesMut::with_capacity(end + 1);
            cut.extend_from_slice(&json[..end - 1]);
            cut.extend_from_slice(b"]}");
            cut.freeze()
        }
        None => json.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_cut_between_two_items() {
        let three = Bytes::from_static(b"{\"items\":[{\"t\":\"a\\n\"},\n{},\n{}]}");
        assert_eq!(first_items(&three, 1), "{\"items\":[{\"t\":\"a\\n\"}]}");
        assert_eq!(first_items(&three, 2), "{\"items\":[{\"t\":\"a\\n\"},\n{}]}");
        assert_eq!(first_items(&three, 3), three);
        assert_eq!(first_items(&three, 100), three);
        let none = Bytes::from_static(b"{\"items\":[]}");
        assert_eq!(first_items(&none, 1), none);
    }
}
