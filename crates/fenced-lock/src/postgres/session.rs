//! The transaction that is a lock, shared between its section and its watchdog.

use std::sync::Arc;

use sqlx::{Postgres, Transaction};
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::error::LockError;

/// A handle of the transaction; see [`Held`] for what may be there.
#[derive(Clone, Debug)]
pub(crate) struct HeldSession {
    held: Arc<Mutex<Held>>,
    /// The transaction's id.
    pub(crate) transaction: Arc<str>,
}

#[derive(Debug)]
pub(crate) enum Held {
    /// Open: whoever has it, has the lock.
    Open(Transaction<'static, Postgres>),
    /// The section's write has taken it, and will end it.
    Taken,
    /// Its connection broke.
    Broken,
}

impl HeldSession {
    pub(crate) fn new(transaction: Transaction<'static, Postgres>, id: &str) -> Self {
        Self { held: Arc::new(Mutex::new(Held::Open(transaction))), transaction: id.into() }
    }

    pub(crate) async fn lock(&self) -> OwnedMutexGuard<Held> {
        Arc::clone(&self.held).lock_owned().await
    }

    /// `None` while a statement runs.
    pub(crate) fn try_lock(&self) -> Option<OwnedMutexGuard<Held>> {
        Arc::clone(&self.held).try_lock_owned().ok()
    }

    /// For the one write of the section.
    pub(crate) async fn take(&self) -> Result<Transaction<'static, Postgres>, LockError> {
        let mut held = self.lock().await;
        match std::mem::replace(&mut *held, Held::Taken) {
            Held::Open(transaction) => Ok(transaction),
            gone @ (Held::Taken | Held::Broken) => {
                *held = gone;
                Err(LockError::Lost)
            }
        }
    }
}

impl Held {
    pub(crate) fn open(&mut self) -> Option<&mut Transaction<'static, Postgres>> {
        match self {
            Self::Open(transaction) => Some(transaction),
            Self::Taken | Self::Broken => None,
        }
    }
}
