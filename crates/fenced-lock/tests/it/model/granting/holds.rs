//! As specified, everything holds.

use super::{Granting, Rule};
use crate::model::holds;

fn specified(processes: &[usize], end: u8) -> Granting {
    Granting::new(Rule::AsSpecified, processes, end)
}

#[test]
fn two_processes() {
    holds(specified(&[0, 1], 3), 10_000);
}

#[test]
fn two_processes_that_cancel() {
    holds(Granting { cancels: 2, ..specified(&[0, 1], 3) }, 1_000);
}

#[test]
fn two_processes_that_lose_a_push() {
    holds(Granting { lost_pushes: 1, ..specified(&[0, 1], 3) }, 1_000);
}

#[test]
fn two_processes_of_which_one_loses_its_connection() {
    for breaker in 0..2 {
        holds(Granting { breaker: Some(breaker), cancels: 1, ..specified(&[0, 1], 2) }, 1_000);
    }
}

#[test]
fn two_processes_that_renew() {
    holds(Granting { extends: 2, ..specified(&[0, 1], 3) }, 1_000);
}

#[test]
fn two_processes_that_renew_while_one_loses_its_connection() {
    holds(Granting { extends: 1, breaker: Some(0), queued: true, ..specified(&[0, 1], 3) }, 1_000);
}

#[test]
fn two_processes_of_which_one_is_killed() {
    for killed in 0..2 {
        holds(Granting { extends: 1, killed: vec![killed], queued: true, ..specified(&[0, 1], 3) }, 1_000);
    }
}

#[test]
fn two_processes_and_a_failover() {
    holds(Granting { extends: 1, failovers: 1, queued: true, ..specified(&[0, 1], 4) }, 1_000);
}

/// Its fences begin again: a grant counts as an old one until a poll has asked.
#[test]
fn two_processes_and_a_failover_to_a_clock_that_lags() {
    holds(Granting { failovers: 1, lag: true, queued: true, ..specified(&[0, 1], 3) }, 1_000);
}

#[test]
fn three_processes_of_which_one_does_not_wait() {
    for impatient in 0..3 {
        holds(Granting { impatient: Some(impatient), ..specified(&[0, 1, 2], 1) }, 1_000);
    }
}

#[test]
fn two_processes_of_which_one_does_not_wait_and_cancels() {
    for impatient in 0..2 {
        holds(Granting { impatient: Some(impatient), cancels: 1, ..specified(&[0, 1], 3) }, 1_000);
    }
}

#[test]
fn two_waiters_in_one_process() {
    holds(Granting { cancels: 1, extends: 1, ..specified(&[0, 0], 3) }, 1_000);
}

#[test]
fn two_waiters_in_one_process_and_one_in_another() {
    holds(Granting { cancels: 1, queued: true, ..specified(&[0, 0, 1], 2) }, 1_000);
    holds(Granting { cancels: 1, queued: true, ..specified(&[0, 1, 0], 2) }, 1_000);
}

#[test]
fn two_waiters_in_one_process_that_loses_its_connection() {
    holds(Granting { breaker: Some(0), cancels: 1, ..specified(&[0, 0], 2) }, 1_000);
}

#[test]
fn keys_that_end_by_themselves() {
    holds(Granting { keep: true, ..specified(&[0, 1], 5) }, 1_000);
}

#[test]
fn three_processes() {
    holds(specified(&[0, 1, 2], 1), 1_000);
}

#[test]
fn four_processes_of_which_one_comes_back() {
    holds(Granting { breaker: Some(1), queued: true, ..specified(&[0, 1, 2, 3], 0) }, 1_000);
}
