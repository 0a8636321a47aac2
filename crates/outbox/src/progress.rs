//! Which rows the relay takes next, after successes and failures.

use std::time::Duration;

use fenced_cache::RecordId;
use tokio::time::Instant;

const BACKOFF_FIRST: Duration = Duration::from_millis(100);
const BACKOFF_LAST: Duration = Duration::from_secs(1);
/// How long rows that failed alone are stepped over.
const SET_ASIDE: Duration = Duration::from_secs(5);

/// Rows are taken from the lowest id on. A batch that fails is tried again in an eighth of its size, down to one row,
/// and that one is then stepped over for a while: names on a node that is down must not hold up those on the others.
#[derive(Debug)]
pub(crate) struct Progress {
    pub(crate) after: RecordId,
    pub(crate) limit: usize,
    batch: usize,
    failures: u32,
    back_at: Option<Instant>,
}

impl Progress {
    pub(crate) fn new(batch: usize) -> Self {
        Self { after: RecordId(i64::MIN), limit: batch, batch, failures: 0, back_at: None }
    }

    /// To be called before each try.
    pub(crate) fn next(&mut self, now: Instant) {
        if self.back_at.is_some_and(|at| at <= now) {
            self.back_at = None;
            self.after = RecordId(i64::MIN);
        }
    }

    /// A batch was applied, or there was none.
    pub(crate) fn worked(&mut self) {
        self.failures = 0;
        self.limit = (self.limit * 2).min(self.batch);
    }

    /// A batch of `rows` rows that begins with `first` was not applied. Returns how long to wait.
    pub(crate) fn refused(&mut self, first: RecordId, rows: usize, now: Instant) -> Duration {
        if rows > 1 {
            self.limit = (rows / 8).max(1);
        } else {
            self.after = first;
            self.back_at.get_or_insert(now + SET_ASIDE);
        }
        self.failed()
    }

    /// The database failed. Returns how long to wait.
    pub(crate) fn failed(&mut self) -> Duration {
        let wait = backoff(self.failures);
        self.failures = self.failures.saturating_add(1);
        wait
    }
}

/// Between half and all of a time that doubles with each failure: many processes must not come back at once.
pub(crate) fn backoff(failures: u32) -> Duration {
    jittered(BACKOFF_FIRST.saturating_mul(1 << failures.min(10)).min(BACKOFF_LAST))
}

pub(crate) fn jittered(time: Duration) -> Duration {
    time.mul_f64(0.5 + fastrand::f64() / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: RecordId = RecordId(i64::MIN);

    #[test]
    fn a_failing_batch_shrinks_to_one_row_that_is_then_stepped_over_for_a_while() {
        let now = Instant::now();
        let mut progress = Progress::new(500);
        for (rows, limit) in [(500, 62), (62, 7), (7, 1)] {
            progress.refused(RecordId(10), rows, now);
            assert_eq!((progress.limit, progress.after), (limit, FIRST));
        }
        progress.refused(RecordId(10), 1, now);
        assert_eq!(progress.after, RecordId(10));
        progress.worked();
        progress.worked();
        assert_eq!(progress.limit, 4);
        progress.refused(RecordId(20), 1, now + Duration::from_secs(3));
        progress.next(now + Duration::from_secs(4));
        assert_eq!(progress.after, RecordId(20));
        // Counted from the first row that was set aside.
        progress.next(now + SET_ASIDE);
        assert_eq!(progress.after, FIRST);
        for _ in 0..20 {
            progress.worked();
        }
        assert_eq!(progress.limit, 500);
    }

    #[test]
    fn waits_grow_to_a_second_and_start_over() {
        let mut progress = Progress::new(500);
        let first = progress.failed();
        assert!(first >= BACKOFF_FIRST / 2 && first <= BACKOFF_FIRST, "{first:?}");
        let last = (0..100).map(|_| progress.failed()).last().unwrap();
        assert!(last >= BACKOFF_LAST / 2 && last <= BACKOFF_LAST, "{last:?}");
        progress.worked();
        assert!(progress.failed() <= BACKOFF_FIRST);
    }
}
