//! The seven locks, as this replica has them.

use std::sync::Arc;
use std::time::Duration;

use fenced_lock::{
    ConfigError, Enter, FencedSettings, Lock, Namespace, NoLock, PgLock, PgLockSettings, PlainSettings, RedisFenced,
    RedisPlain, Redlock, RedlockSettings, Rows, Sections, Timing,
};
use futures_util::future::join_all;
use service::config::{Mistakes, RedisUrl};

use crate::config::{EnterMode, LockArgs};
use crate::domain::Strategy;
use crate::store::Store;

/// The locks that this replica has, each with its sections on the events' rows. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Locks {
    there: Arc<[(Strategy, Sections)]>,
    #[cfg(feature = "k8s")]
    lease: Arc<cluster::Lease>,
}

/// Why this replica has no lock for a strategy: what is missing, in words for a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing(pub String);

impl Locks {
    /// Starts to connect in the background; waits for no store.
    ///
    /// # Errors
    /// For settings that the library does not allow.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(args: &LockArgs, store: &Store) -> Result<Self, ConfigError> {
        let rows = rows()?;
        let enter = match args.lock_enter {
            EnterMode::Relaxed => Enter::Relaxed,
            EnterMode::Durable => Enter::Durable,
        };
        // A waiter for a lock of PostgreSQL's has a connection while it waits, a holder while it pays; and the lock
        // and its section are one transaction, so both take it from the same pool.
        let pg = |lock| Sections::new(Lock::new(lock), store.waiting.clone(), rows.clone());
        let settings = pg_settings(args);
        let redis = redis_locks(args)?
            .into_iter()
            .map(|(strategy, lock)| (strategy, Sections::new(lock, store.pool.clone(), rows.clone()).entering(enter)));
        let there = [
            (Strategy::None, Sections::new(Lock::new(NoLock), store.pool.clone(), rows.clone())),
            (
                Strategy::PgAdvisory,
                pg(PgLock::advisory(store.waiting.clone(), Namespace::new(crate::NAMESPACE)?, settings)?),
            ),
            (Strategy::PgRow, pg(PgLock::row(store.waiting.clone(), rows.clone(), settings)?)),
        ];
        Ok(Self {
            there: there.into_iter().chain(redis).collect(),
            #[cfg(feature = "k8s")]
            lease: Arc::new(cluster::Lease::new(args, store, rows, enter)?),
        })
    }

    /// The sections under the lock of this strategy.
    ///
    /// # Errors
    /// What is missing.
    pub async fn of(&self, strategy: Strategy) -> Result<&Sections, Missing> {
        if let Some((_, sections)) = self.there.iter().find(|(there, _)| *there == strategy) {
            return Ok(sections);
        }
        match strategy {
            #[cfg(feature = "k8s")]
            Strategy::K8sLease => self.lease.sections().await,
            #[cfg(not(feature = "k8s"))]
            Strategy::K8sLease => Err(missing("this build has no client of Kubernetes (cargo feature k8s)")),
            Strategy::Redlock => Err(missing("no servers for it are set (--redlock-redis-urls, REDLOCK_REDIS_URLS)")),
            _ => Err(missing("it is no lock")),
        }
    }

    /// Ends those who wait and gives back what is held; returns when that is done.
    pub async fn close(&self) {
        join_all(self.there.iter().map(|(_, sections)| sections.lock().close())).await;
        #[cfg(feature = "k8s")]
        self.lease.close().await;
    }
}

fn missing(what: &str) -> Missing {
    Missing(what.to_owned())
}

/// One lock, one row: that of the event.
fn rows() -> Result<Rows, ConfigError> {
    Rows::new("event", "booking.events", "id")
}

fn pg_settings(args: &LockArgs) -> PgLockSettings {
    PgLockSettings::default().lease(args.lock_lease)
}

fn redis_locks(args: &LockArgs) -> Result<Vec<(Strategy, Lock)>, ConfigError> {
    let mut locks = vec![
        (Strategy::Redis, Lock::new(RedisPlain::start(plain(args)?)?)),
        (Strategy::RedisFenced, Lock::new(RedisFenced::start(fenced(args)?)?)),
    ];
    if !args.redlock_redis_urls.is_empty() {
        locks.push((Strategy::Redlock, Lock::new(Redlock::start(redlock(args)?)?)));
    }
    Ok(locks)
}

fn plain(args: &LockArgs) -> Result<PlainSettings, ConfigError> {
    let settings = PlainSettings::new(args.lock_redis_url.expose(), Namespace::new(crate::NAMESPACE)?);
    Ok(settings.lease(args.plain_lease))
}

fn fenced(args: &LockArgs) -> Result<FencedSettings, ConfigError> {
    let LockArgs { lock_lease, lock_first_lease, lock_poll, .. } = *args;
    let timing = Timing::default().lease(lock_lease).first_lease(lock_first_lease).poll(lock_poll);
    // What is forgotten must have ended long before.
    let timing = timing.keep((4 * (lock_lease + lock_poll)).max(Duration::from_secs(600)));
    let settings = FencedSettings::new(args.lock_redis_url.expose(), Namespace::new(crate::NAMESPACE)?);
    Ok(settings.timing(timing))
}

fn redlock(args: &LockArgs) -> Result<RedlockSettings, ConfigError> {
    let urls = args.redlock_redis_urls.iter().map(RedisUrl::expose);
    let settings = RedlockSettings::new(urls, Namespace::new(crate::NAMESPACE)?);
    Ok(settings.lease(args.plain_lease))
}

/// Finds settings that the lock library does not allow; its rules are not repeated here.
pub fn check(args: &LockArgs, mistakes: &mut Mistakes) {
    let plain = plain(args).and_then(|settings| settings.check());
    let fenced = fenced(args).and_then(|settings| settings.check());
    let pg = pg_settings(args).check();
    let redlock = redlock(args).and_then(|settings| settings.check());
    let tried = [
        plain.err().map(|error| ("--plain-lease", "--lock-redis-url", error)),
        fenced.err().map(|error| ("--lock-lease", "--lock-redis-url", error)),
        pg.err().map(|error| ("--lock-lease", "--database-url", error)),
        redlock
            .err()
            .filter(|_| !args.redlock_redis_urls.is_empty())
            .map(|error| ("--plain-lease", "--redlock-redis-urls", error)),
    ];
    let mut told: Vec<&str> = Vec::new();
    for (lease, url, error) in tried.into_iter().flatten() {
        let flag = match error.setting.as_str() {
            "first_lease" => "--lock-first-lease",
            "poll" => "--lock-poll",
            "lease" => lease,
            _ => url,
        };
        // Two locks may mind the same setting.
        if !told.contains(&flag) {
            told.push(flag);
            mistakes.add(flag, error.value, format!("must be {}", error.allowed));
        }
    }
}

#[cfg(feature = "k8s")]
mod cluster {
    //! `k8s-lease`, which is looked for when it is needed: most replicas that could have it run without a cluster.

    use fenced_lock::{ConfigError, Enter, K8sLease, K8sLeaseSettings, Lock, Namespace, Rows, Sections};
    use tokio::sync::OnceCell;

    use super::Missing;
    use crate::config::LockArgs;
    use crate::store::Store;

    #[derive(Debug)]
    pub(super) struct Lease {
        settings: K8sLeaseSettings,
        store: Store,
        rows: Rows,
        enter: Enter,
        found: OnceCell<Sections>,
    }

    impl Lease {
        pub(super) fn new(args: &LockArgs, store: &Store, rows: Rows, enter: Enter) -> Result<Self, ConfigError> {
            let settings = K8sLeaseSettings::new(Namespace::new(crate::NAMESPACE)?);
            let settings = match &args.k8s_namespace {
                Some(namespace) => settings.kube_namespace(namespace),
                None => settings,
            };
            Ok(Self { settings, store: store.clone(), rows, enter, found: OnceCell::new() })
        }

        pub(super) async fn sections(&self) -> Result<&Sections, Missing> {
            let find = async || {
                let lease = K8sLease::connect(self.settings.clone()).await?;
                Ok(Sections::new(Lock::new(lease), self.store.pool.clone(), self.rows.clone()).entering(self.enter))
            };
            self.found
                .get_or_try_init(find)
                .await
                .map_err(|error: fenced_lock::ClusterError| Missing(error.to_string()))
        }

        pub(super) async fn close(&self) {
            if let Some(sections) = self.found.get() {
                sections.lock().close().await;
            }
        }
    }
}
