//! PostgreSQL and Redis for the services: private processes, or servers that the user names.

use std::convert::Infallible;
use std::path::Path;

use anyhow::{Context as _, bail};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions as _, Connection as _, Row as _};
use testbed::PostgresServer;

use super::redis::Redis;
use crate::cli::{Part, UpArgs};
use crate::data::DataDir;
use crate::exit::Failure;
use crate::screen::{note, say};
use crate::target::{BookingStores, ShopStores};

/// The database of the private server.
const DATABASE: &str = "lab";

/// Oldest versions that the services are made for.
const POSTGRES_NEEDED: i32 = 15;

/// How long the user's server may take to answer.
const ANSWER: std::time::Duration = std::time::Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Stores {
    /// Absent when the user named a server.
    postgres: Option<PostgresServer>,
    database_url: String,
    cache: Redis,
    /// Absent when booking-api does not run.
    lock: Option<Redis>,
    redlock: Vec<Redis>,
}

impl Stores {
    /// Starts what the user did not name, and looks whether what he named can be used. All stores at once;
    /// when one fails, the others are stopped by their drop.
    pub(super) async fn start(args: &UpArgs, data: &DataDir) -> anyhow::Result<Self> {
        let postgres = async {
            match &args.database_url {
                None => start_postgres(args, data).await.map(|(server, url, line)| (Some(server), url, line)),
                Some(url) => check_postgres(url, args).await.map(|line| (None, url.clone(), line)),
            }
        };
        let cache = Redis::cache(args, data);
        let locks = async {
            if !args.wants(Part::Booking) {
                return Ok((None, Vec::new()));
            }
            let lock = Redis::lock(args, data).await?;
            Ok((Some(lock), Redis::redlock().await?))
        };
        let (postgres, cache, (lock, redlock)) = tokio::try_join!(postgres, cache, locks)?;
        let (postgres, database_url, line) = postgres;
        say(&format!("PostgreSQL  {line}"));
        Ok(Self { postgres, database_url, cache, lock, redlock })
    }

    pub(super) fn database_url(&self) -> &str {
        &self.database_url
    }

    pub(super) fn postgres_pid(&self) -> Option<u32> {
        self.postgres.as_ref().map(PostgresServer::pid)
    }

    pub(super) fn cache(&self) -> &Redis {
        &self.cache
    }

    pub(super) fn lock(&self) -> Option<&Redis> {
        self.lock.as_ref()
    }

    pub(super) fn redlock(&self) -> &[Redis] {
        &self.redlock
    }

    /// What the shop stands on.
    pub(super) fn shop(&self) -> ShopStores {
        ShopStores { database_url: self.database_url.clone(), cache_redis_url: self.cache.url().to_owned() }
    }

    /// What booking-api stands on.
    pub(super) fn booking(&self) -> anyhow::Result<BookingStores> {
        let lock = self.lock.as_ref().context("there is no Redis for locks")?;
        Ok(BookingStores {
            database_url: self.database_url.clone(),
            lock_redis_url: lock.url().to_owned(),
            redlock_redis_urls: self.redlock.iter().map(|redis| redis.url().to_owned()).collect(),
        })
    }

    fn all_redis(&self) -> impl Iterator<Item = &Redis> {
        std::iter::once(&self.cache).chain(&self.lock).chain(&self.redlock)
    }

    /// Starts a private store that has died again, on its port: PostgreSQL recovers what was committed, the
    /// locks' Redis what it had written down, the others come back empty. Calls `changed` then. Ends only with an error.
    pub(super) async fn keep_up(&self, changed: impl Fn() -> anyhow::Result<()>) -> anyhow::Result<Infallible> {
        let changed = &changed;
        let postgres = async {
            let Some(server) = &self.postgres else { return std::future::pending().await };
            loop {
                let exit = server.ended().await;
                let (pid, port) = (server.pid(), server.port());
                note(&format!("PostgreSQL (pid {pid}) ended: {exit}; starting it again on port {port}"));
                server.start_again().await.context("PostgreSQL does not come back")?;
                note(&format!("PostgreSQL is back (pid {})", server.pid()));
                changed()?;
            }
        };
        // A loop for each: a PostgreSQL that recovers for a minute must not keep Redis waiting.
        let redis = self.all_redis().map(|redis| redis.keep_up(changed));
        tokio::select! {
            never = postgres => never,
            (never, ..) = futures_util::future::select_all(redis.map(Box::pin)) => never,
        }
    }

    pub(super) async fn stop(self) {
        let redis = futures_util::future::join_all(self.all_redis().map(Redis::stop));
        let postgres = async {
            if let Some(server) = &self.postgres {
                server.stop().await;
            }
        };
        tokio::join!(postgres, redis);
    }
}

/// The server, the URL of its database, and what to say about it.
async fn start_postgres(args: &UpArgs, data: &DataDir) -> anyhow::Result<(PostgresServer, String, String)> {
    let folder = data.path().join("postgres");
    if args.fresh && folder.exists() {
        std::fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    if !testbed::reachable(&folder) {
        bail!("PostgreSQL's user cannot use {}; name a folder below /var/tmp with --data", folder.display());
    }
    let first = !folder.join("data").exists();
    if first {
        room_for(args, data.path())?;
    }
    let mut builder = PostgresServer::builder().data_dir(&folder).durable(true);
    for (name, value) in settings() {
        builder = builder.setting(name, value);
    }
    if args.postgres_port != 0 {
        builder = builder.port(args.postgres_port);
    }
    let server = builder.start().await.context("cannot start PostgreSQL")?;
    let version = create_database(&server).await.context("cannot create the database")?;
    let url = server.url(DATABASE);
    let line = format!("{version} on port {}, data in {}", server.port(), folder.display());
    Ok((server, url, line))
}

/// As one would run it for this load. Durability is PostgreSQL's own: fsync and synchronous commit are on.
fn settings() -> Vec<(&'static str, String)> {
    // Half a terabyte of cache would be no better here: the data is 1.5 GB.
    let shared = (memory_bytes() / 16).clamp(128 << 20, 1 << 30) >> 20;
    vec![
        ("shared_buffers", format!("{shared}MB")),
        // 16 replicas of three services with up to twenty connections each, and the lab's own, some of which are pgbench's.
        ("max_connections", "800".to_owned()),
        // No checkpoint in the middle of a bulk load or of an experiment.
        ("max_wal_size", "4GB".to_owned()),
        ("checkpoint_timeout", "15min".to_owned()),
        // The disks of today; the default is that of a turning one.
        ("random_page_cost", "1.1".to_owned()),
        // The aggregates over all posts and comments hash and sort without temporary files.
        ("work_mem", "16MB".to_owned()),
        // The experiments count the statements that the database saw.
        ("shared_preload_libraries", "pg_stat_statements".to_owned()),
    ]
}

/// Makes the database with its extension where it is missing. Returns the server's version.
async fn create_database(server: &PostgresServer) -> Result<String, sqlx::Error> {
    let mut db = connect(&server.url("postgres")).await?;
    let exists: bool = sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
        .bind(DATABASE)
        .fetch_one(&mut db)
        .await?;
    if !exists {
        sqlx::query("create database lab").execute(&mut db).await?;
    }
    let version = sqlx::query_scalar("show server_version").fetch_one(&mut db).await?;
    db.close().await?;
    let mut db = connect(&server.url(DATABASE)).await?;
    sqlx::query("create extension if not exists pg_stat_statements").execute(&mut db).await?;
    db.close().await?;
    Ok(version)
}

async fn connect(url: &str) -> Result<PgConnection, sqlx::Error> {
    let options: PgConnectOptions = url.parse()?;
    options.application_name("lab").disable_statement_logging().connect().await
}

/// The user's own server: does it answer, is it new enough? Returns what to say about it.
async fn check_postgres(url: &str, args: &UpArgs) -> anyhow::Result<String> {
    let mut db = tokio::time::timeout(ANSWER, connect(url))
        .await
        .context("the PostgreSQL that DATABASE_URL names does not answer within 10 s")?
        .context("cannot connect to the PostgreSQL that DATABASE_URL names; unset it for a private one")?;
    let row = sqlx::query("select current_setting('server_version') as version, current_setting('server_version_num')::int as number, current_database()::text as name")
        .fetch_one(&mut db)
        .await?;
    let version: String = row.try_get("version")?;
    if row.try_get::<i32, _>("number")? < POSTGRES_NEEDED * 10_000 {
        bail!("the PostgreSQL that DATABASE_URL names is {version}: {POSTGRES_NEEDED} or newer is needed");
    }
    if args.fresh {
        drop_schemas(&mut db).await?;
    }
    db.close().await?;
    let name: String = row.try_get("name")?;
    Ok(format!("{version}, yours: the schemas blog, shop, booking and lab of the database {name}"))
}

/// `--fresh` on the user's server: only what the lab has filled is dropped.
async fn drop_schemas(db: &mut PgConnection) -> anyhow::Result<()> {
    let (foreign, lab): (Option<String>, bool) = sqlx::query_as(
        "select (select min(nspname::text) from pg_namespace where nspname in ('blog', 'shop')), \
                to_regclass('lab.seed_run') is not null",
    )
    .fetch_one(&mut *db)
    .await?;
    if let (Some(schema), false) = (foreign, lab) {
        return Err(Failure::usage(format!(
            "--fresh: the database has a schema {schema} that the lab did not fill, and it will not drop it: do that by hand, or use another database"
        ))
        .into());
    }
    let drops =
        "drop schema if exists blog cascade; drop schema if exists shop cascade; drop schema if exists lab cascade";
    sqlx::raw_sql(drops).execute(&mut *db).await?;
    Ok(())
}

/// What this machine has; a guess of 8 GiB where it does not say.
pub(super) fn memory_bytes() -> u64 {
    let kilobytes = || {
        let text = std::fs::read_to_string("/proc/meminfo").ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    kilobytes().map_or(8 << 30, |kilobytes| kilobytes * 1024)
}

/// Rows, indexes and the write-ahead log that a seeding leaves, per post.
const BYTES_PER_POST: u64 = 6_000;

/// The same per product. Those of an earlier run may be replaced: there are two of each for a while.
const BYTES_PER_PRODUCT: u64 = 4_000;

/// Says early what PostgreSQL would say late.
fn room_for(args: &UpArgs, folder: &Path) -> anyhow::Result<()> {
    let of = |part, items: u64| if args.wants(part) { items } else { 0 };
    let (posts, products) = (of(Part::Blog, args.posts), of(Part::Shop, args.products));
    if posts + products == 0 {
        return Ok(());
    }
    let file_system = rustix::fs::statvfs(folder).with_context(|| format!("cannot look at {}", folder.display()))?;
    let free = file_system.f_bavail * file_system.f_frsize;
    let needed = posts * BYTES_PER_POST + products * BYTES_PER_PRODUCT + (200 << 20);
    if free < needed {
        bail!(
            "{posts} posts and {products} products need about {} MB, and {} has {} MB left: make room, name another folder with --data, or use --posts and --products",
            needed >> 20,
            folder.display(),
            free >> 20
        );
    }
    Ok(())
}
