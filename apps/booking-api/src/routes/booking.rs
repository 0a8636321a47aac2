//! `/bookings/{id}`: one booking.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use service::Path;
use service::conditional::{EntityTag, IfMatch, IfNoneMatch};
use service::postgres::again_if_cut;
use tokio::time::Instant;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Bookings;
use super::headers::tagged;
use super::problems::{Always, Changed, Locked, Malformed, Missing, Refused};
use crate::domain::{BookingId, EventId};
use crate::error::{self, Error};
use crate::model::Booking;
use crate::store::{bookings, events};
use crate::strategies::{Cancel, Cancellation};

pub(super) fn router() -> OpenApiRouter<Bookings> {
    OpenApiRouter::new().routes(routes!(get, cancel))
}

async fn find(state: &Bookings, id: BookingId) -> Result<Booking, Error> {
    let pool = &state.store.pool;
    let found = again_if_cut(|| async move { bookings::find(&mut *pool.acquire().await?, id).await }).await?;
    found.ok_or(Error::NoSuchBooking(id))
}

/// A booking
#[utoipa::path(
    get, path = "/bookings/{id}", operation_id = "getBooking", tag = "bookings", params(
        ("id" = i64, Path, description = "The booking's id", minimum = 1),
        ("If-None-Match" = Option<String>, Header, description = "The ETag of the version that the client has"),
    ),
    responses(
        (status = 200, description = "The booking", body = Booking, headers(
            ("ETag" = String, description = "Its version, in quotes"),
        )),
        (status = 304, description = "The client has this version already"),
        Malformed, Missing, Always,
    )
)]
async fn get(State(state): State<Bookings>, Path(id): Path<BookingId>, known: IfNoneMatch) -> Result<Response, Error> {
    let booking = find(&state, id).await?;
    Ok(tagged(&known, EntityTag::of_version(booking.version().unsigned_abs()), booking))
}

/// Cancel a booking
///
/// Its seats are given back once. Takes the event's lock like a booking. With `If-Match`, only if the booking still has that version.
#[utoipa::path(
    delete, path = "/bookings/{id}", operation_id = "cancelBooking", tag = "bookings", params(
        ("id" = i64, Path, description = "The booking's id", minimum = 1),
        ("If-Match" = Option<String>, Header, description = "The ETag of the version that is to be cancelled"),
    ),
    responses(
        (status = 204, description = "It is cancelled"),
        Malformed, Missing, Refused, Changed, Locked, Always,
    )
)]
async fn cancel(
    State(state): State<Bookings>,
    Path(id): Path<BookingId>,
    expected: IfMatch,
) -> Result<Response, Error> {
    let deadline = Instant::now() + state.lock_deadline;
    let event = EventId::of_row(find(&state, id).await?.event_id);
    let event = events::facts(&state.store.pool, event).await?.ok_or(Error::NoSuchEvent(event))?;
    let cancel = Cancel { event, booking: id, expected, deadline };
    let strategies = state.strategies;
    let ended = state.tasks.detached(async move { strategies.cancel(&cancel).await }).await;
    // It cancels at most once, so there is no harm in a repetition.
    match ended.map_err(|refusal| error::Refused { event: event.id, refusal, repeatable: true })? {
        Cancellation::Cancelled { .. } => Ok(StatusCode::NO_CONTENT.into_response()),
        Cancellation::Already => Err(Error::AlreadyCancelled(id)),
        Cancellation::Mismatch(mismatch) => Err(Error::PreconditionFailed(mismatch)),
    }
}
