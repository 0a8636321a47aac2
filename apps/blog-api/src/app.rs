//! One replica, put together.

use anyhow::Context as _;
use outbox::Outbox;
use service::{App, Closing, Server, Telemetry};

use crate::config::{CacheArgs, CacheMode, ServeArgs};
use crate::entry::Names;
use crate::migrate::MIGRATIONS;
use crate::reads::{Database, Fenced, LoadDeadlines, Naive, Off, Reads, Tuning};
use crate::routes::{self, Blog};
use crate::store::Store;

/// Installs logs and metrics for the whole process; comes before everything that records any.
///
/// # Errors
/// When somebody else has installed a recorder.
pub fn telemetry(log: &service::config::LogArgs) -> anyhow::Result<Telemetry> {
    let builder = service::telemetry("blog-api", env!("CARGO_PKG_VERSION"))
        .buckets_of(fenced_cache::metrics::HISTOGRAMS, fenced_cache::metrics::BUCKETS)
        .buckets_of(outbox::metrics::HISTOGRAMS, outbox::metrics::BUCKETS);
    Ok(builder.install(log)?)
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
    let pool = service::postgres::connect(&mut server, &args.database, "blog-api");
    MIGRATIONS.require(&mut server, &args.database.database_url, "blog-api migrate");
    let database = Database::new(
        Store::new(pool.clone()),
        Outbox::new(pool, crate::SCHEMA)?,
        Names::new(fenced_cache::Keyspace::new(crate::NAMESPACE)?),
    );
    let reads = reads(args, database, &server, &closing)?;
    let routes = routes::router(Blog { reads }).context("the OpenAPI document cannot be written")?;
    Ok(App::new(server, routes))
}

fn reads(args: &ServeArgs, database: Database, server: &Server, closing: &Closing) -> anyhow::Result<Reads> {
    let CacheArgs { mode, redis_url } = &args.cache;
    let deadlines = LoadDeadlines { usual: args.database.database_statement_timeout };
    // The configuration is checked: only without a cache there is no URL.
    let redis_url = redis_url.as_ref().map(|url| url.expose().to_owned()).unwrap_or_default();
    Ok(match mode {
        CacheMode::Fenced => {
            let tuning = Tuning { redis_url, database_pool: args.database.database_pool, deadlines };
            let (fenced, running) = Fenced::start(database, tuning, server)?;
            closing.set(running.stop());
            Reads::Fenced(fenced)
        }
        CacheMode::Naive => {
            let naive = Naive::start(database, &redis_url, deadlines, server.tasks(), &server.health())?;
            closing.set(naive.clone().stop());
            Reads::Naive(naive)
        }
        CacheMode::Off => Reads::Off(Off::new(database, deadlines, server.tasks())),
    })
}
