//! Through the library.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use fenced_cache::{
    BreakerState, Cache, ConfigError, Keyspace, Loaded, Policy, PolicyBuilder, Read, ReadError, Settings, WriteError,
    Written,
};
use outbox::{Background, RelaySettings};
use service::{Check, Health, Server};
use tokio_util::sync::CancellationToken;

use super::{Answer, Database, LoadDeadlines, Work};
use crate::entry::{Entry, Names};
use crate::error::Error;
use crate::store::{Document, LoadError};

/// How often the checks of Redis and of the replay are brought up to date.
const WATCH: Duration = Duration::from_millis(100);

/// How long a start may take to find Redis before that is worth a line in the log.
const CONNECTS_WITHIN: Duration = Duration::from_secs(1);

/// Connections that stay free for writes while the cache is away and all reads go to the database.
const KEPT_FOR_WRITES: u32 = 2;

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
        let permits = tuning.database_pool.saturating_sub(KEPT_FOR_WRITES).max(1);
        let settings = Settings::new(tuning.redis_url, keyspace).gate(
            usize::try_from(permits).unwrap_or(1),
            1_024,
            Duration::from_secs(1),
        );
        let cache = Cache::start(settings, Arc::new(database.outbox.clone()))?;
        let policies = Policies::new(&cache, tuning.deadlines)?;
        let relaying = CancellationToken::new();
        let background = database.outbox.start(RelaySettings::default(), Arc::new(cache.clone()), relaying.clone())?;
        tokio::spawn(watch(cache.clone(), server.health(), relaying.clone()));
        let running = Running { cache: cache.clone(), relaying, background };
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
                    Ok::<_, LoadError>(document.map(|document| encode(&entry, &document)))
                }
            }
        };
        let read = self.cache.get_or_load(&key, self.policies.of(entry), load).await?;
        let Read { value, outcome, age, fresh_for, version } = read;
        let document = value.map(|value| decode(entry, value, version));
        Ok(Answer { document, outcome, age, fresh_for })
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

/// Bytes in front of a document whose validator no row's version gives: the hash of the document.
const HASH: usize = 8;

/// A version belongs to one row, so only a post has one; what other documents are told apart by goes in front of them.
fn encode(entry: &Entry, document: &Document) -> Loaded {
    if entry.is_versioned() {
        return Loaded::new(document.json.clone()).version(document.validator);
    }
    let mut value = BytesMut::with_capacity(HASH + document.json.len());
    value.put_u64(document.validator);
    value.put_slice(&document.json);
    Loaded::new(value.freeze())
}

fn decode(entry: &Entry, mut value: Bytes, version: Option<u64>) -> Document {
    if entry.is_versioned() {
        return Document { json: value, validator: version.unwrap_or_default() };
    }
    // Whatever else lies there was put there by another hand; then the text is what it is, under a tag of its own.
    let Some(hash) = value.first_chunk::<HASH>().copied() else { return Document { json: value, validator: 0 } };
    let json = value.split_off(HASH);
    Document { json, validator: u64::from_be_bytes(hash) }
}

/// What has to be stopped once no request and no write is left.
#[derive(Debug)]
pub struct Running {
    cache: Cache,
    relaying: CancellationToken,
    background: Background,
}

impl Running {
    /// Lets writes under way finish, then the marks of the last ones.
    pub async fn stop(self) {
        self.cache.shutdown().await;
        self.relaying.cancel();
        self.background.stopped().await;
    }
}

/// Neither check decides about readiness: without Redis a replica answers from the database.
async fn watch(cache: Cache, health: Health, stop: CancellationToken) {
    let redis = health.informative("redis");
    let replay = health.informative("replay");
    let started = Instant::now();
    let mut was_trusted = false;
    loop {
        let now = cache.health();
        was_trusted |= now.trusted;
        if was_trusted || started.elapsed() > CONNECTS_WITHIN {
            report(now, &redis, &replay);
        }
        tokio::select! {
            () = tokio::time::sleep(WATCH) => {}
            () = stop.cancelled() => return,
        }
    }
}

fn report(now: fenced_cache::Health, redis: &Check, replay: &Check) {
    match (now.connected, now.breaker) {
        (false, _) => redis.fail("not connected: reads go to the database, writes end as pending"),
        (true, BreakerState::Closed) => redis.pass(),
        (true, _) => redis.fail("does not answer: reads go to the database, writes end as pending"),
    }
    match (now.connected, now.trusted) {
        (_, true) => replay.pass(),
        (true, false) => replay.fail("what Redis may have missed is being repeated: reads go to the database"),
        (false, false) => replay.fail("waits for Redis"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::PostId;

    #[test]
    fn a_document_without_a_version_carries_its_hash() {
        let document = Document { json: Bytes::from_static(b"{}"), validator: 0x0102_0304_0506_0708 };
        let entry = Entry::Popular;
        assert_eq!(encode(&entry, &document), Loaded::new(b"\x01\x02\x03\x04\x05\x06\x07\x08{}".as_slice()));
        let stored = Bytes::from_static(b"\x01\x02\x03\x04\x05\x06\x07\x08{}");
        assert_eq!(decode(&entry, stored, None), document);
        assert_eq!(decode(&entry, Bytes::from_static(b"short"), None).json, "short");
        let post = Entry::Post(PostId::of_row(1));
        assert_eq!(decode(&post, Bytes::from_static(b"{}"), Some(7)), Document { json: "{}".into(), validator: 7 });
    }
}
