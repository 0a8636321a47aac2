//! One worker, put together.

use std::sync::Arc;
use std::time::Duration;

use fenced_cache::{BreakerState, Cache};
use outbox::Outbox;
use service::{App, Check, Health, Server, Telemetry};
use shop_events::{Names, Subscription};
use sqlx::PgPool;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::config::ServeArgs;
use crate::lead::Seats;
use crate::listen::listen;
use crate::metrics::{BUCKETS, HISTOGRAMS, Metrics};
use crate::replay::Replay;
use crate::status::{self, Status};
use crate::worker::{Parts, Settings, Worker};

/// Items that may wait for the worker, beside those that the subscription itself keeps.
const ITEMS: usize = 1_024;
/// How often the checks are brought up to date.
const WATCH: Duration = Duration::from_millis(100);
/// How often it is asked whether the tables are there yet.
const TABLES: Duration = Duration::from_millis(500);

/// Installs logs and metrics for the whole process; comes before everything that records any.
///
/// # Errors
/// When somebody else has installed a recorder.
pub fn telemetry(log: &service::config::LogArgs) -> anyhow::Result<Telemetry> {
    let builder = service::telemetry("shop-worker", env!("CARGO_PKG_VERSION"))
        .buckets_of(fenced_cache::metrics::HISTOGRAMS, fenced_cache::metrics::BUCKETS)
        .buckets_of(outbox::metrics::HISTOGRAMS, outbox::metrics::BUCKETS)
        .buckets_of(HISTOGRAMS, BUCKETS);
    Ok(builder.install(log)?)
}

/// Takes the ports and starts everything that runs in the background. Waits for neither PostgreSQL nor Redis.
///
/// # Errors
/// When a port is taken, or a setting is one that the cache cannot work with.
pub async fn build(args: &ServeArgs, telemetry: &Telemetry) -> anyhow::Result<App> {
    let mut server = Server::bind(&args.server, telemetry).await?;
    // What uses the pool stops before the pool closes, and is made after it.
    let closing = server.closing("worker");
    let pool = service::postgres::connect(&mut server, &args.database, "shop-worker");
    let outbox = Outbox::new(pool.clone(), crate::SCHEMA)?;
    let names = Names::of_events()?;
    let health = server.health();
    let redis_url = args.worker.redis_url.expose();

    let replay =
        Replay { outbox: outbox.clone(), pool: pool.clone(), names: names.clone(), on: args.worker.gap_repair };
    let settings = fenced_cache::Settings::new(redis_url, names.keyspace().clone());
    let cache = Cache::start(settings, Arc::new(replay))?;

    let metrics = Metrics::register();
    let status = Status::new(metrics.gauges.clone(), args.worker.gap_repair);
    let published = status.clone();
    server.telemetry().before_scrape(move || published.publish());

    let stop = CancellationToken::new();
    let (items, heard) = mpsc::channel(ITEMS);
    let subscription = Subscription::config(redis_url)?;
    tokio::spawn(listen(subscription, items, status.clone(), health.informative("channel")));
    let tables = watch_tables(outbox.clone(), pool, health.critical("tables"));
    tokio::spawn(stop.clone().run_until_cancelled_owned(tables));
    let checks = watch(cache.clone(), status.clone(), health);
    tokio::spawn(stop.clone().run_until_cancelled_owned(checks));
    let worker = Worker::new(Parts {
        seats: Seats::new(args.database.database_url.options(), outbox, args.worker.leader_timeout),
        cache: cache.clone(),
        names,
        items: heard,
        settings: Settings {
            heartbeat: args.worker.heartbeat,
            gap_repair: args.worker.gap_repair,
            page: usize::try_from(args.worker.page).unwrap_or(usize::MAX),
        },
        metrics,
        status: status.clone(),
    });
    let working = tokio::spawn(worker.run(stop.clone()));
    closing.set(async move {
        stop.cancel();
        if let Err(error) = working.await {
            tracing::error!(%error, "the worker failed");
        }
        cache.shutdown().await;
    });
    Ok(App::new(server, status::router(status).merge(service::noop_router())))
}

/// Without the tables there is nothing to lead.
async fn watch_tables(outbox: Outbox, pool: PgPool, check: Check) {
    loop {
        let installed = async { outbox.events_installed(&mut *pool.acquire().await?).await };
        match installed.await {
            Ok(true) => return check.pass(),
            Ok(false) => check.fail("the events' tables are missing: run `shop-api migrate`"),
            Err(error) => check.fail(format!("tables unknown: {error}")),
        }
        sleep(TABLES).await;
    }
}

/// None of these decides about readiness: a worker that stands by, or waits for Redis, does what it is there for.
async fn watch(cache: Cache, status: Status, health: Health) {
    let (leader, redis) = (health.informative("leader"), health.informative("redis"));
    loop {
        if status.is_leader() {
            leader.pass();
        } else {
            leader.fail("another worker leads, or none can");
        }
        let now = cache.health();
        if now.connected && now.breaker == BreakerState::Closed {
            redis.pass();
        } else {
            redis.fail("cannot be reached: events wait");
        }
        sleep(WATCH).await;
    }
}
