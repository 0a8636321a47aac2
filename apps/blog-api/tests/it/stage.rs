//! Stores of a test's own, replicas on them, and a few rows.

use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::Duration;

use ::http::Method;
use blog_api::config::{CacheArgs, CacheMode, ServeArgs};
use serde_json::{Value, json};
use service::config::{DatabaseArgs, LogArgs, ServerArgs};
use sqlx::PgPool;
use testbed::api::{Answer, Contract, Request, until};
use testbed::{Database, RedisServer};
use tokio_util::sync::CancellationToken;

/// The API's OpenAPI document, which every answer of every test is held against.
pub(crate) fn contract() -> &'static Contract {
    static CONTRACT: LazyLock<Contract> =
        LazyLock::new(|| Contract::new(serde_json::to_value(blog_api::routes::openapi()).unwrap(), &["Age"]));
    &CONTRACT
}

/// A database and a Redis of a test's own.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) database: Database,
    pub(crate) redis: RedisServer,
}

impl Stage {
    /// Migrated, with the authors `ann`, `bob` and `cara`.
    pub(crate) async fn set() -> Self {
        let (database, redis) = tokio::join!(migrated(), testbed::redis());
        Self { database, redis }
    }

    pub(crate) async fn replica(&self) -> Replica {
        self.replica_with(CacheMode::Fenced).await
    }

    pub(crate) async fn replica_with(&self, mode: CacheMode) -> Replica {
        Replica::start(&self.database.url(), &self.redis.url(), mode).await
    }

    pub(crate) async fn pool(&self) -> PgPool {
        PgPool::connect(&self.database.url()).await.unwrap()
    }
}

pub(crate) async fn migrated() -> Database {
    testbed::database("blog", fill).await
}

/// Migrates and adds the authors.
pub(crate) async fn fill(url: &str) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    blog_api::migrate::migrate(&url.parse()?).await?;
    let pool = PgPool::connect(url).await?;
    sqlx::query("insert into blog.authors (name, display_name, bio) values ('ann', 'Ann Ahlgren', 'Writes.'), ('bob', 'Bob', ''), ('cara', 'Cara', '')")
        .execute(&pool)
        .await?;
    pool.close().await;
    Ok(())
}

/// Settings for tests: any ports, a small pool.
pub(crate) fn settings(database_url: &str, redis_url: &str, mode: CacheMode) -> ServeArgs {
    let database = DatabaseArgs {
        database_pool: 6,
        database_wait: Duration::from_secs(2),
        database_statement_timeout: Duration::from_secs(2),
        ..DatabaseArgs::new(database_url.parse().unwrap())
    };
    ServeArgs {
        server: ServerArgs::default(),
        database,
        cache: CacheArgs { mode, redis_url: Some(redis_url.parse().unwrap()) },
        log: logs(),
    }
}

fn logs() -> LogArgs {
    let log_filter = std::env::var("RUST_LOG").unwrap_or_else(|_| "off".to_owned());
    LogArgs { log_filter: log_filter.parse().unwrap(), ..LogArgs::default() }
}

/// A replica in this process; it stops when it is dropped.
#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) api: SocketAddr,
    pub(crate) admin: SocketAddr,
    stop: CancellationToken,
}

impl Replica {
    /// Starts, and waits until the cache is used, where there is one.
    pub(crate) async fn start(database_url: &str, redis_url: &str, mode: CacheMode) -> Self {
        let replica = Self::start_anyway(database_url, redis_url, mode).await;
        let wanted = match mode {
            CacheMode::Fenced => &["postgres", "migrations", "redis", "replay"][..],
            CacheMode::Naive => &["postgres", "migrations", "redis"],
            CacheMode::Off => &["postgres", "migrations"],
        };
        for check in wanted {
            replica.until_check(check, "pass").await;
        }
        replica
    }

    /// Starts, whatever is there and what is not.
    pub(crate) async fn start_anyway(database_url: &str, redis_url: &str, mode: CacheMode) -> Self {
        let settings = settings(database_url, redis_url, mode);
        let telemetry = blog_api::telemetry(&settings.log).unwrap();
        let app = blog_api::build(&settings, &telemetry).await.unwrap();
        let (api, admin) = (app.api_address(), app.admin_address());
        let stop = CancellationToken::new();
        tokio::spawn(app.run_until(stop.clone().cancelled_owned()));
        Self { api, admin, stop }
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> Request {
        Request::new(self.api, method, path).under(contract())
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.request(Method::GET, path).send().await
    }

    pub(crate) fn post_request(&self, path: &str, body: &Value) -> Request {
        self.request(Method::POST, path).json(body)
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_request(path, body).send().await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Answer {
        self.request(Method::PUT, path).json(body).send().await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.request(Method::DELETE, path).send().await
    }

    /// Writes a post and returns its id.
    pub(crate) async fn write(&self, author: &str, title: &str, tags: &[&str]) -> i64 {
        let body = json!({"author": author, "title": title, "body": "Text.", "tags": tags});
        let answer = self.post("/posts", &body).await.expect(201);
        assert_eq!(answer.header("x-cache-write"), "applied");
        answer.json()["id"].as_i64().unwrap()
    }

    pub(crate) async fn readiness(&self) -> Answer {
        Request::new(self.admin, Method::GET, "/readyz").try_send().await.unwrap()
    }

    /// Waits until the check of this name has this status.
    pub(crate) async fn until_check(&self, name: &str, status: &str) {
        until(&format!("{name} is {status}"), async || {
            (self.readiness().await.json()["checks"][name]["status"] == status).then_some(())
        })
        .await;
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
