//! All SQL that several strategies and the pages share, checked against the schema when it is compiled.
//!
//! What belongs to a transaction of its caller takes the caller's connection; what is a question by itself takes the store.

pub mod audit;
pub mod bookings;
pub mod events;
pub mod keys;
mod outbox;

use std::time::Duration;

use sqlx::{PgConnection, PgPool};
use tokio::time::{Instant, sleep};

use crate::domain::{BookingId, EventId};
use crate::strategies::{Order, Outcome, Refusal};

/// A change whose COMMIT may not have been answered.
#[derive(Clone, Copy, Debug)]
pub enum Change {
    /// A booking, whose insert has returned its id.
    Booked(BookingId, EventId),
    /// A cancellation.
    Cancelled(BookingId),
}

impl Change {
    /// Whether the change was made. Waits for the transaction in doubt to end: a plain look could say 'no' and be wrong a
    /// moment later.
    ///
    /// # Errors
    /// The database's: then it is still in doubt.
    pub async fn was_made(self, db: &mut PgConnection) -> Result<bool, sqlx::Error> {
        match self {
            Self::Booked(booking, event) => bookings::was_made(db, booking, event).await,
            Self::Cancelled(booking) => bookings::is_cancelled(db, booking).await,
        }
    }
}

/// Where the rows are. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    /// For statements that do not wait for anybody.
    pub pool: PgPool,
    /// For those that wait while they have a connection: for a lock of PostgreSQL's, or for a payment in the middle of a
    /// transaction. Out of the one pool, a hot event's waiters would take the connections of all others.
    pub waiting: PgPool,
}

impl Store {
    /// The rows behind these two pools of one database.
    #[must_use]
    pub fn new(pool: PgPool, waiting: PgPool) -> Self {
        Self { pool, waiting }
    }

    /// What the order's key has become already, if it has one that is known.
    ///
    /// # Errors
    /// The database's.
    pub async fn stored(&self, order: &Order) -> Result<Option<Outcome>, sqlx::Error> {
        let Some(key) = &order.key else { return Ok(None) };
        keys::stored(&mut *self.pool.acquire().await?, key).await
    }

    /// The same before the payment: a repetition must not be paid for again. Without a payment it is not asked for, because
    /// the insert finds out.
    ///
    /// # Errors
    /// The database's.
    pub async fn stored_before_payment(&self, order: &Order) -> Result<Option<Outcome>, sqlx::Error> {
        if order.work.is_zero() { Ok(None) } else { self.stored(order).await }
    }

    /// Passes on how the COMMIT of a change ended. If it was not answered, waits for the database to say whether the
    /// change was made.
    ///
    /// # Errors
    /// [`Refusal::Database`] if the database has refused, [`Refusal::RolledBack`], or [`Refusal::InDoubt`] if that could not
    /// be found out.
    pub async fn confirm(&self, committed: Result<(), sqlx::Error>, change: Change) -> Result<(), Refusal> {
        let Err(doubt) = committed else { return Ok(()) };
        if is_refusal(&doubt) {
            return Err(doubt.into());
        }
        tracing::warn!(error = %doubt, "a commit was not answered: asking what became of it");
        let deadline = Instant::now() + SETTLING;
        loop {
            let asked = async { change.was_made(&mut *self.pool.acquire().await?).await };
            match asked.await {
                Ok(true) => return Ok(()),
                Ok(false) => return Err(Refusal::RolledBack),
                Err(error) if Instant::now() >= deadline => return Err(Refusal::InDoubt(error.to_string())),
                Err(error) => {
                    tracing::debug!(%error, "still in doubt");
                    sleep(SETTLING_PAUSE).await;
                }
            }
        }
    }
}

/// How long a commit in doubt may be asked after, and how often.
const SETTLING: Duration = Duration::from_secs(5);
const SETTLING_PAUSE: Duration = Duration::from_millis(100);

/// Whether the error is PostgreSQL's word that it did not commit. A session that was ended by force may have been so
/// after its commit was written.
fn is_refusal(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| !["08", "57", "58", "XX"].iter().any(|class| code.starts_with(class)))
}

/// The constraint that the statement violated, if that is what went wrong.
#[must_use]
pub fn violated(error: &sqlx::Error) -> Option<&str> {
    error.as_database_error().and_then(|error| error.constraint())
}
