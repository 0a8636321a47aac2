//! `/events/{id}/audit`: an event's bookings against its capacity.

use axum::extract::State;
use service::{Json, Path};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Bookings;
use super::problems::{Always, Malformed, Missing};
use crate::domain::EventId;
use crate::error::Error;
use crate::model::Audit;
use crate::store::audit;

pub(super) fn router() -> OpenApiRouter<Bookings> {
    OpenApiRouter::new().routes(routes!(get))
}

/// An event's bookings against its capacity
///
/// Counts all bookings of the event, in one snapshot: whether it is oversold, whether its page tells the truth, whether a key or a seat
/// was used twice, and whether the fences are in the order of the bookings.
#[utoipa::path(
    get, path = "/events/{id}/audit", operation_id = "auditEvent", tag = "events", params(
        ("id" = i64, Path, description = "The event's id", minimum = 1),
    ),
    responses((status = 200, description = "The audit", body = Audit), Malformed, Missing, Always)
)]
async fn get(State(bookings): State<Bookings>, Path(id): Path<EventId>) -> Result<Json<Audit>, Error> {
    audit::audit(&bookings.store.pool, id).await?.map(Json).ok_or(Error::NoSuchEvent(id))
}
