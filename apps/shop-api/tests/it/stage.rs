//! Stores of a test's own, replicas on them, and a few rows.

use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::Duration;

use ::http::Method;
use serde_json::{Value, json};
use service::config::{DatabaseArgs, LogArgs, ServerArgs};
use shop_api::config::{CacheArgs, ServeArgs};
use sqlx::PgPool;
use testbed::api::{Answer, Contract, Request, until};
use testbed::{Database, RedisServer};
use tokio_util::sync::CancellationToken;

/// Those under which no read that begins after an applied write may be older.
pub(crate) const EXACT: [&str; 4] = ["explicit", "write-through", "tags", "combined"];

/// The API's OpenAPI document, which every answer of every test is held against.
pub(crate) fn contract() -> &'static Contract {
    static CONTRACT: LazyLock<Contract> = LazyLock::new(|| {
        Contract::new(serde_json::to_value(shop_api::routes::openapi()).unwrap(), &["Age", "X-Seen-Version"])
    });
    &CONTRACT
}

/// A database and a Redis of a test's own.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) database: Database,
    pub(crate) redis: RedisServer,
}

impl Stage {
    /// Migrated, with the categories 1 `tables`, 2 `lamps` and 3, which is empty.
    pub(crate) async fn set() -> Self {
        let (database, redis) = tokio::join!(migrated(), testbed::redis());
        Self { database, redis }
    }

    pub(crate) async fn replica(&self) -> Replica {
        self.replica_with(|_| {}).await
    }

    /// A replica with other settings of the cache.
    pub(crate) async fn replica_with(&self, adjust: impl FnOnce(&mut CacheArgs)) -> Replica {
        let mut settings = settings(&self.database.url(), &self.redis.url());
        adjust(&mut settings.cache);
        Replica::start(settings).await
    }

    pub(crate) async fn pool(&self) -> PgPool {
        PgPool::connect(&self.database.url()).await.unwrap()
    }

    /// Changes a product behind every cache's back.
    pub(crate) async fn change_past_all(&self, sql: &'static str) {
        let pool = self.pool().await;
        sqlx::raw_sql(sql).execute(&pool).await.unwrap();
        pool.close().await;
    }
}

pub(crate) async fn migrated() -> Database {
    testbed::database("shop", fill).await
}

/// Migrates and adds the categories.
pub(crate) async fn fill(url: &str) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    shop_api::migrate::migrate(&url.parse()?).await?;
    let pool = PgPool::connect(url).await?;
    sqlx::query("insert into shop.categories (name) values ('tables'), ('lamps'), ('nothing')").execute(&pool).await?;
    pool.close().await;
    Ok(())
}

/// Settings for tests: any ports, a small pool.
pub(crate) fn settings(database_url: &str, redis_url: &str) -> ServeArgs {
    let database = DatabaseArgs {
        database_pool: 6,
        database_wait: Duration::from_secs(2),
        database_statement_timeout: Duration::from_secs(2),
        ..DatabaseArgs::new(database_url.parse().unwrap())
    };
    let server = ServerArgs { request_timeout: Duration::from_secs(15), ..ServerArgs::default() };
    ServeArgs { server, database, cache: CacheArgs::new(redis_url.parse().unwrap()), log: logs() }
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
    /// Starts, and waits until the cache is used.
    pub(crate) async fn start(settings: ServeArgs) -> Self {
        let replica = Self::start_anyway(settings).await;
        for check in ["postgres", "migrations", "redis", "replay"] {
            replica.until_check(check, "pass").await;
        }
        replica
    }

    /// Starts, whatever is there and what is not.
    pub(crate) async fn start_anyway(settings: ServeArgs) -> Self {
        let telemetry = shop_api::telemetry(&settings.log).unwrap();
        let app = shop_api::build(&settings, &telemetry).await.unwrap();
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

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.request(Method::POST, path).json(body).send().await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Answer {
        self.request(Method::PUT, path).json(body).send().await
    }

    pub(crate) async fn patch(&self, path: &str, body: &Value) -> Answer {
        self.request(Method::PATCH, path).json(body).send().await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.request(Method::DELETE, path).send().await
    }

    /// Adds a product under a strategy and returns its id.
    pub(crate) async fn add(&self, strategy: &str, category: i64, name: &str) -> i64 {
        let answer = self.post(&format!("/s/{strategy}/products"), &product(category, name)).await.expect(201);
        answer.json()["id"].as_i64().unwrap()
    }

    /// Sets the price of a product under a strategy.
    pub(crate) async fn price(&self, strategy: &str, id: i64, amount: i64) -> Answer {
        self.patch(&format!("/s/{strategy}/products/{id}/price"), &price(amount)).await.expect(200)
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

/// A body for a new product, which costs 10.00 euros.
pub(crate) fn product(category: i64, name: &str) -> Value {
    json!({"category_id": category, "name": name, "description": "Well made.",
           "price": {"amount": 1_000, "currency": "EUR"}, "stock": 5})
}

/// A body for a changed product.
pub(crate) fn replacement(name: &str) -> Value {
    json!({"name": name, "description": "Better made.", "price": {"amount": 1_100, "currency": "EUR"}, "stock": 4})
}

/// A body for a new price in euros.
pub(crate) fn price(amount: i64) -> Value {
    json!({"price": {"amount": amount, "currency": "EUR"}})
}
