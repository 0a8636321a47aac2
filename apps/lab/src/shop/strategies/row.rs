//! What was found of one strategy, and what is wrong with it.

use serde::Serialize;

use super::StrategiesArgs;
use super::counters::Commands;
use crate::measure::latencies::Percentiles;
use crate::measure::statistics::{Spread, median, paired_ratio};
use crate::shop::reads::Counts;
use crate::shop::strategy::{Promise, Strategy};

/// The control has shown what it is for when a write was seen for so much of the TTL.
const NEAR_ITS_TTL: f64 = 0.6;
/// How far over the longest lifetime that was seen an entry may be: others live a little longer, and probes take time.
const OVER_ITS_TTL: f64 = 1.25;
const OVER_S: f64 = 2.0;
/// Fewer acknowledged writes prove nothing.
const FEWEST_WRITES: u64 = 10;

/// A strategy.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    pub(crate) strategy: Strategy,
    /// The longest lifetime that an entry of the control said it has.
    pub(crate) ttl_s: Option<f64>,
    pub(crate) hit_ratio: f64,
    /// Of the load's reads: those that showed an older version than was acknowledged before they began.
    pub(crate) stale_share: f64,
    pub(crate) counts: Counts,
    /// From when each read was due.
    pub(crate) read: Option<Percentiles>,
    /// How late the generator sent, 99th percentile: the error of the reads' times.
    pub(crate) own_delay_us: f64,
    pub(crate) loads_per_second: Option<f64>,
    /// Single writes under the load, from when each was due.
    pub(crate) single: Option<Percentiles>,
    pub(crate) bulk_under_load: Option<Percentiles>,
    pub(crate) quiet: Quiet,
    pub(crate) applied: u64,
    pub(crate) pending: u64,
    pub(crate) deferred: u64,
    pub(crate) writes_failed: u64,
    pub(crate) write_failure: Option<String>,
    /// Of each product written that was probed: from the acknowledgement to the last answer of any replica that was behind;
    /// zero if none was.
    pub(crate) staleness: Option<Percentiles>,
    pub(crate) stale_writes: u64,
    /// Products written that some replica had not got when it was given up.
    pub(crate) unconverged: u64,
    pub(crate) probes: u64,
    pub(crate) probes_behind: u64,
    pub(crate) probes_behind_near: u64,
    pub(crate) probes_failed: u64,
    /// The first reads of the load that were behind.
    pub(crate) sightings: Vec<String>,
}

/// What was measured without a load.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Quiet {
    pub(crate) commands: Option<Commands>,
    /// New prices for a category, by the service and by the same SQL alone, in turns.
    pub(crate) bulk_ms: Vec<f64>,
    pub(crate) sql_ms: Vec<f64>,
    /// Products of the category.
    pub(crate) products: u64,
}

impl Quiet {
    pub(crate) fn bulk(&self) -> Option<f64> {
        median(&self.bulk_ms)
    }

    /// The service's over the SQL's own.
    pub(crate) fn ratio(&self) -> Option<Spread> {
        paired_ratio(&self.bulk_ms, &self.sql_ms)
    }
}

impl Row {
    /// One line per promise that was broken, and for what was not proved.
    pub(crate) fn broken(&self, args: &StrategiesArgs) -> Vec<String> {
        let mut broken = Vec::new();
        let mut line = |what: String| broken.push(format!("{}: {what}", self.strategy));
        match self.strategy.promise() {
            Promise::Applied => self.applied_must_hold(args, &mut line),
            Promise::Expiry => self.control_must_be_seen(&mut line),
            Promise::Soon => {}
        }
        if self.unconverged > 0 {
            line(format!("{} products written never got to every replica", self.unconverged));
        }
        let acknowledged = self.applied + self.deferred;
        if acknowledged < FEWEST_WRITES {
            line(format!("nothing was proved by {acknowledged} acknowledged writes"));
        }
        if self.counts.reads == 0 {
            line("nothing was proved: no read was answered".to_owned());
        }
        let of = |failure: &Option<String>| failure.clone().unwrap_or_default();
        if self.counts.failed > 0 {
            line(format!("{} reads failed, the first with: {}", self.counts.failed, of(&self.counts.failure)));
        }
        if self.writes_failed > 0 {
            line(format!("{} writes failed, the first with: {}", self.writes_failed, of(&self.write_failure)));
        }
        if self.probes_failed > 0 {
            line(format!("{} probes failed", self.probes_failed));
        }
        broken
    }

    /// What an applied write promises. A near cache may be behind within its bound.
    fn applied_must_hold(&self, args: &StrategiesArgs, line: &mut impl FnMut(String)) {
        if self.counts.behind > 0 {
            let first = self.sightings.first().map(String::as_str).unwrap_or_default();
            line(format!("{} reads showed what was before an applied write; {first}", self.counts.behind));
        }
        if self.probes_behind > 0 {
            line(format!("{} probes showed what was before an applied write", self.probes_behind));
        }
        let longest = self.staleness.map_or(0.0, |times| times.max_us) / 1e3;
        if self.probes_behind_near > 0 && longest > f64::from(args.near_grace) {
            line(format!("its near cache was {longest:.0} ms behind, and may be {} ms", args.near_grace));
        }
        if self.deferred > 0 {
            line(format!("{} writes were deferred, and not applied", self.deferred));
        }
    }

    /// A measurement that cannot see the staleness of a TTL sees none.
    fn control_must_be_seen(&self, line: &mut impl FnMut(String)) {
        let longest = self.staleness.map_or(0.0, |times| times.max_us) / 1e6;
        let Some(ttl) = self.ttl_s else {
            return line("nothing was proved: its TTL is not known".to_owned());
        };
        if self.counts.behind == 0 || longest < ttl * NEAR_ITS_TTL {
            line(format!(
                "nothing was proved: the control was seen stale for {longest:.2} s at most, in {} reads, and not for most of \
                 its TTL of {ttl:.0} s",
                self.counts.behind
            ));
        }
        if longest > ttl * OVER_ITS_TTL + OVER_S {
            line(format!("stale for {longest:.2} s, and its entries live for {ttl:.0} s"));
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::measure::latencies::Latencies;
    use crate::shop::strategies::tests::args;
    use std::time::Duration;

    fn times(values: impl IntoIterator<Item = Duration>) -> Option<Percentiles> {
        let mut times = Latencies::default();
        values.into_iter().for_each(|time| times.record(time));
        times.percentiles()
    }

    /// A strategy as it should be.
    pub(crate) fn row(strategy: Strategy) -> Row {
        let (ttl, stale) = match strategy.promise() {
            Promise::Expiry => (Some(10.0), Duration::from_millis(9_400)),
            Promise::Soon => (None, Duration::from_millis(12)),
            Promise::Applied => (None, Duration::ZERO),
        };
        let applied = if stale.is_zero() || strategy == Strategy::Swr { 100 } else { 0 };
        let behind: u32 = if stale.is_zero() { 0 } else { 40 };
        Row {
            strategy,
            ttl_s: ttl,
            hit_ratio: 0.97,
            stale_share: f64::from(behind) / 10_000.0,
            counts: Counts { reads: 10_000, hits: 9_700, behind: behind.into(), ..Counts::default() },
            read: times((0..100).map(|n| Duration::from_micros(200 + 10 * n))),
            own_delay_us: 80.0,
            loads_per_second: Some(30.0),
            single: times((0..100).map(|n| Duration::from_micros(2_000 + n))),
            bulk_under_load: times([Duration::from_millis(700)]),
            quiet: Quiet {
                commands: Some(Commands { hit: 1.0, write: 5.0, bulk: 2.0 }),
                bulk_ms: vec![410.0, 420.0, 400.0],
                sql_ms: vec![400.0, 400.0, 400.0],
                products: 14_700,
            },
            applied,
            pending: 0,
            deferred: 100 - applied,
            writes_failed: 0,
            write_failure: None,
            staleness: times((0..100).map(|n| stale * n / 99)),
            stale_writes: if stale.is_zero() { 0 } else { 99 },
            unconverged: 0,
            probes: 400,
            probes_behind: if stale.is_zero() { 0 } else { 100 },
            probes_behind_near: 0,
            probes_failed: 0,
            sightings: Vec::new(),
        }
    }

    fn broken(strategy: Strategy, change: impl FnOnce(&mut Row)) -> Vec<String> {
        let mut row = row(strategy);
        change(&mut row);
        row.broken(&args(&[]).unwrap())
    }

    #[test]
    fn what_is_as_it_should_be_breaks_nothing() {
        for strategy in Strategy::ALL {
            assert_eq!(broken(strategy, |_| {}), [""; 0], "{strategy}");
        }
    }

    #[test]
    fn one_stale_read_breaks_what_an_applied_write_promises() {
        for strategy in Strategy::ALL {
            let lines = broken(strategy, |row| row.counts.behind += 1);
            assert_eq!(lines.len(), usize::from(strategy.promise() == Promise::Applied), "{strategy}: {lines:?}");
            let lines = broken(strategy, |row| row.probes_behind += 1);
            assert_eq!(lines.len(), usize::from(strategy.promise() == Promise::Applied), "{strategy}: {lines:?}");
        }
    }

    #[test]
    fn a_near_cache_may_be_behind_within_its_bound() {
        let near = |millis| {
            broken(Strategy::Combined, |row| {
                row.counts.behind_near = 7;
                row.probes_behind_near = 3;
                row.staleness = times([Duration::from_millis(millis)]);
            })
        };
        assert_eq!((near(3).len(), near(499).len(), near(502).len()), (0, 0, 1));
    }

    #[test]
    fn a_control_that_is_not_seen_stale_proves_nothing() {
        let fresh = broken(Strategy::Ttl, |row| {
            row.staleness = times([Duration::ZERO]);
            row.counts.behind = 0;
        });
        assert!(fresh.len() == 1 && fresh[0].contains("nothing was proved"), "{fresh:?}");
        let short = broken(Strategy::Ttl, |row| row.staleness = times([Duration::from_secs(5)]));
        assert!(short.len() == 1 && short[0].contains("5.00 s at most"), "{short:?}");
        let long = broken(Strategy::Ttl, |row| row.staleness = times([Duration::from_secs(16)]));
        assert!(long.len() == 1 && long[0].contains("live for 10 s"), "{long:?}");
        assert_eq!(broken(Strategy::Ttl, |row| row.ttl_s = None).len(), 1);
    }

    #[test]
    fn whatever_fails_is_told() {
        let one = |change: fn(&mut Row)| broken(Strategy::Event, change).len();
        assert_eq!(one(|row| row.unconverged = 1), 1);
        assert_eq!(one(|row| row.counts.failed = 1), 1);
        assert_eq!(one(|row| row.writes_failed = 1), 1);
        assert_eq!(one(|row| row.probes_failed = 1), 1);
        assert_eq!(one(|row| row.deferred = 9), 1);
        assert_eq!(one(|row| row.counts.reads = 0), 1);
        assert_eq!(broken(Strategy::Tags, |row| row.deferred = 1).len(), 1);
    }
}
