//! The protocol holds; each rule that is taken away is missed.

use super::super::check::{fails, holds};
use super::super::wrong::Wrong;
use super::{Act, NEAR, NearModel, Who};
use Act::{
    CanaryReply, CanaryRuns, CanarySend, Commit, Delete, Fill, FlushAll, Lag, Push, Read, ReadReply, ReadRuns,
    Reconnect,
};
use Who::{Elsewhere, Here};

#[test]
fn the_protocol_holds() {
    holds(NearModel { wrong: Wrong::Nothing }, 100_000);
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
    fails(NearModel { wrong: Wrong::NoMark }, NEAR, &row);
}

#[test]
fn shared_mark() {
    let row = [&ANSWERED[..], &WRITTEN, &[Push, Read(1), ReadReply(0)], &PROVED].concat();
    fails(NearModel { wrong: Wrong::SharedMark }, NEAR, &row);
}

#[test]
fn noloop() {
    // This process's write removes its near entry, then a READ brings it back before the DELETE.
    let row = [&[Fill(Elsewhere), Commit(Here), Read(0), ReadRuns(0), ReadReply(0), Delete][..], &PROVED].concat();
    fails(NearModel { wrong: Wrong::NoLoop }, NEAR, &row);
}

#[test]
fn no_flush_on_a_lost_connection() {
    let row = [&KEPT[..], &[Reconnect], &WRITTEN, &PROVED].concat();
    fails(NearModel { wrong: Wrong::NoFlushOnLoss }, NEAR, &row);
}

#[test]
fn no_flush_on_a_lagged_channel() {
    let row = [&KEPT[..], &WRITTEN, &[Lag, Push], &PROVED].concat();
    fails(NearModel { wrong: Wrong::LagIgnored }, NEAR, &row);
}

#[test]
fn no_flush_on_a_lost_canary() {
    let row = [&KEPT[..], &[FlushAll], &WRITTEN, &PROVED].concat();
    fails(NearModel { wrong: Wrong::NoCanary }, NEAR, &row);
}

#[test]
fn no_drain() {
    let row = [&KEPT[..], &WRITTEN, &PROVED].concat();
    fails(NearModel { wrong: Wrong::NoDrain }, NEAR, &row);
}

// Rules of section 6 that have no row of their own.

#[test]
fn proved_when_the_reply_came() {
    let row = [&KEPT[..], &[CanarySend, CanaryRuns], &WRITTEN, &[CanaryReply]].concat();
    fails(NearModel { wrong: Wrong::ProvedAtReply }, NEAR, &row);
}

#[test]
fn replies_of_scripts_kept() {
    let row = [&[Fill(Here)][..], &WRITTEN, &PROVED].concat();
    fails(NearModel { wrong: Wrong::ScriptReplyKept }, NEAR, &row);
}
