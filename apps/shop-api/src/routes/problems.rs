//! The problem answers that several routes share, for the OpenAPI document.

use service::ProblemDocument;
pub(super) use service::described::{Changed, Malformed, Missing, WrongBody};
use utoipa::IntoResponses;

/// What every route may answer.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "a description, never made")]
pub(super) enum Always {
    /// The request took longer than it may, or the database cannot be used, or the cache is away and the database has no
    /// room for this read. `Retry-After` says when to come back. After a write, `X-Cache-Write: unknown` says that it may have happened.
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
