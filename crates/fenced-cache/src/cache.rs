//! The handle that users hold.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::breaker::{Breaker, BreakerState};
use crate::bypass::{Bypassed, Gate};
use crate::error::ConfigError;
use crate::flight::Landing;
use crate::journal::Journal;
use crate::key::Keyspace;
use crate::metrics::CacheMetrics;
use crate::policy::{Policy, PolicyBuilder};
use crate::registry::Registry;
use crate::session::Session;
use crate::settings::Settings;
use crate::supervisor;
use crate::waiters::Waiters;

/// The cache. Cloning is cheap; all clones are one cache.
#[derive(Clone)]
pub struct Cache {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) settings: Settings,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) metrics: CacheMetrics,
    /// The current session; none while Redis cannot be reached.
    pub(crate) session: ArcSwapOption<Session>,
    pub(crate) breaker: Arc<Breaker>,
    pub(crate) flights: Arc<Registry<Landing>>,
    pub(crate) bypasses: Arc<Registry<Bypassed>>,
    pub(crate) gate: Gate,
    pub(crate) waiters: Waiters,
    /// Every task that must be allowed to finish: writes, loads, abandons.
    pub(crate) tasks: TaskTracker,
    pub(crate) shutdown: CancellationToken,
}

/// How the cache stands with Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Health {
    /// There is a connection.
    pub connected: bool,
    /// Reads use it: what may have been missed while there was none has been repeated.
    pub trusted: bool,
    /// What is near is believed: Redis has proved lately that this process has heard of every change.
    pub near: bool,
    /// The breaker.
    pub breaker: BreakerState,
}

impl Cache {
    /// Checks the settings and starts. Returns at once: whether Redis is there decides how reads are answered,
    /// not whether a service starts. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// [`ConfigError`] names the setting, its value and what is allowed.
    pub fn start(settings: Settings, journal: Arc<dyn Journal>) -> Result<Self, ConfigError> {
        let config = settings.check()?;
        let metrics = CacheMetrics::register();
        let inner = Arc::new(Inner {
            breaker: Arc::new(Breaker::new(settings.breaker_failures, metrics.breaker.clone())),
            gate: Gate { permits: Arc::new(Semaphore::new(settings.gate_permits)), queued: Arc::default() },
            settings,
            journal,
            metrics,
            session: ArcSwapOption::empty(),
            flights: Registry::new(),
            bypasses: Registry::new(),
            waiters: Waiters::default(),
            tasks: TaskTracker::new(),
            shutdown: CancellationToken::new(),
        });
        tokio::spawn(supervisor::run(Arc::clone(&inner), config));
        Ok(Self { inner })
    }

    /// Checks a policy against the settings and registers its metrics.
    ///
    /// # Errors
    /// [`ConfigError`] for a combination that the protocol does not allow.
    pub fn policy(&self, builder: PolicyBuilder) -> Result<Policy, ConfigError> {
        builder.build(&self.inner.settings)
    }

    /// The names under which this cache keeps its entries.
    #[must_use]
    pub fn keyspace(&self) -> &Keyspace {
        &self.inner.settings.keyspace
    }

    /// How the cache stands with Redis at this moment.
    #[must_use]
    pub fn health(&self) -> Health {
        let session = self.inner.session.load();
        Health {
            connected: session.is_some(),
            trusted: session.as_ref().is_some_and(|session| session.is_trusted()),
            near: session.as_ref().is_some_and(|session| {
                session.is_trusted() && session.near.as_ref().is_some_and(|near| near.is_proved(Instant::now()))
            }),
            breaker: self.inner.breaker.state(),
        }
    }

    /// Lets writes and loads in progress finish, then closes the connections. Calls made later go past Redis,
    /// and writes among them end as `Pending`.
    pub async fn shutdown(&self) {
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
        self.inner.shutdown.cancel();
    }
}

impl Inner {
    /// The session that readers may use now.
    pub(crate) fn readable(&self) -> Option<Arc<Session>> {
        if !self.breaker.is_closed() {
            return None;
        }
        self.session.load_full().filter(|session| session.is_trusted())
    }

    /// Removes what is near of these names, and keeps no reply to a READ that is in flight.
    pub(crate) fn forget_near<'n>(&self, names: impl Iterator<Item = &'n Bytes>) {
        if let Some(session) = self.session.load().as_ref()
            && let Some(near) = &session.near
        {
            names.for_each(|name| near.forget(name));
        }
    }

    /// The session that invalidations may use now: trusted or not, it is the primary.
    pub(crate) fn writable(&self) -> Option<Arc<Session>> {
        if !self.breaker.is_closed() {
            return None;
        }
        self.session.load_full()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("namespace", &self.keyspace().namespace())
            .field("health", &self.health())
            .finish_non_exhaustive()
    }
}
