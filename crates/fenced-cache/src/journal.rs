//! What the cache asks of a transactional outbox, and what an outbox's relay asks of the cache.

use std::fmt;
use std::future::ready;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use thiserror::Error;

use crate::error::{BoxError, Unconfirmed};

/// The id of a row of the outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId(pub i64);

/// The database's own id of a transaction (PostgreSQL: `pg_current_xact_id()`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TransactionId(pub u64);

/// One committed change that Redis has to hear of: the full names of entries and of tag epochs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The row's id.
    pub id: RecordId,
    /// Names of entries.
    pub keys: Vec<Bytes>,
    /// Names of tag epochs.
    pub tags: Vec<Bytes>,
}

/// What became of a transaction whose COMMIT was not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Settled {
    /// It is committed, and visible to every snapshot from now on.
    Committed,
    /// It is rolled back.
    RolledBack,
    /// The database is still busy with it: ask again.
    InProgress,
}

/// Which Redis a connection reached: both change when a server restarts, the second alone in a failover.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// `run_id` of INFO.
    pub run_id: String,
    /// `master_replid` of INFO.
    pub replication_id: String,
}

/// The journal could not be reached, or answered with an error.
#[derive(Debug, Error)]
#[error("the journal failed")]
pub struct JournalError(#[source] pub BoxError);

/// The outbox as the cache sees it: the only journal there is, because one in the process would die with it.
pub trait Journal: fmt::Debug + Send + Sync + 'static {
    /// Every invalidation of this row has been confirmed. Must not block; may be lost (the relay then repeats
    /// the row, which is harmless).
    fn applied(&self, id: RecordId);

    /// Asks once what became of a transaction.
    fn settle(&self, transaction: TransactionId) -> BoxFuture<'_, Result<Settled, JournalError>>;

    /// Rows that nobody has marked as applied, with an id above `after`, ascending, at most `limit`.
    fn unapplied(&self, after: RecordId, limit: usize) -> BoxFuture<'_, Result<Vec<Record>, JournalError>>;

    /// All rows, applied or not, not older than `window`, with an id above `after`, ascending, at most `limit`.
    fn younger_than(
        &self,
        window: Duration,
        after: RecordId,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Record>, JournalError>>;

    /// The Redis that the last finished replay for `node` was sent to.
    fn identity(&self, node: &str) -> BoxFuture<'_, Result<Option<Identity>, JournalError>>;

    /// Records that a replay for `node` to this Redis has finished.
    fn remember(&self, node: &str, identity: &Identity) -> BoxFuture<'_, Result<(), JournalError>>;
}

/// For users without an outbox. Weaker: a write that ends as `Pending`, or whose process dies between COMMIT
/// and the invalidation, is repaired by nobody, and a failover may bring an old entry back; both then last
/// until the entry's hard expiry.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoJournal;

impl Journal for NoJournal {
    fn applied(&self, _: RecordId) {}

    fn settle(&self, _: TransactionId) -> BoxFuture<'_, Result<Settled, JournalError>> {
        Box::pin(ready(Err(JournalError("there is no journal to ask".into()))))
    }

    fn unapplied(&self, _: RecordId, _: usize) -> BoxFuture<'_, Result<Vec<Record>, JournalError>> {
        Box::pin(ready(Ok(Vec::new())))
    }

    fn younger_than(&self, _: Duration, _: RecordId, _: usize) -> BoxFuture<'_, Result<Vec<Record>, JournalError>> {
        Box::pin(ready(Ok(Vec::new())))
    }

    fn identity(&self, _: &str) -> BoxFuture<'_, Result<Option<Identity>, JournalError>> {
        Box::pin(ready(Ok(None)))
    }

    fn remember(&self, _: &str, _: &Identity) -> BoxFuture<'_, Result<(), JournalError>> {
        Box::pin(ready(Ok(())))
    }
}

/// What a relay needs of the cache: names of entries and tag epochs are alike to it, each is deleted.
pub trait Invalidate: Send + Sync + 'static {
    /// Deletes every name on the Redis primary; `Ok` once each deletion is confirmed.
    fn invalidate_names(&self, names: Vec<Bytes>) -> BoxFuture<'_, Result<(), Unconfirmed>>;
}
