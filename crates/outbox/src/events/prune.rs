//! Deletes events that everybody has applied.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::condition::Condition;
use crate::events::{EventSettings, Metrics};
use crate::journal::rows;
use crate::outbox::Outbox;
use crate::progress::jittered;

/// The most events deleted by one statement: small, so that numbering beside it hardly waits for the disk.
const MOST: usize = 2_000;
/// Between two such statements while there is more: ten times as fast as events are meant to come.
const PAUSE: Duration = Duration::from_millis(40);

/// Runs until `shutdown`, in every replica: a lock lets one delete at a time.
pub(crate) async fn prune(outbox: Outbox, settings: EventSettings, metrics: Arc<Metrics>, shutdown: CancellationToken) {
    let mut condition = Condition::new("pruning events");
    let mut wait = jittered(settings.prune_every);
    while shutdown.run_until_cancelled(sleep(wait)).await.is_some() {
        let Some(pruned) = shutdown.run_until_cancelled(outbox.prune_events(&settings)).await else { return };
        wait = match pruned {
            Ok(pruned) => {
                condition.worked();
                metrics.pruned.increment(pruned);
                if usize::try_from(pruned).is_ok_and(|pruned| pruned >= MOST) {
                    PAUSE
                } else {
                    jittered(settings.prune_every)
                }
            }
            Err(error) => {
                condition.failed(&error);
                metrics.database_errors.increment(1);
                jittered(settings.prune_every)
            }
        };
    }
}

impl Outbox {
    async fn prune_events(&self, settings: &EventSettings) -> Result<u64, sqlx::Error> {
        let mut session = self.session().await?;
        session.begin().await?;
        let lock = sqlx::query_scalar::<_, bool>("select pg_try_advisory_xact_lock($1)")
            .bind(self.schema().lock_key("event prune"));
        if !session.run(move |connection| Box::pin(lock.fetch_one(connection))).await? {
            session.rollback().await?;
            return Ok(0);
        }
        let prune = sqlx::query(&self.inner.events.prune)
            .bind(settings.keep.as_secs_f64())
            .bind(settings.absence.as_secs_f64())
            .bind(rows(MOST));
        let pruned = session.run(move |connection| Box::pin(prune.execute(connection))).await?.rows_affected();
        session.commit().await?;
        Ok(pruned)
    }
}
