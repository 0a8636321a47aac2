//! What is broken under whom, and what must come of it.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::shop::strategy::{Promise, Strategy};

/// What is done to the system while products are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Fault {
    /// SIGKILL of the worker that leads, and writes before another one does
    WorkerKilled,
    /// An event's message on Pub/Sub is lost: the last one in one round, one in the middle in the next
    MessageLost,
    /// SIGKILL of the cache's Redis, which comes back empty
    RedisRestarted,
    /// PostgreSQL crashes and is started again
    DatabaseStopped,
    /// SIGSTOP of a replica, for longer than a lease
    ReplicaPaused,
}

/// Who has to get over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Subject {
    /// `event` with workers that do not repair gaps: the control.
    EventUnrepaired,
    #[serde(untagged)]
    Strategy(Strategy),
}

/// What a cell has to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expected {
    /// Every replica serves the newest version of everything within this time of the fault's end.
    Converges(Duration),
    /// The control: something is still stale after this time.
    StaysStale(Duration),
}

impl Fault {
    pub(crate) const ALL: [Self; 5] =
        [Self::WorkerKilled, Self::MessageLost, Self::RedisRestarted, Self::DatabaseStopped, Self::ReplicaPaused];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::WorkerKilled => "worker-killed",
            Self::MessageLost => "message-lost",
            Self::RedisRestarted => "redis-restarted",
            Self::DatabaseStopped => "database-stopped",
            Self::ReplicaPaused => "replica-paused",
        }
    }

    /// Whether it can touch the strategy at all: only one has events, a channel and a worker.
    fn touches(self, strategy: Strategy) -> bool {
        strategy == Strategy::Event || !matches!(self, Self::WorkerKilled | Self::MessageLost)
    }
}

impl Subject {
    /// In the order in which they are shown.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        Strategy::ALL.into_iter().map(Self::Strategy).chain([Self::EventUnrepaired])
    }

    pub(crate) fn strategy(self) -> Strategy {
        match self {
            Self::Strategy(strategy) => strategy,
            Self::EventUnrepaired => Strategy::Event,
        }
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Strategy(strategy) => strategy.as_str(),
            Self::EventUnrepaired => "event-unrepaired",
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The TTL of `ttl` in all cells, short so that a cell takes seconds.
pub(crate) const TTL: Duration = Duration::from_secs(3);

/// What a busy machine adds.
const BUSY: Duration = Duration::from_millis(1_000);

/// What is to be seen in a cell. Times count from the fault's end, or from the last write after it.
pub(crate) fn expected(fault: Fault, subject: Subject) -> Expected {
    let strategy = match subject {
        Subject::EventUnrepaired => return Expected::StaysStale(Duration::from_secs(5)),
        Subject::Strategy(strategy) => strategy,
    };
    Expected::Converges(match (strategy.promise(), fault) {
        // Entries of before the fault have lived for some of it.
        (Promise::Expiry, _) => TTL.mul_f64(1.1) + BUSY,
        // The figure to reach.
        (_, Fault::WorkerKilled | Fault::MessageLost) => Duration::from_millis(2_500),
        (_, Fault::RedisRestarted) if strategy == Strategy::Event => Duration::from_millis(2_500),
        // A write whose invalidation was not confirmed waits a second for the relay, whose own waits grow to seconds while
        // its store is away.
        _ => Duration::from_secs(5) + BUSY,
    })
}

/// The cells of a run, fault by fault. A lost message is never seen without the control.
pub(crate) fn cells(faults: &[Fault], strategies: &[Strategy]) -> Vec<(Fault, Subject)> {
    let chosen = |fault: &Fault| faults.is_empty() || faults.contains(fault);
    let mut cells = Vec::new();
    for fault in Fault::ALL.into_iter().filter(chosen) {
        let of: Vec<Strategy> =
            Strategy::chosen(strategies).into_iter().filter(|strategy| fault.touches(*strategy)).collect();
        if fault == Fault::MessageLost && !of.is_empty() {
            cells.push((fault, Subject::EventUnrepaired));
        }
        cells.extend(of.into_iter().map(|strategy| (fault, Subject::Strategy(strategy))));
    }
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_message_is_never_seen_without_its_control() {
        let all = cells(&[], &[]);
        assert_eq!(all.len(), 1 + 2 + 3 * 7);
        assert!(all.contains(&(Fault::MessageLost, Subject::EventUnrepaired)));
        let event = Subject::Strategy(Strategy::Event);
        assert_eq!(
            cells(&[Fault::MessageLost], &[Strategy::Event]),
            [(Fault::MessageLost, Subject::EventUnrepaired), (Fault::MessageLost, event)]
        );
        // Nothing that has no events can lose one.
        assert!(cells(&[Fault::MessageLost, Fault::WorkerKilled], &[Strategy::Tags]).is_empty());
    }

    #[test]
    fn the_control_must_stay_stale_for_longer_than_a_repair_may_take() {
        let event = Subject::Strategy(Strategy::Event);
        let Expected::Converges(repaired) = expected(Fault::MessageLost, event) else { panic!("event converges") };
        let Expected::StaysStale(stale) = expected(Fault::MessageLost, Subject::EventUnrepaired) else {
            panic!("the control does not")
        };
        assert!(stale >= repaired * 2);
    }

    #[test]
    fn names_are_the_same_in_files() {
        for subject in Subject::all() {
            let text = serde_json::to_value(subject).unwrap();
            assert_eq!(text, subject.as_str());
            assert_eq!(serde_json::from_value::<Subject>(text).unwrap(), subject);
        }
        for fault in Fault::ALL {
            assert_eq!(serde_json::to_value(fault).unwrap(), fault.as_str());
        }
    }
}
