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
use super::headers::{say_told, tagged};
use super::problems::{Always, Changed, Locked, Malformed, Missing, Refused};
use crate::domain::{BookingId, EventId};
use crate::error::{self, Error};
use crate::model::Booking;
use crate::pages::Ended;
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
        (status = 204, description = "It is cancelled", headers(
            ("X-Cache-Write" = String, description = "applied: the event's page shows it from now on; pending: soon; deferred: this replica has no cache"),
        )),
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
    let change = async move {
        // It cancels at most once, so there is no harm in a repetition.
        let refused = |refusal| error::Refused { event: event.id, refusal, repeatable: true };
        Ok(match strategies.cancel(&cancel).await.map_err(refused)? {
            value @ Cancellation::Cancelled { record, .. } => {
                Ended::Changed { value, event: event.id, record: Some(record) }
            }
            value => Ended::Unchanged(value),
        })
    };
    let (cancellation, told) = state.pages.change(change).await?;
    match cancellation {
        Cancellation::Cancelled { .. } => Ok(say_told(StatusCode::NO_CONTENT.into_response(), told)),
        Cancellation::Already => Err(Error::AlreadyCancelled(id)),
        Cancellation::Mismatch(mismatch) => Err(Error::PreconditionFailed(mismatch)),
    }
}
