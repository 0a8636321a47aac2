//! The protocol holds; each rule that is taken away is missed.

use super::super::check::{fails, holds};
use super::super::wrong::Wrong;
use super::{Act, READ, TaggedModel, VALID};
use Act::{
    Acquire, Capture, CaptureForPut, Close, CommitRow, CommitTag, EpochVanishes, Invalidate, InvalidateTag, Join, Load,
    LoadLarge, Prove, Read, ReadEntry, Reread, Start, StatePut,
};

fn tagged(wrong: Wrong) -> TaggedModel {
    TaggedModel { wrong, readers: 2, tag: true, puts: false, large: false }
}

#[test]
fn the_protocol_holds_for_two_processes() {
    holds(TaggedModel { readers: 3, ..tagged(Wrong::Nothing) }, 400_000);
}

#[test]
fn the_protocol_holds_without_a_tag() {
    holds(TaggedModel { readers: 3, tag: false, puts: true, large: true, ..tagged(Wrong::Nothing) }, 40_000);
}

#[test]
fn the_protocol_holds_with_puts_and_values_too_large_to_store() {
    holds(TaggedModel { puts: true, large: true, ..tagged(Wrong::Nothing) }, 50_000);
}

#[test]
#[ignore = "minutes without optimisation; what it adds to the others is their combination"]
fn the_protocol_holds_with_all_of_this_at_once() {
    holds(TaggedModel { readers: 3, puts: true, large: true, ..tagged(Wrong::Nothing) }, 4_000_000);
}

/// Reader 0 starts a flight, which loads.
const LOADED: [Act; 5] = [Read(0), Start(0), Capture(0), Acquire(0), Load(0)];
const CHANGE_ROW: [Act; 2] = [CommitRow, Invalidate];
const CHANGE_TAG: [Act; 2] = [CommitTag, InvalidateTag];
/// Reader 1 begins, misses, and joins.
const FOLLOW: [Act; 2] = [ReadEntry(1), Join(1, 0)];

#[test]
fn join_after_fill_sent() {
    let row = [&LOADED[..], &[Close(0), Prove(0)], &CHANGE_ROW, &FOLLOW, &[Reread(0)]].concat();
    fails(tagged(Wrong::JoinAfterFill), READ, &row);
}

#[test]
fn share_a_refused_load() {
    let row = [&LOADED[..], &CHANGE_ROW, &FOLLOW, &[Close(0), Prove(0), Reread(0)]].concat();
    fails(tagged(Wrong::ShareRefused), READ, &row);
}

#[test]
fn tagged_flight_without_second_epoch_read() {
    let row = [&LOADED[..], &CHANGE_TAG, &FOLLOW, &[Close(0), Prove(0)]].concat();
    fails(tagged(Wrong::NoSecondEpochRead), READ, &row);
}

#[test]
fn tag_counter() {
    // Evicted, it restarts at the captured 1 when the next flight captures.
    let stored = [&LOADED[..], &[Close(0), Prove(0)]].concat();
    let restarts = [EpochVanishes, Act::ReadStale(1), Start(1), Capture(1)];
    let row = [&stored[..], &CHANGE_TAG, &[ReadEntry(1)], &restarts].concat();
    fails(tagged(Wrong::TagCounter), VALID, &row);
}

#[test]
fn missing_epoch_valid() {
    let row = [&LOADED[..], &[Close(0), Prove(0)], &CHANGE_TAG].concat();
    fails(tagged(Wrong::MissingEpochValid), VALID, &row);
}

#[test]
fn late_capture() {
    let loaded = [Read(0), Start(0), Acquire(0), Load(0)];
    let row = [&loaded[..], &CHANGE_TAG, &[Capture(0), Close(0), Prove(0)]].concat();
    fails(tagged(Wrong::LateCapture), VALID, &row);
}

// Rules that have no row of their own.

#[test]
fn put_captures_after_its_statement() {
    let stored = [&LOADED[..], &[Close(0), Prove(0), StatePut]].concat();
    let row = [&stored[..], &CHANGE_TAG, &[CaptureForPut, CommitRow, Invalidate]].concat();
    fails(TaggedModel { puts: true, ..tagged(Wrong::PutCapturesLate) }, VALID, &row);
}

#[test]
fn too_large_shared_though_abandon_did_not_match() {
    let loaded = [Read(0), Start(0), Capture(0), Acquire(0), LoadLarge(0)];
    let row = [&loaded[..], &CHANGE_ROW, &FOLLOW, &[Close(0), Prove(0), Reread(0)]].concat();
    fails(TaggedModel { large: true, ..tagged(Wrong::AbandonReplyIgnored) }, READ, &row);
}

#[test]
fn too_large_shared_without_second_epoch_read() {
    let loaded = [Read(0), Start(0), Capture(0), Acquire(0), LoadLarge(0)];
    let row = [&loaded[..], &CHANGE_TAG, &FOLLOW, &[Close(0), Prove(0)]].concat();
    fails(TaggedModel { large: true, ..tagged(Wrong::NoSecondEpochRead) }, READ, &row);
}

#[test]
fn too_large_joined_after_abandon_was_sent() {
    let loaded = [Read(0), Start(0), Capture(0), Acquire(0), LoadLarge(0)];
    let row = [&loaded[..], &[Close(0), Prove(0)], &CHANGE_ROW, &FOLLOW, &[Reread(0)]].concat();
    fails(TaggedModel { large: true, ..tagged(Wrong::JoinAfterFill) }, READ, &row);
}
