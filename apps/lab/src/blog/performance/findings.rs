//! What a staleness hunt found, and what follows from it.

use serde::Serialize;

use super::api::{Cached, Wrote};
use super::fault::Kill;
use crate::measure::figures::Figure;
use crate::measure::latencies::as_f64;
use crate::measure::table::{Group, count, replicas, time};

/// What a hunt found.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Hunt {
    pub(crate) replicas: usize,
    pub(crate) seconds: f64,
    pub(crate) reads: u64,
    pub(crate) writes: u64,
    pub(crate) reads_by_outcome: Vec<(Cached, u64)>,
    pub(crate) writes_by_outcome: Vec<(Wrote, u64)>,
    /// Answers 304.
    pub(crate) not_modified: u64,
    /// Answers 404, all of them to posts that are not yet or no longer there.
    pub(crate) not_found: u64,
    /// Answers 503.
    pub(crate) refused: u64,
    /// Requests without an answer.
    pub(crate) unanswered: u64,
    pub(crate) kills: Vec<Kill>,
    /// Reads of a post by its id that broke an acknowledged promise.
    pub(crate) violations: u64,
    /// Reads of a list that did.
    pub(crate) list_violations: u64,
    /// The first ones of posts.
    pub(crate) told: Vec<String>,
    /// The first ones of lists.
    pub(crate) told_of_lists: Vec<String>,
    /// Longest time between an acknowledgement and the beginning of a read that broke it, in milliseconds.
    pub(crate) stale_for_ms: f64,
    /// Until the first of them, in milliseconds.
    pub(crate) first_violation_ms: Option<f64>,
    /// What else was not as it must be.
    pub(crate) broken: Vec<String>,
}

impl Hunt {
    /// What did not hold for the replicas under test.
    pub(crate) fn judged(&self) -> Vec<String> {
        let mut broken = self.broken.clone();
        if self.stale() > 0 {
            let first = self.told.iter().chain(&self.told_of_lists).next().map_or("", String::as_str);
            broken.push(format!("{} stale reads after acknowledged writes, the first: {first}", self.stale()));
        }
        if self.applied() == 0 || self.reads == 0 {
            broken.push("nothing was proved: the hunt saw no read, or no write that was applied".to_owned());
        }
        broken
    }

    /// Of posts and of lists.
    pub(crate) fn stale(&self) -> u64 {
        self.violations + self.list_violations
    }

    fn applied(&self) -> u64 {
        self.writes_by_outcome.iter().find(|(wrote, _)| *wrote == Wrote::Applied).map_or(0, |(_, count)| *count)
    }

    fn row(&self, group: &mut Group, name: &str) {
        group.row([
            format!("{name}: {}, {:.1} s", replicas(self.replicas), self.seconds),
            count(self.writes),
            count(self.reads),
            count(self.violations),
            count(self.list_violations),
            if self.stale() == 0 { "-".to_owned() } else { time(self.stale_for_ms * 1e3) },
        ]);
    }

    pub(crate) fn table(&self, cache: &str, naive: Option<&Self>) -> Group {
        let mut group =
            Group::new("STALENESS HUNT", &["acknowledged writes", "reads", "stale posts", "stale lists", "for up to"]);
        self.row(&mut group, cache);
        if let Some(naive) = naive {
            naive.row(&mut group, "naive (control)");
        }
        let mut outcomes: Vec<String> = self
            .reads_by_outcome
            .iter()
            .map(|(cached, reads)| format!("{} {}", count(*reads), cached.as_str()))
            .collect();
        outcomes.push(format!("of all {} were 304 and {} 404", count(self.not_modified), count(self.not_found)));
        group.note(format!("reads: {}", outcomes.join(", ")));
        let outcomes: Vec<String> = self
            .writes_by_outcome
            .iter()
            .map(|(wrote, writes)| format!("{} {}", count(*writes), wrote.as_str()))
            .collect();
        group.note(format!("writes: {}", outcomes.join(", ")));
        if self.refused + self.unanswered > 0 {
            group.note(format!(
                "refused (503): {}, without an answer: {}",
                count(self.refused),
                count(self.unanswered)
            ));
        }
        for (number, kill) in self.kills.iter().enumerate() {
            group.note(format!(
                "kill {} of Redis: process {} died, another answered after {} with {} keys",
                number + 1,
                kill.pid,
                time(kill.away_ms * 1e3),
                kill.keys_after
            ));
        }
        if let Some(example) = naive.and_then(|naive| naive.told.first()) {
            group.note(format!("the control's first: {example}"));
        }
        group
    }

    pub(crate) fn figures(&self) -> Vec<Figure> {
        let killed = match self.kills.len() {
            0 => String::new(),
            kills => format!(", Redis killed {kills} times"),
        };
        let what = format!("stale reads after {} acknowledged writes{killed}", count(self.writes));
        vec![Figure::exactly(&what, Some(as_f64(self.stale())), 0.0, "")]
    }
}
