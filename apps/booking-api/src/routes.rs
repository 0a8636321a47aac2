//! The routes, one file per resource, each with its own `router()`.

mod audit;
mod bodies;
mod booking;
mod bookings;
mod events;
mod headers;
mod problems;

use std::time::Duration;

use axum::Router;
use service_cache::{CacheNames, cache_names};
use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use crate::pages::Pages;
use crate::store::Store;
use crate::strategies::Strategies;

/// What the cache is called in `Cache-Status`.
const CACHES: CacheNames = cache_names!("booking");

/// What every handler needs.
#[derive(Clone, Debug)]
pub struct Bookings {
    /// The rows.
    pub store: Store,
    /// How seats are sold.
    pub strategies: Strategies,
    /// How events' pages are read, and told of changes.
    pub pages: Pages,
    /// Longest wait for an event's lock.
    pub lock_deadline: Duration,
}

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Booking",
        description = "Events, and bookings of their seats. Each event has a strategy by which its seats are kept from being sold \
            twice.\n\n\
            **No seat is sold twice** by `redis-fenced`, `pg-advisory`, `pg-row`, `k8s-lease`, `pg-conditional`, `pg-units` and \
            `redis-reserve`, whatever pauses, dies or loses its connection. `none`, `redis` and `redlock` are there to be seen \
            failing.\n\n\
            **A request with an `Idempotency-Key` books at most once**, however often it is sent.\n\n\
            **An event's page is read through a cache, and right.** After a booking, cancellation or new event that was answered \
            with `X-Cache-Write: applied`, no read of `/events/{id}` that begins later, on any replica, shows what was before it, \
            under any strategy. With `pending` it is committed, and the cache is being told; until then the page may show more seats \
            than are left. With `deferred` the replica has no cache: its own pages are right, and those of replicas that have one are \
            told within about a second. What counts is what is booked: a seat that somebody is paying for, or that `redis-reserve` \
            has handed out, is left until then. `GET /events` and the audit are never cached.\n\n\
            Every error is a problem document (RFC 9457)."
    ),
    components(schemas(service::ProblemDocument, service::FieldProblem)),
    tags(
        (name = "events", description = "Events and how they are sold"),
        (name = "bookings", description = "Bookings of seats"),
        (name = "service", description = "The service itself")
    )
)]
struct Document;

fn documented() -> OpenApiRouter<Bookings> {
    OpenApiRouter::with_openapi(Document::openapi())
        .merge(events::router())
        .merge(bookings::router())
        .merge(booking::router())
        .merge(audit::router())
}

/// The OpenAPI document of all routes.
#[must_use]
pub fn openapi() -> OpenApi {
    let mut document = documented().to_openapi();
    document.merge(service::fixed_openapi());
    document
}

/// All routes of the API.
///
/// # Errors
/// When the OpenAPI document cannot be written as JSON.
pub fn router(bookings: Bookings) -> Result<Router, serde_json::Error> {
    let routes: Router<Bookings> = documented().into();
    Ok(routes.with_state(bookings).merge(service::noop_router()).merge(service::docs_router(&openapi())?))
}
