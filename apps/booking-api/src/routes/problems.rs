//! The problem answers of this API alone, for the OpenAPI document.

use service::ProblemDocument;
pub(super) use service::described::{Changed, Malformed, Missing, WrongBody};
use utoipa::IntoResponses;

/// What every route may answer.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "a description, never made")]
pub(super) enum Always {
    /// The request took longer than it may, or a store cannot be used. `Retry-After` says when to come back. Of a booking or
    /// cancellation the detail says whether it may have happened, and whether the same request can be sent again.
    #[response(
        status = 503,
        content_type = "application/problem+json",
        headers(("Retry-After" = u64, description = "Seconds after which it is worth asking again"))
    )]
    Unavailable(ProblemDocument),
    /// A failure of the server. Its log has the cause under the request id.
    #[response(status = 500, content_type = "application/problem+json")]
    Internal(ProblemDocument),
}

/// The state of the event or of the booking does not permit it: sold out (with the member `remaining`), another strategy than the one
/// named, cancelled already. `type` tells them apart.
#[derive(IntoResponses)]
#[response(status = 409, content_type = "application/problem+json")]
#[expect(dead_code, reason = "a description, never made")]
pub(super) struct Refused(ProblemDocument);

/// The event's lock was not had in time, or was lost and not had again. Nothing was changed.
#[derive(IntoResponses)]
#[response(
    status = 423,
    content_type = "application/problem+json",
    headers(("Retry-After" = u64, description = "Seconds after which it is worth asking again"))
)]
#[expect(dead_code, reason = "a description, never made")]
pub(super) struct Locked(ProblemDocument);
