//! How a seat is sold once. Handlers do not know which strategy an event has.

pub mod conditional;
mod limit;
pub mod locked;
pub mod locks;
pub mod reserve;
mod select;
pub mod units;

use std::time::Duration;

use fenced_cache::RecordId;
use fenced_lock::LockError;
pub use select::Strategies;
use service::conditional::{IfMatch, Mismatch};
use service::postgres::is_cut;
use tokio::time::Instant;

use crate::domain::{BookingId, Buyer, Event, Fingerprint, IdempotencyKey, Seats};
use crate::metrics;
use crate::model::Booking;
use crate::store::violated;

/// A booking that somebody asks for.
#[derive(Clone, Debug)]
pub struct Order {
    /// The event.
    pub event: Event,
    /// How many seats.
    pub seats: Seats,
    /// For whom.
    pub buyer: Option<Buyer>,
    /// By what a repetition is known.
    pub key: Option<Idempotency>,
    /// How long the payment takes.
    pub work: Duration,
    /// Until when a lock, or a seat, may be waited for.
    pub deadline: Instant,
}

/// The key of a request, and what was asked for under it.
#[derive(Clone, Debug)]
pub struct Idempotency {
    /// The key.
    pub key: IdempotencyKey,
    /// What was asked for.
    pub fingerprint: Fingerprint,
}

impl Order {
    pub(crate) fn buyer(&self) -> Option<&str> {
        self.buyer.as_ref().map(Buyer::as_str)
    }

    pub(crate) fn key(&self) -> Option<&str> {
        self.key.as_ref().map(|key| key.key.as_str())
    }

    pub(crate) fn fingerprint(&self) -> Option<&[u8]> {
        self.key.as_ref().map(|key| key.fingerprint.as_bytes())
    }

    /// The payment: some service elsewhere, which takes its time. Returns at once if it takes none.
    pub async fn pay(&self) {
        if !self.work.is_zero() {
            tokio::time::sleep(self.work).await;
        }
    }
}

/// A cancellation that somebody asks for.
#[derive(Clone, Debug)]
pub struct Cancel {
    /// The event of the booking.
    pub event: Event,
    /// The booking, which exists.
    pub booking: BookingId,
    /// The versions that the client is willing to cancel.
    pub expected: IfMatch,
    /// Until when a lock may be waited for.
    pub deadline: Instant,
}

/// A booking that was made now.
#[derive(Clone, Debug, PartialEq)]
pub struct Made {
    /// The booking.
    pub booking: Booking,
    /// The row of the outbox that tells of it, committed with it.
    pub record: RecordId,
}

/// What became of an order.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It is booked.
    Booked(Made),
    /// It had been booked before, under the same key.
    Replayed(Booking),
    /// The key has been used for another request.
    KeyReused,
    /// There are not as many seats; nothing was booked.
    SoldOut {
        /// How many there are.
        remaining: i64,
    },
}

/// What became of a cancellation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancellation {
    /// It is cancelled.
    Cancelled {
        /// How many seats were given back.
        seats: i32,
        /// The row of the outbox that tells of it, committed with it.
        record: RecordId,
    },
    /// It had been cancelled before.
    Already,
    /// It has another version than the client expects.
    Mismatch(Mismatch),
}

/// Why there is no outcome. Nothing was booked or cancelled, but for [`InDoubt`](Self::InDoubt).
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The lock was not had within the deadline.
    #[error("the lock was not had within the deadline")]
    Locked,
    /// The lock was lost, and could not be had again within the deadline.
    #[error("the lock was lost and not had again within the deadline")]
    Lost,
    /// The event does not exist.
    #[error("the event does not exist")]
    NoSuchEvent,
    /// A store beside the database cannot be used.
    #[error("{store} cannot be used: {cause}")]
    Unavailable {
        /// Which one, in words for a client: `the lock's Redis`.
        store: &'static str,
        /// What it said, for the log.
        cause: String,
    },
    /// The connection broke during the COMMIT, and the database has since said that it did not happen.
    #[error("the transaction was rolled back")]
    RolledBack,
    /// It is not known, and could not be found out, whether the transaction was committed.
    #[error("it is not known whether the transaction was committed: {0}")]
    InDoubt(String),
    /// The database.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl Refusal {
    /// Whether the transaction is known to have ended without effect, and may be begun again. What a commit says is not in
    /// here: [`Store::confirm`](crate::store::Store::confirm) turns a broken one into [`RolledBack`](Self::RolledBack) or
    /// [`InDoubt`](Self::InDoubt).
    pub(crate) fn is_rolled_back(&self) -> bool {
        match self {
            Self::RolledBack => true,
            Self::Database(error) => is_cut(error),
            _ => false,
        }
    }
}

/// How often an order or cancellation is begun again whose connection turned out to be dead: after a restart of PostgreSQL
/// all of the pool's are.
pub(crate) const CUTS: u32 = 3;

/// Tries it again, until the deadline, if its transaction has ended without effect.
pub(crate) async fn again_if_rolled_back<T, F>(deadline: Instant, change: impl Fn() -> F) -> Result<T, Refusal>
where
    F: Future<Output = Result<T, Refusal>>,
{
    let mut cuts = CUTS;
    loop {
        match change().await {
            Err(refusal) if cuts > 0 && refusal.is_rolled_back() && Instant::now() < deadline => cuts -= 1,
            ended => return ended,
        }
    }
}

impl From<LockError> for Refusal {
    fn from(error: LockError) -> Self {
        match error {
            LockError::Contended | LockError::Timeout => Self::Locked,
            LockError::Lost => Self::Lost,
            LockError::Missing => Self::NoSuchEvent,
            error => Self::Unavailable { store: "the lock's store", cause: error.to_string() },
        }
    }
}

/// Whether only the schema kept this order from overselling its event. It is counted: what should have kept it is the
/// strategy.
pub(crate) fn refused_by_schema(order: &Order, error: &sqlx::Error) -> bool {
    let refused = violated(error) == Some("events_not_oversold");
    if refused {
        metrics::refused_by_schema(order.event.strategy);
        tracing::error!(event = %order.event.id, strategy = %order.event.strategy, "only the schema prevented an oversell");
    }
    refused
}
