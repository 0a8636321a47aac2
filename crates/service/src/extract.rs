//! Extractors like axum's, whose every rejection is a [`Problem`].

use axum::extract::path::ErrorKind;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, RawPathParams, Request};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Problem;
use crate::body_limit::TooLarge;

/// A JSON body.
///
/// As an extractor: 415 unless it is sent as JSON, 413 over the limit, 400 if it is not JSON, 422 with the field's
/// pointer if it is JSON of another shape. As a response: `application/json`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Json<T>(pub T);

/// The query string; 400 with the parameter's name if it does not fit `T`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Query<T>(pub T);

/// The parameters of the path; 400 with the parameter's name if one does not fit `T`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Path<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            return Err(Problem::unsupported_media_type("application/json"));
        }
        let body = Bytes::from_request(request, state).await.map_err(|rejection| {
            let status = rejection.status();
            match TooLarge::find(&rejection) {
                Some(too_large) => Problem::too_large(too_large.limit),
                None if status == StatusCode::PAYLOAD_TOO_LARGE => Problem::new(status),
                None => Problem::bad_request("The body ended before it was complete."),
            }
        })?;
        from_json(&body).map(Self)
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(Ok(value)) = headers.get(CONTENT_TYPE).map(|value| value.to_str()) else {
        return false;
    };
    let essence = value.split(';').next().unwrap_or_default().trim();
    let Some((kind, subtype)) = essence.split_once('/') else { return false };
    let subtype = subtype.to_ascii_lowercase();
    kind.eq_ignore_ascii_case("application") && (subtype == "json" || subtype.ends_with("+json"))
}

fn from_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let pointer = pointer(error.path());
        let error = error.into_inner();
        if error.is_data() {
            Problem::unprocessable("The body is JSON, but not of the expected shape.").field(pointer, said(&error))
        } else {
            malformed(&error)
        }
    })?;
    reader.end().map_err(|error| malformed(&error))?;
    Ok(value)
}

fn malformed(error: &serde_json::Error) -> Problem {
    Problem::bad_request(format!("The body is not JSON: {error}."))
}

/// The message without the position, which the pointer says better.
fn said(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let position = format!(" at line {} column {}", error.line(), error.column());
    text.strip_suffix(&position).unwrap_or(&text).to_owned()
}

/// RFC 6901.
fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    path.iter().fold(String::new(), |mut pointer, segment| {
        pointer.push('/');
        match segment {
            Segment::Seq { index } => pointer.push_str(&index.to_string()),
            Segment::Map { key } => pointer.push_str(&key.replace('~', "~0").replace('/', "~1")),
            Segment::Enum { variant } => pointer.push_str(variant),
            Segment::Unknown => pointer.push('?'),
        }
        pointer
    })
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Query::from_request_parts(parts, state).await {
            Ok(axum::extract::Query(value)) => Ok(Self(value)),
            Err(QueryRejection::FailedToDeserializeQueryString(rejection)) => {
                let text = rejection.body_text();
                let text = text.rsplit_once("query string: ").map_or(text.as_str(), |(_, cause)| cause);
                let problem = Problem::bad_request(format!("The query string is not understood: {text}."));
                // serde_path_to_error puts the parameter in front of the cause when it is known.
                Err(match text.split_once(": ") {
                    Some((name, cause)) if is_name(name) => problem.field(name, cause),
                    _ => problem,
                })
            }
            Err(_) => Err(Problem::bad_request("The query string is not understood.")),
        }
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
}

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Path::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(value)) => Ok(Self(value)),
            Err(PathRejection::FailedToDeserializePathParams(rejection)) => {
                let names = RawPathParams::from_request_parts(parts, state).await.ok();
                let only = names.as_ref().and_then(|names| names.iter().next()).map(|(name, _)| name);
                Err(path_problem(&rejection.into_kind(), only))
            }
            Err(rejection) => Err(Problem::internal(&rejection)),
        }
    }
}

/// `first` is the name of the first parameter: axum does not name the parameter of a path that has only one.
fn path_problem(kind: &ErrorKind, first: Option<&str>) -> Problem {
    let problem = Problem::bad_request("The path is not understood.");
    let must_be = |expected_type| format!("must be {}", in_words(expected_type));
    match kind {
        ErrorKind::ParseErrorAtKey { key, expected_type, .. } => problem.field(key, must_be(expected_type)),
        ErrorKind::ParseErrorAtIndex { index, expected_type, .. } => {
            problem.field(index.to_string(), must_be(expected_type))
        }
        ErrorKind::ParseError { expected_type, .. } => problem.field(first.unwrap_or("path"), must_be(expected_type)),
        ErrorKind::InvalidUtf8InPathParam { key } => problem.field(key, "must be UTF-8"),
        ErrorKind::DeserializeError { key, message, .. } => problem.field(key, message),
        ErrorKind::Message(message) => problem.field(first.unwrap_or("path"), message),
        // Fewer or more parameters than the handler takes, or a type that no path can fill: a mistake of ours.
        other => {
            tracing::error!(error = %other, "a handler does not fit its route");
            Problem::internal_logged()
        }
    }
}

fn in_words(rust_type: &str) -> &str {
    match rust_type {
        "i8" | "i16" | "i32" | "i64" | "i128" => "a whole number",
        "u8" | "u16" | "u32" | "u64" | "u128" => "a whole number, not negative",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    struct Post {
        #[serde(rename = "title")]
        _title: String,
        #[serde(rename = "tags")]
        _tags: Vec<u32>,
    }

    fn problem(body: &str) -> (u16, String) {
        let problem = from_json::<Post>(body.as_bytes()).unwrap_err();
        (problem.status().as_u16(), format!("{problem:?}"))
    }

    #[test]
    fn malformed_is_400_and_wrong_data_is_422_with_the_pointer() {
        for malformed in ["", "{", "nonsense", "{\"title\":\"a\",}", "{\"title\":\"a\",\"tags\":[]} trailing"] {
            let (status, said) = problem(malformed);
            assert_eq!(status, 400, "{malformed}: {said}");
        }
        let (status, said) = problem(r#"{"title":"a","tags":[1,-1]}"#);
        assert_eq!(status, 422, "{said}");
        assert!(said.contains("/tags/1") && !said.contains("column"), "{said}");
        let (status, said) = problem(r#"{"tags":[]}"#);
        assert_eq!(status, 422, "{said}");
        assert!(said.contains("missing field `title`"), "{said}");
        assert!(from_json::<Post>(br#" {"title":"\u00fc","tags":[]} "#).is_ok());
    }

    #[test]
    fn a_hostile_depth_is_an_answer_and_not_a_stack_overflow() {
        let (status, said) = problem(&"[".repeat(100_000));
        assert!(status == 400 || status == 422, "{status} {said}");
        let deep = "[".repeat(100_000);
        assert_eq!(from_json::<serde_json::Value>(deep.as_bytes()).unwrap_err().status(), 400);
    }

    #[test]
    fn json_is_known_by_its_media_type() {
        let is = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, http::HeaderValue::from_static(value));
            is_json(&headers)
        };
        assert!(is("application/json"));
        assert!(is("Application/JSON; charset=utf-8"));
        assert!(is("application/merge-patch+json"));
        assert!(!is("text/json") && !is("application/jsonp") && !is("application/x-www-form-urlencoded") && !is(""));
        assert!(!is_json(&HeaderMap::new()));
    }
}
