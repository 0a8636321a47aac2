//! How documents are read and changes are written, with and without a cache. Handlers do not know which.

mod fenced;
mod naive;
mod off;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use fenced_cache::{Commit, CommitState, ReadError, WriteOutcome, Written};
use futures_util::future::BoxFuture;
use outbox::{Outbox, Transaction};
use service::postgres::is_cut;
use service_cache::Answer;
use sqlx::PgConnection;
use tokio::time::timeout;

pub use fenced::{Fenced, Tuning};
pub use naive::Naive;
pub use off::Off;

use crate::entry::{Entry, Names};
use crate::error::Error;
use crate::store::{Change, Document, LoadError, Store, Touched};

/// How documents are read.
#[derive(Clone, Debug)]
pub enum Reads {
    /// Through `fenced-cache`: no stale read after an acknowledged write.
    Fenced(Fenced),
    /// Through a cache-aside as it is usually written, which has stale reads: the lab's positive control.
    Naive(Naive),
    /// From the database, always.
    Off(Off),
}

/// A change of rows within the transaction that it is given.
pub trait Work<T>:
    for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<Change<T>, Error>> + Send + 'static
{
}

impl<T, F> Work<T> for F where
    F: for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<Change<T>, Error>> + Send + 'static
{
}

impl Reads {
    /// The document of this entry.
    ///
    /// # Errors
    /// When the database was needed and did not answer.
    pub async fn get(&self, entry: &Entry) -> Result<Answer, ReadError> {
        match self {
            Self::Fenced(fenced) => fenced.get(entry).await,
            Self::Naive(naive) => naive.get(entry).await,
            Self::Off(off) => off.get(entry).await,
        }
    }

    /// Changes rows, and does for the cache what that means. Runs to its end although the caller be dropped.
    ///
    /// # Errors
    /// When nothing was changed; [`Error::InDoubt`] when that is not known.
    pub async fn write<T: Send + 'static>(&self, work: impl Work<T>) -> Result<Written<T>, Error> {
        let written = match self {
            Self::Fenced(fenced) => fenced.write(work).await,
            Self::Naive(naive) => naive.write(work).await,
            Self::Off(off) => off.write(work).await,
        }?;
        if written.outcome == WriteOutcome::Unknown { Err(Error::InDoubt) } else { Ok(written) }
    }
}

/// What the three have in common: the rows, and transactions on them.
///
/// Each transaction records in the outbox what it changed, whatever its replica does about caching: beside a replica that reads
/// past the cache there may be others that read from it, and their relay repairs what this one does not invalidate.
#[derive(Clone, Debug)]
pub struct Database {
    store: Store,
    outbox: Outbox,
    names: Names,
}

/// The most that the statements of one change may take together; each has its own, shorter limit in PostgreSQL,
/// which a PostgreSQL that was stopped does not keep.
const CHANGE: Duration = Duration::from_secs(5);

/// The most that one load may take.
#[derive(Clone, Copy, Debug)]
pub struct LoadDeadlines {
    /// Of everything but the most popular posts; also PostgreSQL's `statement_timeout`.
    pub usual: Duration,
}

impl LoadDeadlines {
    /// The most popular posts are an aggregate over all rows.
    const POPULAR: Duration = Duration::from_secs(10);

    fn of(self, entry: &Entry) -> Duration {
        match entry {
            Entry::Popular => Self::POPULAR,
            _ => self.usual,
        }
    }
}

impl Database {
    /// The blog in this database.
    #[must_use]
    pub fn new(store: Store, outbox: Outbox, names: Names) -> Self {
        Self { store, outbox, names }
    }

    /// Runs the work and commits it with its row of the outbox.
    async fn transact<T>(&self, work: impl Work<T>) -> Result<(Commit<T>, Touched), Error> {
        let mut transaction = self.begin().await?;
        let change = timeout(CHANGE, work(transaction.connection())).await.unwrap_or_else(|_| {
            let text = format!("the change did not end within {CHANGE:?}");
            Err(sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, text)).into())
        });
        let Change { value, touched } = change?;
        let commit = transaction.commit(value, self.names.effects(&touched)).await?;
        Ok((commit, touched))
    }

    /// Nothing has happened before BEGIN is answered, so it may be tried again on another connection.
    async fn begin(&self) -> Result<Transaction, sqlx::Error> {
        let mut left = 3_u32;
        loop {
            match self.outbox.begin().await {
                Err(error) if left > 0 && is_cut(&error) => left -= 1,
                result => return result,
            }
        }
    }

    /// One load past any cache.
    async fn load(&self, entry: &Entry, deadlines: LoadDeadlines) -> Result<Option<Document>, ReadError> {
        match timeout(deadlines.of(entry), entry.load(&self.store)).await {
            Ok(loaded) => loaded.map_err(load_failed),
            Err(_) => Err(ReadError::LoadTimeout),
        }
    }
}

fn load_failed(error: LoadError) -> ReadError {
    ReadError::Load(Arc::new(error))
}

/// How a write ends that no library looked after.
async fn committed<T>(commit: Commit<T>, outcome: impl Future<Output = WriteOutcome>) -> Written<T> {
    let outcome = match commit.state {
        CommitState::Committed => outcome.await,
        CommitState::InDoubt(_) => WriteOutcome::Unknown,
    };
    Written { value: commit.value, outcome }
}
