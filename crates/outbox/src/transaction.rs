//! A transaction and its outbox row, committed together.

use fenced_cache::{Commit, CommitState, Effects, TransactionId};
use sqlx::PgConnection;

use crate::outbox::{Outbox, Recorded};
use crate::session::{Session, refused};

/// An open transaction; see [`Outbox::begin`]. Dropping it rolls it back, in the background and within the outbox's
/// deadline.
#[derive(Debug)]
#[must_use = "a transaction that is dropped is rolled back"]
pub struct Transaction {
    pub(crate) outbox: Outbox,
    pub(crate) session: Session,
    /// It has written an event, which the event relay has to be told of.
    pub(crate) pokes: bool,
}

impl Transaction {
    pub(crate) fn new(outbox: Outbox, session: Session) -> Self {
        Self { outbox, session, pokes: false }
    }

    /// The connection, for the statements of the transaction. `begin` on it makes a savepoint. What runs here has no
    /// time limit but the caller's own.
    pub fn connection(&mut self) -> &mut PgConnection {
        self.session.connection()
    }

    /// Writes the outbox row, if `effects` name anything, and commits.
    ///
    /// `Ok` with [`CommitState::Committed`]: the change and its row are there, both. `Ok` with
    /// [`CommitState::InDoubt`]: COMMIT was sent and its answer was lost (the connection broke, the server was shut
    /// down, the deadline passed), so the change may be there now, later or never; the
    /// [`Journal`](fenced_cache::Journal) can be asked. [`Cache::write`](fenced_cache::Cache::write) does that.
    ///
    /// # Errors
    /// Nothing was committed: the server refused the row or the COMMIT (a deferred constraint, a serialization
    /// failure, an error in the transaction before this), or the connection broke before COMMIT was sent.
    pub async fn commit<T>(mut self, value: T, effects: Effects) -> Result<Commit<T>, sqlx::Error> {
        let recorded = if effects.is_empty() { None } else { Some(self.record(&effects).await?) };
        let transaction = match recorded {
            Some(recorded) => Some(recorded.transaction),
            None => self.id().await?,
        };
        let state = match self.session.commit().await {
            Ok(()) => CommitState::Committed,
            Err(error) if refused(&error) => return Err(error),
            Err(error) => self.doubt(&error, transaction, recorded),
        };
        // In doubt as well: the relay sees for itself.
        if self.pokes {
            self.outbox.poke();
        }
        Ok(Commit { value, effects, record: recorded.map(|recorded| recorded.id), state })
    }

    /// Rolls back and waits until that is done.
    ///
    /// # Errors
    /// The answer was lost; a server that lives rolls back all the same, as soon as it sees that the connection is
    /// gone.
    pub async fn rollback(mut self) -> Result<(), sqlx::Error> {
        self.session.rollback().await
    }

    async fn record(&mut self, effects: &Effects) -> Result<Recorded, sqlx::Error> {
        let insert = self.outbox.insert(effects.keys(), effects.tags());
        self.session.run(move |connection| Box::pin(insert.fetch_one(connection))).await.map(Recorded::from)
    }

    /// `None` if nothing was written. Also finds out whether an earlier statement has failed: PostgreSQL would answer
    /// COMMIT with a ROLLBACK that sqlx does not report.
    async fn id(&mut self) -> Result<Option<TransactionId>, sqlx::Error> {
        let id = sqlx::query_scalar("select pg_current_xact_id_if_assigned()::text::bigint");
        let id: Option<i64> = self.session.run(move |connection| Box::pin(id.fetch_one(connection))).await?;
        Ok(id.map(|id| TransactionId(id.unsigned_abs())))
    }

    fn doubt(
        &self,
        error: &sqlx::Error,
        transaction: Option<TransactionId>,
        recorded: Option<Recorded>,
    ) -> CommitState {
        // A transaction without an id has changed nothing: there is nothing that could be in doubt.
        let Some(transaction) = transaction else { return CommitState::Committed };
        tracing::warn!(%error, transaction = transaction.0, "the answer to a COMMIT was lost");
        self.outbox.inner.metrics.in_doubt.increment(1);
        if let Some(recorded) = recorded {
            self.outbox.inner.doubts.add(recorded);
        }
        CommitState::InDoubt(transaction)
    }
}
