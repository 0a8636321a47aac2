//! Everything that an answer of the API can say instead of what was asked for.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use fenced_cache::ReadError;
use service::conditional::Mismatch;
use service::postgres::is_unmigrated;
use service::{FieldProblem, Problem};
use service_cache::{UNKNOWN, X_CACHE_WRITE, unreadable};

use crate::domain::{AuthorName, PostId};
use crate::store::LoadError;

/// How long a client should wait before it repeats what this replica could not do now.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// An error of a request.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such post.
    #[error("there is no post {0}")]
    NoSuchPost(PostId),
    /// There is no such author.
    #[error("there is no author {0}")]
    NoSuchAuthor(AuthorName),
    /// The body is JSON of the right shape, and what it says is not allowed.
    #[error("{} fields are wrong", .0.len())]
    Invalid(Vec<FieldProblem>),
    /// The post has another version than those the client is willing to change.
    #[error("the post has another version")]
    PreconditionFailed(Mismatch),
    /// The document could not be read.
    #[error("the document could not be read")]
    Read(#[from] ReadError),
    /// The database.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    /// The COMMIT was not answered, and the database has since said that it did not happen.
    #[error("the transaction was rolled back")]
    RolledBack,
    /// The COMMIT was not answered, and it is not known what became of it.
    #[error("it is not known whether the transaction was committed")]
    InDoubt,
    /// The task that wrote panicked.
    #[error("the write panicked")]
    Panicked,
}

impl From<Mismatch> for Error {
    fn from(mismatch: Mismatch) -> Self {
        Self::PreconditionFailed(mismatch)
    }
}

impl From<Vec<FieldProblem>> for Error {
    fn from(fields: Vec<FieldProblem>) -> Self {
        Self::Invalid(fields)
    }
}

impl From<LoadError> for Error {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Database(error) => Self::Database(error),
            error @ LoadError::Encode(_) => Self::Read(ReadError::Load(Arc::new(error))),
        }
    }
}

impl Error {
    /// The problem document.
    #[must_use]
    pub fn into_problem(self) -> Problem {
        match self {
            Self::NoSuchPost(id) => Problem::not_found(format!("There is no post {id}.")),
            Self::NoSuchAuthor(name) => Problem::not_found(format!("There is no author {name}.")),
            Self::Invalid(fields) => Problem::unprocessable("The body's data are not allowed.").fields(fields),
            Self::PreconditionFailed(mismatch) => {
                mismatch.into_problem("The post has been changed since: read it again.")
            }
            Self::Read(error) => unreadable(error, RETRY_AFTER),
            Self::Database(error) => refused(error),
            Self::RolledBack => Problem::unavailable(
                "The connection to the database broke, and nothing was changed.",
                RETRY_AFTER,
            ),
            Self::InDoubt => Problem::unavailable(
                "The connection to the database broke while the change was committed. Read again to see whether it happened.",
                RETRY_AFTER,
            )
            .header(X_CACHE_WRITE, UNKNOWN),
            error @ Self::Panicked => Problem::internal(&error),
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        error.into_problem()
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        self.into_problem().into_response()
    }
}

/// A constraint of the schema that a client's data violated, as what the client did. The types of the domain keep most
/// of this from happening; a row that went away meanwhile they cannot see.
fn refused(error: sqlx::Error) -> Problem {
    if is_unmigrated(&error) {
        tracing::warn!(%error, "database unavailable");
        return Problem::unavailable("The database cannot be used right now.", RETRY_AFTER);
    }
    let constraint = error.as_database_error().and_then(|error| error.constraint()).map(ToOwned::to_owned);
    let field = |pointer, detail: &'static str| {
        Problem::unprocessable(Cow::Borrowed("The body's data are not allowed.")).field(pointer, detail)
    };
    match constraint.as_deref() {
        Some("posts_author_id_fkey") => field("/author", "there is no such author any more"),
        Some("posts_title_check") => field("/title", "must have 1 to 200 characters"),
        Some("posts_body_check") => field("/body", "must have 1 to 65536 bytes"),
        Some("posts_tags_check") => field("/tags", "must be at most 10 different tags"),
        Some("comments_author_check") => field("/author", "must have 1 to 100 characters"),
        Some("comments_body_check") => field("/body", "must have 1 to 16384 bytes"),
        Some("comments_post_id_fkey") => Problem::not_found("There is no such post any more."),
        _ => Problem::from(error),
    }
}
