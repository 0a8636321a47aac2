//! One replica, put together.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use fenced_cache::{Cache, Keyspace};
use outbox::events::EventSettings;
use outbox::{Outbox, RelaySettings};
use service::{App, Server, Telemetry};
use service_cache::{Running, gated};
use shop_events::Publisher;
use tokio_util::sync::CancellationToken;

use crate::catalog::Catalog;
use crate::config::{CacheArgs, ServeArgs};
use crate::migrate::MIGRATIONS;
use crate::routes::{self, Shop};
use crate::seen::Seen;
use crate::store::Store;
use crate::strategies::{Near, Tuning};

/// How often Redis is asked to prove that the near cache has heard of every change.
pub(crate) const NEAR_PING: Duration = Duration::from_millis(100);

/// Installs logs and metrics for the whole process; comes before everything that records any.
///
/// # Errors
/// When somebody else has installed a recorder.
pub fn telemetry(log: &service::config::LogArgs) -> anyhow::Result<Telemetry> {
    let builder = service::telemetry("shop-api", env!("CARGO_PKG_VERSION"))
        .buckets_of(fenced_cache::metrics::HISTOGRAMS, fenced_cache::metrics::BUCKETS)
        .buckets_of(outbox::metrics::HISTOGRAMS, outbox::metrics::BUCKETS);
    let telemetry = builder.install(log)?;
    crate::metrics::describe();
    Ok(telemetry)
}

/// Takes the ports and starts everything that runs in the background. Waits for neither PostgreSQL nor Redis: whether they
/// are there decides how requests are answered, and what the readiness says.
///
/// # Errors
/// When a port is taken, or a setting is one that the cache cannot work with.
pub async fn build(args: &ServeArgs, telemetry: &Telemetry) -> anyhow::Result<App> {
    let mut server = Server::bind(&args.server, telemetry).await?;
    // What uses the pool stops before the pool closes, and is made after it.
    let closing = server.closing("cache");
    let pool = service::postgres::connect(&mut server, &args.database, "shop-api");
    MIGRATIONS.require(&mut server, &args.database.database_url, "shop-api migrate");

    let outbox = Outbox::new(pool.clone(), crate::SCHEMA)?;
    let cache = Cache::start(settings(args)?, Arc::new(outbox.clone()))?;
    let tuning = Tuning {
        ttl: args.cache.ttl,
        near: near(&args.cache),
        load_deadline: args.database.database_statement_timeout,
    };
    let catalog = Catalog::new(Store::new(pool), outbox.clone(), cache.clone(), &tuning)?;
    let relaying = CancellationToken::new();
    let background = outbox.start(RelaySettings::default(), Arc::new(cache.clone()), relaying.clone())?;
    // One replica's numbers the events and publishes them; the others stand by.
    let publisher = Arc::new(Publisher::new(args.cache.redis_url.expose())?);
    let events = outbox.start_events(EventSettings::default(), publisher, relaying.clone())?;
    closing.set(Running::start(cache, relaying, [background, events], server.health()).stop());
    let routes = routes::router(Shop { catalog, seen: Seen::new() });
    Ok(App::new(server, routes.context("the OpenAPI document cannot be written")?))
}

fn settings(args: &ServeArgs) -> anyhow::Result<fenced_cache::Settings> {
    let cache = &args.cache;
    // The strategies' names have prefixes of their own; under this one lies what belongs to the process.
    let keyspace = Keyspace::new(crate::NAMESPACE)?;
    let settings = fenced_cache::Settings::new(cache.redis_url.expose(), keyspace);
    Ok(gated(settings, args.database.database_pool)
        .near_bytes(cache.near_cache)
        .near_ping(NEAR_PING)
        .near_grace(cache.near_grace)
        .near_strict(cache.near_strict))
}

fn near(args: &CacheArgs) -> Near {
    match args {
        CacheArgs { near_cache: 0, .. } => Near::Off,
        CacheArgs { near_strict: true, .. } => Near::Strict,
        CacheArgs { near_grace, .. } => Near::Within(*near_grace),
    }
}
