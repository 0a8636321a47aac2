//! The problem answers that most routes share, for OpenAPI documents.

use utoipa::IntoResponses;

use super::ProblemDocument;

/// A parameter, a header or the body is not understood.
#[derive(Debug, IntoResponses)]
#[response(status = 400, content_type = "application/problem+json")]
#[expect(dead_code, reason = "a description, never made")]
pub struct Malformed(ProblemDocument);

/// There is no such thing.
#[derive(Debug, IntoResponses)]
#[response(status = 404, content_type = "application/problem+json")]
#[expect(dead_code, reason = "a description, never made")]
pub struct Missing(ProblemDocument);

/// It has another version than those in `If-Match`; `ETag` has the one that it has.
#[derive(Debug, IntoResponses)]
#[response(
    status = 412,
    content_type = "application/problem+json",
    headers(("ETag" = String, description = "The version that it has, in quotes"))
)]
#[expect(dead_code, reason = "a description, never made")]
pub struct Changed(ProblemDocument);

/// What every route with a body may answer.
#[derive(Debug, IntoResponses)]
pub enum WrongBody {
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
