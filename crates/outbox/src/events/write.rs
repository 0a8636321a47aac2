//! How a writer records events.

use bytes::Bytes;
use sqlx::PgConnection;
use sqlx::postgres::{PgArguments, Postgres};
use sqlx::query::Query;

use crate::outbox::Outbox;
use crate::transaction::Transaction;

impl Outbox {
    /// Writes events, in this order, into a transaction of one's own; those who can use [`begin`](Self::begin) have
    /// [`Transaction::event`].
    ///
    /// Call it **after** the statement that changes the row: then the row's lock makes the events of one row come in the order of
    /// its changes. Call [`poke`](Self::poke) after the COMMIT.
    ///
    /// # Errors
    /// Whatever the database says; the transaction can then only be rolled back. There is no time limit here.
    pub async fn record_events(
        &self,
        connection: &mut PgConnection,
        payloads: impl IntoIterator<Item = Bytes>,
    ) -> Result<(), sqlx::Error> {
        self.insert_events(payloads).execute(connection).await.map(drop)
    }

    /// Tells this process's event relay, if it leads, that there is something to number. Never blocks; too many pokes are one.
    pub fn poke(&self) {
        self.inner.poked.notify_one();
    }

    fn insert_events(&self, payloads: impl IntoIterator<Item = Bytes>) -> Query<'static, Postgres, PgArguments> {
        let payloads: Vec<Vec<u8>> = payloads.into_iter().map(Vec::from).collect();
        sqlx::query(&self.inner.events.record).bind(payloads)
    }
}

impl Transaction {
    /// Writes an event into this transaction; [`commit`](Self::commit) then wakes the event relay.
    ///
    /// Call it **after** the statement that changes the row: then the row's lock makes the events of one row come in the order of
    /// its changes.
    ///
    /// # Errors
    /// Whatever the database says, within the outbox's deadline; the transaction can then only be rolled back.
    pub async fn event(&mut self, payload: impl Into<Bytes> + Send) -> Result<(), sqlx::Error> {
        self.events([payload.into()]).await
    }

    /// Writes several events, in this order; see [`event`](Self::event).
    ///
    /// # Errors
    /// As [`event`](Self::event).
    pub async fn events(&mut self, payloads: impl IntoIterator<Item = Bytes> + Send) -> Result<(), sqlx::Error> {
        let insert = self.outbox.insert_events(payloads);
        self.pokes = true;
        self.session.run(move |connection| Box::pin(insert.execute(connection))).await.map(drop)
    }
}
