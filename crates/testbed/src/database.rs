//! Stores for one test each: a database on the PostgreSQL server of this test process, or a Redis server.

use std::collections::HashMap;
use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError, mpsc};
use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::sync::OnceCell;

use crate::error::TestbedError;
use crate::postgres::{PostgresServer, options};
use crate::redis::RedisServer;

/// The server of this process, started by the first test that needs it and stopped by its guardian when we end.
static SERVER: OnceCell<PostgresServer> = OnceCell::const_new();

/// The template databases, by key.
static TEMPLATES: LazyLock<Mutex<HashMap<String, Arc<OnceCell<String>>>>> = LazyLock::new(Mutex::default);

static NUMBER: AtomicU64 = AtomicU64::new(0);

/// A fresh database for one test, on the PostgreSQL server of this process, that starts as a copy of what `migrate` made.
///
/// `migrate` runs once per `key` and process, on an empty template database whose URL it is given; every call with that
/// key then copies the template (some 20 ms). It must close its connections (`pool.close().await`); those that it left
/// open are cut.
///
/// ```no_run
/// # async fn example() {
/// let database = testbed::database("blog", async |url: &str| {
///     let pool = sqlx::PgPool::connect(url).await?;
///     sqlx::query("create table posts (id bigint primary key)").execute(&pool).await?;
///     pool.close().await;
///     Ok::<_, sqlx::Error>(())
/// })
/// .await;
/// let pool = sqlx::PgPool::connect(&database.url()).await;
/// # }
/// ```
///
/// # Panics
/// When there is no such database to be had, with the reason; [`try_database`] returns it instead.
pub async fn database<E>(key: &str, migrate: impl AsyncFnOnce(&str) -> Result<(), E>) -> Database
where
    E: Into<Box<dyn Error + Send + Sync>>,
{
    match try_database(key, migrate).await {
        Ok(database) => database,
        Err(error) => panic!("no database for this test: {}", chain(&error)),
    }
}

/// As [`database`], for a caller that deals with the error.
///
/// # Errors
/// The server does not start, or `migrate` fails.
pub async fn try_database<E>(
    key: &str,
    migrate: impl AsyncFnOnce(&str) -> Result<(), E>,
) -> Result<Database, TestbedError>
where
    E: Into<Box<dyn Error + Send + Sync>>,
{
    let server = server().await?;
    let cell = Arc::clone(TEMPLATES.lock().unwrap_or_else(PoisonError::into_inner).entry(key.to_owned()).or_default());
    let template = cell.get_or_try_init(|| create_template(server, key, migrate)).await?;
    let name = next_name("test");
    let mut admin = server.connect("postgres").await?;
    execute(&mut admin, format!("create database {name} template {template}")).await?;
    admin.close().await?;
    Ok(Database { name, port: server.port() })
}

/// A Redis server for one test, that keeps nothing on disk. It takes some 20 ms to start, and stops when it is dropped.
///
/// # Panics
/// When it does not start, with the reason; [`RedisServer::builder`] returns it instead.
pub async fn redis() -> RedisServer {
    match RedisServer::builder().start().await {
        Ok(server) => server,
        Err(error) => panic!("no Redis for this test: {}", chain(&error)),
    }
}

async fn server() -> Result<&'static PostgresServer, TestbedError> {
    SERVER.get_or_try_init(|| PostgresServer::builder().start()).await
}

async fn create_template<E>(
    server: &PostgresServer,
    key: &str,
    migrate: impl AsyncFnOnce(&str) -> Result<(), E>,
) -> Result<String, TestbedError>
where
    E: Into<Box<dyn Error + Send + Sync>>,
{
    let name = next_name("template");
    let mut admin = server.connect("postgres").await?;
    execute(&mut admin, format!("create database {name}")).await?;
    migrate(&server.url(&name))
        .await
        .map_err(|error| TestbedError::Migration { key: key.to_owned(), source: error.into() })?;
    // A template that somebody is connected to cannot be copied.
    execute(&mut admin, format!("alter database {name} with allow_connections false")).await?;
    sqlx::query("select pg_terminate_backend(pid) from pg_stat_activity where datname = $1")
        .bind(&name)
        .execute(&mut admin)
        .await?;
    admin.close().await?;
    Ok(name)
}

fn next_name(kind: &str) -> String {
    format!("{kind}_{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// `create database` and the like take no parameters. Every name in them is one of ours.
async fn execute(connection: &mut PgConnection, statement: String) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(connection).await.map(drop)
}

fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

/// A database of its own for one test. Dropping it drops the database in the background, with whatever is connected.
#[derive(Debug)]
pub struct Database {
    name: String,
    port: u16,
}

impl Database {
    /// Its address, for any PostgreSQL client.
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{}", self.port, self.name)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // When there is nobody to do it, the end of the server does it.
        let _ = dropper().map(|dropper| dropper.send((self.port, std::mem::take(&mut self.name))));
    }
}

/// A thread that drops databases: it outlives the runtimes of the tests.
fn dropper() -> Option<&'static mpsc::Sender<(u16, String)>> {
    static DROPPER: OnceLock<Option<mpsc::Sender<(u16, String)>>> = OnceLock::new();
    let sender = DROPPER.get_or_init(|| {
        let (sender, names) = mpsc::channel::<(u16, String)>();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
        let work = move || {
            while let Ok((port, name)) = names.recv() {
                if let Err(error) = runtime.block_on(drop_database(port, &name)) {
                    tracing::debug!(name, %error, "a test's database was not dropped");
                }
            }
        };
        std::thread::Builder::new().name("drop databases".into()).spawn(work).ok()?;
        Some(sender)
    });
    sender.as_ref()
}

async fn drop_database(port: u16, name: &str) -> Result<(), sqlx::Error> {
    let work = async {
        let mut admin = PgConnection::connect_with(&options(port, "postgres")).await?;
        execute(&mut admin, format!("drop database if exists {name} with (force)")).await?;
        admin.close().await
    };
    tokio::time::timeout(Duration::from_secs(30), work).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
}
