//! Applies the rows that their writers have not, and prunes those that are applied.

use std::collections::HashSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fenced_cache::{Invalidate, Record};
use futures_util::FutureExt;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::condition::Condition;
use crate::journal::{Row, records, rows};
use crate::outbox::Outbox;
use crate::progress::{Progress, jittered};
use crate::session::Session;
use crate::settings::RelaySettings;

/// How often the backlog is counted, and the most that is counted.
const COUNT_EVERY: Duration = Duration::from_secs(5);
const COUNT_MOST: i64 = 100_000;
/// The most rows deleted by one statement.
const PRUNE_MOST: usize = 2_000;

pub(crate) struct Relay {
    outbox: Outbox,
    settings: RelaySettings,
    invalidate: Arc<dyn Invalidate>,
    lock: i64,
    progress: Progress,
    database: Condition,
    redis: Condition,
    count_at: Instant,
    prune_at: Instant,
}

/// How one try ended.
enum Tried {
    Nothing,
    /// Another process holds the lock.
    Standby,
    Applied,
    Refused(Duration),
}

impl Relay {
    pub(crate) fn new(outbox: Outbox, settings: RelaySettings, invalidate: Arc<dyn Invalidate>) -> Self {
        let now = Instant::now();
        Self {
            lock: outbox.schema().lock_key("relay"),
            progress: Progress::new(settings.batch),
            database: Condition::new("the outbox relay's database"),
            redis: Condition::new("the outbox relay's invalidation"),
            count_at: now,
            prune_at: now + jittered(settings.prune_every),
            outbox,
            settings,
            invalidate,
        }
    }

    /// Runs until `shutdown`. What is under way then is dropped: its rows stay unmarked and are repeated.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        shutdown
            .run_until_cancelled(async {
                loop {
                    let wait = self.turn().await;
                    sleep(wait).await;
                }
            })
            .await;
    }

    /// One round; returns how long to wait for the next.
    async fn turn(&mut self) -> Duration {
        match self.try_all().await {
            Ok(tried) => {
                self.database.worked();
                match tried {
                    Tried::Applied => Duration::ZERO,
                    Tried::Refused(wait) => wait,
                    Tried::Nothing | Tried::Standby if self.prune_at <= Instant::now() => Duration::ZERO,
                    Tried::Nothing | Tried::Standby => jittered(self.settings.poll),
                }
            }
            Err(error) => {
                self.outbox.inner.metrics.database_errors.increment(1);
                self.database.failed(&error);
                self.progress.failed()
            }
        }
    }

    async fn try_all(&mut self) -> Result<Tried, sqlx::Error> {
        let tried = self.relay().await?;
        self.count().await?;
        self.prune().await?;
        Ok(tried)
    }

    /// One batch. No longer than `invalidate_within` and a few statements, each within the outbox's deadline; if this
    /// process is stopped meanwhile, the server ends the transaction after that time, and another relay takes over.
    async fn relay(&mut self) -> Result<Tried, sqlx::Error> {
        self.progress.next(Instant::now());
        let mut session = self.outbox.session().await?;
        // Asked outside of any transaction: an idle relay, and one that stands by, cost one short statement per poll.
        let any = sqlx::query_scalar::<_, bool>(&self.outbox.inner.statements.any_due)
            .bind(self.settings.relay_after.as_secs_f64())
            .bind(self.progress.after.0);
        if !session.run(move |connection| Box::pin(any.fetch_one(connection))).await? {
            return Ok(Tried::Nothing);
        }
        let begun = Instant::now();
        session.begin().await?;
        if !self.lead(&mut session).await? {
            session.rollback().await?;
            self.outbox.inner.metrics.standby.increment(1);
            return Ok(Tried::Standby);
        }
        let due = sqlx::query_as::<_, Row>(&self.outbox.inner.statements.due)
            .bind(self.settings.relay_after.as_secs_f64())
            .bind(self.progress.after.0)
            .bind(rows(self.progress.limit));
        let due = records(session.run(move |connection| Box::pin(due.fetch_all(connection))).await?);
        let Some(first) = due.first() else {
            session.rollback().await?;
            return Ok(Tried::Nothing);
        };
        if let Err(reason) = self.invalidate(&due).await {
            // Counted before the rollback: that may fail on its own.
            self.outbox.inner.metrics.invalidation_errors.increment(1);
            self.redis.failed(&reason);
            let wait = self.progress.refused(first.id, due.len(), Instant::now());
            session.rollback().await?;
            return Ok(Tried::Refused(wait));
        }
        self.redis.worked();
        let ids: Vec<i64> = due.iter().map(|record| record.id.0).collect();
        let mark = sqlx::query(&self.outbox.inner.statements.mark).bind(ids);
        let marked = session.run(move |connection| Box::pin(mark.execute(connection))).await?.rows_affected();
        session.commit().await?;
        self.progress.worked();
        self.outbox.inner.metrics.relayed.increment(marked);
        self.outbox.inner.metrics.relay_duration.record(begun.elapsed());
        Ok(Tried::Applied)
    }

    /// Takes the lock, for this transaction, if nobody has it.
    async fn lead(&self, session: &mut Session) -> Result<bool, sqlx::Error> {
        // A transaction-scoped lock can not be stranded behind a pooler, as a session's can.
        let open = self.settings.invalidate_within + self.outbox.inner.deadline;
        let lead = sqlx::query_as::<_, (bool, String, String)>(
            "select pg_try_advisory_xact_lock($1), set_config('idle_in_transaction_session_timeout', $2, true), \
             set_config('statement_timeout', $3, true)",
        )
        .bind(self.lock)
        .bind(open.as_millis().to_string())
        .bind(self.outbox.inner.deadline.as_millis().to_string());
        session.run(move |connection| Box::pin(lead.fetch_one(connection))).await.map(|(leads, ..)| leads)
    }

    /// Every name of these rows, once each.
    async fn invalidate(&self, due: &[Record]) -> Result<(), String> {
        let names: HashSet<&Bytes> = due.iter().flat_map(|record| record.keys.iter().chain(&record.tags)).collect();
        let names = names.into_iter().cloned().collect();
        let deletion = AssertUnwindSafe(async { self.invalidate.invalidate_names(names).await }).catch_unwind();
        match timeout(self.settings.invalidate_within, deletion).await {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(unconfirmed))) => Err(unconfirmed.to_string()),
            Ok(Err(_)) => Err("the invalidation panicked".into()),
            Err(_) => Err(format!("the invalidation did not end within {:?}", self.settings.invalidate_within)),
        }
    }

    async fn count(&mut self) -> Result<(), sqlx::Error> {
        let now = Instant::now();
        if now < self.count_at {
            return Ok(());
        }
        self.count_at = now + COUNT_EVERY;
        let backlog = sqlx::query_as::<_, (i64, f64)>(&self.outbox.inner.statements.backlog).bind(COUNT_MOST);
        let (open, age) = self.outbox.ask(move |connection| Box::pin(backlog.fetch_one(connection))).await?;
        self.outbox.inner.metrics.unapplied.set(f64::from(u32::try_from(open).unwrap_or(u32::MAX)));
        self.outbox.inner.metrics.unapplied_age.set(age);
        Ok(())
    }

    /// At most one batch at a time, so that relaying is never kept waiting for long.
    async fn prune(&mut self) -> Result<(), sqlx::Error> {
        let now = Instant::now();
        if now < self.prune_at {
            return Ok(());
        }
        self.prune_at = now + jittered(self.settings.prune_every);
        let mut session = self.outbox.session().await?;
        session.begin().await?;
        if !self.lead(&mut session).await? {
            return session.rollback().await;
        }
        let prune = sqlx::query(&self.outbox.inner.statements.prune)
            .bind(self.settings.keep.as_secs_f64())
            .bind(rows(PRUNE_MOST));
        let pruned = session.run(move |connection| Box::pin(prune.execute(connection))).await?.rows_affected();
        session.commit().await?;
        self.outbox.inner.metrics.pruned.increment(pruned);
        if usize::try_from(pruned).is_ok_and(|pruned| pruned >= PRUNE_MOST) {
            // There may be more: the next turn goes on, at once if it has nothing else to do.
            self.prune_at = now;
        }
        Ok(())
    }
}
