//! The outbox itself: what every part of it shares.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fenced_cache::{ConfigError, RecordId, TransactionId};
use sqlx::postgres::Postgres;
use sqlx::query::QueryAs;
use sqlx::types::time::OffsetDateTime;
use sqlx::{PgConnection, PgPool};
use tokio::sync::{Mutex, Notify, mpsc};

use crate::doubt::Doubts;
use crate::events;
use crate::metrics::Metrics;
use crate::schema::{Schema, Statements};
use crate::session::Session;
use crate::transaction::Transaction;

/// Marks that may wait for the database; about a second of them under the heaviest writing.
const MARKS: usize = 8_192;

/// The transactional outbox of one schema. Cloning is cheap, and all clones share one queue of marks.
///
/// Nothing runs in the background until [`start`](Self::start) is called, and nothing is asked of the database
/// before the first call that needs it. Install the metrics recorder first: the handles are made in `new`.
#[derive(Clone, Debug)]
pub struct Outbox {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) pool: PgPool,
    pub(crate) schema: Schema,
    pub(crate) statements: Statements,
    pub(crate) deadline: Duration,
    pub(crate) doubts: Doubts,
    pub(crate) metrics: Metrics,
    pub(crate) marks: mpsc::Sender<RecordId>,
    /// Held by the one task that marks.
    pub(crate) marked: Arc<Mutex<mpsc::Receiver<RecordId>>>,
    pub(crate) events: events::Statements,
    /// Wakes the event relay.
    pub(crate) poked: Notify,
}

/// A row of the outbox in a transaction that has not ended yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// The row's id.
    pub id: RecordId,
    /// The transaction's id, with which the [`Journal`](fenced_cache::Journal) can be asked what became of it.
    pub transaction: TransactionId,
    pub(crate) created_at: OffsetDateTime,
}

/// What `insert ... returning` answers.
pub(crate) type RecordedRow = (i64, OffsetDateTime, i64);

impl Outbox {
    /// The outbox in `schema`, whose statements each get five seconds.
    ///
    /// # Errors
    /// [`ConfigError`] if `schema` is not a plain lower-case identifier.
    pub fn new(pool: PgPool, schema: &str) -> Result<Self, ConfigError> {
        Self::with_deadline(pool, schema, Duration::from_secs(5))
    }

    /// As [`new`](Self::new), with a limit of one's own: the longest that any single statement of this crate, COMMIT
    /// among them, waits for a database that does not answer. A COMMIT that runs into it is in doubt.
    ///
    /// # Errors
    /// [`ConfigError`] if `schema` is not a plain lower-case identifier, or `deadline` not within 10 ms and 10 min.
    pub fn with_deadline(pool: PgPool, schema: &str, deadline: Duration) -> Result<Self, ConfigError> {
        let schema = Schema::new(schema)?;
        crate::settings::within("deadline", deadline, Duration::from_millis(10), Duration::from_secs(600))?;
        let (marks, marked) = mpsc::channel(MARKS);
        Ok(Self {
            inner: Arc::new(Inner {
                pool,
                statements: Statements::new(&schema),
                events: events::Statements::new(&schema),
                schema,
                deadline,
                doubts: Doubts::default(),
                metrics: Metrics::new(),
                marks,
                marked: Arc::new(Mutex::new(marked)),
                poked: Notify::new(),
            }),
        })
    }

    /// Begins a transaction whose [`commit`](Transaction::commit) writes the outbox row and knows what a COMMIT in
    /// doubt is.
    ///
    /// # Errors
    /// `PoolTimedOut` if no connection is to be had in time; else whatever BEGIN says.
    pub async fn begin(&self) -> Result<Transaction, sqlx::Error> {
        let mut session = self.session().await?;
        session.begin().await?;
        Ok(Transaction::new(self.clone(), session))
    }

    /// Writes the outbox row into a transaction of one's own, for those who can not use [`begin`](Self::begin).
    ///
    /// `keys` and `tags` are full names in Redis. Call it last: the relay's patience is counted from here. Who
    /// commits without [`Transaction::commit`] has to tell a COMMIT that failed from one whose answer was lost.
    ///
    /// # Errors
    /// Whatever the database says; the transaction can then only be rolled back. There is no time limit here.
    pub async fn record<'n>(
        &self,
        connection: &mut PgConnection,
        keys: impl IntoIterator<Item = &'n Bytes>,
        tags: impl IntoIterator<Item = &'n Bytes>,
    ) -> Result<Recorded, sqlx::Error> {
        self.insert(keys, tags).fetch_one(connection).await.map(Recorded::from)
    }

    pub(crate) fn insert<'n>(
        &self,
        keys: impl IntoIterator<Item = &'n Bytes>,
        tags: impl IntoIterator<Item = &'n Bytes>,
    ) -> QueryAs<'static, Postgres, RecordedRow, sqlx::postgres::PgArguments> {
        let owned = |name: &Bytes| name.to_vec();
        sqlx::query_as(&self.inner.statements.record)
            .bind(keys.into_iter().map(owned).collect::<Vec<_>>())
            .bind(tags.into_iter().map(owned).collect::<Vec<_>>())
    }

    pub(crate) async fn session(&self) -> Result<Session, sqlx::Error> {
        Session::acquire(&self.inner.pool, self.inner.deadline).await
    }

    pub(crate) fn schema(&self) -> &Schema {
        &self.inner.schema
    }
}

impl From<RecordedRow> for Recorded {
    fn from((id, created_at, transaction): RecordedRow) -> Self {
        // The server's ids are unsigned 64-bit numbers that it counts up from 3: a negative one can not be.
        let transaction = TransactionId(transaction.unsigned_abs());
        Self { id: RecordId(id), transaction, created_at }
    }
}
