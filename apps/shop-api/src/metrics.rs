//! Every metric of this service's own: its name, labels, unit and meaning. The cache and the outbox add their own; those of reads
//! carry the strategy in the label `policy` (`tags-product`, `tags-page`, `tags-search`).

use fenced_cache::WriteOutcome;
use metrics::{Unit, counter, describe_counter};

use crate::strategies;

/// Writes that were committed, or may have been. Labels: `strategy`, `outcome` (`applied`, `pending`, `deferred`, `unknown`).
pub const WRITES: &str = "shop_writes_total";

/// Tells the recorder units and meanings, and makes the counters that should stay 0 visible as 0.
pub fn describe() {
    describe_counter!(WRITES, Unit::Count, "Writes by strategy, and how they stand with the cache");
    for strategy in strategies::ALL {
        for outcome in [WriteOutcome::Pending, WriteOutcome::Unknown] {
            counter!(WRITES, "strategy" => strategy, "outcome" => outcome.as_str()).increment(0);
        }
    }
}

/// Counts a write.
pub(crate) fn written(strategy: &'static str, outcome: WriteOutcome) {
    counter!(WRITES, "strategy" => strategy, "outcome" => outcome.as_str()).increment(1);
}
