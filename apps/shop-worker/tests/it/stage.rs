//! Stores of a test's own, a relay in this process, and workers in processes of theirs.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fenced_cache::Effects;
use fred::clients::Client;
use fred::interfaces::{ClientLike as _, KeysInterface as _, PubsubInterface as _};
use fred::types::Builder;
use fred::types::config::Config;
use outbox::events::EventSettings;
use outbox::{Background, Outbox};
use serde_json::Value;
use shop_events::{CHANNEL, Names, Publisher, ShopEvent};
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool};
use testbed::api::{Process, until};
use testbed::{Database, RedisServer};
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

/// The heartbeat of these tests.
pub(crate) const HEARTBEAT: Duration = Duration::from_millis(50);

/// A database with the shop's outbox, a Redis, and a relay between them.
pub(crate) struct Stage {
    pub(crate) database: Database,
    pub(crate) redis: RedisServer,
    pub(crate) outbox: Outbox,
    pub(crate) pool: PgPool,
    names: Names,
    client: Client,
    shutdown: CancellationToken,
    relay: Option<Background>,
}

impl Stage {
    pub(crate) async fn set() -> Self {
        let (database, redis) = tokio::join!(migrated(), testbed::redis());
        let pool = PgPoolOptions::new().max_connections(4).connect_lazy(&database.url()).unwrap();
        let outbox = Outbox::new(pool.clone(), "shop").unwrap();
        let client = client(&redis.url()).await;
        let shutdown = CancellationToken::new();
        let mut stage =
            Self { database, redis, outbox, pool, names: Names::of_events().unwrap(), client, shutdown, relay: None };
        stage.start_relay();
        stage
    }

    pub(crate) fn start_relay(&mut self) {
        let publisher = Arc::new(Publisher::new(&self.redis.url()).unwrap());
        let settings = EventSettings::default().heartbeat(HEARTBEAT);
        self.shutdown = CancellationToken::new();
        self.relay = Some(self.outbox.start_events(settings, publisher, self.shutdown.clone()).unwrap());
    }

    pub(crate) async fn stop_relay(&mut self) {
        self.shutdown.cancel();
        self.relay.take().unwrap().stopped().await;
    }

    /// Writes an event for each product, in transactions of their own.
    pub(crate) async fn change(&self, products: impl IntoIterator<Item = i64>) {
        for product_id in products {
            let mut transaction = self.outbox.begin().await.unwrap();
            let event = ShopEvent::ProductChanged { product_id, category_id: 1, version: 1 };
            transaction.event(event.to_payload()).await.unwrap();
            let _ = transaction.commit((), Effects::deferred()).await.unwrap();
        }
    }

    /// Puts into Redis what an event of this product makes stale.
    pub(crate) async fn cached(&self, product_id: i64) {
        set(&self.client, self.names.product(product_id).name()).await;
    }

    pub(crate) async fn is_cached(&self, product_id: i64) -> bool {
        self.client.exists::<i64, _>(self.names.product(product_id).name().clone()).await.unwrap() == 1
    }

    pub(crate) async fn until_gone(&self, product_id: i64) {
        until(&format!("product {product_id} is gone"), async || (!self.is_cached(product_id).await).then_some(()))
            .await;
    }

    /// A message on the channel that no relay has sent.
    pub(crate) async fn shout(&self, message: impl Into<Bytes>) {
        self.client.publish::<(), _, _>(CHANNEL, message.into()).await.unwrap();
    }

    pub(crate) async fn reconnect(&mut self) {
        self.client = client(&self.redis.url()).await;
    }

    pub(crate) async fn run(&self, sql: &str) {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&self.pool).await.unwrap();
    }

    pub(crate) async fn count(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&self.pool).await.unwrap()
    }

    pub(crate) async fn position(&self) -> i64 {
        self.count("select coalesce(max(number), -1) from shop.outbox_event_reader where reader = 'worker'").await
    }

    /// A worker on these stores.
    pub(crate) async fn worker(&self) -> Worker {
        self.worker_on(&self.database.url(), &self.redis.url(), &[]).await
    }

    /// A worker on these URLs, once it is subscribed.
    pub(crate) async fn worker_on(&self, database_url: &str, redis_url: &str, args: &[&str]) -> Worker {
        let mut command = shop_worker(&["--leader-timeout", "2s"]);
        // Longer than that of the relay: a busy machine is not to be taken for a silent channel.
        if !args.contains(&"--heartbeat") {
            command.args(["--heartbeat", "1s"]);
        }
        command.args(args).env("DATABASE_URL", database_url).env("CACHE_REDIS_URL", redis_url);
        let worker = Worker(Process::start(&mut command).await);
        worker.until("it is subscribed", |status| status["subscribed"] == true).await;
        worker
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

async fn migrated() -> Database {
    testbed::database("shop", async |url: &str| {
        let mut connection = PgConnection::connect(url).await?;
        let outbox = Outbox::new(PgPoolOptions::new().connect_lazy(url)?, "shop").unwrap();
        outbox.migrate(&mut connection).await?;
        outbox.migrate_events(&mut connection).await?;
        connection.close().await
    })
    .await
}

pub(crate) async fn client(url: &str) -> Client {
    let client = Builder::from_config(Config::from_url(url).unwrap()).build().unwrap();
    client.init().await.unwrap();
    client
}

pub(crate) async fn set(client: &Client, name: &Bytes) {
    client.set::<(), _, _>(name.clone(), "old", None, None, false).await.unwrap();
}

pub(crate) fn shop_worker(args: &[&str]) -> Command {
    let mut command = Command::new(Path::new(env!("CARGO_BIN_EXE_shop-worker")));
    command.args(args).env_clear().kill_on_drop(true).stdin(Stdio::null());
    command
}

/// A worker in a process of its own.
pub(crate) struct Worker(pub(crate) Process);

impl Worker {
    pub(crate) async fn status(&self) -> Value {
        let answer = self.0.request(::http::Method::GET, "/status").try_send().await.unwrap();
        serde_json::from_slice(&answer.body).unwrap()
    }

    pub(crate) async fn until(&self, what: &str, condition: impl Fn(&Value) -> bool) {
        until(what, async || condition(&self.status().await).then_some(())).await;
    }

    pub(crate) async fn until_leads(&self) {
        self.until("it leads", |status| status["leader"] == true).await;
    }

    pub(crate) async fn until_at(&self, position: u64) {
        self.until(&format!("it is at {position}"), |status| status["position"] == position).await;
    }

    /// The value of a metric; its name with its labels. 0 if there is none yet.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let answer = self.0.admin("/metrics").try_send().await.unwrap();
        let text = testbed::api::text(&answer.body);
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map_or(0.0, |value| value.parse().unwrap())
    }

    pub(crate) async fn until_metric(&self, name: &str, least: f64) {
        until(&format!("{name} is {least}"), async || (self.metric(name).await >= least).then_some(())).await;
    }

    /// As a machine that loses power, as far as anybody else can tell.
    pub(crate) async fn kill(self) {
        self.0.signal("KILL").await;
        let _ = self.0.ended().await;
    }
}
