//! Stores of a test's own, and replicas on them.

use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::Duration;

use ::http::Method;
use booking_api::config::{Args, Command, ServeArgs};
use serde_json::{Value, json};
use service::config::{DatabaseArgs, LogArgs};
use sqlx::PgPool;
use testbed::api::{Answer, Contract, Request, until};
use testbed::{Database, RedisServer};
use tokio_util::sync::CancellationToken;

/// Strategies that need no more than PostgreSQL and one Redis.
pub(crate) const USUAL: [&str; 8] =
    ["none", "redis", "redis-fenced", "pg-advisory", "pg-row", "pg-conditional", "pg-units", "redis-reserve"];

/// The API's OpenAPI document, which every answer of every test is held against.
pub(crate) fn contract() -> &'static Contract {
    static CONTRACT: LazyLock<Contract> = LazyLock::new(|| {
        Contract::new(serde_json::to_value(booking_api::routes::openapi()).unwrap(), &["Idempotent-Replayed", "Age"])
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
    pub(crate) async fn set() -> Self {
        let (database, redis) = tokio::join!(migrated(), testbed::redis());
        Self { database, redis }
    }

    pub(crate) async fn replica(&self) -> Replica {
        self.replica_with(&[]).await
    }

    /// A replica with these further arguments.
    pub(crate) async fn replica_with(&self, args: &[&str]) -> Replica {
        Replica::start(&self.database.url(), &self.redis.url(), args).await
    }

    /// A replica that reads events' pages through the cache at this URL, and does.
    pub(crate) async fn cached_replica(&self, cache_url: &str) -> Replica {
        self.cached_replica_with(cache_url, &[]).await
    }

    /// The same with these further arguments.
    pub(crate) async fn cached_replica_with(&self, cache_url: &str, args: &[&str]) -> Replica {
        let replica = self.replica_with(&[&["--cache-redis-url", cache_url], args].concat()).await;
        for check in ["redis", "replay"] {
            replica.until_check(check, "pass").await;
        }
        replica
    }

    pub(crate) async fn pool(&self) -> PgPool {
        PgPool::connect(&self.database.url()).await.unwrap()
    }
}

pub(crate) async fn migrated() -> Database {
    testbed::database("booking", migrate).await
}

pub(crate) async fn migrate(url: &str) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    booking_api::migrate::migrate(&url.parse()?).await?;
    Ok(())
}

/// Settings as the program reads them, of any ports and a small pool.
pub(crate) fn settings(database_url: &str, redis_url: &str, args: &[&str]) -> ServeArgs {
    let log_filter = std::env::var("RUST_LOG").unwrap_or_else(|_| "off".to_owned());
    let own = [
        "booking-api",
        "--listen",
        "127.0.0.1:0",
        "--admin-listen",
        "127.0.0.1:0",
        "--drain",
        "0s",
        "--database-url",
        database_url,
        "--lock-redis-url",
        redis_url,
    ];
    let parsed = booking_api::config::parse(own.iter().chain(args).map(Into::into));
    let Args { command: Command::Serve(settings) } = parsed.unwrap() else { panic!("not serve") };
    let database = DatabaseArgs { database_pool: 8, ..settings.database };
    ServeArgs { database, log: LogArgs { log_filter: log_filter.parse().unwrap(), ..LogArgs::default() }, ..settings }
}

/// A replica in this process; it stops when it is dropped.
#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) api: SocketAddr,
    pub(crate) admin: SocketAddr,
    stop: CancellationToken,
}

impl Replica {
    /// Starts, and waits until everything is there.
    pub(crate) async fn start(database_url: &str, redis_url: &str, args: &[&str]) -> Self {
        let replica = Self::start_anyway(database_url, redis_url, args).await;
        for check in ["postgres", "migrations", "lock-redis"] {
            replica.until_check(check, "pass").await;
        }
        replica
    }

    /// Starts, whatever is there and what is not.
    pub(crate) async fn start_anyway(database_url: &str, redis_url: &str, args: &[&str]) -> Self {
        let settings = settings(database_url, redis_url, args);
        let telemetry = booking_api::telemetry(&settings.log).unwrap();
        let app = booking_api::build(&settings, &telemetry).await.unwrap();
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

    /// Makes an event and returns its id.
    pub(crate) async fn event(&self, strategy: &str, capacity: i32) -> i64 {
        let body = json!({"name": "Concert", "capacity": capacity, "strategy": strategy});
        self.post("/events", &body).await.expect(201).json()["id"].as_i64().unwrap()
    }

    /// A booking of seats of an event, to be sent.
    pub(crate) fn booking(&self, event: i64, seats: i32) -> Request {
        self.booking_with(event, seats, "")
    }

    /// The same with a query string, such as `?work_ms=5`.
    pub(crate) fn booking_with(&self, event: i64, seats: i32, query: &str) -> Request {
        let path = format!("/events/{event}/bookings{query}");
        self.request(Method::POST, &path).json(&json!({"seats": seats}))
    }

    pub(crate) async fn book(&self, event: i64, seats: i32) -> Answer {
        self.booking(event, seats).send().await
    }

    pub(crate) async fn cancel(&self, booking: i64) -> Answer {
        self.request(Method::DELETE, &format!("/bookings/{booking}")).send().await
    }

    pub(crate) async fn audit(&self, event: i64) -> Value {
        self.get(&format!("/events/{event}/audit")).await.expect(200).json()
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

    /// The value of a metric with these labels, as they are printed; all replicas of the process together.
    pub(crate) async fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let metrics = Request::new(self.admin, Method::GET, "/metrics").try_send().await.unwrap();
        let metrics = String::from_utf8(metrics.body.to_vec()).unwrap();
        let line = metrics.lines().find(|line| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
                && labels.iter().all(|label| line.contains(label))
        });
        line.map_or(0.0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Waits until so many sessions of the database wait for a lock of PostgreSQL's.
pub(crate) async fn until_waiting(pool: &PgPool, sessions: i64) {
    until(&format!("{sessions} sessions wait"), async || {
        let waiting: i64 = sqlx::query_scalar(
            "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()",
        )
        .fetch_one(pool)
        .await
        .unwrap();
        (waiting >= sessions).then_some(())
    })
    .await;
}

/// Waits until a section of a fenced lock has entered the event's row, and returns its fence.
pub(crate) async fn until_entered(pool: &PgPool, event: i64) -> i64 {
    until("a section has entered", async || {
        let fence: i64 = sqlx::query_scalar("select fence from booking.events where id = $1")
            .bind(event)
            .fetch_one(pool)
            .await
            .unwrap();
        Some(fence).filter(|fence| *fence > 0)
    })
    .await
}

/// What lies in the database of an event: bookings that are live, and their seats.
pub(crate) async fn sold(pool: &PgPool, event: i64) -> (i64, i64) {
    sqlx::query_as(
        "select count(*), coalesce(sum(seats), 0)::bigint from booking.bookings where event_id = $1 and cancelled_at is null",
    )
    .bind(event)
    .fetch_one(pool)
    .await
    .unwrap()
}

/// Longer than any test pays for.
pub(crate) const LONG: Duration = Duration::from_secs(8);
