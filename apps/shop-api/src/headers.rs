//! The headers that tell how an answer came about.
//!
//! A hit is answered some 100,000 times a second: nothing here formats, and what can be a constant is one. Only a client that hands
//! on the version which it has seen costs a signature.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use fenced_cache::{Outcome, WriteOutcome};
use http::header::{AGE, CACHE_CONTROL, CONTENT_TYPE, ETAG};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use service::Problem;

use crate::catalog::Answer;
use service::conditional::{EntityTag, IfNoneMatch};

/// How a read was answered, in one word: `NEAR_HIT`, `HIT`, `STALE`, `MISS`, `COALESCED`, `NEGATIVE`, `BYPASS`.
pub const X_CACHE: HeaderName = HeaderName::from_static("x-cache");

/// The same as RFC 9211 has it.
pub const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// How a write stands with the cache: `applied`, `pending`, `deferred`; `unknown` on a 503.
pub const X_CACHE_WRITE: HeaderName = HeaderName::from_static("x-cache-write");

/// The version of a product that the client has seen; see [`seen`](crate::seen).
pub const X_SEEN_VERSION: HeaderName = HeaderName::from_static("x-seen-version");

/// The value of [`X_CACHE_WRITE`] when it is not known whether there was a write.
pub(crate) const UNKNOWN: HeaderValue = HeaderValue::from_static("unknown");

/// Of every document.
pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// What a client, or a cache in between, may do with a document: keep it, and ask each time whether it still holds. Another way, a
/// read after a write could be stale.
const REVALIDATE: HeaderValue = HeaderValue::from_static("no-cache");

/// Adds to `headers` how the read was answered.
fn say_how(headers: &mut HeaderMap, answer: &Answer) {
    headers.insert(X_CACHE, x_cache(answer.outcome));
    headers.insert(CACHE_STATUS, cache_status(answer));
    // By its presence alone, Age says that the answer was not made for this request.
    if !matches!(answer.outcome, Outcome::Miss | Outcome::Bypass) {
        headers.insert(AGE, HeaderValue::from(answer.age.as_secs()));
    }
}

const fn x_cache(outcome: Outcome) -> HeaderValue {
    HeaderValue::from_static(match outcome {
        Outcome::NearHit => "NEAR_HIT",
        Outcome::Hit => "HIT",
        Outcome::Stale => "STALE",
        Outcome::Coalesced => "COALESCED",
        Outcome::Negative => "NEGATIVE",
        Outcome::Bypass => "BYPASS",
        _ => "MISS",
    })
}

fn cache_status(answer: &Answer) -> HeaderValue {
    let stored = !answer.fresh_for.is_zero();
    HeaderValue::from_static(match answer.outcome {
        Outcome::NearHit => return with_ttl(b"shop-near; hit; ttl=", answer.fresh_for),
        Outcome::Hit => return with_ttl(b"shop-redis; hit; ttl=", answer.fresh_for),
        Outcome::Negative => return with_ttl(b"shop-redis; hit; detail=negative; ttl=", answer.fresh_for),
        // RFC 9211 has a ttl below zero here; how far past its time an entry is, the cache does not say.
        Outcome::Stale => "shop-redis; hit; detail=stale",
        Outcome::Coalesced => "shop-redis; fwd=miss; collapsed",
        Outcome::Bypass => "shop-redis; fwd=bypass",
        _ if stored => "shop-redis; fwd=miss; stored",
        _ => "shop-redis; fwd=miss",
    })
}

fn with_ttl(prefix: &[u8], ttl: Duration) -> HeaderValue {
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(ttl.as_secs()).as_bytes();
    // The longer prefix has 38 characters, a u64 20.
    let mut text = [0; 64];
    text[..prefix.len()].copy_from_slice(prefix);
    let end = prefix.len() + digits.len();
    text[prefix.len()..end].copy_from_slice(digits);
    HeaderValue::from_bytes(&text[..end]).expect("a constant and digits are visible ASCII")
}

/// A document as it is sent: the bytes of the cache, or 304 without them if the client has them already.
pub(crate) fn document(known: &IfNoneMatch, answer: &Answer, json: bytes::Bytes, tag: EntityTag) -> Response {
    let mut response = if known.names(tag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let mut response = Response::new(axum::body::Body::from(json));
        response.headers_mut().insert(CONTENT_TYPE, JSON);
        response
    };
    let headers = response.headers_mut();
    headers.reserve(8);
    headers.insert(ETAG, tag.header());
    headers.insert(CACHE_CONTROL, REVALIDATE);
    say_how(headers, answer);
    response
}

/// 404 as the cache or the database has it.
pub(crate) fn not_found(problem: Problem, answer: &Answer) -> Response {
    let mut response = problem.into_response();
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, REVALIDATE);
    say_how(headers, answer);
    response
}

/// The value of [`X_CACHE_WRITE`].
pub(crate) const fn x_cache_write(outcome: WriteOutcome) -> HeaderValue {
    HeaderValue::from_static(match outcome {
        WriteOutcome::Applied => "applied",
        WriteOutcome::Pending => "pending",
        WriteOutcome::Deferred => "deferred",
        _ => return UNKNOWN,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(outcome: Outcome, age: u64, fresh_for: u64) -> Answer {
        let seconds = Duration::from_secs;
        Answer { document: None, outcome, age: seconds(age), fresh_for: seconds(fresh_for) }
    }

    #[test]
    fn each_outcome_has_its_words() {
        let said = |outcome, age, fresh_for| {
            let mut headers = HeaderMap::new();
            say_how(&mut headers, &answer(outcome, age, fresh_for));
            let text = |name: &HeaderName| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
            (text(&X_CACHE).unwrap(), text(&CACHE_STATUS).unwrap(), text(&AGE))
        };
        let of = |x: &str, status: &str, age: Option<&str>| (x.into(), status.into(), age.map(Into::into));
        assert_eq!(said(Outcome::NearHit, 3, 57), of("NEAR_HIT", "shop-near; hit; ttl=57", Some("3")));
        assert_eq!(said(Outcome::Hit, 3, 57), of("HIT", "shop-redis; hit; ttl=57", Some("3")));
        assert_eq!(said(Outcome::Negative, 0, 5), of("NEGATIVE", "shop-redis; hit; detail=negative; ttl=5", Some("0")));
        assert_eq!(said(Outcome::Stale, 90, 0), of("STALE", "shop-redis; hit; detail=stale", Some("90")));
        assert_eq!(said(Outcome::Miss, 0, 60), of("MISS", "shop-redis; fwd=miss; stored", None));
        assert_eq!(said(Outcome::Miss, 0, 0), of("MISS", "shop-redis; fwd=miss", None));
        assert_eq!(said(Outcome::Coalesced, 0, 60), of("COALESCED", "shop-redis; fwd=miss; collapsed", Some("0")));
        assert_eq!(said(Outcome::Bypass, 0, 0), of("BYPASS", "shop-redis; fwd=bypass", None));
        let longest = with_ttl(b"shop-redis; hit; detail=negative; ttl=", Duration::MAX);
        assert_eq!(longest, "shop-redis; hit; detail=negative; ttl=18446744073709551615");
    }
}
