//! Everything that an answer of the API can say instead of what was asked for.

use std::sync::Arc;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use fenced_cache::ReadError;
use service::conditional::Mismatch;
use service::postgres::is_unmigrated;
use service::{FieldProblem, Problem};
use service_cache::{LoadError, unreadable};

use crate::domain::{BookingId, EventId, Strategy};
use crate::strategies::Refusal;

/// How long a client should wait before it repeats what this replica could not do now.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// An error of a request.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such event.
    #[error("there is no event {0}")]
    NoSuchEvent(EventId),
    /// There is no such booking.
    #[error("there is no booking {0}")]
    NoSuchBooking(BookingId),
    /// The body is JSON of the right shape, and what it says is not allowed.
    #[error("{} fields are wrong", .0.len())]
    Invalid(Vec<FieldProblem>),
    /// The header `Idempotency-Key` is malformed.
    #[error("the header idempotency-key is malformed: {0}")]
    MalformedKey(String),
    /// The key has been used for another request.
    #[error("the key has been used for another request")]
    KeyReused,
    /// The client expects another strategy than the event has.
    #[error("the event has the strategy {has}")]
    OtherStrategy {
        /// The one that it has.
        has: Strategy,
        /// The one that the client named.
        named: Strategy,
    },
    /// There are not as many seats.
    #[error("{remaining} seats are left")]
    SoldOut {
        /// How many there are.
        remaining: i64,
    },
    /// The booking had been cancelled before.
    #[error("the booking {0} is cancelled")]
    AlreadyCancelled(BookingId),
    /// The booking has another version than those the client is willing to cancel.
    #[error("the booking has another version")]
    PreconditionFailed(Mismatch),
    /// A booking or cancellation could not be decided.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The database, about a page.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    /// An event's page could not be read.
    #[error("the page could not be read")]
    Read(#[from] ReadError),
    /// The task that wrote panicked.
    #[error("the write panicked")]
    Panicked,
}

/// A booking or cancellation that could not be decided.
#[derive(Debug, thiserror::Error)]
#[error("{refusal}")]
pub struct Refused {
    /// The event.
    pub event: EventId,
    /// Why not.
    #[source]
    pub refusal: Refusal,
    /// Whether the same request can be sent again without booking twice, whatever became of this one.
    pub repeatable: bool,
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
            Self::NoSuchEvent(id) => Problem::not_found(format!("There is no event {id}.")),
            Self::NoSuchBooking(id) => Problem::not_found(format!("There is no booking {id}.")),
            Self::Invalid(fields) => Problem::unprocessable("The body's data are not allowed.").fields(fields),
            Self::MalformedKey(rule) => {
                Problem::bad_request(format!("The header idempotency-key is not understood: it {rule}."))
            }
            Self::KeyReused => Problem::unprocessable(
                "The Idempotency-Key has been used for another request: another event, other seats or another buyer.",
            )
            .kind("urn:problem:key-reused", "Idempotency key reused"),
            Self::OtherStrategy { has, named } => Problem::conflict(format!(
                "The event has the strategy {has}, not {named}: every booking of an event takes the same lock."
            ))
            .kind("urn:problem:other-strategy", "Another strategy"),
            Self::SoldOut { remaining } => Problem::conflict(match remaining {
                0 => "The event is sold out.".to_owned(),
                1 => "Only 1 seat is left.".to_owned(),
                left => format!("Only {left} seats are left."),
            })
            .kind("urn:problem:sold-out", "Sold out")
            .member("remaining", remaining),
            Self::AlreadyCancelled(id) => Problem::conflict(format!("The booking {id} is cancelled already."))
                .kind("urn:problem:already-cancelled", "Already cancelled"),
            Self::PreconditionFailed(mismatch) => {
                mismatch.into_problem("The booking has been changed since: read it again.")
            }
            Self::Refused(refused) => refused.into_problem(),
            Self::Database(error) => failed(error),
            Self::Read(error) => unreadable(error, RETRY_AFTER),
            error @ Self::Panicked => Problem::internal(&error),
        }
    }
}

impl Refused {
    fn into_problem(self) -> Problem {
        let Self { event, refusal, repeatable } = self;
        match refusal {
            Refusal::Locked => {
                Problem::locked("The event's lock was not had in time; nothing was changed.", RETRY_AFTER)
            }
            Refusal::Lost => Problem::locked(
                "The event's lock was lost, and could not be had again in time; nothing was changed.",
                RETRY_AFTER,
            ),
            Refusal::NoSuchEvent => Problem::not_found(format!("There is no event {event}.")),
            Refusal::Unavailable { store, cause } => {
                tracing::warn!(store, cause, "a store beside the database cannot be used");
                Problem::unavailable(format!("Nothing was changed: {store} cannot be used right now."), RETRY_AFTER)
            }
            Refusal::RolledBack => {
                Problem::unavailable("The connection to the database broke, and nothing was changed.", RETRY_AFTER)
            }
            Refusal::InDoubt(cause) => {
                tracing::warn!(cause, "it is not known whether a transaction was committed");
                let detail = "The connection to the database broke, and it is not known whether the change was made. ";
                let advice = if repeatable {
                    "It is safe to send the same request again."
                } else {
                    "Sent again without an Idempotency-Key, the same request may book twice."
                };
                Problem::unavailable(format!("{detail}{advice}"), RETRY_AFTER)
            }
            Refusal::Database(error) => failed(error),
        }
    }
}

fn failed(error: sqlx::Error) -> Problem {
    if is_unmigrated(&error) {
        tracing::warn!(%error, "database unavailable");
        return Problem::unavailable("The database cannot be used right now.", RETRY_AFTER);
    }
    Problem::from(error)
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
