//! Who a request is: its request id and its place in a distributed trace.
//!
//! The context is made once per request by the middleware, offered to handlers as an extractor, and kept in a
//! thread local while the request's future is polled. The thread local is what lets a log line, a problem or a
//! spawned task know the request without a tracing span: a span costs a registry entry and formatted fields for
//! every request, a swapped pointer costs nothing that could be measured.

use std::cell::Cell;
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::extract::FromRequestParts;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use pin_project_lite::pin_project;

use crate::trace::TraceContext;

/// The header that carries the request id, in both directions.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest request id that is taken over from a client, in bytes.
pub const MAX_REQUEST_ID: usize = 64;

/// Identity of one request. Cheap to clone.
///
/// As an extractor it never fails: outside of the middleware (a router tested on its own) it is made up on the spot.
#[derive(Clone)]
pub struct RequestContext(Arc<Inner>);

struct Inner {
    request_id: HeaderValue,
    trace: TraceContext,
    uri: Uri,
}

thread_local! {
    static CURRENT: Cell<Option<RequestContext>> = const { Cell::new(None) };
}

impl RequestContext {
    /// Reads `x-request-id` and the W3C trace headers, or makes up what is missing or not sane.
    ///
    /// A request id is taken over if it is 1 to [`MAX_REQUEST_ID`] visible ASCII characters: it ends up in logs and
    /// in a response header, so nothing else may pass.
    #[must_use]
    pub fn new(headers: &HeaderMap, uri: &Uri) -> Self {
        let request_id = match headers.get(REQUEST_ID) {
            Some(id) if is_sane(id) => id.clone(),
            _ => new_request_id(),
        };
        Self(Arc::new(Inner { request_id, trace: TraceContext::continued_or_begun(headers), uri: uri.clone() }))
    }

    /// The context of the request whose future runs on this thread right now, if any.
    #[must_use]
    pub fn current() -> Option<Self> {
        CURRENT.with(|current| {
            let context = current.take();
            let copy = context.clone();
            current.set(context);
            copy
        })
    }

    /// The request id: visible ASCII, 1 to 64 characters.
    #[must_use]
    pub fn request_id(&self) -> &str {
        // Both ways to make one accept visible ASCII only.
        self.0.request_id.to_str().unwrap_or_default()
    }

    /// The place of this request in its trace; [`TraceContext::traceparent`] continues it in an outgoing call.
    #[must_use]
    pub fn trace(&self) -> &TraceContext {
        &self.0.trace
    }

    /// The path that was asked for, before any routing.
    #[must_use]
    pub fn path(&self) -> &str {
        self.0.uri.path()
    }

    pub(crate) fn request_id_header(&self) -> HeaderValue {
        self.0.request_id.clone()
    }

    /// Runs a future inside of this context, as for a task that goes on after the request.
    pub fn scope<F: Future>(self, future: F) -> InContext<F> {
        InContext { context: Some(self), future }
    }

    /// Runs `body` with this context as the current one.
    pub(crate) fn enter<T>(slot: &mut Option<Self>, body: impl FnOnce() -> T) -> T {
        let _entered = Entered::new(slot);
        body()
    }
}

impl fmt::Debug for RequestContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestContext")
            .field("request_id", &self.request_id())
            .field("trace", &self.0.trace)
            .finish_non_exhaustive()
    }
}

impl<S: Sync> FromRequestParts<S> for RequestContext {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(match parts.extensions.get::<Self>() {
            Some(context) => context.clone(),
            None => Self::new(&parts.headers, &parts.uri),
        })
    }
}

/// Swaps the context in on creation and out again on drop, so that an unwinding poll restores it too.
struct Entered<'a> {
    slot: &'a mut Option<RequestContext>,
    before: Option<RequestContext>,
}

impl<'a> Entered<'a> {
    fn new(slot: &'a mut Option<RequestContext>) -> Self {
        let before = CURRENT.with(|current| current.replace(slot.take()));
        Self { slot, before }
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        *self.slot = CURRENT.with(|current| current.replace(self.before.take()));
    }
}

pin_project! {
    /// A future that runs inside of a [`RequestContext`]; see [`RequestContext::scope`].
    #[derive(Debug)]
    pub struct InContext<F> {
        context: Option<RequestContext>,
        #[pin]
        future: F,
    }
}

impl<F: Future> Future for InContext<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        RequestContext::enter(this.context, || this.future.poll(cx))
    }
}

fn is_sane(id: &HeaderValue) -> bool {
    let bytes = id.as_bytes();
    (1..=MAX_REQUEST_ID).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
}

fn new_request_id() -> HeaderValue {
    let id = crate::trace::hex::<32>(crate::trace::random_u128());
    // Hex digits are always a valid header value.
    HeaderValue::from_bytes(&id).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(id: &[u8]) -> RequestContext {
        let mut headers = HeaderMap::new();
        headers.insert(REQUEST_ID, HeaderValue::from_bytes(id).unwrap());
        RequestContext::new(&headers, &Uri::from_static("/a?b"))
    }

    #[test]
    fn a_sane_id_is_taken_over_and_another_is_replaced() {
        assert_eq!(context(b"a\"b\\c~!").request_id(), "a\"b\\c~!");
        assert_eq!(context(&[b'x'; 64]).request_id(), "x".repeat(64));
        for odd in [&[b'x'; 65][..], b"", b"two words", b"tab\t", "\u{fc}".as_bytes()] {
            let made = context(odd);
            assert_eq!(made.request_id().len(), 32, "{odd:?}");
            assert_ne!(made.request_id().as_bytes(), odd);
        }
    }

    #[test]
    fn two_requests_have_two_ids() {
        let headers = HeaderMap::new();
        let uri = Uri::from_static("/");
        let (a, b) = (RequestContext::new(&headers, &uri), RequestContext::new(&headers, &uri));
        assert_ne!(a.request_id(), b.request_id());
        assert_ne!(a.trace().trace_id(), b.trace().trace_id());
    }

    #[test]
    fn a_panic_inside_of_a_scope_leaves_no_context_behind() {
        let mut slot = Some(context(b"one"));
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            RequestContext::enter(&mut slot, || {
                assert_eq!(RequestContext::current().unwrap().request_id(), "one");
                panic!("in the middle");
            })
        }));
        assert!(result.is_err());
        assert!(RequestContext::current().is_none());
        assert_eq!(slot.unwrap().request_id(), "one");
    }

    #[test]
    fn scopes_nest() {
        let (mut outer, mut inner) = (Some(context(b"outer")), Some(context(b"inner")));
        RequestContext::enter(&mut outer, || {
            RequestContext::enter(&mut inner, || {
                assert_eq!(RequestContext::current().unwrap().request_id(), "inner");
            });
            assert_eq!(RequestContext::current().unwrap().request_id(), "outer");
        });
    }
}
