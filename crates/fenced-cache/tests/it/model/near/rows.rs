//! The protocol holds; each rule that is taken away is missed.

use super::super::check::{fails, holds};
use super::super::wrong::Wrong;
use super::{Act, NEAR, NearModel, OWN, STRICT, Scope, Who};
use Act::{
    Acknowledge, CanaryReply, CanaryRuns, CanarySend, Commit, Deafen, Delete, Fill, FlushAll, Lag, Push, Read,
    ReadReply, ReadRuns, Reconnect,
};
use Who::{Elsewhere, Here};

#[test]
fn the_protocol_holds() {
    holds(NearModel { scope: Scope::Losses, wrong: Wrong::Nothing }, 100_000);
}

#[test]
fn the_protocol_holds_for_a_server_that_falls_silent() {
    holds(NearModel { scope: Scope::Silence, wrong: Wrong::Nothing }, 10_000);
}

#[test]
fn the_protocol_holds_for_writers() {
    holds(NearModel { scope: Scope::Writers, wrong: Wrong::Nothing }, 10_000);
}

/// v1 is stored, and read.
const ANSWERED: [Act; 3] = [Fill(Elsewhere), Read(0), ReadRuns(0)];
/// v1 is near.
const KEPT: [Act; 4] = [Fill(Elsewhere), Read(0), ReadRuns(0), ReadReply(0)];
/// v2 is applied.
const WRITTEN: [Act; 2] = [Commit(Elsewhere), Delete];
const PROVED: [Act; 3] = [CanarySend, CanaryRuns, CanaryReply];

#[test]
fn no_mark() {
    // The push overtakes the reply.
    let row = [&ANSWERED[..], &WRITTEN, &[Push, ReadReply(0)], &PROVED].concat();
    fails(NearModel { scope: Scope::Losses, wrong: Wrong::NoMark }, NEAR, &row);
}

#[test]
fn shared_mark() {
    let row = [&ANSWERED[..], &WRITTEN, &[Push, Read(1), ReadReply(0)], &PROVED].concat();
    fails(NearModel { scope: Scope::Losses, wrong: Wrong::SharedMark }, NEAR, &row);
}

#[test]
fn noloop() {
    // This process's write removes its near entry, then a READ brings it back before the DELETE.
    let row = [&[Fill(Elsewhere), Commit(Here), Read(0), ReadRuns(0), ReadReply(0), Delete][..], &PROVED].concat();
    fails(NearModel { scope: Scope::Losses, wrong: Wrong::NoLoop }, NEAR, &row);
}

#[test]
fn no_flush_on_a_lost_connection() {
    let row = [&KEPT[..], &[Reconnect], &WRITTEN, &PROVED].concat();
    fails(NearModel { scope: Scope::Losses, wrong: Wrong::NoFlushOnLoss }, NEAR, &row);
}

#[test]
fn no_flush_on_a_lagged_channel() {
    let row = [&KEPT[..], &WRITTEN, &[Lag, Push], &PROVED].concat();
    fails(NearModel { scope: Scope::Losses, wrong: Wrong::LagIgnored }, NEAR, &row);
}

#[test]
fn no_flush_on_a_lost_canary() {
    let row = [&KEPT[..], &[FlushAll], &WRITTEN, &PROVED].concat();
    fails(NearModel { scope: Scope::Losses, wrong: Wrong::NoCanary }, NEAR, &row);
}

#[test]
fn no_drain() {
    let row = [&KEPT[..], &WRITTEN, &PROVED].concat();
    fails(NearModel { scope: Scope::Losses, wrong: Wrong::NoDrain }, NEAR, &row);
}

// Rules of section 6 that have no row of their own, and what the library adds to it.

#[test]
fn proved_when_the_reply_came() {
    let row = [&KEPT[..], &[CanarySend, CanaryRuns], &WRITTEN, &[CanaryReply]].concat();
    fails(NearModel { scope: Scope::Losses, wrong: Wrong::ProvedAtReply }, NEAR, &row);
}

#[test]
fn replies_of_scripts_kept() {
    let row = [&[Fill(Here)][..], &WRITTEN, &PROVED].concat();
    fails(NearModel { scope: Scope::Losses, wrong: Wrong::ScriptReplyKept }, NEAR, &row);
}

#[test]
fn flushed_before_the_canary_is_set() {
    // The canary is found missing; until it is set again the server is emptied once more, and nothing tells of that.
    let row = [&[FlushAll][..], &PROVED, &KEPT, &[FlushAll, CanarySend, CanaryRuns, CanaryReply], &WRITTEN, &PROVED];
    fails(NearModel { scope: Scope::Losses, wrong: Wrong::FlushedBeforeCanaryIsSet }, NEAR, &row.concat());
}

#[test]
fn silence_believed() {
    let row = [&KEPT[..], &[Deafen], &WRITTEN, &PROVED].concat();
    fails(NearModel { scope: Scope::Silence, wrong: Wrong::SilenceBelieved }, NEAR, &row);
}

#[test]
fn own_write_forgotten_once() {
    // A READ between COMMIT and DELETE brings it back.
    let row =
        [&[Fill(Elsewhere), Commit(Here), Read(0), ReadRuns(0), ReadReply(0)][..], &[Delete, Acknowledge]].concat();
    fails(NearModel { scope: Scope::Writers, wrong: Wrong::OwnWriteForgottenOnce }, OWN, &row);
}

#[test]
fn own_write_leaves_marks() {
    let row = [&ANSWERED[..], &[Commit(Here), Delete, Acknowledge, ReadReply(0)]].concat();
    fails(NearModel { scope: Scope::Writers, wrong: Wrong::OwnWriteLeavesMarks }, OWN, &row);
}

#[test]
fn strict_writer_does_not_wait() {
    let row = [&KEPT[..], &PROVED, &WRITTEN, &[Acknowledge]].concat();
    fails(NearModel { scope: Scope::Writers, wrong: Wrong::StrictDoesNotWait }, STRICT, &row);
}
