//! Readers who share flights on one entry, with a tag or without: section 5, and section 3's rule of sharing.
//!
//! The entry shows one row and some data that a tag stands for (`group`). One writer changes the row, by PUT or by
//! DELETE, another one changes the group and deletes the tag's epoch. Two readers live in one process and may share
//! a flight, a third one lives elsewhere. Each reads once; flights go on without those who started them.
//!
//! Left out, as [`entry`](super::entry) has it: crashes, repeated commands, loads that fail. That a reader is told
//! HELD or CHANGED and then reads again is told as a reader that begins anew, which demands more of the protocol.

mod rows;
mod state;

use stateright::{Model, Property};

use self::state::{Flight, Flying, Reading, State, Writing};
use super::redis::Entry;
use super::wrong::Wrong;

/// G1 for what the next reader would get.
pub(super) const VALID: &str = "no valid entry is older than what was acknowledged";
/// G1 for what readers did get.
pub(super) const READ: &str = "no read returns what is older than its beginning";

/// Readers 0 and 1 live in one process, reader 2 in another one.
const READERS: usize = 3;
const PROCESS: [u8; READERS] = [0, 0, 1];
/// READ and the tag's GET are not one step: this reader gets the replies in either order. What a reader does
/// between them concerns nobody else, so one such reader is enough.
const SPLIT: usize = 1;

/// Who takes part, what may happen, and what is wrong.
#[derive(Clone, Copy, Debug)]
pub(super) struct TaggedModel {
    pub(super) wrong: Wrong,
    /// The readers that take part: the first so many.
    pub(super) readers: usize,
    /// Without, nobody changes the group, the epoch stays, and a flight does not read it again.
    pub(super) tag: bool,
    /// The row's writer sends PUT instead of DELETE.
    pub(super) puts: bool,
    /// What is loaded may be too large to store; then ABANDON takes the place of FILL, and "it matched" the place
    /// of STORED.
    pub(super) large: bool,
}

/// One step. The number is the reader's; a flight has the number of the reader who started it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// READ and the tag's GET, one right after the other; the reader answers if it can.
    Read(usize),
    /// The same in two steps.
    ReadEntry(usize),
    ReadEpoch(usize),
    /// The last of the replies, of which the reader makes that what is valid is to be refreshed.
    ReadStale(usize),
    Join(usize, usize),
    Start(usize),
    /// `SET .. NX GET` of the tag's epoch: before or after ACQUIRE, but before the load.
    Capture(usize),
    Acquire(usize),
    Load(usize),
    /// The same, and what is loaded is too large to store.
    LoadLarge(usize),
    /// No reader joins from here on; FILL or ABANDON is in flight.
    Close(usize),
    /// FILL or ABANDON runs.
    Prove(usize),
    /// The flight stops waiting for the proof.
    TimeOut(usize),
    /// The second reading of the epoch.
    Reread(usize),
    CaptureForPut,
    /// The statement of the put's transaction, whose `returning` is what will be put.
    StatePut,
    CommitRow,
    /// PUT or DELETE runs: applied.
    Invalidate,
    CommitTag,
    /// The epoch is deleted: applied.
    InvalidateTag,
    Lapse,
    /// The entry expires or is evicted.
    Vanish,
    EpochVanishes,
}

impl TaggedModel {
    fn valid(&self, captured: u8, current: u8) -> bool {
        captured == current && current != 0 || current == 0 && self.wrong == Wrong::MissingEpochValid
    }

    /// The rule of sharing.
    fn may_join(&self, flight: &Flight) -> bool {
        match flight.phase {
            Flying::Acquiring(..) | Flying::Granted | Flying::Loaded => true,
            Flying::Proving | Flying::Proved => self.wrong == Wrong::JoinAfterFill,
            Flying::Grounded | Flying::Late => false,
        }
    }

    fn reader_acts(&self, state: &State, r: usize, acts: &mut Vec<Act>) {
        match state.readers[r].phase {
            Reading::Idle if r == SPLIT => acts.extend([Act::ReadEntry(r), Act::ReadEpoch(r)]),
            Reading::Idle => acts.extend([Act::Read(r), Act::ReadStale(r)]),
            Reading::HasEntry(_) => acts.extend([Act::ReadEpoch(r), Act::ReadStale(r)]),
            Reading::HasEpoch(_) => acts.extend([Act::ReadEntry(r), Act::ReadStale(r)]),
            Reading::Missed(..) => {
                let mut here = (0..self.readers).filter(|&f| PROCESS[f] == PROCESS[r]);
                match here.find(|&f| self.may_join(&state.flights[f])) {
                    Some(f) => acts.push(Act::Join(r, f)),
                    None => acts.push(Act::Start(r)),
                }
            }
            Reading::Joined(_) | Reading::Done => {}
        }
    }

    fn flight_acts(&self, state: &State, f: usize, acts: &mut Vec<Act>) {
        let flight = &state.flights[f];
        let late = self.wrong == Wrong::LateCapture;
        let to_capture = match flight.phase {
            Flying::Acquiring(..) | Flying::Granted => !late,
            Flying::Loaded => late,
            _ => false,
        };
        let captured = flight.captured != 0;
        if to_capture && !captured {
            acts.push(Act::Capture(f));
        }
        match flight.phase {
            Flying::Acquiring(..) => acts.push(Act::Acquire(f)),
            Flying::Granted if captured || late => {
                acts.push(Act::Load(f));
                if self.large {
                    acts.push(Act::LoadLarge(f));
                }
            }
            Flying::Loaded if captured => acts.push(Act::Close(f)),
            Flying::Proving => acts.extend([Act::Prove(f), Act::TimeOut(f)]),
            Flying::Proved => acts.extend([Act::Reread(f), Act::TimeOut(f)]),
            Flying::Late => acts.push(Act::Prove(f)),
            Flying::Grounded | Flying::Granted | Flying::Loaded => {}
        }
    }

    fn writer_acts(&self, state: &State, acts: &mut Vec<Act>) {
        match state.row.phase {
            Writing::Idle if !self.puts => acts.push(Act::CommitRow),
            Writing::Idle if self.wrong == Wrong::PutCapturesLate => acts.push(Act::StatePut),
            Writing::Idle => acts.push(Act::CaptureForPut),
            Writing::Captured => acts.push(Act::StatePut),
            Writing::Stated if state.row.captured == 0 => acts.push(Act::CaptureForPut),
            Writing::Stated => acts.push(Act::CommitRow),
            Writing::Committed => acts.push(Act::Invalidate),
            Writing::Applied => {}
        }
        match state.tag {
            Writing::Idle if self.tag => acts.push(Act::CommitTag),
            Writing::Committed => acts.push(Act::InvalidateTag),
            _ => {}
        }
    }

    /// What the model must be able to reach, lest the rest prove nothing.
    fn reached(&self) -> Vec<Property<Self>> {
        let mut reached = vec![
            Property::<Self>::sometimes("a flight with a follower will be stored", |_, state| {
                let stored = |f: usize| state.flights[f].phase == Flying::Proving && state.holds_lease(f);
                (0..2).any(|f| stored(f) && state.members(f) == 2)
            }),
            Property::<Self>::sometimes("a flight with a follower will be refused", |_, state| {
                let refused = |f: usize| state.flights[f].phase == Flying::Proving && !state.holds_lease(f);
                (0..2).any(|f| refused(f) && state.members(f) == 2)
            }),
            Property::<Self>::sometimes(
                "a closed flight goes on beside an open one of the same process",
                |_, state| {
                    let phase = |f: usize| state.flights[f].phase;
                    phase(0) == Flying::Proving && phase(1) == Flying::Granted
                },
            ),
            Property::<Self>::sometimes("a valid entry shows all changes", |model, state| {
                let valid = state.entry.value.filter(|value| model.valid(value.epoch, state.epoch));
                valid.is_some_and(|value| value.content.row == 2 && (value.content.group == 2 || !model.tag))
            }),
        ];
        if self.tag {
            reached.extend([
                Property::<Self>::sometimes("two readers share what is proven", |_, state| {
                    let proved = |f: usize| state.flights[f].phase == Flying::Proved;
                    (0..2).any(|f| proved(f) && state.members(f) == 2)
                }),
                Property::<Self>::sometimes("a stored flight with a follower will find another epoch", |_, state| {
                    let changed = |f: usize| {
                        let flight = &state.flights[f];
                        flight.phase == Flying::Proved && flight.captured != state.epoch
                    };
                    (0..2).any(|f| changed(f) && state.members(f) == 2)
                }),
            ]);
        }
        if self.large {
            reached.push(Property::<Self>::sometimes("two readers will share what is too large", |_, state| {
                let matches = |f: usize| {
                    let flight = &state.flights[f];
                    flight.phase == Flying::Proving && flight.large && state.holds_lease(f)
                };
                (0..2).any(|f| matches(f) && state.members(f) == 2)
            }));
        }
        if self.puts {
            reached.push(Property::<Self>::sometimes("a put is stored with the current epoch", |_, state| {
                let value = state.entry.value.filter(|_| state.row.phase == Writing::Committed);
                value.is_some_and(|value| value.v == 1) && state.row.captured == state.epoch
            }));
        }
        reached
    }
}

impl Model for TaggedModel {
    type State = State;
    type Action = Act;

    fn init_states(&self) -> Vec<State> {
        vec![State::new()]
    }

    fn actions(&self, state: &State, acts: &mut Vec<Act>) {
        for r in 0..self.readers {
            self.reader_acts(state, r, acts);
            self.flight_acts(state, r, acts);
        }
        self.writer_acts(state, acts);
        if state.entry.lease.is_some_and(|lease| !lease.lapsed) && state.entry.value.is_some() {
            acts.push(Act::Lapse);
        }
        if state.entry != Entry::default() {
            acts.push(Act::Vanish);
        }
        if state.epoch != 0 && self.tag {
            acts.push(Act::EpochVanishes);
        }
    }

    fn next_state(&self, before: &State, act: Act) -> Option<State> {
        let mut state = *before;
        state.step(self, act);
        if self.wrong != Wrong::TagCounter {
            state.tidy(self);
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::<Self>::always(VALID, |model, state| {
                let valid = state.entry.value.filter(|value| model.valid(value.epoch, state.epoch));
                valid.is_none_or(|value| value.content.covers(state.floor))
            }),
            Property::<Self>::always(READ, |_, state| !state.stale_read),
        ];
        if self.wrong == Wrong::Nothing {
            properties.extend(self.reached());
        }
        properties
    }
}
