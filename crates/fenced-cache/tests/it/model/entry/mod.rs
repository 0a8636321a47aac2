//! One key, two readers, two writers: sections 3 and 4 over section 2.
//!
//! A reader takes a lease up to two times; a writer writes once. A command is in flight from the step that sends it
//! and runs at any later step, or never (it was lost, or its process is gone). FILL, ABANDON, PUT and SOFTEN run
//! any number of times, also when nobody waits for them any more; ACQUIRE runs once, for section 3 forbids to
//! repeat it ([`Wrong::AcquireRepeated`] shows why). A DELETE that is repeated or late is [`Act::Vanish`].
//!
//! Left out, because no step could tell the difference: the delay of a reply (it delays the next command just as
//! well); a fresh hit (it returns what is stored, which [`STORED`] judges at every moment); the bypass and the
//! answer to the reader that loaded (what a query sees that began after the read began is not older); a Redis that
//! is full (a refused ACQUIRE is a lost one, a PUT that fails half way is a DELETE and a time-out).

mod rows;
mod state;
mod tidy;

use stateright::{Model, Property};

use self::state::{Reading, State, Writing};
use super::redis::{Entry, Token};
use super::wrong::Wrong;

/// G1, as long as a value does not say of itself that it is outdated (`s`).
pub(super) const STORED: &str = "no older version stays stored";
/// G4.
pub(super) const REPAIRED: &str = "when nothing is left to do, nothing older than the database is stored";
/// G2: of two loads at the same time one is owed to an expiry, an eviction or an invalidation.
pub(super) const ONE_LOAD: &str = "two loads at once have a cause";
/// G2: what `seen` is for.
pub(super) const JUDGED: &str = "no lease over a value that its reader has not judged";

/// Who takes part, which writes there are, and what is wrong.
#[derive(Clone, Copy, Debug)]
pub(super) struct EntryModel {
    pub(super) wrong: Wrong,
    /// How many times each reader may take a lease, at most 2.
    pub(super) attempts: [u8; 2],
    /// What a writer may choose from. [`LIST`] stands for rows of their own behind one key; all else is one row, whose
    /// lock is held until a transaction has ended.
    pub(super) writes: &'static [Write],
    /// Whether a writer's connection may die in COMMIT.
    pub(super) doubt: bool,
}

/// What one write does to the row, and how it invalidates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Write {
    /// The row changes; PUT of what `returning` gave.
    Put,
    /// The row changes; DELETE.
    Delete,
    /// The row changes; SOFTEN.
    Soften,
    /// The row is deleted; DELETE.
    Remove,
    /// There was no such row; DELETE.
    Create,
}

/// The writes behind an entry that shows many rows.
pub(super) const LIST: &[Write] = &[Write::Delete];

/// What a reader makes of READ's reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judged {
    Absent,
    /// Past `fresh_until`, softly invalidated, or early by XFetch: refresh it.
    Stale,
    /// Of an unknown format: `drop` it.
    Invalid,
}

/// One step. The number is the reader's or the writer's; a reader's second number is which of its leases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// READ runs; ACQUIRE is in flight from then on.
    Read(usize, Judged),
    Acquire(usize, u8),
    /// The load's snapshot is taken; FILL is in flight from then on.
    Load(usize),
    /// The load fails, or its process dies; ABANDON is in flight.
    LoadFails(usize),
    Fill(usize, u8),
    /// The reader stops waiting for ACQUIRE's or FILL's reply, and sends ABANDON.
    GiveUp(usize),
    Abandon(usize, u8),
    /// COMMIT becomes visible; the invalidation is in flight.
    Commit(usize, Write),
    /// PUT or SOFTEN runs, and its reply arrives: applied.
    Apply(usize),
    /// PUT or SOFTEN failed, as far as the writer knows; DELETE is in flight.
    TimeOut(usize),
    /// DELETE runs, and its reply arrives: applied.
    Delete(usize),
    /// PUT or SOFTEN runs late, or again.
    Repeat(usize),
    /// The writer dies or gives up: `Pending`.
    Crash(usize),
    /// The relay deletes, and marks the row.
    Relay(usize),
    /// The connection dies in COMMIT.
    ConnectionDies(usize, Write),
    /// The transaction in doubt becomes visible, or turns out to be rolled back, and `pg_xact_status` says so.
    Decide(usize, bool),
    /// `apply_deadline`: the write ends as `Unknown`.
    StopPolling(usize),
    /// The lease's end passes beside a value.
    Lapse,
    /// Expiry, eviction, FLUSHALL, an empty restart, a repeated DELETE.
    Vanish,
    /// Of wrong variants: the version is drawn before the row is locked.
    Begin(usize),
    /// Of wrong variants: DELETE before COMMIT.
    DeleteEarly(usize),
    /// Of wrong variants: the version floor is evicted.
    FloorVanishes,
}

impl EntryModel {
    fn token(&self, reader: usize, attempt: u8) -> Token {
        let attempt = if self.wrong == Wrong::TokenPerClient { 0 } else { attempt };
        if reader == 0 { 1 + attempt } else { 3 + attempt }
    }

    fn reader_acts(&self, state: &State, r: usize, acts: &mut Vec<Act>) {
        let reader = &state.readers[r];
        match reader.phase {
            Reading::Idle if state.entry.value.is_none() => acts.push(Act::Read(r, Judged::Absent)),
            Reading::Idle => acts.extend([Act::Read(r, Judged::Stale), Act::Read(r, Judged::Invalid)]),
            Reading::Acquiring => acts.extend([Act::Acquire(r, reader.at), Act::GiveUp(r)]),
            Reading::Loading => acts.extend([Act::Load(r), Act::LoadFails(r)]),
            Reading::Filling => acts.extend([Act::Fill(r, reader.at), Act::GiveUp(r)]),
            Reading::Done => {}
        }
        let repeats = self.wrong == Wrong::AcquireRepeated && reader.phase == Reading::Filling;
        for (a, attempt) in (0..).zip(&reader.attempts) {
            let over = a != reader.at;
            if attempt.acquire.is_some() && (over || repeats) {
                acts.push(Act::Acquire(r, a));
            }
            if attempt.fill != 0 && over {
                acts.push(Act::Fill(r, a));
            }
            if attempt.abandon {
                acts.push(Act::Abandon(r, a));
            }
        }
    }

    fn writer_acts(&self, state: &State, w: usize, acts: &mut Vec<Act>) {
        let writer = &state.writers[w];
        match writer.phase {
            Writing::Idle if self.wrong == Wrong::VersionDrawnAtBegin => acts.push(Act::Begin(w)),
            Writing::Idle if self.wrong == Wrong::DeleteOnlyBeforeCommit => acts.push(Act::DeleteEarly(w)),
            Writing::Idle | Writing::Begun => {
                for &write in self.writes {
                    if state.allows(write, self) {
                        acts.push(Act::Commit(w, write));
                        if self.doubt {
                            acts.push(Act::ConnectionDies(w, write));
                        }
                    }
                }
            }
            Writing::InDoubt => {
                acts.extend([Act::Decide(w, true), Act::Decide(w, false), Act::StopPolling(w)]);
                if self.wrong == Wrong::AckInDoubt {
                    acts.push(Act::Delete(w));
                }
            }
            Writing::Unknown | Writing::AckedInDoubt => acts.extend([Act::Decide(w, true), Act::Decide(w, false)]),
            Writing::Effect => acts.extend([Act::Apply(w), Act::TimeOut(w), Act::Crash(w)]),
            Writing::Deleting => acts.extend([Act::Delete(w), Act::Crash(w)]),
            Writing::Open if self.wrong != Wrong::NoOutbox => acts.push(Act::Relay(w)),
            Writing::Open | Writing::Applied | Writing::Relayed | Writing::RolledBack => {}
        }
        let sent = matches!(writer.phase, Writing::Deleting | Writing::Applied | Writing::Open | Writing::Relayed);
        if sent && matches!(writer.write, Some(Write::Put | Write::Soften)) {
            acts.push(Act::Repeat(w));
        }
    }

    /// What the model must be able to reach, lest the rest prove nothing.
    fn reached(&self) -> Vec<Property<Self>> {
        let mut reached = vec![
            Property::<Self>::sometimes("a FILL will be refused", |model, state| {
                state.fills(model).any(|token| !state.entry.holds_lease(token))
            }),
            Property::<Self>::sometimes("a FILL will be stored though its lease has lapsed", |model, state| {
                let lapsed = state.entry.lease.filter(|lease| lease.lapsed);
                state.fills(model).any(|token| lapsed.is_some_and(|lease| lease.t == token))
            }),
            Property::<Self>::sometimes("an ACQUIRE will be held off", |_, state| {
                let held = state.entry.lease.is_some_and(|lease| !lease.lapsed) && state.entry.value.is_none();
                held && state.readers.iter().any(|reader| reader.phase == Reading::Acquiring)
            }),
            Property::<Self>::sometimes("an ACQUIRE will find a change", |_, state| {
                let stored = state.entry.value.map(|value| value.n);
                stored.is_some() && state.seen().any(|seen| Some(seen) != stored)
            }),
            Property::<Self>::sometimes("two loads at once", |_, state| state.loading() == 2),
            Property::<Self>::sometimes("the relay has to repair both writes", |_, state| {
                state.writers.iter().all(|writer| writer.phase == Writing::Open)
            }),
        ];
        if self.writes.contains(&Write::Put) {
            reached.extend([
                Property::<Self>::sometimes("a PUT will find a newer version", |_, state| {
                    state.puts().any(|put| state.entry.value.is_some_and(|value| value.v > put))
                }),
                Property::<Self>::sometimes("a PUT will be stored", |_, state| {
                    state.puts().any(|put| state.entry.value.is_some_and(|value| value.v != 0 && value.v < put))
                }),
                Property::<Self>::sometimes("a PUT will kill a lease", |_, state| {
                    state.puts().next().is_some() && state.entry.value.is_none() && state.entry.lease.is_some()
                }),
            ]);
        }
        if self.writes.contains(&Write::Remove) {
            reached.push(Property::<Self>::sometimes("a negative entry is stored after a positive one", |_, state| {
                state.entry.value.is_some_and(|value| value.v == 0 && value.content.row == 3)
            }));
        }
        if self.writes.contains(&Write::Soften) {
            reached.push(Property::<Self>::sometimes("a soft value is refreshed", |_, state| {
                state.entry.value.is_some_and(|value| value.soft) && state.entry.lease.is_some()
            }));
        }
        if self.doubt {
            reached.push(Property::<Self>::sometimes(
                "an older value waits for the relay of an unknown write",
                |_, state| {
                    let doubt = |phase| state.writers.iter().any(|writer| writer.phase == phase);
                    doubt(Writing::Unknown)
                        && doubt(Writing::Open)
                        && state.entry.value.is_some_and(|value| value.content.row < state.last)
                },
            ));
        }
        reached
    }
}

impl Model for EntryModel {
    type State = State;
    type Action = Act;

    fn init_states(&self) -> Vec<State> {
        let row = State::new(1);
        if self.writes.contains(&Write::Create) { vec![row, State::new(0)] } else { vec![row] }
    }

    fn actions(&self, state: &State, acts: &mut Vec<Act>) {
        for r in 0..2 {
            self.reader_acts(state, r, acts);
        }
        for w in 0..2 {
            self.writer_acts(state, w, acts);
        }
        if state.entry.lease.is_some_and(|lease| !lease.lapsed) && state.entry.value.is_some() {
            acts.push(Act::Lapse);
        }
        if state.entry != Entry::default() {
            acts.push(Act::Vanish);
        }
        if state.floor_key != 0 {
            acts.push(Act::FloorVanishes);
        }
    }

    fn next_state(&self, before: &State, act: Act) -> Option<State> {
        let mut state = *before;
        state.step(self, act);
        // A variant is explored as it is: what cannot matter to the protocol may matter to it.
        if self.wrong.holds() {
            state.tidy(self);
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::<Self>::always(STORED, |_, state| {
                state.entry.value.is_none_or(|value| value.soft || value.content.row >= state.floor)
            }),
            Property::<Self>::always(REPAIRED, |model, state| {
                let stored = state.entry.value.filter(|value| !value.soft);
                !state.settled(model.wrong) || stored.is_none_or(|value| value.content.row >= state.last)
            }),
            Property::<Self>::always(ONE_LOAD, |_, state| state.loading() < 2 || state.excused),
            Property::<Self>::always(JUDGED, |_, state| !state.unjudged),
        ];
        if self.wrong.holds() {
            properties.extend(self.reached());
        }
        properties
    }
}
