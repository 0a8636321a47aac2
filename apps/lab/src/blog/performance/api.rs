//! The blog's HTTP interface as its clients know it: requests, headers, and what is read of the bodies.

use std::io::Write as _;

use serde::{Deserialize, Serialize};

use crate::measure::connection::Response;

/// How a read was answered, from `X-Cache`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Cached {
    Hit,
    Stale,
    Miss,
    Coalesced,
    Negative,
    Bypass,
    /// No such header, or a word that the interface does not have.
    Unsaid,
}

impl Cached {
    pub(crate) fn of(response: &Response<'_>) -> Self {
        match response.header("x-cache") {
            Some(b"HIT") => Self::Hit,
            Some(b"STALE") => Self::Stale,
            Some(b"MISS") => Self::Miss,
            Some(b"COALESCED") => Self::Coalesced,
            Some(b"NEGATIVE") => Self::Negative,
            Some(b"BYPASS") => Self::Bypass,
            _ => Self::Unsaid,
        }
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Stale => "stale",
            Self::Miss => "miss",
            Self::Coalesced => "coalesced",
            Self::Negative => "negative",
            Self::Bypass => "bypass",
            Self::Unsaid => "unsaid",
        }
    }
}

/// How a write ended, from `X-Cache-Write`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Wrote {
    /// Committed, and no read that begins from now on may see what was before it.
    Applied,
    /// Committed; the invalidation follows.
    Pending,
    /// Committed; by choice nothing is invalidated.
    Deferred,
    /// Perhaps committed.
    Unknown,
    /// No such header, or a word that the interface does not have.
    Unsaid,
}

impl Wrote {
    pub(crate) fn of(response: &Response<'_>) -> Self {
        match response.header("x-cache-write") {
            Some(b"applied") => Self::Applied,
            Some(b"pending") => Self::Pending,
            Some(b"deferred") => Self::Deferred,
            Some(b"unknown") => Self::Unknown,
            _ => Self::Unsaid,
        }
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Pending => "pending",
            Self::Deferred => "deferred",
            Self::Unknown => "unknown",
            Self::Unsaid => "unsaid",
        }
    }
}

/// An answer as the measurements sort it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) cached: Cached,
}

impl Answer {
    pub(crate) fn of(response: &Response<'_>) -> Self {
        Self { status: response.status, cached: Cached::of(response) }
    }

    /// A 200 that was answered like that.
    pub(crate) fn ok(cached: Cached) -> impl Fn(Self) -> bool {
        move |answer| answer == Self { status: 200, cached }
    }
}

/// The version in an `ETag: "<version>"`.
pub(crate) fn etag(response: &Response<'_>) -> Option<u64> {
    let text = std::str::from_utf8(response.header("etag")?).ok()?;
    text.strip_prefix('"')?.strip_suffix('"')?.parse().ok()
}

/// A post, or its summary in a list; the fields that the lab judges by.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Post {
    pub(crate) id: i64,
    pub(crate) version: u64,
    pub(crate) title: String,
    pub(crate) comment_count: u64,
}

/// `GET /posts?...`.
#[derive(Debug, Deserialize)]
pub(crate) struct Page {
    pub(crate) items: Vec<Post>,
}

/// `GET /authors/{name}`.
#[derive(Debug, Deserialize)]
pub(crate) struct AuthorPage {
    pub(crate) latest: Vec<Post>,
}

/// What `POST /posts` and `PUT /posts/{id}` take.
#[derive(Debug, Serialize)]
pub(crate) struct Draft<'a> {
    /// Not needed by a PUT.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) author: Option<&'a str>,
    pub(crate) title: &'a str,
    pub(crate) body: &'a str,
    pub(crate) tags: &'a [&'a str],
}

/// Writes a whole GET into an empty buffer.
pub(crate) fn get(into: &mut Vec<u8>, path: &str) {
    into.extend_from_slice(b"GET ");
    into.extend_from_slice(path.as_bytes());
    into.extend_from_slice(b" HTTP/1.1\r\nHost: blog\r\n\r\n");
}

/// [`get`] for `/posts/{id}` without a detour over a `String`: it runs once a request.
pub(crate) fn get_post(into: &mut Vec<u8>, id: i64) {
    // Writing to a Vec does not fail.
    let _ = write!(into, "GET /posts/{id} HTTP/1.1\r\nHost: blog\r\n\r\n");
}

/// A GET that is answered 304 while the post still has that version.
pub(crate) fn get_if_changed(into: &mut Vec<u8>, path: &str, version: u64) {
    let _ = write!(into, "GET {path} HTTP/1.1\r\nHost: blog\r\nIf-None-Match: \"{version}\"\r\n\r\n");
}

/// A request with a JSON body.
pub(crate) fn send(method: &str, path: &str, body: &impl Serialize) -> anyhow::Result<Vec<u8>> {
    let body = serde_json::to_vec(body)?;
    let mut request = format!(
        "{method} {path} HTTP/1.1\r\nHost: blog\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(&body);
    Ok(request)
}

/// A DELETE.
pub(crate) fn delete(path: &str) -> Vec<u8> {
    format!("DELETE {path} HTTP/1.1\r\nHost: blog\r\n\r\n").into_bytes()
}

/// A name as a path segment or a query's value: everything but unreserved characters as `%XX` (RFC 3986).
pub(crate) fn encoded(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Draft, encoded, get_if_changed, send};

    #[test]
    fn requests_are_whole() {
        let draft = Draft { author: None, title: "t", body: "b", tags: &["x"] };
        let request = String::from_utf8(send("PUT", "/posts/7", &draft).unwrap()).unwrap();
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("PUT /posts/7 HTTP/1.1\r\n"), "{head}");
        assert!(head.ends_with(&format!("Content-Length: {}", body.len())), "{head}");
        assert_eq!(body, r#"{"title":"t","body":"b","tags":["x"]}"#);
        let mut conditional = Vec::new();
        get_if_changed(&mut conditional, "/posts/7", 3);
        assert!(conditional.ends_with(b"If-None-Match: \"3\"\r\n\r\n"));
    }

    #[test]
    fn names_cannot_leave_their_place_in_the_path() {
        assert_eq!(encoded("a-1.b_c~"), "a-1.b_c~");
        assert_eq!(encoded("a/b?c=d&ü"), "a%2Fb%3Fc%3Dd%26%C3%BC");
    }
}
