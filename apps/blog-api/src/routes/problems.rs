//! The problem answers that several routes share, for the OpenAPI document.

use service::ProblemDocument;
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

/// A parameter, a header or the body is not understood.
#[derive(IntoResponses)]
#[response(status = 400, content_type = "application/problem+json")]
#[expect(dead_code, reason = "a description, never made")]
pub(super) struct Malformed(ProblemDocument);

/// There is no such thing.
#[derive(IntoResponses)]
#[response(status = 404, content_type = "application/problem+json")]
#[expect(dead_code, reason = "a description, never made")]
pub(super) struct Missing(ProblemDocument);

/// The post has another version than the one in `If-Match`; `ETag` has the one that it has.
#[derive(IntoResponses)]
#[response(
    status = 412,
    content_type = "application/problem+json",
    headers(("ETag" = String, description = "The version that the post has, in quotes"))
)]
#[expect(dead_code, reason = "a description, never made")]
pub(super) struct Changed(ProblemDocument);

/// What every route with a body may answer.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "a description, never made")]
pub(super) enum WrongBody {
    /// The body is larger than the service takes.
    #[response(status = 413, content_type = "application/problem+json")]
    TooLarge(ProblemDocument),
    /// The body is not sent as JSON.
    #[response(status = 415, content_type = "application/problem+json")]
    NotJson(ProblemDocument),
    /// The body is JSON, and what it says is not allowed; `errors` names each field.
    #[response(status = 422, content_type = "application/problem+json")]
    Invalid(ProblemDocument),
}
