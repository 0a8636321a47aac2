//! One cell: a fault under a strategy, in several rounds, and what is to be said of it.

use serde::{Deserialize, Serialize};

use super::matrix::{Expected, Fault, Subject, expected};
use crate::measure::kept::{Done, Kept};
use crate::measure::statistics::median;
use crate::shop::strategy::Promise;

/// What was found in a cell.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Cell {
    pub(crate) fault: Fault,
    pub(crate) subject: Subject,
    /// Of which run it may be a part.
    pub(crate) settings: String,
    pub(crate) rounds: Vec<Round>,
    /// Why the cell proves nothing: a fault that was not seen to be there.
    pub(crate) failed: Vec<String>,
    pub(crate) seconds: f64,
}

/// What was found in a round.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Round {
    /// How the fault was seen.
    pub(crate) evidence: String,
    /// Products that were written, and replicas that were asked for them.
    pub(crate) products: u64,
    pub(crate) replicas: u64,
    /// Writes by what they were answered.
    pub(crate) applied: u64,
    pub(crate) pending: u64,
    pub(crate) deferred: u64,
    /// Without an acknowledgement: they may have been committed or not, as the database says afterwards.
    pub(crate) unacknowledged: u64,
    /// From the fault's end to the last answer of any replica that was not the newest version; zero if there was none. The time
    /// in which it was waited, where `unconverged` is not zero.
    pub(crate) converged_ms: f64,
    /// Products of which some replica did not come to serve the newest version.
    pub(crate) unconverged: u64,
    /// Of those, how the first one was behind.
    pub(crate) behind: Option<String>,
    /// Reads under the fault that showed an older version than was applied before they began, past near caches.
    pub(crate) stale_reads: u64,
    pub(crate) sighting: Option<String>,
    /// Reads and how many of them had no product for an answer.
    pub(crate) reads: u64,
    pub(crate) failed_reads: u64,
    /// Reads after it had converged that showed an older version again.
    pub(crate) relapses: u64,
}

impl Done for Cell {
    fn settings(&self) -> &str {
        &self.settings
    }
}

impl Kept<Cell> {
    pub(crate) fn has(&self, fault: Fault, subject: Subject) -> bool {
        self.cells.iter().any(|cell| (cell.fault, cell.subject) == (fault, subject))
    }
}

impl Cell {
    pub(crate) fn new(fault: Fault, subject: Subject, settings: &str) -> Self {
        let settings = settings.to_owned();
        Self { fault, subject, settings, rounds: Vec::new(), failed: Vec::new(), seconds: 0.0 }
    }

    /// The median of the rounds.
    pub(crate) fn converged_ms(&self) -> Option<f64> {
        median(&self.rounds.iter().map(|round| round.converged_ms).collect::<Vec<_>>())
    }

    /// The slowest of the rounds.
    pub(crate) fn slowest_ms(&self) -> f64 {
        self.rounds.iter().map(|round| round.converged_ms).fold(0.0, f64::max)
    }

    /// Whether it is a control that was not seen failing: its fault has proved nothing then.
    pub(crate) fn control_held(&self) -> Option<String> {
        let Expected::StaysStale(time) = expected(self.fault, self.subject) else { return None };
        let recovered = self.rounds.iter().filter(|round| round.unconverged == 0).count();
        (self.failed.is_empty() && recovered > 0).then(|| {
            format!(
                "it recovered in {recovered} rounds, and as the control it had to stay stale for {} s",
                time.as_secs()
            )
        })
    }

    /// What is wrong with what it found.
    pub(crate) fn broken(&self) -> Vec<String> {
        let mut broken = self.failed.clone();
        if self.rounds.is_empty() && broken.is_empty() {
            broken.push("no round was run".to_owned());
        }
        for (number, round) in self.rounds.iter().enumerate() {
            let mut line = |what: String| broken.push(format!("round {}: {what}", number + 1));
            if round.products == 0 || round.replicas == 0 {
                line("nothing was written, so nothing is proved".to_owned());
            }
            if round.stale_reads > 0 && self.subject.strategy().promise() == Promise::Applied {
                let first = round.sighting.as_deref().unwrap_or_default();
                line(format!("{} reads showed what was before an applied write; {first}", round.stale_reads));
            }
            let Expected::Converges(within) = expected(self.fault, self.subject) else { continue };
            if round.unconverged > 0 {
                let first = round.behind.as_deref().unwrap_or_default();
                line(format!("{} products did not get to every replica; {first}", round.unconverged));
            } else if round.converged_ms > within.as_secs_f64() * 1e3 {
                line(format!("converged after {:.0} ms, and had to within {}", round.converged_ms, within.as_millis()));
            }
            if round.relapses > 0 {
                line(format!("{} reads showed an older version again after it had converged", round.relapses));
            }
        }
        broken
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::shop::strategy::Strategy;

    /// A cell of two rounds, as it should be.
    pub(crate) fn cell(fault: Fault, subject: Subject) -> Cell {
        let stays = matches!(expected(fault, subject), Expected::StaysStale(_));
        let round = Round {
            evidence: "seen".to_owned(),
            products: 20,
            replicas: 3,
            applied: 30,
            pending: 4,
            converged_ms: if stays { 5_000.0 } else { 340.0 },
            unconverged: u64::from(stays),
            reads: 400,
            ..Round::default()
        };
        Cell { rounds: vec![round.clone(), round], seconds: 6.0, ..Cell::new(fault, subject, "test") }
    }

    fn broken(strategy: Strategy, change: impl FnOnce(&mut Cell)) -> Vec<String> {
        let mut cell = cell(Fault::RedisRestarted, Subject::Strategy(strategy));
        change(&mut cell);
        cell.broken()
    }

    #[test]
    fn each_invariant_is_looked_at() {
        let one = |change: fn(&mut Cell)| broken(Strategy::Tags, change).len();
        assert_eq!(one(|_| {}), 0);
        assert_eq!(one(|cell| cell.rounds[1].stale_reads = 1), 1);
        assert_eq!(one(|cell| cell.rounds[0].unconverged = 1), 1);
        assert_eq!(one(|cell| cell.rounds[0].converged_ms = 6_001.0), 1);
        assert_eq!(one(|cell| cell.rounds[0].relapses = 1), 1);
        assert_eq!(one(|cell| cell.rounds[0].products = 0), 1);
        assert_eq!(one(|cell| cell.failed.push("not verified".into())), 1);
        assert_eq!(one(|cell| cell.rounds.clear()), 1);
        // Who promises nothing may be stale for a while, and not for ever.
        assert_eq!(broken(Strategy::Ttl, |cell| cell.rounds[1].stale_reads = 1).len(), 0);
        assert_eq!(broken(Strategy::Event, |cell| cell.rounds[0].converged_ms = 2_501.0).len(), 1);
    }

    #[test]
    fn a_control_must_stay_stale() {
        let mut control = cell(Fault::MessageLost, Subject::EventUnrepaired);
        assert_eq!((control.broken(), control.control_held()), (vec![], None));
        control.rounds[1].unconverged = 0;
        assert!(control.control_held().is_some_and(|line| line.contains("1 rounds")));
        let event = cell(Fault::MessageLost, Subject::Strategy(Strategy::Event));
        assert_eq!(event.control_held(), None);
    }

    #[test]
    fn a_cell_comes_back_from_its_file() {
        let before = cell(Fault::ReplicaPaused, Subject::Strategy(Strategy::WriteThrough));
        let after: Cell = serde_json::from_str(&serde_json::to_string(&before).unwrap()).unwrap();
        assert_eq!((after.fault, after.subject, &after.rounds), (before.fault, before.subject, &before.rounds));
    }
}
