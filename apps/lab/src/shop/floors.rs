//! What has been acknowledged of each product, and what a read may therefore not show any more.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The floors of the products that an experiment reads and writes, in its own order of them.
#[derive(Debug)]
pub(crate) struct Floors {
    born: Instant,
    products: Vec<Floor>,
}

#[derive(Debug)]
struct Floor {
    /// The highest version that was acknowledged.
    version: AtomicU64,
    /// When, in microseconds since `born`.
    raised: AtomicU64,
}

/// What was acknowledged when a read began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Promised {
    pub(crate) version: u64,
    raised_us: u64,
}

/// A read that showed an older version than was acknowledged before it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Behind {
    pub(crate) seen: u64,
    pub(crate) acknowledged: u64,
    /// From the last acknowledgement before the read to the answer. Those before it are older.
    pub(crate) age: Duration,
}

impl Floors {
    /// Of products that have these versions now.
    pub(crate) fn new(versions: impl IntoIterator<Item = u64>) -> Self {
        let floor = |version| Floor { version: AtomicU64::new(version), raised: AtomicU64::new(0) };
        Self { born: Instant::now(), products: versions.into_iter().map(floor).collect() }
    }

    /// What is acknowledged now. To be called before a request is sent.
    pub(crate) fn promised(&self, at: usize) -> Promised {
        let floor = &self.products[at];
        Promised { version: floor.version.load(Ordering::SeqCst), raised_us: floor.raised.load(Ordering::SeqCst) }
    }

    /// A write was acknowledged. To be called after its answer has come.
    pub(crate) fn raise(&self, at: usize, version: u64) {
        let floor = &self.products[at];
        if floor.version.fetch_max(version, Ordering::SeqCst) < version {
            floor.raised.store(self.now_us(), Ordering::SeqCst);
        }
    }

    /// Judges an answer. To be called when it has come.
    pub(crate) fn behind(&self, promised: Promised, seen: u64) -> Option<Behind> {
        (seen < promised.version).then(|| Behind {
            seen,
            acknowledged: promised.version,
            age: Duration::from_micros(self.now_us().saturating_sub(promised.raised_us)),
        })
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::Floors;

    #[test]
    fn an_older_version_after_the_acknowledgement_is_behind() {
        let floors = Floors::new([4, 1]);
        floors.raise(0, 6);
        let promised = floors.promised(0);
        let behind = floors.behind(promised, 5).unwrap();
        assert_eq!((behind.seen, behind.acknowledged), (5, 6));
        assert_eq!(floors.behind(promised, 6), None);
        assert_eq!(floors.behind(promised, 7), None, "newer than acknowledged: its write is on its way");
        assert!(floors.behind(floors.promised(1), 0).is_some(), "older than what was there at the start");
        assert_eq!(floors.behind(floors.promised(1), 1), None, "the other product was not written");
    }

    #[test]
    fn a_read_that_began_before_the_acknowledgement_may_show_the_older_one() {
        let floors = Floors::new([1]);
        let promised = floors.promised(0);
        floors.raise(0, 2);
        assert_eq!(floors.behind(promised, 1), None);
        assert!(floors.behind(floors.promised(0), 1).is_some());
    }

    #[test]
    fn acknowledgements_that_arrive_in_another_order_lower_nothing() {
        let floors = Floors::new([1]);
        floors.raise(0, 5);
        floors.raise(0, 4);
        assert_eq!(floors.promised(0).version, 5);
    }
}
