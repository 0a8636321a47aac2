//! Real servers for one backend, and networks that can be disturbed.

use std::time::Duration;

use fenced_lock::Kind;
use fred::clients::Client;
use sqlx::PgPool;
use testbed::{Database, Direction, FaultProxy, RedisServer};
use tokio::time::sleep;

use super::stores::{Process, Stores};
use crate::bed::{client, number, until};
use crate::sections::database;

pub(crate) struct Bed {
    pub(crate) kind: Kind,
    redis: Vec<RedisServer>,
    #[cfg(feature = "k8s")]
    cluster: crate::cluster::Cluster,
    pub(crate) stores: Stores,
    pub(crate) pool: PgPool,
    observer: Option<Client>,
    _database: Database,
}

/// The way of one process to the store of its lock.
pub(crate) struct Network(Vec<FaultProxy>);

impl Network {
    /// What the process sends is kept on the way.
    pub(crate) fn hold(&self) {
        self.0.iter().for_each(|proxy| proxy.hold(Direction::ClientToServer));
    }

    pub(crate) fn release(&self) {
        self.0.iter().for_each(|proxy| proxy.release(Direction::ClientToServer));
    }

    /// The process is gone without a word.
    pub(crate) fn vanish(&self) {
        self.0.iter().for_each(FaultProxy::half_open);
    }

    pub(crate) fn proxies(&self) -> &[FaultProxy] {
        &self.0
    }
}

impl Bed {
    pub(crate) async fn start(kind: Kind) -> Self {
        let count = match kind {
            Kind::Redis | Kind::RedisFenced => 1,
            Kind::Redlock => 3,
            _ => 0,
        };
        let mut redis = Vec::new();
        for _ in 0..count {
            redis.push(testbed::redis().await);
        }
        let (database, pool) = database().await;
        #[cfg(feature = "k8s")]
        let cluster = crate::cluster::Cluster::start().await;
        #[cfg(feature = "k8s")]
        let api = cluster.url();
        #[cfg(not(feature = "k8s"))]
        let api = String::new();
        let observer = match redis.first() {
            Some(server) if kind == Kind::RedisFenced => Some(client(&server.url()).await),
            _ => None,
        };
        let stores =
            Stores { kind, redis: redis.iter().map(RedisServer::url).collect(), database: database.url(), api };
        Self {
            kind,
            redis,
            #[cfg(feature = "k8s")]
            cluster,
            stores,
            pool,
            observer,
            _database: database,
        }
    }

    pub(crate) async fn process(&self) -> Process {
        self.stores.process().await
    }

    /// A process whose way to the store of its lock can be disturbed.
    pub(crate) async fn disturbed(&self) -> (Process, Network) {
        let mut stores = self.stores.clone();
        let mut proxies = Vec::new();
        let mut through = async |url: &mut String| {
            let proxy = FaultProxy::start(url.clone()).await.unwrap();
            *url = proxy.url();
            proxies.push(proxy);
        };
        match self.kind {
            Kind::PgAdvisory | Kind::PgRow => through(&mut stores.database).await,
            Kind::K8sLease => through(&mut stores.api).await,
            _ => {
                for url in &mut stores.redis {
                    through(url).await;
                }
            }
        }
        (stores.process().await, Network(proxies))
    }

    /// A new event with so many seats.
    pub(crate) async fn event(&self, capacity: i32) -> i64 {
        let sql = "insert into events (id, capacity) select max(id) + 1, $1 from events returning id";
        sqlx::query_scalar(sql).bind(capacity).fetch_one(&self.pool).await.unwrap()
    }

    pub(crate) async fn booked(&self, event: i64) -> i64 {
        let sql = "select count(*) from bookings where event = $1";
        sqlx::query_scalar(sql).bind(event).fetch_one(&self.pool).await.unwrap()
    }

    /// The store of the lock forgets everything.
    pub(crate) async fn forget(&self) {
        for redis in &self.redis {
            redis.restart_empty().await.unwrap();
        }
        #[cfg(feature = "k8s")]
        self.cluster.forget();
        if self.kind.is_transaction() {
            // What a restart of PostgreSQL does to its sessions; other tests use the same server.
            let sql = "select pg_terminate_backend(pid) from pg_stat_activity
                       where datname = current_database() and application_name like 'fenced-lock%'";
            sqlx::query(sql).execute(&self.pool).await.unwrap();
        }
    }

    /// Waits until so many wait for the lock of `event`, where the store can tell.
    pub(crate) async fn queued(&self, event: i64, waiting: i64) {
        match (&self.observer, self.kind) {
            (Some(observer), _) => {
                let key = format!("LLEN test:fl:{{0}}:q:event:{event}");
                until("queued", async || number(observer, &key).await == waiting).await;
            }
            (None, Kind::PgAdvisory | Kind::PgRow) => {
                let sql = "select count(*) from pg_locks l join pg_stat_activity a using (pid)
                           where not granted and a.datname = current_database()";
                until("queued", async || {
                    sqlx::query_scalar::<_, i64>(sql).fetch_one(&self.pool).await.unwrap() == waiting
                })
                .await;
            }
            _ => sleep(Duration::from_millis(15)).await,
        }
    }
}
