//! Deletes rows that nobody reads.

use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::condition::Condition;
use crate::journal::rows;
use crate::outbox::Outbox;
use crate::progress::jittered;

/// The most rows deleted by one statement, and between two such statements while there is more.
const MOST: usize = 2_000;
const PAUSE: Duration = Duration::from_millis(40);
/// Between two looks.
const EVERY: Duration = Duration::from_secs(30);

/// Runs until `shutdown`, in every replica: a lock lets one delete at a time.
pub(crate) async fn unread(outbox: Outbox, keep: Duration, shutdown: CancellationToken) {
    let mut condition = Condition::new("pruning the outbox");
    loop {
        let Some(pruned) = shutdown.run_until_cancelled(outbox.prune_unread(keep)).await else { return };
        let wait = match pruned {
            Ok(pruned) => {
                condition.worked();
                outbox.inner.metrics.pruned.increment(pruned);
                if usize::try_from(pruned).is_ok_and(|pruned| pruned >= MOST) { PAUSE } else { jittered(EVERY) }
            }
            Err(error) => {
                condition.failed(&error);
                outbox.inner.metrics.database_errors.increment(1);
                jittered(EVERY)
            }
        };
        if shutdown.run_until_cancelled(sleep(wait)).await.is_none() {
            return;
        }
    }
}

impl Outbox {
    async fn prune_unread(&self, keep: Duration) -> Result<u64, sqlx::Error> {
        let mut session = self.session().await?;
        session.begin().await?;
        let lock =
            sqlx::query_scalar::<_, bool>("select pg_try_advisory_xact_lock($1)").bind(self.schema().lock_key("prune"));
        if !session.run(move |connection| Box::pin(lock.fetch_one(connection))).await? {
            session.rollback().await?;
            return Ok(0);
        }
        let prune = sqlx::query(&self.inner.statements.prune_unread).bind(keep.as_secs_f64()).bind(rows(MOST));
        let pruned = session.run(move |connection| Box::pin(prune.execute(connection))).await?.rows_affected();
        session.commit().await?;
        Ok(pruned)
    }
}
