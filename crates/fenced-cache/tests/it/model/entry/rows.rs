//! The protocol holds; each rule that is taken away is missed.

use super::super::check::{fails, holds};
use super::super::wrong::Wrong;
use super::{Act, EntryModel, JUDGED, Judged, LIST, ONE_LOAD, REPAIRED, STORED, Write};
use Act::{
    Abandon, Acquire, Apply, Begin, Commit, ConnectionDies, Crash, Decide, Delete, DeleteEarly, Fill, FloorVanishes,
    GiveUp, Load, Read, TimeOut,
};
use Judged::{Absent, Stale};

/// Every write but SOFTEN, which has no part in G1.
const VERSIONED: &[Write] = &[Write::Put, Write::Delete, Write::Remove, Write::Create];
const SOFT: &[Write] = &[Write::Soften, Write::Delete];
const MIXED: &[Write] = &[Write::Soften, Write::Put, Write::Delete];

fn entry(wrong: Wrong) -> EntryModel {
    EntryModel { wrong, attempts: [2, 2], writes: VERSIONED, doubt: false }
}

#[test]
fn the_protocol_holds() {
    holds(entry(Wrong::Nothing), 1_000_000);
}

#[test]
fn the_protocol_holds_for_soft_invalidation() {
    holds(EntryModel { writes: SOFT, attempts: [2, 1], ..entry(Wrong::Nothing) }, 150_000);
}

#[test]
fn the_protocol_holds_with_commits_in_doubt() {
    holds(EntryModel { doubt: true, attempts: [1, 1], ..entry(Wrong::Nothing) }, 40_000);
}

#[test]
#[ignore = "minutes without optimisation; what it adds to the others is their combination"]
fn the_protocol_holds_with_two_leases_each_and_commits_in_doubt() {
    holds(EntryModel { doubt: true, ..entry(Wrong::Nothing) }, 1_500_000);
}

#[test]
fn the_protocol_holds_for_a_list_with_commits_in_doubt() {
    holds(EntryModel { doubt: true, writes: LIST, ..entry(Wrong::Nothing) }, 150_000);
}

#[test]
fn puts_that_kill_soft_values_mix_with_soft_invalidation() {
    holds(EntryModel { writes: MIXED, attempts: [1, 1], ..entry(Wrong::PutKillsSoft) }, 20_000);
}

#[test]
fn drop_is_not_needed_for_safety() {
    holds(EntryModel { attempts: [1, 1], ..entry(Wrong::NothingDropped) }, 20_000);
}

/// R loads v1; W acknowledges v2; R's fill stores v1.
const LATE_FILL: [Act; 6] = [Read(0, Absent), Acquire(0, 0), Load(0), Commit(0, Write::Delete), Delete(0), Fill(0, 0)];
/// The reader stores what the database holds.
const FILLED: [Act; 4] = [Read(0, Absent), Acquire(0, 0), Load(0), Fill(0, 0)];

fn after_a_fill(rest: &[Act]) -> Vec<Act> {
    FILLED.iter().chain(rest).copied().collect()
}

#[test]
fn fill_without_token() {
    fails(entry(Wrong::FillWithoutToken), STORED, &LATE_FILL);
}

#[test]
fn lease_not_killed() {
    fails(entry(Wrong::LeaseNotKilled), STORED, &LATE_FILL);
}

#[test]
fn token_per_client() {
    let row = [
        Read(0, Absent),
        Acquire(0, 0),
        Load(0),
        GiveUp(0),
        Commit(0, Write::Delete),
        Delete(0),
        Read(0, Absent),
        Acquire(0, 1),
        Fill(0, 0),
    ];
    fails(entry(Wrong::TokenPerClient), STORED, &row);
}

#[test]
fn version_floor_instead_of_token_and_kill() {
    let [read, acquire, load, commit, delete, fill] = LATE_FILL;
    fails(entry(Wrong::VersionFloor), STORED, &[read, acquire, load, commit, delete, FloorVanishes, fill]);
}

#[test]
fn delete_only_before_commit() {
    let [read, acquire, load, fill] = FILLED;
    let row = [DeleteEarly(0), read, acquire, load, fill, Commit(0, Write::Delete)];
    fails(entry(Wrong::DeleteOnlyBeforeCommit), STORED, &row);
}

#[test]
fn snapshot_older_than_the_lease() {
    let row = [Read(0, Absent), Commit(0, Write::Delete), Delete(0), Acquire(0, 0), Load(0), Fill(0, 0)];
    fails(entry(Wrong::SnapshotBeforeLease), STORED, &row);
}

/// W1 commits v2 and is slow to put it; W2 acknowledges v3.
const SLOW_PUT: [Act; 3] = [Commit(0, Write::Put), Commit(1, Write::Delete), Delete(1)];

#[test]
fn put_uncompared() {
    let row = [&SLOW_PUT[..], &FILLED, &[Apply(0)]].concat();
    fails(entry(Wrong::PutUncompared), STORED, &row);
}

#[test]
fn put_onto_absent() {
    fails(entry(Wrong::PutOntoAbsent), STORED, &[&SLOW_PUT[..], &[Apply(0)]].concat());
}

#[test]
fn put_onto_a_lease() {
    let row = [&SLOW_PUT[..], &[Read(0, Absent), Acquire(0, 0), Apply(0)]].concat();
    fails(entry(Wrong::PutOntoLease), STORED, &row);
}

#[test]
fn put_keeps_a_refresh_lease() {
    let refresh = [Read(1, Stale), Acquire(1, 0), Load(1), Commit(0, Write::Put), Apply(0), Fill(1, 0)];
    fails(entry(Wrong::PutKeepsLease), STORED, &after_a_fill(&refresh));
}

#[test]
fn put_onto_a_negative_entry() {
    let removed = [Commit(0, Write::Put), Commit(1, Write::Remove), Delete(1)];
    let row = [&removed[..], &FILLED, &[Apply(0)]].concat();
    fails(entry(Wrong::PutOntoNegative), STORED, &row);
}

#[test]
fn version_drawn_at_begin() {
    let begun = [Begin(0), Begin(1), Commit(1, Write::Put)];
    let row = [&begun[..], &FILLED, &[Commit(0, Write::Put), Apply(0)]].concat();
    fails(entry(Wrong::VersionDrawnAtBegin), STORED, &row);
}

#[test]
fn version_restarts_at_re_creation() {
    let row = after_a_fill(&[Commit(0, Write::Remove), Commit(1, Write::Create), Apply(1)]);
    fails(entry(Wrong::VersionRestarts), STORED, &row);
}

#[test]
fn applied_when_journalled() {
    fails(entry(Wrong::AppliedWhenJournalled), STORED, &after_a_fill(&[Commit(0, Write::Delete)]));
}

#[test]
fn no_outbox() {
    fails(entry(Wrong::NoOutbox), REPAIRED, &after_a_fill(&[Commit(0, Write::Delete), Crash(0)]));
}

#[test]
fn invalidate_and_acknowledge_while_the_commit_is_in_doubt() {
    let dies = [ConnectionDies(0, Write::Delete), Delete(0)];
    let row = [&dies[..], &FILLED, &[Decide(0, true)]].concat();
    fails(EntryModel { doubt: true, ..entry(Wrong::AckInDoubt) }, STORED, &row);
}

// Rules of sections 2 to 4 that have no row of their own.

#[test]
fn acquire_repeated() {
    let [read, acquire, load, commit, delete, fill] = LATE_FILL;
    fails(entry(Wrong::AcquireRepeated), STORED, &[read, acquire, load, commit, delete, acquire, fill]);
}

#[test]
fn a_failed_put_acknowledged_without_delete() {
    let row = after_a_fill(&[Commit(0, Write::Put), TimeOut(0)]);
    fails(entry(Wrong::FailedPutAcked), STORED, &row);
}

#[test]
fn soften_keeps_the_lease() {
    let refresh = [Read(1, Stale), Acquire(1, 0), Load(1), Commit(0, Write::Soften), Apply(0), Fill(1, 0)];
    let model = EntryModel { writes: SOFT, ..entry(Wrong::SoftenKeepsLease) };
    fails(model, STORED, &after_a_fill(&refresh));
}

#[test]
fn puts_of_the_same_entries_as_soft_invalidation() {
    // SOFTEN acknowledges v3 and leaves v1, over which the slow PUT stores v2 as if it were the newest.
    let row = after_a_fill(&[Commit(0, Write::Put), Commit(1, Write::Soften), Apply(1), Apply(0)]);
    fails(EntryModel { writes: MIXED, ..entry(Wrong::SoftenedThenPut) }, STORED, &row);
}

#[test]
fn seen_ignored() {
    let [read, acquire, load, fill] = FILLED;
    fails(entry(Wrong::SeenIgnored), JUDGED, &[Read(1, Absent), read, acquire, load, fill, Acquire(1, 0)]);
}

#[test]
fn abandon_of_another_ones_lease() {
    let row =
        [Read(0, Absent), GiveUp(0), Read(1, Absent), Acquire(1, 0), Abandon(0, 0), Read(0, Absent), Acquire(0, 1)];
    fails(entry(Wrong::AbandonUnmatched), ONE_LOAD, &row);
}
