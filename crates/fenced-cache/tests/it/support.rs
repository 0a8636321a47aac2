//! What the tests share: caches that stand for processes, a row that stands for the database, and waiting for a
//! condition instead of for a while.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use fenced_cache::{
    BoxError, BoxFuture, Cache, Identity, Journal, JournalError, Key, Keyspace, Loaded, NoJournal, Policy,
    PolicyBuilder, Read, Record, RecordId, Settings, Settled, TransactionId,
};
use fred::clients::Client;
use fred::interfaces::ClientLike;
use fred::types::config::Config;
use fred::types::{Builder, RespVersion};
use std::sync::Mutex;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};

/// Far beyond anything that a healthy test needs, so that a broken one ends.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Polls until `condition` holds.
pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        sleep(Duration::from_millis(2)).await;
    }
}

/// Awaits within [`PATIENCE`].
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("never ended: {what}"))
}

pub(crate) fn keyspace() -> Keyspace {
    Keyspace::new("test").unwrap()
}

pub(crate) fn settings(url: &str) -> Settings {
    // Generous for machines that are busy with many tests at once: an unknown outcome must be a fault's doing.
    Settings::new(url, keyspace()).command_timeout(Duration::from_secs(2)).apply_deadline(Duration::from_secs(5))
}

/// One more process on the same Redis.
pub(crate) async fn process(url: &str) -> Cache {
    trusted(settings(url), Arc::new(NoJournal)).await
}

pub(crate) async fn trusted(settings: Settings, journal: Arc<dyn Journal>) -> Cache {
    let cache = Cache::start(settings, journal).unwrap();
    eventually("the cache trusts its Redis", || cache.health().trusted).await;
    cache
}

pub(crate) fn minute() -> PolicyBuilder {
    Policy::named("test", Duration::from_secs(60)).early_refresh(0.0)
}

pub(crate) fn policy(cache: &Cache) -> Policy {
    cache.policy(minute()).unwrap()
}

pub(crate) fn key(id: u64) -> Key {
    keyspace().entry("row", id)
}

/// A bare client beside the cache.
pub(crate) async fn bare(url: &str) -> Client {
    let mut config = Config::from_url(url).unwrap();
    config.version = RespVersion::RESP3;
    let client = Builder::from_config(config).build().unwrap();
    client.init().await.unwrap();
    client
}

/// A row of the database: its version is its content.
#[derive(Debug)]
pub(crate) struct Row {
    version: AtomicU64,
    pub(crate) loads: AtomicUsize,
}

impl Row {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { version: AtomicU64::new(1), loads: AtomicUsize::new(0) })
    }

    /// COMMIT of the next version.
    pub(crate) fn commit(&self) -> u64 {
        self.version.fetch_add(1, Ordering::SeqCst) + 1
    }

    pub(crate) fn snapshot(&self) -> Loaded {
        let version = self.version.load(Ordering::SeqCst);
        Loaded::new(version.to_string()).version(version)
    }

    pub(crate) fn loads(&self) -> usize {
        self.loads.load(Ordering::SeqCst)
    }

    /// A load that answers at once.
    pub(crate) fn load(
        self: &Arc<Self>,
    ) -> impl Fn() -> std::future::Ready<Result<Option<Loaded>, BoxError>> + Send + Sync + Clone + 'static {
        let row = Arc::clone(self);
        move || {
            row.loads.fetch_add(1, Ordering::SeqCst);
            std::future::ready(Ok(Some(row.snapshot())))
        }
    }

    /// A load that takes its snapshot, says so, and then waits to be let go.
    pub(crate) fn held(
        self: &Arc<Self>,
        hold: &Arc<Hold>,
    ) -> impl Fn() -> BoxFuture<'static, Result<Option<Loaded>, BoxError>> + Send + Sync + Clone + 'static {
        let (row, hold) = (Arc::clone(self), Arc::clone(hold));
        move || {
            let (row, hold) = (Arc::clone(&row), Arc::clone(&hold));
            Box::pin(async move {
                row.loads.fetch_add(1, Ordering::SeqCst);
                let snapshot = row.snapshot();
                hold.reached.add_permits(1);
                hold.released.acquire().await.unwrap().forget();
                Ok(Some(snapshot))
            })
        }
    }
}

/// A point that a load reaches and does not pass before it is released.
#[derive(Debug)]
pub(crate) struct Hold {
    reached: Semaphore,
    released: Semaphore,
}

impl Hold {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { reached: Semaphore::new(0), released: Semaphore::new(0) })
    }

    pub(crate) async fn reached(&self) {
        soon("a load reaches its hold", self.reached.acquire()).await.unwrap().forget();
    }

    pub(crate) fn release(&self) {
        self.released.add_permits(1);
    }
}

/// The version that a read returned.
pub(crate) fn version(read: &Read) -> u64 {
    let version = read.version.expect("a versioned value");
    assert_eq!(read.value.as_deref(), Some(version.to_string().as_bytes()), "payload and version belong together");
    version
}

/// A journal in memory that a test can look into and hold up; the outbox's own tests are on PostgreSQL.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) rows: Mutex<Vec<(Record, bool)>>,
    pub(crate) identity: Mutex<Option<Identity>>,
    pub(crate) settled: Mutex<Option<Settled>>,
    pub(crate) marked: Mutex<Vec<RecordId>>,
    pub(crate) out_of_reach: std::sync::atomic::AtomicBool,
}

impl Ledger {
    pub(crate) fn record(&self, key: &Key, applied: bool) -> RecordId {
        let mut rows = self.rows.lock().unwrap();
        let id = RecordId(i64::try_from(rows.len()).unwrap() + 1);
        rows.push((Record { id, keys: vec![key.name().clone()], tags: Vec::new() }, applied));
        id
    }

    fn reach(&self) -> Result<(), JournalError> {
        if self.out_of_reach.load(Ordering::SeqCst) {
            return Err(JournalError("out of reach".into()));
        }
        Ok(())
    }

    fn page(&self, after: RecordId, limit: usize, all: bool) -> Result<Vec<Record>, JournalError> {
        self.reach()?;
        let rows = self.rows.lock().unwrap();
        let wanted = rows.iter().filter(|(row, applied)| row.id > after && (all || !applied));
        Ok(wanted.take(limit).map(|(row, _)| row.clone()).collect())
    }
}

impl Journal for Ledger {
    fn applied(&self, id: RecordId) {
        self.marked.lock().unwrap().push(id);
    }

    fn settle(&self, _: TransactionId) -> BoxFuture<'_, Result<Settled, JournalError>> {
        Box::pin(async { Ok(self.settled.lock().unwrap().unwrap_or(Settled::InProgress)) })
    }

    fn unapplied(&self, after: RecordId, limit: usize) -> BoxFuture<'_, Result<Vec<Record>, JournalError>> {
        Box::pin(async move { self.page(after, limit, false) })
    }

    fn younger_than(
        &self,
        _: Duration,
        after: RecordId,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Record>, JournalError>> {
        Box::pin(async move { self.page(after, limit, true) })
    }

    fn identity(&self, _: &str) -> BoxFuture<'_, Result<Option<Identity>, JournalError>> {
        Box::pin(async { self.reach().map(|()| self.identity.lock().unwrap().clone()) })
    }

    fn remember(&self, _: &str, identity: &Identity) -> BoxFuture<'_, Result<(), JournalError>> {
        *self.identity.lock().unwrap() = Some(identity.clone());
        Box::pin(std::future::ready(Ok(())))
    }
}

pub(crate) async fn config_set(client: &Client, name: &str, value: &str) {
    let command = fred::types::CustomCommand::new_static("CONFIG", None, false);
    let _: () = client.custom(command, vec!["SET", name, value]).await.unwrap();
}

/// How often this server has run a command.
pub(crate) async fn calls(client: &Client, command: &str) -> u64 {
    let stats: String = client.info(Some(fred::types::InfoKind::CommandStats)).await.unwrap();
    let prefix = format!("cmdstat_{command}:calls=");
    stats.lines().find_map(|line| line.strip_prefix(&prefix)?.split(',').next()?.parse().ok()).unwrap_or(0)
}
