//! Errors as RFC 9457 problem documents (`application/problem+json`).

pub(crate) mod database;
pub mod described;

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::RequestContext;

/// The media type of a problem document.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// One error answer of an API.
///
/// As a response it carries `type`, `title`, `status`, `detail`, and by itself `instance` (the path that was asked for)
/// and `request_id`, so that a client's report leads to the log line. What a server must not tell (SQL, addresses,
/// the text of an internal error) is logged by [`Problem::internal`] and the conversion from [`sqlx::Error`], and never part
/// of the document.
///
/// ```
/// use service::Problem;
/// let problem = Problem::unprocessable("The post was not stored: its data are wrong.")
///     .field("/title", "must have 1 to 200 characters")
///     .field("/tags/3", "must not be empty");
/// assert_eq!(problem.status(), 422);
/// ```
pub struct Problem(Box<Inner>);

struct Inner {
    status: StatusCode,
    kind: Cow<'static, str>,
    title: Option<Cow<'static, str>>,
    detail: Option<Cow<'static, str>>,
    fields: Vec<FieldProblem>,
    members: Map<String, Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// What is wrong with one field of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FieldProblem {
    /// Where: a JSON pointer into the body (`/tags/3`), or the name of a query or path parameter.
    pub pointer: String,
    /// What is wrong there, or what is allowed.
    pub detail: String,
}

impl FieldProblem {
    /// What is wrong at this JSON pointer, or with the parameter of this name.
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), detail: detail.into() }
    }
}

/// The document that a [`Problem`] becomes: the schema of every error for OpenAPI, and a type to read one with.
///
/// A problem may have further members of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemDocument {
    /// A URI that names the kind of problem; `about:blank` when the status says it all.
    #[serde(rename = "type")]
    #[schema(example = "about:blank")]
    pub kind: String,
    /// The kind of problem in words; the same for each problem of the kind.
    #[schema(example = "Not Found")]
    pub title: String,
    /// The HTTP status.
    #[schema(example = 404, minimum = 400, maximum = 599)]
    pub status: u16,
    /// What was wrong this time, and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "There is no post 42.")]
    pub detail: Option<String>,
    /// The path that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "/posts/42")]
    pub instance: Option<String>,
    /// The id of the request, as in the header `x-request-id` and in the server's log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Each field that is wrong, where the problem lies in fields.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldProblem>,
}

impl Problem {
    /// A problem that is fully said by its status.
    #[must_use]
    pub fn new(status: StatusCode) -> Self {
        Self(Box::new(Inner {
            status,
            kind: Cow::Borrowed("about:blank"),
            title: None,
            detail: None,
            fields: Vec::new(),
            members: Map::new(),
            headers: Vec::new(),
        }))
    }

    /// 400: the request cannot be understood; sent again unchanged it fails again.
    #[must_use]
    pub fn bad_request(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST).detail(detail)
    }

    /// 404.
    #[must_use]
    pub fn not_found(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::NOT_FOUND).detail(detail)
    }

    /// 405 with the methods that the resource has, as in `"GET,HEAD"`.
    #[must_use]
    pub fn method_not_allowed(allow: HeaderValue) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED).header(ALLOW, allow)
    }

    /// 409: the request is right, the state of the resource does not permit it.
    #[must_use]
    pub fn conflict(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::CONFLICT).detail(detail)
    }

    /// 412: `If-Match` or another precondition does not hold.
    #[must_use]
    pub fn precondition_failed(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::PRECONDITION_FAILED).detail(detail)
    }

    /// 413: the body has more than `limit` bytes.
    #[must_use]
    pub fn too_large(limit: usize) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE)
            .detail(format!("A request's body may have {limit} bytes at most."))
            .member("limit_bytes", limit)
    }

    /// 415: the body is of a type that is not read here; `accepted` names the one that is.
    #[must_use]
    pub fn unsupported_media_type(accepted: &'static str) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE)
            .detail(format!("The body must be sent as {accepted}: set the header content-type."))
    }

    /// 422: well-formed, but its data are wrong; say where with [`field`](Self::field).
    #[must_use]
    pub fn unprocessable(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY).detail(detail)
    }

    /// 423: a lock was not had within the deadline; the client may try again after `retry_after`.
    #[must_use]
    pub fn locked(detail: impl Into<Cow<'static, str>>, retry_after: Duration) -> Self {
        Self::new(StatusCode::LOCKED).detail(detail).retry_after(retry_after)
    }

    /// 503: not now; the client may try again after `retry_after`.
    #[must_use]
    pub fn unavailable(detail: impl Into<Cow<'static, str>>, retry_after: Duration) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE).detail(detail).retry_after(retry_after)
    }

    /// 500: logs the error with its sources, and tells the client nothing but the request id.
    #[must_use]
    pub fn internal(error: &(dyn Error + 'static)) -> Self {
        tracing::error!(error = %Chain(error), "request failed");
        Self::internal_logged()
    }

    /// 500 for a failure that has been logged already.
    #[must_use]
    pub fn internal_logged() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR)
            .detail("The server failed to answer this request. Its log has the cause under the request id.")
    }

    /// Says what was wrong this time. A sentence for people; no program should parse it.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.0.detail = Some(detail.into());
        self
    }

    /// Names the kind of problem, for a client that tells problems of one status apart: a URI such as
    /// `urn:problem:sold-out`, and a title that is the same for each problem of the kind.
    #[must_use]
    pub fn kind(mut self, uri: impl Into<Cow<'static, str>>, title: impl Into<Cow<'static, str>>) -> Self {
        self.0.kind = uri.into();
        self.0.title = Some(title.into());
        self
    }

    /// Adds one wrong field (the member `errors`).
    #[must_use]
    pub fn field(mut self, pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        self.0.fields.push(FieldProblem::new(pointer, detail));
        self
    }

    /// Adds several wrong fields.
    #[must_use]
    pub fn fields(mut self, fields: impl IntoIterator<Item = FieldProblem>) -> Self {
        self.0.fields.extend(fields);
        self
    }

    /// Adds a member of its own to the document. The members that RFC 9457 names cannot be replaced.
    #[must_use]
    pub fn member(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.0.members.insert(name.into(), value.into());
        self
    }

    /// Adds a header to the response.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.push((name, value));
        self
    }

    /// Sets `Retry-After`, in whole seconds, rounded up, 1 at least: 0 would ask for a storm.
    #[must_use]
    pub fn retry_after(self, after: Duration) -> Self {
        let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
        self.header(RETRY_AFTER, HeaderValue::from(seconds.max(1)))
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    fn document(self, context: Option<&RequestContext>) -> Value {
        let Inner { status, kind, title, detail, fields, members, .. } = *self.0;
        let title = title.unwrap_or_else(|| status.canonical_reason().unwrap_or("Error").into());
        let mut document = members;
        document.insert("type".into(), kind.into());
        document.insert("title".into(), title.into());
        document.insert("status".into(), status.as_u16().into());
        if let Some(detail) = detail {
            document.insert("detail".into(), detail.into());
        }
        if let Some(context) = context {
            document.insert("instance".into(), context.path().into());
            document.insert("request_id".into(), context.request_id().into());
        }
        if !fields.is_empty() {
            let errors = fields.into_iter().map(|field| {
                Value::Object(Map::from_iter([
                    ("pointer".to_owned(), Value::from(field.pointer)),
                    ("detail".to_owned(), Value::from(field.detail)),
                ]))
            });
            document.insert("errors".into(), errors.collect::<Vec<_>>().into());
        }
        Value::Object(document)
    }
}

impl IntoResponse for Problem {
    fn into_response(mut self) -> Response {
        let status = self.0.status;
        let headers = std::mem::take(&mut self.0.headers);
        let document = self.document(RequestContext::current().as_ref());
        let mut response = (status, document.to_string()).into_response();
        let into = response.headers_mut();
        into.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        for (name, value) in headers {
            into.insert(name, value);
        }
        response
    }
}

impl fmt::Debug for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Problem")
            .field("status", &self.0.status)
            .field("kind", &self.0.kind)
            .field("detail", &self.0.detail)
            .field("fields", &self.0.fields)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.status)?;
        match &self.0.detail {
            Some(detail) => write!(f, ": {detail}"),
            None => Ok(()),
        }
    }
}

impl Error for Problem {}

/// An error and its sources on one line.
pub(crate) struct Chain<'a>(pub(crate) &'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = self.0.to_string();
        f.write_str(&said)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            // Many errors print their source themselves.
            let text = error.to_string();
            if !said.contains(&text) {
                write!(f, ": {text}")?;
                said = text;
            }
            source = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_has_the_members_of_the_rfc_and_its_own() {
        let document = Problem::conflict("All 3 seats are gone.")
            .kind("urn:problem:sold-out", "Sold out")
            .member("remaining", 0)
            .member("status", "cannot be replaced")
            .document(None);
        let expected = serde_json::json!({
            "type": "urn:problem:sold-out", "title": "Sold out", "status": 409,
            "detail": "All 3 seats are gone.", "remaining": 0,
        });
        assert_eq!(document, expected);
    }

    #[test]
    fn a_plain_problem_is_about_blank() {
        let document = Problem::new(StatusCode::NOT_FOUND).document(None);
        assert_eq!(document, serde_json::json!({"type": "about:blank", "title": "Not Found", "status": 404}));
    }

    #[test]
    fn the_document_reads_back_as_its_schema() {
        let document = Problem::unprocessable("wrong").field("/a/0", "must be a number").document(None);
        let read: ProblemDocument = serde_json::from_value(document).unwrap();
        assert_eq!(read.status, 422);
        assert_eq!(read.errors, [FieldProblem { pointer: "/a/0".into(), detail: "must be a number".into() }]);
    }

    #[test]
    fn retry_after_is_whole_seconds_and_never_zero() {
        for (given, expected) in [(0, "1"), (1, "1"), (1_000, "1"), (1_001, "2"), (5_000, "5")] {
            let response = Problem::unavailable("busy", Duration::from_millis(given)).into_response();
            assert_eq!(response.headers()[RETRY_AFTER], expected, "{given} ms");
        }
    }

    #[test]
    fn an_internal_error_tells_the_client_nothing() {
        let secret = std::io::Error::other("password=hunter2");
        let document = Problem::internal(&secret).document(None).to_string();
        assert!(!document.contains("hunter2"), "{document}");
    }

    #[test]
    fn a_chain_names_each_cause_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot start")]
        struct Outer(#[source] Inner);
        #[derive(Debug, thiserror::Error)]
        #[error("cannot bind: {0}")]
        struct Inner(#[source] std::io::Error);
        let error = Outer(Inner(std::io::Error::other("in use")));
        assert_eq!(Chain(&error).to_string(), "cannot start: cannot bind: in use");
    }
}
