//! The protocol holds; each rule that is taken away is missed.

use super::super::check::{fails, holds};
use super::super::wrong::Wrong;
use super::{Act, FailoverModel, NEW, SETTLED, TRUSTED};
use Act::{
    Commit, Connect, Delete, Disconnect, Fill, Load, OldGone, Promote, Read, ReplayDelete, ReplayRead, Replicate,
    Restart, Trust,
};

fn failover(wrong: Wrong) -> FailoverModel {
    FailoverModel { wrong, leases: 1, commits: 1, restarts: true }
}

#[test]
fn the_protocol_holds() {
    holds(FailoverModel { commits: 2, ..failover(Wrong::Nothing) }, 150_000);
}

#[test]
#[ignore = "a minute without optimisation; what it adds to the other one is more of the same"]
fn the_protocol_holds_with_two_leases_each() {
    holds(FailoverModel { leases: 2, commits: 2, ..failover(Wrong::Nothing) }, 500_000);
}

/// The replica has v1.
const REPLICATED: [Act; 4] = [Read(0), Load(0), Fill(0), Replicate];
/// The primary's last deletion, which was acknowledged, is lost.
const LOST: [Act; 3] = [Commit(0), Delete(0), Promote];
const RECONNECT: [Act; 2] = [Disconnect(1), Connect(1, NEW)];
const REPLAY: [Act; 3] = [ReplayRead(1), ReplayDelete(1), Trust(1)];

#[test]
fn no_replay() {
    fails(failover(Wrong::NoReplay), TRUSTED, &[&REPLICATED[..], &LOST, &RECONNECT].concat());
}

#[test]
fn a_new_process_trusts_at_once() {
    let fresh = [Restart(1), Connect(1, NEW)];
    fails(failover(Wrong::FreshTrusts), TRUSTED, &[&REPLICATED[..], &LOST, &fresh].concat());
}

// Rules of section 7 that have no row of their own.

#[test]
fn trust_outlives_the_connection() {
    fails(failover(Wrong::TrustOutlivesConnection), TRUSTED, &[&REPLICATED[..], &LOST, &RECONNECT].concat());
}

#[test]
fn only_unmarked_rows_replayed_to_another_server() {
    let row = [&REPLICATED[..], &LOST, &RECONNECT, &REPLAY].concat();
    fails(failover(Wrong::OnlyUnmarkedReplayed), TRUSTED, &row);
}

#[test]
fn pair_recorded_before_the_replay_is_finished() {
    let recorded = [Disconnect(0), Connect(0, NEW), ReplayRead(0)];
    let row = [&REPLICATED[..], &LOST, &recorded, &RECONNECT, &REPLAY].concat();
    fails(failover(Wrong::RecordedBeforeReplay), TRUSTED, &row);
}

/// The other process trusts the new primary; then a write is acknowledged on the deposed one, which dies.
const LIMIT_2: [Act; 9] =
    [Promote, Disconnect(1), Connect(1, NEW), ReplayRead(1), ReplayDelete(1), Trust(1), Commit(0), Delete(0), OldGone];

#[test]
fn no_second_replay() {
    fails(failover(Wrong::NoSecondReplay), SETTLED, &[&REPLICATED[..], &LIMIT_2].concat());
}

#[test]
fn second_replay_forgotten_by_a_process_that_dies() {
    let fresh = [Restart(1), Connect(1, NEW)];
    fails(failover(Wrong::SecondReplayForgotten), SETTLED, &[&REPLICATED[..], &LIMIT_2, &fresh, &REPLAY].concat());
}
