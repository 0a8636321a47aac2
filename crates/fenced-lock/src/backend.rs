//! What every lock is behind the common handle.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::error::{ConfigError, LockError};
use crate::guard::Guard;
use crate::metrics::LockMetrics;
use crate::name::Name;

/// The mechanisms by which a lock can be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Kind {
    /// No lock at all: what an unprotected section does.
    None,
    /// One Redis, `SET NX PX` with a token, asking again and again.
    Redis,
    /// One Redis, first come first served by granted hand-off, with fences.
    RedisFenced,
    /// A majority of several independent Redis.
    Redlock,
    /// `pg_advisory_xact_lock`
    PgAdvisory,
    /// The row itself, `for no key update`.
    PgRow,
    /// A Kubernetes Lease.
    K8sLease,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::None, Self::Redis, Self::RedisFenced, Self::Redlock, Self::PgAdvisory, Self::PgRow, Self::K8sLease];

    /// The name in configuration, metrics and documentation.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Redis => "redis",
            Self::RedisFenced => "redis-fenced",
            Self::Redlock => "redlock",
            Self::PgAdvisory => "pg-advisory",
            Self::PgRow => "pg-row",
            Self::K8sLease => "k8s-lease",
        }
    }

    /// Whether each acquisition has a number that a database can check.
    #[must_use]
    pub fn is_fenced(self) -> bool {
        matches!(self, Self::RedisFenced | Self::K8sLease)
    }

    /// Whether the lock is a transaction, so that what it protects must run on that transaction's connection.
    #[must_use]
    pub fn is_transaction(self) -> bool {
        matches!(self, Self::PgAdvisory | Self::PgRow)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let known = Self::ALL.map(Self::as_str).join(", ");
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| ConfigError::new("lock", text, format!("one of {known}")))
    }
}

/// A way to keep locks. Sealed: only this crate can make a [`Guard`].
///
/// Object-safe, so that an application chooses its backend at run time; what crosses the trait is a channel and not
/// a boxed future, so that this costs the hot path nothing.
pub trait Backend: fmt::Debug + Send + Sync + 'static {
    /// Which one this is.
    fn kind(&self) -> Kind;

    /// Begins an acquisition, in a task of its own. Dropping what this returns cancels it.
    #[doc(hidden)]
    fn begin(&self, request: Request) -> Acquiring;

    /// Refuses new acquisitions, ends the waiting ones, and waits for the tasks of those that are held.
    #[doc(hidden)]
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// One acquisition as the caller described it.
#[derive(Debug)]
pub struct Request {
    pub(crate) name: Name,
    pub(crate) wait: bool,
    pub(crate) deadline: Instant,
    pub(crate) max_hold: Duration,
    pub(crate) metrics: Arc<LockMetrics>,
}

/// The caller's end of an acquisition that is under way.
#[derive(Debug)]
pub struct Acquiring(pub(crate) oneshot::Receiver<Result<Guard, LockError>>);

impl Acquiring {
    pub(crate) fn refused(error: LockError) -> Self {
        let (answer, answered) = oneshot::channel();
        let _ = answer.send(Err(error));
        Self(answered)
    }
}
