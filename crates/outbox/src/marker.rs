//! Marks rows as applied, many at a time.

use std::time::Duration;

use fenced_cache::RecordId;
use tokio::select;
use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::condition::Condition;
use crate::outbox::Outbox;
use crate::progress::backoff;

/// The most marks in one statement.
const MOST: usize = 500;

/// Takes marks from the queue until `shutdown`, then those that are left.
pub(crate) async fn mark(outbox: Outbox, every: Duration, shutdown: CancellationToken) {
    let mut marks = select! {
        marks = outbox.inner.marked.lock() => marks,
        () = shutdown.cancelled() => return,
    };
    let mut condition = Condition::new("marking rows of the outbox as applied");
    let mut ids = Vec::with_capacity(MOST);
    while let Some(()) = shutdown.run_until_cancelled(collect(&mut marks, &mut ids, every)).await {
        let mut failures = 0;
        while let Err(error) = outbox.mark(&ids).await {
            condition.failed(&error);
            if shutdown.run_until_cancelled(sleep(backoff(failures))).await.is_none() {
                return;
            }
            failures += 1;
        }
        condition.worked();
        ids.clear();
    }
    // Whatever is not marked now is repeated by a relay: one try is enough.
    loop {
        while ids.len() < MOST
            && let Ok(id) = marks.try_recv()
        {
            ids.push(id);
        }
        if ids.is_empty() || outbox.mark(&ids).await.is_err() {
            return;
        }
        ids.clear();
    }
}

/// Waits for a mark, then for more until `every` has passed or a batch is full. Keeps what it has when it is dropped.
async fn collect(marks: &mut Receiver<RecordId>, ids: &mut Vec<RecordId>, every: Duration) {
    marks.recv_many(ids, MOST).await;
    let end = Instant::now() + every;
    while ids.len() < MOST && timeout_at(end, marks.recv_many(ids, MOST - ids.len())).await.is_ok() {}
}

impl Outbox {
    async fn mark(&self, ids: &[RecordId]) -> Result<(), sqlx::Error> {
        let ids: Vec<i64> = ids.iter().map(|id| id.0).collect();
        let mark = sqlx::query(&self.inner.statements.mark).bind(ids);
        let marked = self.ask(move |connection| Box::pin(mark.execute(connection))).await?;
        self.inner.metrics.marked.increment(marked.rows_affected());
        Ok(())
    }
}
