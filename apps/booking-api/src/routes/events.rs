//! `/events`: events, new ones, and one alone.

use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use service::conditional::{EntityTag, IfNoneMatch};
use service::paging::Limit;
use service::{FieldProblem, Json, Path, Problem, Query};
use service_cache::{REVALIDATE, Validator};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::bodies::CreateEvent;
use super::headers::{created, say_told, tagged};
use super::problems::{Always, Malformed, Missing, WrongBody};
use super::{Bookings, CACHES};
use crate::domain::EventId;
use crate::error::Error;
use crate::model::{EventDocument, EventPage};
use crate::pages::Ended;
use crate::store::events;
use crate::strategies::locks;

pub(super) fn router() -> OpenApiRouter<Bookings> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(get))
}

/// Which page of the events.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Only events with a higher id: that of the last event of the page before.
    #[param(value_type = Option<i64>, minimum = 1)]
    after: Option<EventId>,
    /// Most events of a page.
    #[serde(default)]
    #[param(value_type = Option<u8>, minimum = 1, maximum = 100, default = 20)]
    limit: Limit,
}

/// A page of events, oldest first
#[utoipa::path(
    get, path = "/events", operation_id = "listEvents", tag = "events", params(
        ListQuery,
        ("If-None-Match" = Option<String>, Header, description = "The ETag of a page that the client has"),
    ),
    responses(
        (status = 200, description = "The page", body = EventPage, headers(
            ("ETag" = String, description = "Changes when the page does"),
        )),
        (status = 304, description = "The client has this page already"),
        Malformed, Always,
    )
)]
async fn list(
    State(bookings): State<Bookings>,
    Query(query): Query<ListQuery>,
    known: IfNoneMatch,
) -> Result<Response, Error> {
    let page = events::page(&bookings.store.pool, query.after, query.limit).await?;
    Ok(tagged(&known, tag(&page), page))
}

/// Make an event
///
/// Its strategy is fixed for its life, because every booking of an event must take the same lock.
#[utoipa::path(
    post, path = "/events", operation_id = "createEvent", tag = "events", request_body = CreateEvent,
    responses(
        (status = 201, description = "The event", body = EventDocument, headers(
            ("Location" = String, description = "The event's path"),
            ("ETag" = String, description = "Changes when the event's page does"),
            ("X-Cache-Write" = String, description = "applied: its page shows it from now on; pending: soon; deferred: this replica has no cache"),
        )),
        Malformed, WrongBody, Always,
    )
)]
async fn create(State(bookings): State<Bookings>, Json(body): Json<CreateEvent>) -> Result<Response, Error> {
    let new = body.parse()?;
    if let Err(locks::Missing(what)) = bookings.strategies.has(new.strategy).await {
        let detail = format!("this replica has no {}: {what}", new.strategy);
        return Err(vec![FieldProblem::new("/strategy", detail)].into());
    }
    let pool = bookings.store.pool.clone();
    let make = async move {
        let (event, record) = events::create(&pool, &new).await?;
        Ok(Ended::Changed { event: EventId::of_row(event.id), value: event, record: Some(record) })
    };
    let (event, told) = bookings.pages.change(make).await?;
    Ok(say_told(created(&format!("/events/{}", event.id), tag(&event), event), told))
}

/// An event, and how many of its seats are left
///
/// Read through the cache. What is booked counts, by what is committed: see above for what that means while somebody books. A replica
/// without a cache, or whose cache is away, reads the database (`X-Cache: BYPASS`).
#[utoipa::path(
    get, path = "/events/{id}", operation_id = "getEvent", tag = "events", params(
        ("id" = i64, Path, description = "The event's id", minimum = 1),
        ("If-None-Match" = Option<String>, Header, description = "The ETag of the page that the client has"),
    ),
    responses(
        (status = 200, description = "The event", body = EventDocument, headers(
            ("ETag" = String, description = "Changes when the event's page does"),
            ("Age" = u64, description = "Seconds since it was read from the database; only if it was cached"),
            ("X-Cache" = String, description = "HIT, STALE, MISS, COALESCED or BYPASS"),
            ("Cache-Status" = String, description = "The same as RFC 9211 has it"),
        )),
        (status = 304, description = "The client has this page already"),
        Malformed, Missing, Always,
    )
)]
async fn get(State(bookings): State<Bookings>, Path(id): Path<EventId>, known: IfNoneMatch) -> Result<Response, Error> {
    let answer = bookings.pages.get(id).await?;
    Ok(match &answer.document {
        Some(page) => {
            let (json, tag) = (page.json.clone(), page.entity_tag(Validator::Hash));
            CACHES.document(&known, &answer, json, tag, REVALIDATE)
        }
        None => CACHES.not_found(Problem::from(Error::NoSuchEvent(id)), &answer),
    })
}

/// No number of the page says it all, so the tag is that of its text.
fn tag(page: &impl serde::Serialize) -> EntityTag {
    EntityTag::of_bytes(&serde_json::to_vec(page).unwrap_or_default())
}
