//! The outbox as the cache sees it.

use std::time::Duration;

use bytes::Bytes;
use fenced_cache::{BoxFuture, Identity, Journal, JournalError, Record, RecordId, Settled, TransactionId};
use sqlx::PgConnection;

use crate::doubt::Evidence;
use crate::outbox::Outbox;

pub(crate) type Row = (i64, Vec<Vec<u8>>, Vec<Vec<u8>>);

/// Every answer comes, or fails, within the outbox's deadline for the connection and as much for the statement.
impl Journal for Outbox {
    /// Queues the mark. If the queue is full, or [`start`](Outbox::start) was never called, it is dropped and counted;
    /// the relay then repeats the row.
    fn applied(&self, id: RecordId) {
        if self.inner.marks.try_send(id).is_err() {
            self.inner.metrics.mark_dropped.increment(1);
        }
    }

    /// Asked in the process that committed, within a minute, the answer rests on the outbox row and is right even
    /// across a crash of the server. Else it rests on `pg_xact_status` alone: after a *crash* (not a shutdown) the server
    /// may have given the id to another transaction, and after some hundred million transactions it has forgotten
    /// the id, which is an error here and not an answer.
    fn settle(&self, transaction: TransactionId) -> BoxFuture<'_, Result<Settled, JournalError>> {
        Box::pin(async move {
            let doubts = self.inner.doubts.of(transaction);
            if doubts.len() > 1 {
                // The server crashed, and gave the id of one transaction in doubt to another one in doubt.
                return Err(JournalError("several transactions in doubt have this id".into()));
            }
            let doubt = doubts.first();
            let question = sqlx::query_as::<_, (bool, bool, Option<String>)>(&self.inner.statements.settle)
                .bind(transaction.0.to_string())
                .bind(doubt.map(|doubt| doubt.id.0))
                .bind(doubt.map(|doubt| doubt.created_at));
            let evidence = match self.ask(move |connection| Box::pin(question.fetch_one(connection))).await {
                Ok((ended, recorded, status)) => Evidence { ended, recorded: doubt.map(|_| recorded), status },
                // Not handed out yet, so a crash took it back: nothing of that transaction is left.
                Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("22023") => {
                    return Ok(Settled::RolledBack);
                }
                Err(error) => return Err(failed(error)),
            };
            evidence.verdict().ok_or_else(|| JournalError("the server has forgotten the transaction".into()))
        })
    }

    fn unapplied(&self, after: RecordId, limit: usize) -> BoxFuture<'_, Result<Vec<Record>, JournalError>> {
        let page = sqlx::query_as::<_, Row>(&self.inner.statements.unapplied).bind(after.0).bind(rows(limit));
        Box::pin(async move {
            let page = self.ask(move |connection| Box::pin(page.fetch_all(connection))).await;
            page.map(records).map_err(failed)
        })
    }

    /// A row counts as younger than `window` as long as it was *applied* within it, or not at all yet: what a promoted
    /// replica may have missed are deletions of late, however old the change behind them is. That includes every
    /// row created within `window`.
    fn younger_than(
        &self,
        window: Duration,
        after: RecordId,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Record>, JournalError>> {
        let page = sqlx::query_as::<_, Row>(&self.inner.statements.young)
            .bind(window.as_secs_f64())
            .bind(after.0)
            .bind(rows(limit));
        Box::pin(async move {
            let page = self.ask(move |connection| Box::pin(page.fetch_all(connection))).await;
            page.map(records).map_err(failed)
        })
    }

    fn identity(&self, node: &str) -> BoxFuture<'_, Result<Option<Identity>, JournalError>> {
        let known = sqlx::query_as::<_, (String, String)>(&self.inner.statements.identity).bind(node.to_owned());
        Box::pin(async move {
            let known = self.ask(move |connection| Box::pin(known.fetch_optional(connection))).await.map_err(failed)?;
            Ok(known.map(|(run_id, replication_id)| Identity { run_id, replication_id }))
        })
    }

    fn remember(&self, node: &str, identity: &Identity) -> BoxFuture<'_, Result<(), JournalError>> {
        let remember = sqlx::query(&self.inner.statements.remember)
            .bind(node.to_owned())
            .bind(identity.run_id.clone())
            .bind(identity.replication_id.clone());
        Box::pin(async move {
            let done = self.ask(move |connection| Box::pin(remember.execute(connection))).await;
            done.map(drop).map_err(failed)
        })
    }
}

impl Outbox {
    /// One statement on a connection of the pool.
    pub(crate) async fn ask<T>(
        &self,
        statement: impl for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<T, sqlx::Error>>,
    ) -> Result<T, sqlx::Error> {
        self.session().await?.run(statement).await
    }
}

pub(crate) fn records(rows: Vec<Row>) -> Vec<Record> {
    let bytes = |names: Vec<Vec<u8>>| names.into_iter().map(Bytes::from).collect();
    rows.into_iter().map(|(id, keys, tags)| Record { id: RecordId(id), keys: bytes(keys), tags: bytes(tags) }).collect()
}

/// A count of rows as SQL takes it.
pub(crate) fn rows(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

fn failed(error: sqlx::Error) -> JournalError {
    JournalError(error.into())
}
