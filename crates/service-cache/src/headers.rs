//! The headers that tell how an answer came about.
//!
//! A hit is answered some 100,000 times a second: nothing here formats, and what can be a constant is one.

use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use fenced_cache::{Outcome, WriteOutcome};
use http::header::{AGE, CACHE_CONTROL, CONTENT_TYPE, ETAG};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use service::Problem;
use service::conditional::{EntityTag, IfNoneMatch};

use crate::answer::Answer;

/// How a read was answered, in one word: `NEAR_HIT`, `HIT`, `STALE`, `MISS`, `COALESCED`, `NEGATIVE`, `BYPASS`.
pub const X_CACHE: HeaderName = HeaderName::from_static("x-cache");

/// The same as RFC 9211 has it.
pub const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// How a write stands with the cache: `applied`, `pending`, `deferred`; `unknown` on a 503.
pub const X_CACHE_WRITE: HeaderName = HeaderName::from_static("x-cache-write");

/// The value of [`X_CACHE_WRITE`] when it is not known whether there was a write.
pub const UNKNOWN: HeaderValue = HeaderValue::from_static("unknown");

/// The type of every document.
pub const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// What a client, or a cache in between, may do with a document (`Cache-Control`): keep it, and ask each time whether it still
/// holds. Another way, a read after a write could be stale.
pub const REVALIDATE: HeaderValue = HeaderValue::from_static("no-cache");

/// The values of [`CACHE_STATUS`] in one service, whose name they begin with; see [`cache_names!`](crate::cache_names).
#[derive(Clone, Copy, Debug)]
pub struct CacheNames {
    #[doc(hidden)]
    pub near_hit: &'static str,
    #[doc(hidden)]
    pub hit: &'static str,
    #[doc(hidden)]
    pub negative: &'static str,
    #[doc(hidden)]
    pub stale: &'static str,
    #[doc(hidden)]
    pub coalesced: &'static str,
    #[doc(hidden)]
    pub bypass: &'static str,
    #[doc(hidden)]
    pub stored: &'static str,
    #[doc(hidden)]
    pub miss: &'static str,
}

/// The [`CacheNames`] of the service with this name, a literal of at most 16 characters out of letters, digits and `-`.
#[macro_export]
macro_rules! cache_names {
    ($service:literal) => {
        $crate::CacheNames {
            near_hit: concat!($service, "-near; hit; ttl="),
            hit: concat!($service, "-redis; hit; ttl="),
            negative: concat!($service, "-redis; hit; detail=negative; ttl="),
            // RFC 9211 has a ttl below zero here; how far past its time an entry is, the cache does not say.
            stale: concat!($service, "-redis; hit; detail=stale"),
            coalesced: concat!($service, "-redis; fwd=miss; collapsed"),
            bypass: concat!($service, "-redis; fwd=bypass"),
            stored: concat!($service, "-redis; fwd=miss; stored"),
            miss: concat!($service, "-redis; fwd=miss"),
        }
    };
}

impl CacheNames {
    /// A document as it is sent: the bytes of the cache, or 304 without them if the client has them already. `reuse` is its
    /// `Cache-Control`.
    #[must_use]
    pub fn document(
        &self,
        known: &IfNoneMatch,
        answer: &Answer,
        json: Bytes,
        tag: EntityTag,
        reuse: HeaderValue,
    ) -> Response {
        let is_known = known.names(tag);
        let mut response =
            if is_known { StatusCode::NOT_MODIFIED.into_response() } else { Response::new(Body::from(json)) };
        let headers = response.headers_mut();
        // Room for all that is ever said, at once: a map that grows is filled anew.
        headers.reserve(12);
        if !is_known {
            headers.insert(CONTENT_TYPE, JSON);
        }
        headers.insert(ETAG, tag.header());
        headers.insert(CACHE_CONTROL, reuse);
        self.say_how(headers, answer);
        response
    }

    /// 404 as the cache or the database has it.
    #[must_use]
    pub fn not_found(&self, problem: Problem, answer: &Answer) -> Response {
        let mut response = problem.into_response();
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, REVALIDATE);
        self.say_how(headers, answer);
        response
    }

    /// Adds to `headers` how the read was answered.
    fn say_how(&self, headers: &mut HeaderMap, answer: &Answer) {
        headers.insert(X_CACHE, x_cache(answer.outcome));
        headers.insert(CACHE_STATUS, self.cache_status(answer));
        // By its presence alone, Age says that the answer was not made for this request.
        if !matches!(answer.outcome, Outcome::Miss | Outcome::Bypass) {
            headers.insert(AGE, HeaderValue::from(answer.age.as_secs()));
        }
    }

    fn cache_status(&self, answer: &Answer) -> HeaderValue {
        let stored = !answer.fresh_for.is_zero();
        HeaderValue::from_static(match answer.outcome {
            Outcome::NearHit => return with_ttl(self.near_hit, answer.fresh_for),
            Outcome::Hit => return with_ttl(self.hit, answer.fresh_for),
            Outcome::Negative => return with_ttl(self.negative, answer.fresh_for),
            Outcome::Stale => self.stale,
            Outcome::Coalesced => self.coalesced,
            Outcome::Bypass => self.bypass,
            _ if stored => self.stored,
            _ => self.miss,
        })
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

fn with_ttl(prefix: &str, ttl: Duration) -> HeaderValue {
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(ttl.as_secs()).as_bytes();
    // The longest prefix has 50 characters, a u64 20.
    let mut text = [0; 72];
    text[..prefix.len()].copy_from_slice(prefix.as_bytes());
    let end = prefix.len() + digits.len();
    text[prefix.len()..end].copy_from_slice(digits);
    HeaderValue::from_bytes(&text[..end]).expect("a constant and digits are visible ASCII")
}

/// The value of [`X_CACHE_WRITE`].
#[must_use]
pub const fn x_cache_write(outcome: WriteOutcome) -> HeaderValue {
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

    const NAMES: CacheNames = cache_names!("blog");
    const LONGEST: CacheNames = cache_names!("sixteen-letters-");

    #[test]
    fn each_outcome_has_its_words() {
        let seconds = Duration::from_secs;
        let said = |outcome, age, fresh_for| {
            let mut headers = HeaderMap::new();
            let answer = Answer { document: None, outcome, age: seconds(age), fresh_for: seconds(fresh_for) };
            NAMES.say_how(&mut headers, &answer);
            let text = |name: &HeaderName| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
            (text(&X_CACHE).unwrap(), text(&CACHE_STATUS).unwrap(), text(&AGE))
        };
        let of = |x: &str, status: &str, age: Option<&str>| (x.into(), status.into(), age.map(Into::into));
        assert_eq!(said(Outcome::NearHit, 3, 57), of("NEAR_HIT", "blog-near; hit; ttl=57", Some("3")));
        assert_eq!(said(Outcome::Hit, 3, 57), of("HIT", "blog-redis; hit; ttl=57", Some("3")));
        assert_eq!(said(Outcome::Negative, 0, 5), of("NEGATIVE", "blog-redis; hit; detail=negative; ttl=5", Some("0")));
        assert_eq!(said(Outcome::Stale, 90, 0), of("STALE", "blog-redis; hit; detail=stale", Some("90")));
        assert_eq!(said(Outcome::Miss, 0, 60), of("MISS", "blog-redis; fwd=miss; stored", None));
        assert_eq!(said(Outcome::Miss, 0, 0), of("MISS", "blog-redis; fwd=miss", None));
        assert_eq!(said(Outcome::Coalesced, 0, 60), of("COALESCED", "blog-redis; fwd=miss; collapsed", Some("0")));
        assert_eq!(said(Outcome::Bypass, 0, 0), of("BYPASS", "blog-redis; fwd=bypass", None));
        let longest = with_ttl(LONGEST.negative, Duration::MAX);
        assert_eq!(longest, "sixteen-letters--redis; hit; detail=negative; ttl=18446744073709551615");
    }
}
