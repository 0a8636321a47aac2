//! The seat of the leader: a session of PostgreSQL that has the lock.

use std::future::Future;
use std::io;
use std::time::Duration;

use outbox::Outbox;
use outbox::events::{Aside, Event, EventPage, Reader};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::time::timeout;

/// The longest that one statement may take, on the server and in waiting for it.
const STATEMENT: Duration = Duration::from_secs(2);

/// How seats are made.
#[derive(Clone, Debug)]
pub(crate) struct Seats {
    options: PgConnectOptions,
    outbox: Outbox,
    reader: Reader,
}

/// A session that has the lock. The lock ends with the session, so everything that only the leader may do is a statement on this
/// connection: where that fails, another one may lead.
#[derive(Debug)]
pub(crate) struct Seat {
    connection: PgConnection,
    outbox: Outbox,
    reader: Reader,
}

impl Seats {
    /// `patience`: the server ends a session that has been silent for so long. A process that is stopped, or cut off without a
    /// word, would keep the lock for ever.
    pub(crate) fn new(options: PgConnectOptions, outbox: Outbox, patience: Duration) -> Self {
        let milliseconds = |duration: Duration| format!("{}ms", duration.as_millis());
        let options = options.application_name("shop-worker-leader").options([
            ("statement_timeout", milliseconds(STATEMENT)),
            ("idle_session_timeout", milliseconds(patience)),
            ("idle_in_transaction_session_timeout", milliseconds(patience)),
            // A position that a crash takes back is one from which events are applied again, which does no harm. Not so the
            // numbers: those are committed by the relay.
            ("synchronous_commit", "off".to_owned()),
        ]);
        let reader = outbox.reader(crate::READER);
        Self { options, outbox, reader }
    }

    /// A connection that may ask for the lock.
    pub(crate) async fn connect(&self) -> Result<PgConnection, sqlx::Error> {
        within(self.options.connect()).await
    }

    /// Asks for the lock once. The connection is used up when it is granted.
    pub(crate) async fn ask(&self, connection: &mut Option<PgConnection>) -> Result<Option<Seat>, sqlx::Error> {
        let mut asking = match connection.take() {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let lock = sqlx::query_scalar("select pg_try_advisory_lock($1)").bind(self.outbox.lock_key("worker"));
        if within(lock.fetch_one(&mut asking)).await? {
            return Ok(Some(Seat { connection: asking, outbox: self.outbox.clone(), reader: self.reader.clone() }));
        }
        *connection = Some(asking);
        Ok(None)
    }
}

impl Seat {
    /// The number up to which events were applied, by whomever.
    pub(crate) async fn position(&mut self) -> Result<u64, sqlx::Error> {
        within(self.reader.position(&mut self.connection)).await
    }

    /// Records how far we are; also shows that we are there.
    pub(crate) async fn advance(&mut self, number: u64) -> Result<(), sqlx::Error> {
        within(self.reader.advance(&mut self.connection, number)).await
    }

    pub(crate) async fn last(&mut self) -> Result<u64, sqlx::Error> {
        within(self.outbox.last_event(&mut self.connection)).await
    }

    pub(crate) async fn page(&mut self, after: u64, limit: usize) -> Result<EventPage, sqlx::Error> {
        within(self.outbox.events_after(&mut self.connection, after, limit)).await
    }

    pub(crate) async fn set_aside(&mut self, event: &Event, reason: &str) -> Result<(), sqlx::Error> {
        within(self.reader.set_aside(&mut self.connection, event, reason)).await
    }

    pub(crate) async fn set_aside_stray(
        &mut self,
        message: &[u8],
        reason: &str,
        most: usize,
    ) -> Result<bool, sqlx::Error> {
        within(self.reader.set_aside_stray(&mut self.connection, message, reason, most)).await
    }

    pub(crate) async fn aside(&mut self, after: u64, limit: usize) -> Result<Vec<Aside>, sqlx::Error> {
        within(self.reader.aside(&mut self.connection, after, limit)).await
    }

    pub(crate) async fn understood(&mut self, numbers: &[u64]) -> Result<(), sqlx::Error> {
        within(self.reader.understood(&mut self.connection, numbers)).await
    }

    /// Leaves the seat in order: the next one begins where this one stopped, and at once.
    pub(crate) async fn leave(mut self, number: u64) {
        // What was under way on this connection is read to its end first; if that takes too long, the session just ends.
        let left = async {
            self.advance(number).await?;
            within(self.connection.close()).await
        };
        if let Err(error) = left.await {
            tracing::debug!(%error, "the leader's session did not end in order");
        }
    }
}

async fn within<T>(statement: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    timeout(STATEMENT, statement).await.unwrap_or_else(|_| {
        let text = format!("PostgreSQL did not answer within {STATEMENT:?}");
        Err(sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, text)))
    })
}
