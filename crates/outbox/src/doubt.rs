//! Transactions whose COMMIT was not answered, and how to recognise their rows.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use fenced_cache::{Settled, TransactionId};

use crate::outbox::Recorded;

/// Well over the time for which a writer asks (its `apply_deadline`, a second), well under that for which applied
/// rows are kept: within it, a row that is not there was never committed.
pub(crate) const MEMORY: Duration = Duration::from_secs(60);

/// More than can be in doubt in this time on any pool.
const MOST: usize = 4_096;

/// What this process remembers of its transactions in doubt.
///
/// A transaction's id alone is not enough to ask with. PostgreSQL does not flush its log when it hands out an id, so a
/// crash takes back the ids of transactions that were still open, and gives them to others after it: `committed`
/// may then be said of somebody else's transaction. The row that the transaction wrote is proof; its id could be
/// drawn twice for the same reason, so it counts together with its time of creation.
#[derive(Debug, Default)]
pub(crate) struct Doubts(Mutex<VecDeque<(Instant, Recorded)>>);

impl Doubts {
    pub(crate) fn add(&self, recorded: Recorded) {
        let mut doubts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while doubts.len() >= MOST || doubts.front().is_some_and(|(since, _)| since.elapsed() > MEMORY) {
            doubts.pop_front();
        }
        doubts.push_back((Instant::now(), recorded));
    }

    /// The rows of transactions with this id: none, one, or, after a crash, possibly several.
    pub(crate) fn of(&self, transaction: TransactionId) -> Vec<Recorded> {
        let doubts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = doubts.iter().filter(|(since, _)| since.elapsed() <= MEMORY).map(|(_, recorded)| *recorded);
        recent.filter(|recorded| recorded.transaction == transaction).collect()
    }
}

/// What one question to the database showed, all but `status` in one snapshot.
#[derive(Clone, Debug)]
pub(crate) struct Evidence {
    /// The transaction had ended before the snapshot was taken.
    pub(crate) ended: bool,
    /// The row is visible; `None` if it is not known which row to look for.
    pub(crate) recorded: Option<bool>,
    /// `pg_xact_status`: `None` when the id is so old that the server has forgotten what became of it.
    pub(crate) status: Option<String>,
}

impl Evidence {
    /// `None`: it can not be told any more.
    pub(crate) fn verdict(&self) -> Option<Settled> {
        match (self.recorded, self.status.as_deref()) {
            // Seen in one snapshot, so in every later one.
            (Some(true), _) => Some(Settled::Committed),
            (_, Some("aborted")) => Some(Settled::RolledBack),
            // Ended without its row: rolled back, whatever is said of the transaction that has its id now.
            (Some(false), _) if self.ended => Some(Settled::RolledBack),
            (Some(false), _) => Some(Settled::InProgress),
            // The server writes 'committed' down before others can see the rows: before a standby has confirmed it,
            // for one. An invalidation in that gap would come too early.
            (None, Some("committed")) if self.ended => Some(Settled::Committed),
            (None, Some(_)) => Some(Settled::InProgress),
            (None, None) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use fenced_cache::RecordId;
    use sqlx::types::time::OffsetDateTime;

    use super::*;

    #[test]
    fn verdicts() {
        use Settled::{Committed, InProgress, RolledBack};
        let verdict = |recorded, ended, status: Option<&str>| {
            Evidence { ended, recorded, status: status.map(Into::into) }.verdict()
        };
        for (recorded, ended, status, expected) in [
            (Some(true), true, Some("committed"), Some(Committed)),
            (Some(true), true, None, Some(Committed)),
            // Its id was given to another transaction after a crash.
            (Some(false), true, Some("committed"), Some(RolledBack)),
            (Some(false), false, Some("in progress"), Some(InProgress)),
            (Some(false), false, Some("committed"), Some(InProgress)),
            (Some(false), false, Some("aborted"), Some(RolledBack)),
            (None, true, Some("committed"), Some(Committed)),
            // Written down, and not visible yet.
            (None, false, Some("committed"), Some(InProgress)),
            (None, false, Some("in progress"), Some(InProgress)),
            (None, true, Some("aborted"), Some(RolledBack)),
            (None, true, None, None),
        ] {
            assert_eq!(verdict(recorded, ended, status), expected, "{recorded:?} {ended} {status:?}");
        }
    }

    #[test]
    fn doubts_are_found_by_transaction_and_bounded() {
        let recorded = |transaction, id| Recorded {
            id: RecordId(id),
            transaction: TransactionId(transaction),
            created_at: OffsetDateTime::UNIX_EPOCH,
        };
        let doubts = Doubts::default();
        doubts.add(recorded(7, 1));
        doubts.add(recorded(8, 2));
        doubts.add(recorded(7, 3));
        assert_eq!(doubts.of(TransactionId(8)), [recorded(8, 2)]);
        assert_eq!(doubts.of(TransactionId(7)), [recorded(7, 1), recorded(7, 3)]);
        assert_eq!(doubts.of(TransactionId(9)), []);
        for id in 0..5_000 {
            doubts.add(recorded(100, id));
        }
        assert_eq!(doubts.of(TransactionId(100)).len(), MOST);
        assert_eq!(doubts.of(TransactionId(8)), []);
    }
}
