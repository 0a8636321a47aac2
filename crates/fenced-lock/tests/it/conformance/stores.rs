//! The stores of one backend, and processes that use them.

use std::time::Duration;

use fenced_lock::{
    FencedSettings, Kind, Lock, NoLock, PgLock, PgLockSettings, PlainSettings, RedisFenced, RedisPlain, Redlock,
    RedlockSettings, Sections,
};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

use crate::bed::{LEASE, namespace, quick};
use crate::sections::rows;

const COMMAND: Duration = Duration::from_millis(200);

/// Where the stores of a backend are. Plain text, so that another process can be told.
#[derive(Clone, Debug)]
pub(crate) struct Stores {
    pub(crate) kind: Kind,
    pub(crate) redis: Vec<String>,
    pub(crate) database: String,
    /// For the locks in PostgreSQL: the address by which the lock, and so the section, reaches it.
    pub(crate) api: String,
}

/// What one process of an application has.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) lock: Lock,
    pub(crate) sections: Sections,
}

impl Stores {
    pub(crate) async fn process(&self) -> Process {
        let pool = PgPoolOptions::new().max_connections(16).connect(&self.database).await.unwrap();
        let lock = self.lock(&pool);
        Process { sections: Sections::new(lock.clone(), pool, rows()), lock }
    }

    fn lock(&self, pool: &PgPool) -> Lock {
        let pg = PgLockSettings::default().lease(LEASE).ping_timeout(COMMAND);
        match self.kind {
            Kind::None => Lock::new(NoLock),
            Kind::Redis => {
                let settings = PlainSettings::new(&self.redis[0], namespace()).lease(LEASE).command_timeout(COMMAND);
                Lock::new(RedisPlain::start(settings).unwrap())
            }
            Kind::RedisFenced => {
                let settings = FencedSettings::new(&self.redis[0], namespace()).timing(quick());
                Lock::new(RedisFenced::start(settings).unwrap())
            }
            Kind::Redlock => {
                let settings = RedlockSettings::new(&self.redis, namespace()).lease(LEASE).command_timeout(COMMAND);
                Lock::new(Redlock::start(settings).unwrap())
            }
            Kind::PgAdvisory => Lock::new(PgLock::advisory(pool.clone(), namespace(), pg).unwrap()),
            Kind::PgRow => Lock::new(PgLock::row(pool.clone(), rows(), pg).unwrap()),
            #[cfg(feature = "k8s")]
            Kind::K8sLease => {
                let settings = fenced_lock::K8sLeaseSettings::new(namespace())
                    .lease(crate::cluster::LEASE)
                    .retry(Duration::from_millis(20))
                    .request_timeout(COMMAND);
                Lock::new(fenced_lock::K8sLease::with_client(crate::cluster::client(&self.api), settings).unwrap())
            }
            other => panic!("no stores for {other}"),
        }
    }

    /// As variables for another process.
    pub(crate) fn to_environment(&self) -> [(&'static str, String); 4] {
        [
            ("HELPER_KIND", self.kind.as_str().to_owned()),
            ("HELPER_REDIS", self.redis.join(" ")),
            ("HELPER_DATABASE", self.database.clone()),
            ("HELPER_API", self.api.clone()),
        ]
    }

    pub(crate) fn from_environment() -> Option<Self> {
        let variable = |name| std::env::var(name).ok();
        Some(Self {
            kind: variable("HELPER_KIND")?.parse().ok()?,
            redis: variable("HELPER_REDIS")?.split_whitespace().map(str::to_owned).collect(),
            database: variable("HELPER_DATABASE")?,
            api: variable("HELPER_API")?,
        })
    }
}
