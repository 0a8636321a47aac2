//! With one rule left out, something breaks: the shortest way to it.

use super::properties::{BOUND, ORDER, ORPHAN, OWNS, STUCK};
use super::{G, Granting, Rule};
use crate::model::fails;

#[test]
fn a_lease_counted_from_the_replys_arrival() {
    fails(|| Granting::new(Rule::LeaseFromReply, &[0, 1], 4), OWNS, 5);
}

#[test]
fn a_lease_counted_from_the_pushs_arrival() {
    fails(|| Granting::new(Rule::LeaseFromPush, &[0, 1], 4), OWNS, 11);
}

#[test]
fn grants_that_are_older_than_the_wait() {
    fails(|| Granting::new(Rule::NoSeen, &[0, 1], 4), OWNS, 18);
}

#[test]
fn a_cancellation_that_only_leaves_the_queue() {
    fails(|| Granting { cancels: 1, ..Granting::new(Rule::CancelOnlyLeavesQueue, &[0, 1], 2) }, ORPHAN, 5);
}

#[test]
fn a_release_that_overtakes_the_question() {
    fails(|| Granting { cancels: 1, ..Granting::new(Rule::ReleaseOvertakes, &[0, 1], 2) }, ORPHAN, 6);
}

#[test]
fn no_polls() {
    fails(|| Granting { lost_pushes: 1, ..Granting::new(Rule::NoPoll, &[0, 1], 2) }, STUCK, 11);
}

#[test]
fn a_release_that_frees_and_wakes() {
    fails(|| Granting::new(Rule::FreeAndWake, &[0, 1, 2], 1), ORDER, 9);
}

#[test]
fn no_ticket_on_return() {
    let model = || Granting::new(Rule::NoTicketOnReturn, &[0, 1, 2, 3], 0);
    fails(|| Granting { breaker: Some(1), queued: true, ..model() }, ORDER, 9);
}

#[test]
fn keys_whose_life_is_set_only_at_creation() {
    fails(|| Granting { keep: true, ..Granting::new(Rule::LifeOnlyAtCreation, &[0, 1, 2], 5) }, OWNS, 9);
}

#[test]
fn a_release_that_does_not_look() {
    fails(|| Granting::new(Rule::ReleaseUnchecked, &[0, 1], 4), OWNS, 10);
}

/// Only a failover gives the lock to somebody else before it has ended by the holder's own clock.
#[test]
fn a_renewal_that_does_not_look() {
    let model = || Granting::new(Rule::ExtendUnchecked, &[0, 1], 1);
    fails(|| Granting { extends: 1, failovers: 1, ..model() }, OWNS, 8);
}

#[test]
fn a_renewal_counted_from_the_replys_arrival() {
    fails(|| Granting { extends: 1, ..Granting::new(Rule::ExtendFromReply, &[0, 1], 5) }, OWNS, 9);
}

#[test]
fn a_caller_that_does_not_wait_and_passes_the_queue() {
    fails(|| Granting { impatient: Some(2), ..Granting::new(Rule::ImpatientFirst, &[0, 1, 2], 2) }, ORDER, 8);
}

#[test]
fn a_reply_that_names_the_next_owner_and_is_not_read() {
    let model = || Granting::new(Rule::ReplyUnread, &[0, 0], 4);
    fails(|| Granting { prompt: true, queued: true, bound: Some(0), ..model() }, BOUND, 4);
}

/// Then each waiter of a stopped process costs a first lease, and not all of them together.
#[test]
fn a_silence_that_is_not_death() {
    let model = || Granting::new(Rule::SilenceIsLife, &[0, 1, 1, 2], 3 * G);
    let stopped = || Granting { stopped: vec![0, 1], bound: Some(2 * G), ..model() };
    fails(|| Granting { prompt: true, queued: true, ..stopped() }, BOUND, 19);
}
