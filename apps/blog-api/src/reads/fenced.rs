//! Through the library.

use std::sync::Arc;
use std::time::Duration;

use fenced_cache::{Cache, ConfigError, Keyspace, Policy, PolicyBuilder, ReadError, Settings, WriteError, Written};
use outbox::RelaySettings;
use service::Server;
use service_cache::{Answer, Running, gated};
use tokio_util::sync::CancellationToken;

use super::{Database, LoadDeadlines, Work};
use crate::entry::{Entry, Names};
use crate::error::Error;
use crate::store::LoadError;

/// What a deployment decides about the cache.
#[derive(Clone, Debug)]
pub struct Tuning {
    /// Where Redis is.
    pub redis_url: String,
    /// How large the pool of connections to PostgreSQL is.
    pub database_pool: u32,
    /// The most that one load may take.
    pub deadlines: LoadDeadlines,
}

/// Reads through `fenced-cache`, writes through it and the outbox.
#[derive(Clone, Debug)]
pub struct Fenced {
    database: Database,
    cache: Cache,
    policies: Arc<Policies>,
}

#[derive(Debug)]
struct Policies {
    post: Policy,
    page: Policy,
    author: Policy,
    popular: Policy,
}

impl Policies {
    fn new(cache: &Cache, deadlines: LoadDeadlines) -> Result<Self, ConfigError> {
        let minutes = |n: u64| Duration::from_secs(60 * n);
        // What a write invalidates: fresh until then, for a minute at most. When the database is away, what is merely old
        // is better than nothing; what was invalidated does not come back.
        let guarded = |name| -> PolicyBuilder {
            Policy::named(name, minutes(1))
                .jitter(0.1)
                .negative_ttl(Duration::from_secs(5))
                .stale_if_error(minutes(10))
                .early_refresh(1.0)
                .load_deadline(deadlines.usual)
        };
        Ok(Self {
            post: cache.policy(guarded("post"))?,
            page: cache.policy(guarded("page"))?,
            author: cache.policy(guarded("author"))?,
            // Outside of the guarantee, by choice: no write invalidates it. It is too expensive to be loaded after each
            // write, and nobody can tell that it is half a minute old.
            popular: cache.policy(
                Policy::named("popular", Duration::from_secs(30))
                    .jitter(0.1)
                    .stale_while_revalidate(minutes(5))
                    .stale_if_error(minutes(10))
                    .early_refresh(1.0)
                    .load_deadline(LoadDeadlines::POPULAR),
            )?,
        })
    }

    fn of(&self, entry: &Entry) -> &Policy {
        match entry {
            Entry::Post(_) => &self.post,
            Entry::Page(_) => &self.page,
            Entry::Author(_) => &self.author,
            Entry::Popular => &self.popular,
        }
    }
}

impl Fenced {
    /// Starts the cache and the outbox's relay, and adds the checks `redis` and `replay`. Does not wait for Redis.
    ///
    /// # Errors
    /// [`ConfigError`] for a Redis URL or a deadline that the cache cannot work with.
    pub fn start(database: Database, tuning: Tuning, server: &Server) -> Result<(Self, Running), ConfigError> {
        let keyspace = Keyspace::new(crate::NAMESPACE)?;
        let settings = gated(Settings::new(tuning.redis_url, keyspace), tuning.database_pool);
        let cache = Cache::start(settings, Arc::new(database.outbox.clone()))?;
        let policies = Policies::new(&cache, tuning.deadlines)?;
        let relaying = CancellationToken::new();
        let background = database.outbox.start(RelaySettings::default(), Arc::new(cache.clone()), relaying.clone())?;
        let running = Running::start(cache.clone(), relaying, [background], server.health());
        Ok((Self { database, cache, policies: Arc::new(policies) }, running))
    }

    pub(super) async fn get(&self, entry: &Entry) -> Result<Answer, ReadError> {
        let key = self.names().key(entry);
        let load = {
            let (store, entry) = (self.database.store.clone(), entry.clone());
            move || {
                let (store, entry) = (store.clone(), entry.clone());
                async move {
                    let document = entry.load(&store).await?;
                    Ok::<_, LoadError>(document.map(|document| document.encode(entry.validator())))
                }
            }
        };
        let read = self.cache.get_or_load(&key, self.policies.of(entry), load).await?;
        Ok(Answer::of_read(entry.validator(), read))
    }

    pub(super) async fn write<T: Send + 'static>(&self, work: impl Work<T>) -> Result<Written<T>, Error> {
        let database = self.database.clone();
        let task = async move { database.transact(work).await.map(|(commit, _)| commit) };
        self.cache.write(task).await.map_err(|error| match error {
            WriteError::Failed(error) => error,
            WriteError::RolledBack => Error::RolledBack,
            _ => Error::Panicked,
        })
    }

    fn names(&self) -> &Names {
        &self.database.names
    }
}
