//! What the tests share: an outbox in a database of its own, and a cache that does as it is told.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use fenced_cache::{BoxFuture, Effects, Invalidate, Keyspace, RecordId, Unconfirmed};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use outbox::events::EventSettings;
use outbox::{Background, Outbox, RelaySettings};
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool};
use testbed::Database;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::events::Channel;

/// Ends a test that waits in vain. Never the time that a test takes.
const LIMIT: Duration = Duration::from_secs(30);

/// Waits until `condition` holds.
pub(crate) async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + LIMIT;
    while !condition().await {
        assert!(Instant::now() < end, "waited in vain until {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// A database with the outbox in schema `blog`, and a table `blog.items(id, title)` whose titles are unique, which is
/// checked at COMMIT.
pub(crate) async fn database() -> Database {
    testbed::database("outbox", install).await
}

/// Makes in an empty database what [`database`] has.
pub(crate) async fn install(url: &str) -> Result<(), sqlx::Error> {
    let mut connection = PgConnection::connect(url).await?;
    let outbox = Outbox::new(pool(url, 1), "blog").unwrap();
    outbox.migrate(&mut connection).await?;
    sqlx::raw_sql("create table blog.items (id bigint primary key, title text unique deferrable initially deferred)")
        .execute(&mut connection)
        .await?;
    connection.close().await
}

pub(crate) fn pool(url: &str, size: u32) -> PgPool {
    PgPoolOptions::new().max_connections(size).connect_lazy(url).unwrap()
}

/// One process's outbox: its pool and its own metrics.
pub(crate) struct Process {
    pub(crate) outbox: Outbox,
    pub(crate) pool: PgPool,
    metrics: PrometheusHandle,
    recorder: PrometheusRecorder,
    shutdown: CancellationToken,
}

impl Process {
    pub(crate) fn new(url: &str) -> Self {
        Self::with(pool(url, 4), Duration::from_secs(5))
    }

    pub(crate) fn with(pool: PgPool, deadline: Duration) -> Self {
        let recorder = PrometheusBuilder::new().build_recorder();
        let metrics = recorder.handle();
        let outbox =
            metrics::with_local_recorder(&recorder, || Outbox::with_deadline(pool.clone(), "blog", deadline)).unwrap();
        Self { outbox, pool, metrics, recorder, shutdown: CancellationToken::new() }
    }

    pub(crate) fn start(&self, settings: RelaySettings, cache: &Arc<FakeCache>) -> Background {
        self.start_with(settings, Arc::clone(cache) as _)
    }

    pub(crate) fn start_with(&self, settings: RelaySettings, cache: Arc<dyn Invalidate>) -> Background {
        self.outbox.start(settings, cache, self.shutdown.clone()).unwrap()
    }

    /// Its metrics are this process's.
    pub(crate) fn start_events_until(
        &self,
        settings: EventSettings,
        channel: &Arc<Channel>,
        shutdown: CancellationToken,
    ) -> Background {
        let start = || self.outbox.start_events(settings, Arc::clone(channel) as _, shutdown);
        metrics::with_local_recorder(&self.recorder, start).unwrap()
    }

    pub(crate) fn token(&self) -> CancellationToken {
        self.shutdown.clone()
    }

    pub(crate) async fn stop(&self, background: Background) {
        self.shutdown.cancel();
        background.stopped().await;
    }

    /// The value of a metric; the whole line but the value is its name with its labels.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let text = self.metrics.render();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map_or(0.0, |value| value.parse().unwrap())
    }

    /// Waits until a counter has this value; what it counts is there a moment before.
    pub(crate) async fn until_metric(&self, name: &str, value: f64) {
        until(&format!("{name} is {value}"), async || self.metric(name) >= value).await;
        assert_eq!(self.metric(name), value, "{name}");
    }

    /// Commits an item and its outbox row; the row's id.
    pub(crate) async fn write(&self, id: i64) -> RecordId {
        let mut transaction = self.outbox.begin().await.unwrap();
        insert(transaction.connection(), id, &id.to_string()).await.unwrap();
        transaction.commit((), effects(id)).await.unwrap().record.unwrap()
    }

    pub(crate) async fn marked(&self, id: RecordId) -> bool {
        let sql = "select applied_at is not null from blog.outbox where id = $1";
        sqlx::query_scalar(sql).bind(id.0).fetch_one(&self.pool).await.unwrap()
    }

    pub(crate) async fn count(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&self.pool).await.unwrap()
    }

    pub(crate) async fn run(&self, sql: &str) {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&self.pool).await.unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

pub(crate) async fn insert(connection: &mut PgConnection, id: i64, title: &str) -> Result<(), sqlx::Error> {
    let insert = sqlx::query("insert into blog.items values ($1, $2)").bind(id).bind(title);
    insert.execute(connection).await.map(drop)
}

pub(crate) fn keyspace() -> Keyspace {
    Keyspace::new("t").unwrap()
}

pub(crate) fn effects(id: i64) -> Effects {
    Effects::new().delete(&keyspace().entry("item", id)).tag(&keyspace().tag("list", id))
}

/// The name of an item's entry in Redis.
pub(crate) fn entry(id: i64) -> Bytes {
    keyspace().entry("item", id).name().clone()
}

/// Settings that do not wait for long; `relay_after` is as short as it may be.
pub(crate) fn quick() -> RelaySettings {
    let ms = Duration::from_millis;
    RelaySettings::default().mark_every(ms(1)).relay_after(ms(2)).poll(ms(5))
}

/// What the fake cache does when it is asked to invalidate.
#[derive(Clone, Debug, Default)]
pub(crate) enum Mode {
    #[default]
    Confirm,
    Refuse,
    /// Refuses batches with this name in them.
    RefuseName(Bytes),
    Hang,
    Panic,
}

#[derive(Debug, Default)]
pub(crate) struct FakeCache {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    mode: Mode,
    calls: usize,
    confirmed: Vec<Bytes>,
}

impl FakeCache {
    pub(crate) fn new(mode: Mode) -> Arc<Self> {
        let cache = Self::default();
        cache.set(mode);
        Arc::new(cache)
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.state.lock().unwrap().mode = mode;
    }

    pub(crate) fn calls(&self) -> usize {
        self.state.lock().unwrap().calls
    }

    /// Every name that was confirmed, as often as it was.
    pub(crate) fn confirmed(&self) -> Vec<Bytes> {
        self.state.lock().unwrap().confirmed.clone()
    }

    pub(crate) fn has(&self, name: &Bytes) -> bool {
        self.state.lock().unwrap().confirmed.contains(name)
    }
}

impl Invalidate for FakeCache {
    fn invalidate_names(&self, names: Vec<Bytes>) -> BoxFuture<'_, Result<(), Unconfirmed>> {
        Box::pin(async move {
            assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len(), "a name is given twice");
            let mode = {
                let mut state = self.state.lock().unwrap();
                state.calls += 1;
                state.mode.clone()
            };
            match mode {
                Mode::Confirm => {}
                Mode::RefuseName(name) if !names.contains(&name) => {}
                Mode::Refuse | Mode::RefuseName(_) => return Err(Unconfirmed(names.len())),
                Mode::Hang => std::future::pending().await,
                Mode::Panic => panic!("as told"),
            }
            self.state.lock().unwrap().confirmed.extend(names);
            Ok(())
        })
    }
}
