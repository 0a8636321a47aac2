//! One error type per call, one variant per decision that a caller takes.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

/// Any error of a loader.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// A setting or a combination of settings that the protocol does not allow.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{setting} = {value}: must be {allowed}")]
pub struct ConfigError {
    /// The setting's name.
    pub setting: String,
    /// What was given.
    pub value: String,
    /// What is allowed.
    pub allowed: String,
}

impl ConfigError {
    pub(crate) fn new(setting: impl Into<String>, value: impl Into<String>, allowed: impl Into<String>) -> Self {
        Self { setting: setting.into(), value: value.into(), allowed: allowed.into() }
    }
}

/// Why a read has no answer. Every variant leaves the cache as it was.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The loader failed, and nothing that the policy allows to be served was at hand.
    #[error("the load failed")]
    Load(#[source] Arc<dyn Error + Send + Sync>),
    /// The loader did not end within the policy's `load_deadline`.
    #[error("the load did not end within its deadline")]
    LoadTimeout,
    /// The loader panicked; the panic was caught and the lease given back.
    #[error("the load panicked")]
    LoadPanicked,
    /// Redis is away and the gate to the database is full: come back later.
    #[error("the gate to the database is full")]
    Overloaded {
        /// When it is worth asking again.
        retry_after: Duration,
    },
}

/// Why a write did not happen.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum WriteError<E> {
    /// The transaction failed; nothing was committed and nothing had to be invalidated.
    #[error("the transaction failed")]
    Failed(#[source] E),
    /// The connection died in COMMIT, and the database has since said that the transaction was rolled back.
    #[error("the transaction was rolled back")]
    RolledBack,
    /// The transaction's future panicked.
    #[error("the transaction panicked")]
    Panicked,
}

/// A Redis command did not end in a usable reply.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RedisError {
    /// There is no connection, the breaker is open, or the reply did not come: the command may have run or not.
    #[error("redis did not answer: {0}")]
    Unavailable(String),
    /// Redis answered, with an error (out of memory, no permission, ...): the command had no effect.
    #[error("redis refused: {0}")]
    Refused(String),
}

impl From<fred::error::Error> for RedisError {
    fn from(error: fred::error::Error) -> Self {
        // Every error that the server itself sent begins with an upper-case code (ERR, OOM, NOPERM, READONLY ...);
        // what fred makes itself has a kind of its own.
        use fred::error::ErrorKind;
        let answered = matches!(
            error.kind(),
            ErrorKind::Unknown | ErrorKind::InvalidCommand | ErrorKind::InvalidArgument | ErrorKind::Auth
        ) && error.details().split(' ').next().is_some_and(|code| {
            code.len() > 1 && code.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
        });
        if answered { Self::Refused(error.details().to_owned()) } else { Self::Unavailable(error.to_string()) }
    }
}

/// Some of the names could not be deleted on the primary, or it is not known that they were.
#[derive(Debug, Error)]
#[error("{0} invalidations are unconfirmed")]
pub struct Unconfirmed(pub usize);
