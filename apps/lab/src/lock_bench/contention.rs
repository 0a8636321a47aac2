//! What the times of many waiters say.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::measure::latencies::{Latencies, Percentiles, as_f64};
use crate::measure::statistics::jain;

/// One way to wait, under one load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Cell {
    pub(super) way: &'static str,
    pub(super) processes: usize,
    pub(super) waiters: usize,
    pub(super) inside_ms: u64,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { way, processes, waiters, inside_ms } = self;
        write!(f, "{way}, {waiters} waiters in {processes}, {inside_ms} ms inside")
    }
}

/// One acquisition, in nanoseconds of the machine's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Turn {
    pub(super) asked: u64,
    pub(super) had: u64,
    /// Just before it was given back.
    pub(super) gave: u64,
}

/// One round of a cell.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Round {
    pub(super) acquisitions: u64,
    pub(super) per_second: f64,
    pub(super) waits: Option<Percentiles>,
    /// Between waiters; 1 is as fair as can be.
    pub(super) jain: Option<f64>,
    /// Of the times that somebody else was waiting as the lock was given back: how often somebody else got it, in
    /// percent.
    pub(super) passed_on_percent: Option<f64>,
    /// Times that one had it before the one before had given it back.
    pub(super) overlaps: u64,
    /// Commands that clients sent, for each acquisition.
    pub(super) sent_per_acquisition: f64,
    /// Grants that Redis pushed, for each acquisition.
    pub(super) pushed_per_acquisition: f64,
}

/// What clients send to have it and to give it back. Scripts run commands, too, so each way has its own.
fn sent_by(way: &str) -> &'static [&'static str] {
    match way {
        "fenced" => &["evalsha", "eval"],
        "blpop" => &["blpop", "rpush"],
        _ => &["set", "evalsha"],
    }
}

impl Round {
    /// `time`: for how long each waiter went on. `sent`: how often Redis has run a command meanwhile.
    pub(super) fn judge(cell: &Cell, turns: &[Vec<Turn>], time: Duration, sent: impl Fn(&str) -> u64) -> Self {
        let all: u64 = turns.iter().map(|turns| turns.len() as u64).sum();
        let commands: u64 = sent_by(cell.way).iter().map(|name| sent(name)).sum();
        let each = |count: u64| if all > 0 { as_f64(count) / as_f64(all) } else { 0.0 };
        let (from, to) = window(turns, time);
        let within = |turn: &&Turn| (from..=to).contains(&turn.had);
        let mut waits = Latencies::default();
        for turn in turns.iter().flatten().filter(within) {
            waits.record(Duration::from_nanos(turn.had.saturating_sub(turn.asked)));
        }
        let shares: Vec<f64> = turns.iter().map(|turns| as_f64(turns.iter().filter(within).count() as u64)).collect();
        let seconds = Duration::from_nanos(to.saturating_sub(from)).as_secs_f64();
        let (passed_on_percent, overlaps) = handed_over(turns);
        Self {
            acquisitions: waits.count(),
            per_second: if seconds > 0.0 { as_f64(waits.count()) / seconds } else { 0.0 },
            waits: waits.percentiles(),
            jain: jain(&shares),
            passed_on_percent,
            overlaps,
            sent_per_acquisition: each(commands),
            pushed_per_acquisition: each(sent("spublish")),
        }
    }
}

/// While all went on: from when the last one began until the first one no longer asked.
fn window(turns: &[Vec<Turn>], time: Duration) -> (u64, u64) {
    let begun = || turns.iter().filter_map(|turns| turns.first()).map(|turn| turn.asked);
    let time = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    (begun().max().unwrap_or(0), begun().min().unwrap_or(0).saturating_add(time))
}

/// How often the lock was passed on where it could be, in percent, and how often two had it.
fn handed_over(turns: &[Vec<Turn>]) -> (Option<f64>, u64) {
    let mut order: Vec<(usize, Turn)> =
        turns.iter().enumerate().flat_map(|(waiter, turns)| turns.iter().map(move |turn| (waiter, *turn))).collect();
    order.sort_unstable_by_key(|(_, turn)| turn.had);
    // How many acquisitions each waiter has had so far.
    let mut had = vec![0; turns.len()];
    let (mut could, mut did, mut overlaps) = (0_u64, 0_u64, 0_u64);
    for pair in order.windows(2) {
        let ((holder, last), (next, turn)) = (pair[0], pair[1]);
        had[holder] += 1;
        overlaps += u64::from(turn.had < last.gave);
        let waits = |waiter: usize| turns[waiter].get(had[waiter]).is_some_and(|turn| turn.asked <= last.gave);
        if (0..turns.len()).any(|waiter| waiter != holder && waits(waiter)) {
            could += 1;
            did += u64::from(next != holder);
        }
    }
    ((could > 0).then(|| 100.0 * as_f64(did) / as_f64(could)), overlaps)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Cell, Round, Turn, handed_over};

    fn turn(asked: u64, had: u64, gave: u64) -> Turn {
        Turn { asked, had, gave }
    }

    #[test]
    fn a_lock_that_goes_round_is_passed_on_each_time() {
        let turns = [vec![turn(0, 1, 10), turn(11, 21, 30)], vec![turn(0, 11, 20), turn(21, 31, 40)]];
        assert_eq!(handed_over(&turns), (Some(100.0), 0));
    }

    #[test]
    fn a_holder_that_takes_it_again_past_a_waiter_has_not_passed_it_on() {
        let turns = [vec![turn(0, 1, 10), turn(11, 12, 20)], vec![turn(5, 21, 30)]];
        assert_eq!(handed_over(&turns), (Some(50.0), 0));
        // Nobody else waited.
        let turns = [vec![turn(0, 1, 10), turn(11, 12, 20)], vec![turn(15, 21, 30)]];
        assert_eq!(handed_over(&turns), (Some(100.0), 0));
        assert_eq!(handed_over(&[vec![turn(0, 1, 10), turn(11, 12, 20)]]), (None, 0));
    }

    #[test]
    fn two_that_have_it_at_once_are_seen() {
        assert_eq!(handed_over(&[vec![turn(0, 1, 10)], vec![turn(0, 9, 20)]]).1, 1);
    }

    #[test]
    fn a_round_counts_while_all_wait() {
        let second = 1_000_000_000;
        let turns = [
            vec![turn(0, 1, 2), turn(second, second + 1, second + 2), turn(second + 3, 3 * second, 3 * second)],
            vec![turn(second, 2 * second, 2 * second)],
        ];
        let cell = Cell { way: "fenced", processes: 1, waiters: 2, inside_ms: 0 };
        let calls = |name: &str| if matches!(name, "evalsha" | "rpush") { 8 } else { 0 };
        let round = Round::judge(&cell, &turns, 2 * Duration::from_secs(1), calls);
        // From 1 s to 2 s: one of each. What the script ran was not sent.
        assert_eq!((round.acquisitions, round.per_second, round.jain), (2, 2.0, Some(1.0)));
        assert_eq!((round.sent_per_acquisition, round.pushed_per_acquisition), (2.0, 0.0));
        let nothing = Round::judge(&cell, &[], Duration::from_secs(1), |_| 0);
        assert_eq!((nothing.acquisitions, nothing.waits, nothing.passed_on_percent), (0, None, None));
    }
}
