//! L1 to L3: how long somebody waits while nobody who runs has the lock.
//!
//! On a network and with processes that are prompt: time passes only when nothing is on its way and nothing is due. A
//! round trip is then no time at all, and what is left is what the specification counts: polls and leases. Each bound
//! is also reached.

use super::{G, Granting, P, Rule, T};
use crate::model::holds;

fn prompt(processes: &[usize], end: u8, bound: u8) -> Granting {
    let specified = Granting::new(Rule::AsSpecified, processes, end);
    Granting { prompt: true, bound: Some(bound), ..specified }
}

#[test]
fn without_a_fault_nobody_waits_for_a_lock_that_nobody_has() {
    holds(Granting { extends: 1, cancels: 1, ..prompt(&[0, 1, 1], 2, 0) }, 1_000);
}

/// L1
#[test]
fn a_lost_push_costs_a_poll() {
    holds(Granting { lost_pushes: 1, ..prompt(&[0, 1, 2], 3, P) }, 1_000);
}

/// L2: before a renewal its first lease, after it the whole one.
#[test]
fn a_killed_holder_costs_its_lease() {
    holds(Granting { killed: vec![0], ..prompt(&[0, 1, 2], 3, G) }, 1_000);
    holds(Granting { killed: vec![0], extends: 1, ..prompt(&[0, 1], 5, T) }, 1_000);
}

/// L2: the waiters of a killed process cost nothing beside it, unless one has just asked and Redis reads that after its
/// end: a first lease, like any other question that nobody hears the answer to.
#[test]
fn a_killed_waiter_costs_nothing_but_what_it_had_just_asked() {
    let waiters = |bound| Granting { extends: 1, queued: true, killed: vec![0, 1], ..prompt(&[0, 1, 1, 2], 6, bound) };
    holds(Granting { read_after_death: false, ..waiters(T) }, 1_000);
    holds(waiters(T + G), 1_000);
}

/// L2
#[test]
fn a_stopped_holder_costs_its_lease_and_stopped_waiters_one_first_lease() {
    let stopped = vec![0, 1];
    holds(Granting { stopped, extends: 1, queued: true, ..prompt(&[0, 1, 1, 2], T + G + 1, T + G) }, 1_000);
}

/// L2, with a lost push on top, before a renewal. The specification allows a poll more; but who knows when the lease ends asks then, and
/// needs no push.
#[test]
fn everything_together_costs_no_more() {
    let stopped = vec![0, 1];
    let lost = Granting { lost_pushes: 1, queued: true, ..prompt(&[0, 1, 2, 3], G + G + 1, G + G) };
    holds(Granting { stopped, ..lost }, 1_000);
}

/// L3: whoever cancels is gone at once, from the queue and as the owner; a connection that breaks with the question
/// unread costs a first lease.
#[test]
fn a_cancelled_question_on_a_broken_connection_costs_a_first_lease() {
    holds(Granting { cancels: 1, breaker: Some(0), ..prompt(&[0, 1], 5, G) }, 1_000);
}
