//! One variant per decision that a caller takes.

use std::error::Error;
use std::sync::Arc;

use thiserror::Error;

/// A setting, or a combination of settings, that the protocol does not allow.
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

/// Why a lock was not had, or is not had any more.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum LockError {
    /// Somebody else holds it, and the caller did not want to wait: try later or give up.
    #[error("somebody else holds the lock")]
    Contended,
    /// It could not be had within the caller's deadline; the place in the queue is given up.
    #[error("the lock was not had within the deadline")]
    Timeout,
    /// It was held and is not any more: whatever the section still wanted to do must not happen. Begin again with
    /// a new acquisition, and read again.
    #[error("the lock is lost")]
    Lost,
    /// The row that the lock is does not exist (`pg-row`).
    #[error("the row that is the lock does not exist")]
    Missing,
    /// The store behind the lock cannot be reached or refuses. Nobody gets in: a lock fails closed.
    #[error("the lock's store failed: {0}")]
    Backend(#[source] Arc<dyn Error + Send + Sync>),
}

impl LockError {
    pub(crate) fn backend(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Backend(Arc::from(error.into()))
    }

    pub(crate) fn closed() -> Self {
        Self::backend("the lock has been closed")
    }
}

/// A Redis command did not end in a usable reply.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum RedisError {
    /// There is no connection: the command was not sent.
    #[error("no connection to redis")]
    Away,
    /// The reply did not come: the command may have run, may run yet, or may never run.
    #[error("redis did not answer: {0}")]
    Unknown(String),
    /// Redis answered with an error (out of memory, no permission, ...).
    #[error("redis refused: {0}")]
    Refused(String),
}

impl From<fred::error::Error> for RedisError {
    fn from(error: fred::error::Error) -> Self {
        // What the server sent begins with a code in capitals (OOM, NOPERM, READONLY); fred's own words do not.
        let code = error.details().split(' ').next().unwrap_or_default();
        let answered = code.len() > 1 && code.bytes().all(|byte| byte.is_ascii_uppercase());
        let by_server = !matches!(
            error.kind(),
            fred::error::ErrorKind::IO | fred::error::ErrorKind::Timeout | fred::error::ErrorKind::Canceled
        );
        if answered && by_server { Self::Refused(error.details().to_owned()) } else { Self::Unknown(error.to_string()) }
    }
}

impl From<RedisError> for LockError {
    fn from(error: RedisError) -> Self {
        Self::backend(error)
    }
}
