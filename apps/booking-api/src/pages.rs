//! Events' pages: read through the cache where there is one, which is told of each change of an event.
//!
//! Both libraries meet here. Who may sell a seat is decided under the event's lock, or by whatever its strategy has instead; what is
//! left is then read by everybody, from the cache. Three rules keep the page right:
//!
//! - **What is counted is what is committed**: a page is made of PostgreSQL's rows, under every strategy. A seat that
//!   `redis-reserve` has handed out, or that somebody is paying for, is not booked yet, and so it is left.
//! - **The cache is told after the commit, and before the answer**, with no lock held any more. A load that began before is refused
//!   when it comes to store what it read; see crate `fenced-cache`.
//! - **The change itself says what it changes**: each booking and cancellation writes a row of the outbox in its own transaction. What
//!   a replica that dies, or that does not reach Redis, leaves undone is done by the relay of another one.
//!
//! The page is deleted, never put: the seats of `pg-units` and `redis-reserve` are counted, so no version of any one row
//! orders two states of a page.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use fenced_cache::{
    Cache, Commit, CommitState, ConfigError, Effects, Key, Keyspace, Policy, RecordId, Settings, WriteError,
    WriteOutcome,
};
use outbox::{Background, Outbox, RelaySettings};
use service::{Health, RequestContext, Tasks};
use service_cache::{Answer, Document, LoadError, Running, Validator, gated};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::NAMESPACE;
use crate::domain::EventId;
use crate::error::Error;
use crate::store::events;

/// The most that one load of a page may take; less if a statement may take less.
const LOAD: Duration = Duration::from_secs(2);

/// How long a row of the outbox is kept where no relay is: longer than any page lives.
const KEPT_UNREAD: Duration = Duration::from_secs(3_600);

static KEYS: LazyLock<Keyspace> = LazyLock::new(|| Keyspace::new(NAMESPACE).expect("letters make a keyspace"));

/// The entry of an event's page.
#[must_use]
pub fn key(event: EventId) -> Key {
    KEYS.entry("event", event.get())
}

/// How a change of an event has ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Ended<T> {
    /// It is committed: the event's page is another one now.
    Changed {
        /// What the client is told.
        value: T,
        /// The event.
        event: EventId,
        /// The outbox's row that says so; `None` if this request only found it committed.
        record: Option<RecordId>,
    },
    /// Nothing was changed.
    Unchanged(T),
}

/// Events' pages. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Pages {
    pool: PgPool,
    tasks: Tasks,
    cached: Option<Cached>,
}

#[derive(Clone, Debug)]
struct Cached {
    cache: Cache,
    policy: Policy,
}

/// What a deployment decides about the cache.
#[derive(Clone, Debug)]
pub struct Tuning {
    /// Where its Redis is.
    pub redis_url: String,
    /// How large the pool of connections to PostgreSQL is.
    pub database_pool: u32,
    /// The most that one statement may take.
    pub statement_timeout: Duration,
}

/// What runs beside the requests.
#[derive(Debug)]
pub enum Beside {
    /// The cache and the outbox's relay.
    Cache(Running),
    /// The pruning of an outbox that nobody relays.
    Pruning(CancellationToken, Background),
}

impl Pages {
    /// Pages through the cache. Starts it and the outbox's relay, and adds the checks `redis` and `replay`; waits for no store.
    ///
    /// # Errors
    /// [`ConfigError`] for a URL or a time that the cache cannot work with.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub fn cached(
        pool: PgPool,
        outbox: &Outbox,
        tuning: Tuning,
        tasks: Tasks,
        health: Health,
    ) -> Result<(Self, Beside), ConfigError> {
        let settings = gated(Settings::new(tuning.redis_url, KEYS.clone()), tuning.database_pool);
        let cache = Cache::start(settings, Arc::new(outbox.clone()))?;
        // Each booking invalidates it: fresh until then, for a minute at most. When the database is away, what is merely old is
        // better than nothing; what was invalidated does not come back.
        let policy = Policy::named("event", Duration::from_secs(60))
            .jitter(0.1)
            .negative_ttl(Duration::from_secs(5))
            .stale_if_error(Duration::from_secs(600))
            .early_refresh(1.0)
            .load_deadline(LOAD.min(tuning.statement_timeout));
        let policy = cache.policy(policy)?;
        let relaying = CancellationToken::new();
        let relay = outbox.start(RelaySettings::default(), Arc::new(cache.clone()), relaying.clone())?;
        let running = Running::start(cache.clone(), relaying, [relay], health);
        Ok((Self { pool, tasks, cached: Some(Cached { cache, policy }) }, Beside::Cache(running)))
    }

    /// Pages from the database, each time. Changes are recorded all the same, for replicas that do have a cache.
    ///
    /// # Errors
    /// None that this program's own settings can cause.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub fn uncached(pool: PgPool, outbox: &Outbox, tasks: Tasks) -> Result<(Self, Beside), ConfigError> {
        let stop = CancellationToken::new();
        let pruning = outbox.start_without_cache(KEPT_UNREAD, stop.clone())?;
        Ok((Self { pool, tasks, cached: None }, Beside::Pruning(stop, pruning)))
    }

    /// An event's page.
    ///
    /// # Errors
    /// When the database was needed and did not answer.
    pub async fn get(&self, event: EventId) -> Result<Answer, Error> {
        let Some(Cached { cache, policy }) = &self.cached else {
            return Ok(Answer::bypassed(load(&self.pool, event).await?));
        };
        let pool = self.pool.clone();
        let loader = move || {
            let pool = pool.clone();
            async move { load(&pool, event).await.map(|page| page.map(|page| page.encode(Validator::Hash))) }
        };
        let read = cache.get_or_load(&key(event), policy, loader).await?;
        Ok(Answer::of_read(Validator::Hash, read))
    }

    /// Runs a change to its end, although the caller be dropped, and then tells the cache. Returns how that went; `None` if nothing
    /// was changed.
    ///
    /// The change itself finds out what became of a COMMIT that was not answered. What it fails with may have happened
    /// therefore only where it says so, and then its outbox row is all that tells of it.
    ///
    /// # Errors
    /// The change's.
    pub async fn change<T, F>(&self, change: F) -> Result<(T, Option<WriteOutcome>), Error>
    where
        T: Send + 'static,
        F: Future<Output = Result<Ended<T>, Error>> + Send + 'static,
    {
        let Some(Cached { cache, .. }) = self.cached.clone() else {
            return Ok(match self.tasks.detached(change).await? {
                Ended::Changed { value, .. } => (value, Some(WriteOutcome::Deferred)),
                Ended::Unchanged(value) => (value, None),
            });
        };
        // The cache runs it in a task of its own.
        let context = RequestContext::current();
        let commit = async move {
            let ended = match context {
                Some(context) => context.scope(change).await,
                None => change.await,
            };
            match ended {
                Ok(Ended::Changed { value, event, record }) => {
                    let effects = Effects::new().delete(&key(event));
                    Ok(Commit { value, effects, record, state: CommitState::Committed })
                }
                Ok(Ended::Unchanged(value)) => Err(Ok(value)),
                Err(error) => Err(Err(error)),
            }
        };
        match self.tasks.detached(async move { cache.write(commit).await }).await {
            Ok(written) => Ok((written.value, Some(written.outcome))),
            Err(WriteError::Failed(unchanged)) => Ok((unchanged?, None)),
            Err(_) => Err(Error::Panicked),
        }
    }
}

async fn load(pool: &PgPool, event: EventId) -> Result<Option<Document>, LoadError> {
    let page = events::find(pool, event).await?;
    Ok(page.map(|page| Document::of_content(&page)).transpose()?)
}

impl Beside {
    /// Comes once no request and no change is left, and before the pool closes.
    pub async fn stop(self) {
        match self {
            Self::Cache(running) => running.stop().await,
            Self::Pruning(stop, pruning) => {
                stop.cancel();
                pruning.stopped().await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_the_name_that_the_acl_allows() {
        assert_eq!(key(EventId::of_row(42)).name(), "booking:fc:{event:42}");
    }
}
