//! The one middleware: request id, trace context, body limit, timeout, panics, metrics, access log, in one pass.
//!
//! Six layers would box and poll six futures for every request. This one adds one allocation (the context) and reads
//! the clock twice.

use std::any::Any;
use std::convert::Infallible;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request};
use axum::response::{IntoResponse, Response};
use axum::routing::{Route, Router};
use http::header::{CONNECTION, EXPECT};
use http::{HeaderValue, Method, StatusCode};
use http_body::Body as _;
use pin_project_lite::pin_project;
use tokio::time::Sleep;
use tower::{Layer, Service};
use tracing::Span;

use crate::body_limit::LimitedBody;
use crate::context::REQUEST_ID;
use crate::metrics::UNMATCHED;
use crate::route_metrics::RouteMetrics;
use crate::{Problem, RequestContext};

/// How long a client should wait before it repeats a request that timed out.
const RETRY_AFTER_TIMEOUT: Duration = Duration::from_secs(1);

/// What all requests of one server share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Largest body of a request, in bytes.
    pub(crate) body_limit: usize,
    /// Longest time until the response's head.
    pub(crate) timeout: Duration,
    /// Set when shutdown begins: each answer then asks its client to connect anew, elsewhere.
    pub(crate) draining: AtomicBool,
    /// Requests that are being handled.
    pub(crate) in_flight: AtomicI64,
}

impl Shared {
    pub(crate) fn new(body_limit: usize, timeout: Duration) -> Self {
        Self { body_limit, timeout, draining: AtomicBool::new(false), in_flight: AtomicI64::new(0) }
    }
}

/// Puts the middleware and the problem documents of unmatched requests around an application's routes.
pub(crate) fn around(router: Router, shared: &Arc<Shared>) -> Router {
    router
        // Without this, axum builds each handler's service anew for every request, and the kept handles with it.
        .with_state::<()>(())
        .fallback(no_such_route)
        .method_not_allowed_fallback(no_such_method)
        .layer(Observe { shared: shared.clone() })
}

async fn no_such_route() -> Problem {
    Problem::not_found("There is nothing at this path.")
}

/// The router adds `Allow` to this.
async fn no_such_method() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED).detail("This path has other methods: see the header allow.")
}

/// Makes an [`Observed`] of each route.
#[derive(Clone, Debug)]
pub(crate) struct Observe {
    shared: Arc<Shared>,
}

impl Layer<Route> for Observe {
    type Service = Observed;

    fn layer(&self, inner: Route) -> Observed {
        Observed { inner, shared: self.shared.clone(), metrics: Arc::new(OnceLock::new()) }
    }
}

/// One route with the middleware around it.
#[derive(Clone, Debug)]
pub(crate) struct Observed {
    inner: Route,
    shared: Arc<Shared>,
    metrics: Arc<OnceLock<Arc<RouteMetrics>>>,
}

impl Observed {
    /// The metrics of the template that was matched: nearly always those of the request before.
    fn metrics(&self, request: &Request) -> Arc<RouteMetrics> {
        let matched = request.extensions().get::<MatchedPath>();
        let route = matched.map_or(UNMATCHED, MatchedPath::as_str);
        let metrics = self.metrics.get_or_init(|| Arc::new(RouteMetrics::new(route.into())));
        if metrics.route() == route {
            return metrics.clone();
        }
        // One service below two templates: a router that was cloned after it had its layer.
        Arc::new(RouteMetrics::new(route.into()))
    }
}

impl Service<Request> for Observed {
    type Response = Response;
    type Error = Infallible;
    type Future = Observing<<Route as Service<Request>>::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request>::poll_ready(&mut self.inner, cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let started = Instant::now();
        let metrics = self.metrics(&request);
        let context = RequestContext::new(request.headers(), request.uri());
        let method = request.method().clone();
        let span = tracing::debug_span!("request", %method, route = metrics.route());
        request.extensions_mut().insert(context.clone());
        if !request.body().is_end_stream() {
            let limit = self.shared.body_limit;
            // axum's own limit (2 MiB) would otherwise stand in front of a larger one.
            DefaultBodyLimit::disable().apply(&mut request);
            let asks_first = request.headers().contains_key(EXPECT);
            request = request.map(|body| Body::new(LimitedBody::new(body, limit, asks_first)));
        }
        self.shared.in_flight.fetch_add(1, Ordering::Relaxed);
        Observing {
            inner: self.inner.call(request),
            sleep: None,
            context: Some(context),
            span,
            flight: Flight { shared: self.shared.clone(), metrics, method, started, answered: false },
        }
    }
}

/// A request under way. Dropped without an answer, it counts as a client that hung up.
#[derive(Debug)]
struct Flight {
    shared: Arc<Shared>,
    metrics: Arc<RouteMetrics>,
    method: Method,
    started: Instant,
    answered: bool,
}

impl Flight {
    fn answer(&mut self, response: &mut Response, context: Option<&RequestContext>) {
        self.answered = true;
        let duration = self.started.elapsed();
        let status = response.status();
        self.metrics.answered(&self.method, status, duration);
        let headers = response.headers_mut();
        if let Some(context) = context {
            headers.insert(REQUEST_ID, context.request_id_header());
        }
        if self.shared.draining.load(Ordering::Relaxed) {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        tracing::debug!(
            target: "service::access",
            method = %self.method,
            route = self.metrics.route(),
            path = context.map(RequestContext::path),
            status = status.as_u16(),
            duration_ms = duration.as_secs_f64() * 1e3,
            "answered"
        );
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.shared.in_flight.fetch_sub(1, Ordering::Relaxed);
        if !self.answered {
            self.metrics.client_gone(&self.method);
        }
    }
}

pin_project! {
    /// The future of an [`Observed`] request.
    pub(crate) struct Observing<F> {
        #[pin]
        inner: F,
        // Made only when the handler does not finish at once: a timer costs more than many a handler.
        #[pin]
        sleep: Option<Sleep>,
        context: Option<RequestContext>,
        span: Span,
        flight: Flight,
    }
}

impl<F: Future<Output = Result<Response, Infallible>>> Future for Observing<F> {
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = {
            let _entered = this.span.enter();
            let (flight, mut inner, mut sleep) = (&*this.flight, this.inner, this.sleep);
            let polled = RequestContext::enter(this.context, || {
                // The state of a handler that panicked is never looked at again: its future is only dropped.
                match catch_unwind(AssertUnwindSafe(|| inner.as_mut().poll(cx))) {
                    Ok(Poll::Ready(Ok(response))) => Some(response),
                    Ok(Poll::Ready(Err(never))) => match never {},
                    Ok(Poll::Pending) => {
                        if sleep.is_none() {
                            let deadline = flight.started + flight.shared.timeout;
                            sleep.set(Some(tokio::time::sleep_until(deadline.into())));
                        }
                        let elapsed = sleep.as_pin_mut().is_some_and(|sleep| sleep.poll(cx).is_ready());
                        elapsed.then(|| timed_out(flight))
                    }
                    Err(panic) => Some(panicked(flight, panic.as_ref())),
                }
            });
            match polled {
                Some(response) => response,
                None => return Poll::Pending,
            }
        };
        let context = this.context.take();
        // The access log of this request belongs to it, too.
        let mut slot = context.clone();
        RequestContext::enter(&mut slot, || this.flight.answer(&mut response, context.as_ref()));
        Poll::Ready(Ok(response))
    }
}

/// 503 and not 504: this is no gateway, and a handler that takes too long means that the service or a store behind it
/// has more to do than it can; asking again later is the right thing. What a handler did so far may have happened:
/// a write that must not be cut off runs in [`Tasks::detached`](crate::Tasks::detached).
fn timed_out(flight: &Flight) -> Response {
    flight.metrics.timed_out();
    tracing::warn!(route = flight.metrics.route(), timeout = ?flight.shared.timeout, "handler timed out");
    Problem::unavailable("The request took longer than it may.", RETRY_AFTER_TIMEOUT).into_response()
}

fn panicked(flight: &Flight, panic: &(dyn Any + Send)) -> Response {
    flight.metrics.panicked();
    // Where it happened is in the line of the panic hook, which runs before this one.
    tracing::error!(route = flight.metrics.route(), panic = panic_message(panic), "handler panicked");
    Problem::internal_logged().into_response()
}

pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> &str {
    if let Some(text) = panic.downcast_ref::<&'static str>() {
        text
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text
    } else {
        "(not a text)"
    }
}
