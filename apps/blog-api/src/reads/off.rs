//! No cache: what the others are compared with, and what an operator falls back to.

use fenced_cache::{ReadError, WriteOutcome, Written};
use service::Tasks;
use service_cache::Answer;

use super::{Database, LoadDeadlines, Work, committed};
use crate::entry::Entry;
use crate::error::Error;

/// Reads from the database, always.
///
/// Its writes end as [`WriteOutcome::Deferred`]: its own reads show them at once, and replicas that have a cache learn
/// of them from the outbox.
#[derive(Clone, Debug)]
pub struct Off {
    database: Database,
    deadlines: LoadDeadlines,
    tasks: Tasks,
}

impl Off {
    /// Reads from this database.
    #[must_use]
    pub fn new(database: Database, deadlines: LoadDeadlines, tasks: Tasks) -> Self {
        Self { database, deadlines, tasks }
    }

    pub(super) async fn get(&self, entry: &Entry) -> Result<Answer, ReadError> {
        let document = self.database.load(entry, self.deadlines).await?;
        Ok(Answer::bypassed(document))
    }

    pub(super) async fn write<T: Send + 'static>(&self, work: impl Work<T>) -> Result<Written<T>, Error> {
        let database = self.database.clone();
        let task = async move {
            let (commit, _) = database.transact(work).await?;
            Ok(committed(commit, std::future::ready(WriteOutcome::Deferred)).await)
        };
        self.tasks.detached(task).await
    }
}
