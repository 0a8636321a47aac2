//! One replica, put together.

use std::time::Duration;

use anyhow::Context as _;
use outbox::Outbox;
use service::{App, Server, Telemetry};
use sqlx::PgPool;

use crate::background::Background;
use crate::config::ServeArgs;
use crate::migrate::MIGRATIONS;
use crate::pages::{Beside, Pages, Tuning};
use crate::routes::{self, Bookings};
use crate::store::Store;
use crate::strategies::Strategies;
use crate::strategies::conditional::Conditional;
use crate::strategies::locked::Locked;
use crate::strategies::locks::Locks;
use crate::strategies::reserve::{Reserve, ReserveSettings};
use crate::strategies::units::Units;

/// The longest payment that a request can ask for, and some time for the statements around it.
const LONGEST_WORK: Duration = Duration::from_secs(11);

/// Installs logs and metrics for the whole process; comes before everything that records any.
///
/// # Errors
/// When somebody else has installed a recorder.
pub fn telemetry(log: &service::config::LogArgs) -> anyhow::Result<Telemetry> {
    let builder = service::telemetry("booking-api", env!("CARGO_PKG_VERSION"))
        .buckets_of(fenced_lock::metrics::HISTOGRAMS, fenced_lock::metrics::BUCKETS)
        .buckets_of(fenced_cache::metrics::HISTOGRAMS, fenced_cache::metrics::BUCKETS)
        .buckets_of(outbox::metrics::HISTOGRAMS, outbox::metrics::BUCKETS)
        .buckets_of(crate::metrics::HISTOGRAMS, crate::metrics::BUCKETS);
    let telemetry = builder.install(log)?;
    crate::metrics::describe();
    Ok(telemetry)
}

/// Takes the ports and starts everything that runs in the background. Waits for neither PostgreSQL nor Redis: whether they
/// are there decides how requests are answered, and what the readiness says.
///
/// # Errors
/// When a port is taken, or a setting is one that a lock cannot work with.
pub async fn build(args: &ServeArgs, telemetry: &Telemetry) -> anyhow::Result<App> {
    let mut server = Server::bind(&args.server, telemetry).await?;
    // What uses the pools stops before they close, and is made after them.
    let closing = server.closing("locks and cache");
    let pool = service::postgres::connect(&mut server, &args.database, "booking-api");
    let longest = args.locks.lock_deadline.max(LONGEST_WORK) + Duration::from_secs(1);
    let waiting = service::postgres::connect_waiting(&mut server, &args.database, "booking-api-waiting", longest);
    MIGRATIONS.require(&mut server, &args.database.database_url, "booking-api migrate");

    let (pages, beside) = pages(args, pool.clone(), &server)?;
    let store = Store::new(pool, waiting);
    let redis_url = &args.locks.lock_redis_url;
    let reserve = ReserveSettings {
        redis_url: redis_url.expose().to_owned(),
        reservation_timeout: args.bookings.reservation_timeout,
    };
    let strategies = Strategies {
        locked: Locked::new(Locks::start(&args.locks, &store)?, store.clone(), args.locks.max_hold),
        conditional: Conditional::new(store.clone()),
        units: Units::new(store.clone()),
        reserve: Reserve::start(store.clone(), reserve)?,
    };
    let background = Background::start(&store, args.bookings.idempotency_retention, redis_url, &server.health())?;
    let stopped = strategies.clone();
    closing.set(async move {
        tokio::join!(background.stop(), stopped.close(), beside.stop());
    });
    let state = Bookings { store, strategies, pages, lock_deadline: args.locks.lock_deadline };
    let routes = routes::router(state).context("the OpenAPI document cannot be written")?;
    Ok(App::new(server, routes))
}

fn pages(args: &ServeArgs, pool: PgPool, server: &Server) -> anyhow::Result<(Pages, Beside)> {
    let outbox = Outbox::new(pool.clone(), crate::SCHEMA)?;
    let Some(redis_url) = &args.cache.cache_redis_url else {
        return Ok(Pages::uncached(pool, &outbox, server.tasks())?);
    };
    let tuning = Tuning {
        redis_url: redis_url.expose().to_owned(),
        database_pool: args.database.database_pool,
        statement_timeout: args.database.database_statement_timeout,
    };
    Ok(Pages::cached(pool, &outbox, tuning, server.tasks(), server.health())?)
}
