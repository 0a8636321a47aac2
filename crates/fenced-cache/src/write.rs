//! The writer of the protocol's section 4.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fred::interfaces::KeysInterface;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join, join_all};
use tokio::time::{Instant, sleep, timeout_at};
use tracing::{Instrument, debug, debug_span};

use crate::cache::{Cache, Inner};
use crate::effects::{Commit, CommitState, Effect, Effects, Epochs, Put};
use crate::entry::now_ms;
use crate::error::{RedisError, Unconfirmed, WriteError};
use crate::flight;
use crate::journal::{Invalidate, Settled, TransactionId};
use crate::key::Key;
use crate::layout::{self, Meta};
use crate::outcome::{WriteOutcome, Written};
use crate::read::millis;
use crate::script::{self, PutReply, Token};

/// Between two tries of the same invalidation, and two questions about the same transaction.
const RETRY: Duration = Duration::from_millis(20);

/// Invalidations of one write, or one replay, that are under way at once. Thousands, all sent together, would time out in their own queue and open
/// the breaker; what is gained beyond so many is little, because their answers come together.
pub(crate) const AT_ONCE: usize = 64;

impl Cache {
    /// Runs a transaction and what it does to the cache, all of it in one task: a caller that goes away does not
    /// part the COMMIT from the invalidation.
    ///
    /// `transaction` changes the rows, records its [`Effects`] in the outbox and commits, in that order; crate
    /// `outbox` has the transaction that does this.
    ///
    /// # Errors
    /// [`WriteError`] if nothing was committed. A commit whose invalidations are not all confirmed is no error: see
    /// [`WriteOutcome`].
    pub async fn write<T, E, F>(&self, transaction: F) -> Result<Written<T>, WriteError<E>>
    where
        T: Send + 'static,
        E: Send + 'static,
        F: Future<Output = Result<Commit<T>, E>> + Send + 'static,
    {
        let inner = Arc::clone(&self.inner);
        let task = async move {
            let commit = transaction.await.map_err(WriteError::Failed)?;
            let written = inner.finish(commit).await?;
            inner.outlast_near(written.outcome).await;
            inner.metrics.write(written.outcome);
            Ok(written)
        };
        let task = self.inner.tasks.spawn(task.instrument(debug_span!("cache_write")));
        task.await.unwrap_or(Err(WriteError::Panicked))
    }

    /// Invalidates without a transaction. `Pending` here is repaired by nobody: there is no outbox row.
    pub async fn invalidate(&self, effects: Effects) -> WriteOutcome {
        let inner = Arc::clone(&self.inner);
        let task = async move {
            let outcome = inner.apply(effects).await;
            inner.outlast_near(outcome).await;
            inner.metrics.write(outcome);
            outcome
        };
        self.inner.tasks.spawn(task).await.unwrap_or(WriteOutcome::Pending)
    }

    /// The epochs of the key's tags, for a [`Put`]; to be captured before its transaction begins.
    ///
    /// # Errors
    /// [`RedisError`] when Redis is away or full: then delete the entry instead of putting it.
    pub async fn capture(&self, key: &Key) -> Result<Epochs, RedisError> {
        let session = self.inner.writable().ok_or_else(|| RedisError::Unavailable("there is no connection".into()))?;
        let captured = flight::capture(&session.client, key, self.inner.settings.tag_ttl).await;
        captured.inspect_err(|error| self.inner.note(error)).map(Epochs)
    }
}

impl Invalidate for Cache {
    fn invalidate_names(&self, names: Vec<Bytes>) -> BoxFuture<'_, Result<(), Unconfirmed>> {
        async move {
            let deadline = Instant::now() + self.inner.settings.apply_deadline;
            self.inner.forget_near(names.iter());
            let confirmed = self.inner.delete_all(&names, deadline).await;
            self.inner.forget_near(names.iter());
            if confirmed == names.len() { Ok(()) } else { Err(Unconfirmed(names.len() - confirmed)) }
        }
        .boxed()
    }
}

impl Inner {
    async fn finish<T, E>(&self, commit: Commit<T>) -> Result<Written<T>, WriteError<E>> {
        let Commit { value, effects, record, state } = commit;
        if let CommitState::InDoubt(transaction) = state {
            match self.settled(transaction).await {
                Settled::Committed => {}
                Settled::RolledBack => return Err(WriteError::RolledBack),
                // Invalidating now would not be enough: the commit may become visible after the deletion and
                // after a fill of the old row. The relay acts once the row is visible.
                Settled::InProgress => return Ok(Written { value, outcome: WriteOutcome::Unknown }),
            }
        }
        let committed = Instant::now();
        let outcome = self.apply(effects).await;
        if outcome == WriteOutcome::Applied {
            self.metrics.apply_duration.record(committed.elapsed());
            if let Some(id) = record {
                self.journal.applied(id);
            }
        }
        Ok(Written { value, outcome })
    }

    /// Asks what became of a transaction until the database knows or the time is up.
    async fn settled(&self, transaction: TransactionId) -> Settled {
        let deadline = Instant::now() + self.settings.apply_deadline;
        loop {
            match timeout_at(deadline, self.journal.settle(transaction)).await {
                Ok(Ok(settled @ (Settled::Committed | Settled::RolledBack))) => return settled,
                Ok(Ok(Settled::InProgress)) => {}
                Ok(Err(error)) => debug!(%error, "the transaction in doubt can not be asked after"),
                Err(_) => return Settled::InProgress,
            }
            if Instant::now() + RETRY >= deadline {
                return Settled::InProgress;
            }
            sleep(RETRY).await;
        }
    }

    /// Every effect at once, each until it is confirmed or the time is up.
    async fn apply(&self, effects: Effects) -> WriteOutcome {
        if effects.deferred && effects.is_empty() {
            return WriteOutcome::Deferred;
        }
        let deadline = Instant::now() + self.settings.apply_deadline;
        self.forget_near(effects.keys().chain(effects.tags()));
        let tags = self.delete_all(&effects.tags, deadline);
        let (tags, entries) = join(tags, self.confirm_all(&effects.entries, deadline)).await;
        // Again, for what was read before the invalidation ran: Redis' push of it may not have been taken yet.
        self.forget_near(effects.keys().chain(effects.tags()));
        if tags + entries == effects.len() { WriteOutcome::Applied } else { WriteOutcome::Pending }
    }

    /// Where writes are strict: until nobody anywhere believes what was near before this write was applied.
    async fn outlast_near(&self, outcome: WriteOutcome) {
        if self.settings.near_strict && outcome == WriteOutcome::Applied {
            sleep(self.settings.near_grace).await;
        }
    }

    /// How many of these effects are confirmed in the end.
    async fn confirm_all(&self, effects: &[Effect], deadline: Instant) -> usize {
        let mut confirmed = 0;
        for some in effects.chunks(AT_ONCE) {
            let ended = join_all(some.iter().map(|effect| self.confirm(effect, deadline))).await;
            confirmed += ended.into_iter().filter(|confirmed| *confirmed).count();
        }
        confirmed
    }

    /// How many of these deletions are confirmed in the end.
    async fn delete_all(&self, names: &[Bytes], deadline: Instant) -> usize {
        let mut confirmed = 0;
        for some in names.chunks(AT_ONCE) {
            let ended = join_all(some.iter().map(|name| self.confirm_delete(name, deadline))).await;
            confirmed += ended.into_iter().filter(|confirmed| *confirmed).count();
        }
        confirmed
    }

    async fn confirm(&self, effect: &Effect, deadline: Instant) -> bool {
        let done = match effect {
            Effect::Delete(_) => false,
            Effect::Soften(name) => self.try_soften(name).await,
            Effect::Put(put) => self.try_put(put).await,
        };
        // What failed in any way may have left the old value, and a deletion always helps.
        done || self.confirm_delete(effect.name(), deadline).await
    }

    async fn try_soften(&self, name: &Bytes) -> bool {
        let Some(session) = self.writable() else { return false };
        let softened = script::soften(&session.client, name).await;
        softened.inspect_err(|error| self.note(error)).is_ok()
    }

    async fn try_put(&self, put: &Put) -> bool {
        let Some(session) = self.writable() else { return false };
        if put.payload.len() > put.policy.0.max_value_bytes {
            return false;
        }
        let (stored_at_ms, fresh) = (now_ms(), put.policy.next_fresh_ttl(false));
        let meta = Meta {
            negative: false,
            version: Some(put.version),
            stored_at_ms,
            fresh_until_ms: stored_at_ms.saturating_add(millis(fresh)),
            cost: Duration::ZERO,
        };
        let entry = layout::encode(&meta, &Token::random().0, &put.epochs.0, &put.payload);
        let hard_ttl_ms = millis(put.policy.hard_ttl(fresh, false)).max(1);
        match script::put(&session.client, &put.key, put.version, entry, hard_ttl_ms).await {
            Ok(reply) => {
                match reply {
                    PutReply::Stored => self.metrics.put_stored.increment(1),
                    PutReply::Newer => self.metrics.put_newer.increment(1),
                    PutReply::Killed => self.metrics.put_killed.increment(1),
                }
                true
            }
            Err(error) => {
                self.metrics.put_error.increment(1);
                self.note(&error);
                false
            }
        }
    }

    /// DEL until it is confirmed. Without a session, or with the breaker open, it does not wait for either: the
    /// relay is there for that.
    async fn confirm_delete(&self, name: &Bytes, deadline: Instant) -> bool {
        loop {
            let Some(session) = self.writable() else { return false };
            let deleted: Result<i64, _> = session.client.del(name.clone()).await;
            match deleted.map_err(RedisError::from) {
                Ok(_) => {
                    self.breaker.answered();
                    return true;
                }
                Err(error) => {
                    self.note(&error);
                    if Instant::now() + RETRY >= deadline {
                        debug!(%error, "an invalidation is unconfirmed");
                        return false;
                    }
                }
            }
            sleep(RETRY).await;
        }
    }
}
