//! Near entries with tags: one process, one entry under one tag, both read and tracked by name.
//!
//! What is asked: whether it is enough to keep the tag's epoch like an entry of its own, and to answer the entry while the
//! epoch that it captured is the one that is near. The canary, lost connections and flushed servers are the business
//! of the model beside this; so here the canary only proves.

use stateright::{Model, Property};

use super::super::check::{fails, holds};
use super::super::wrong::Wrong;
use Act::{
    CanaryReply, CanaryRuns, CanarySend, Capture, Commit, Delete, Push, Read, ReadEntryRuns, ReadReply, ReadSibling,
    ReadTagRuns, Store, Vanish,
};

/// G6.
const NEAR: &str = "no near hit is older than what was applied when the canary's GET was sent";

const WRITES: u8 = 2;
const PUSHES: usize = 3;

#[derive(Clone, Copy, Debug)]
struct TagsModel {
    wrong: Wrong,
}

/// A value: the commit that it shows, and the epoch that its load had captured.
type Entry = (u8, u8);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
struct State {
    /// PostgreSQL's newest commit, and the newest whose tag has been deleted.
    committed: u8,
    applied: u8,
    /// Redis: the entry, the epoch (a new one is a number that is found nowhere), who is tracked.
    entry: Option<Entry>,
    epoch: Option<u8>,
    entry_tracked: bool,
    tag_tracked: bool,
    /// A load somewhere, which has captured the epoch.
    load: Option<Entry>,
    /// The process.
    near: Option<Entry>,
    near_epoch: Option<u8>,
    proved: u8,
    read: Request,
    pushes: [Option<Name>; PUSHES],
    canary: Option<Canary>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Name {
    Entry,
    Tag,
}

/// READ: two commands in a row, whose replies are taken together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
struct Request {
    phase: u8,
    entry: Option<Entry>,
    epoch: Option<u8>,
    entry_mark: bool,
    tag_mark: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Canary {
    floor: u8,
    /// Once it has run: the pushes received before its reply and not taken yet.
    before: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    /// Somebody's load: the epoch is captured, or made, and then the row is read.
    Capture,
    /// Its FILL is stored.
    Store,
    Commit,
    /// The tag is deleted: applied.
    Delete,
    /// This process reads; marks for both names are set.
    Read,
    ReadEntryRuns,
    ReadTagRuns,
    ReadReply,
    /// READ of another entry under the tag, from its mark to its reply; what is kept of it here is the epoch.
    ReadSibling,
    Push,
    CanarySend,
    CanaryRuns,
    CanaryReply,
    /// The name expires, or is evicted.
    Vanish(Name),
}

impl State {
    fn waiting(&self) -> usize {
        self.pushes.iter().flatten().count()
    }

    /// The name changes, and Redis pushes once to who has read it.
    fn change(&mut self, name: Name) {
        let tracked = match name {
            Name::Entry => &mut self.entry_tracked,
            Name::Tag => &mut self.tag_tracked,
        };
        if std::mem::take(tracked) {
            let end = self.waiting();
            self.pushes[end] = Some(name);
        }
    }

    fn take_push(&mut self) {
        match self.pushes[0] {
            Some(Name::Entry) => (self.near, self.read.entry_mark) = (None, false),
            Some(Name::Tag) => (self.near_epoch, self.read.tag_mark) = (None, false),
            None => {}
        }
        self.pushes.rotate_left(1);
        self.pushes[PUSHES - 1] = None;
        if let Some(Canary { before: Some(before), .. }) = &mut self.canary {
            *before = before.saturating_sub(1);
        }
    }

    fn reply(&mut self, wrong: Wrong) {
        let Request { entry, epoch, entry_mark, tag_mark, .. } = std::mem::take(&mut self.read);
        let (Some((value, captured)), Some(epoch)) = (entry, epoch) else { return };
        if captured != epoch && wrong != Wrong::NearTagUnchecked {
            return;
        }
        if tag_mark || wrong == Wrong::NearTagUnmarked {
            self.near_epoch = Some(epoch);
        }
        if entry_mark {
            self.near = Some((value, captured));
        }
    }

    fn new_epoch(&self) -> u8 {
        let captured = [self.entry, self.load, self.near, self.read.entry].map(|entry| entry.map(|(_, epoch)| epoch));
        let current = [self.epoch, self.near_epoch, self.read.epoch];
        (1..).find(|new| captured.iter().chain(&current).all(|known| *known != Some(*new))).expect("there are many")
    }

    /// Makes one state of those that only a wrong variant tells apart: a value whose epoch is nowhere current, and will not
    /// come back, will never be hit.
    fn tidy(&mut self) {
        let dead = |captured: u8, alive: &[Option<u8>]| !alive.contains(&Some(captured));
        let (now, near, read) = (self.epoch, self.near_epoch, self.read.epoch);
        for entry in [&mut self.entry, &mut self.load].into_iter().flatten().filter(|entry| dead(entry.1, &[now])) {
            *entry = (0, 0);
        }
        self.near = self.near.filter(|entry| !dead(entry.1, &[now, near, read]));
        self.read.entry = self.read.entry.filter(|entry| !dead(entry.1, &[now, read]));
        if !self.read.entry_mark && !self.read.tag_mark {
            (self.read.entry, self.read.epoch) = (None, None);
        }
        let names = [self.epoch, self.near_epoch, self.read.epoch];
        let entries = [&mut self.entry, &mut self.load, &mut self.near, &mut self.read.entry];
        // The numbers in the order in which they are met here.
        let mut met: Vec<u8> = Vec::new();
        let mut number = |epoch: u8| {
            let at = met.iter().position(|known| *known == epoch).unwrap_or_else(|| {
                met.push(epoch);
                met.len() - 1
            });
            u8::try_from(at).expect("few") + 1
        };
        let [epoch, near_epoch, read_epoch] = names.map(|name| name.map(&mut number));
        (self.epoch, self.near_epoch, self.read.epoch) = (epoch, near_epoch, read_epoch);
        entries.into_iter().flatten().filter(|entry| entry.1 != 0).for_each(|entry| entry.1 = number(entry.1));
    }

    /// What a near hit would return.
    fn hit(&self, wrong: Wrong) -> Option<u8> {
        let (value, captured) = self.near?;
        let valid = match wrong {
            Wrong::NearTagUnchecked => true,
            // Valid when it was read, and an epoch is there.
            Wrong::NearTagJudgedOnce => self.near_epoch.is_some(),
            _ => self.near_epoch == Some(captured),
        };
        valid.then_some(value)
    }
}

impl Model for TagsModel {
    type State = State;
    type Action = Act;

    fn init_states(&self) -> Vec<State> {
        vec![State { committed: 1, applied: 1, ..State::default() }]
    }

    fn actions(&self, state: &State, acts: &mut Vec<Act>) {
        acts.push(if state.load.is_some() { Store } else { Capture });
        if state.committed > state.applied {
            acts.push(Delete);
        } else if state.committed < 1 + WRITES {
            acts.push(Commit);
        }
        acts.push([Read, ReadEntryRuns, ReadTagRuns, ReadReply][usize::from(state.read.phase)]);
        if state.waiting() > 0 {
            acts.push(Push);
        }
        acts.push(match state.canary {
            None => CanarySend,
            Some(Canary { before: None, .. }) => CanaryRuns,
            Some(_) => CanaryReply,
        });
        if state.entry.is_some() {
            acts.push(Vanish(Name::Entry));
        }
        if state.epoch.is_some() {
            acts.push(ReadSibling);
            acts.push(Vanish(Name::Tag));
        }
    }

    fn next_state(&self, before: &State, act: Act) -> Option<State> {
        let mut state = *before;
        match act {
            Capture => {
                let epoch = state.epoch.unwrap_or_else(|| state.new_epoch());
                if state.epoch.is_none() {
                    state.epoch = Some(epoch);
                    state.change(Name::Tag);
                }
                state.load = Some((state.committed, epoch));
            }
            Store => {
                state.entry = state.load.take();
                state.change(Name::Entry);
            }
            Commit => state.committed += 1,
            Delete => {
                state.applied = state.committed;
                state.epoch = None;
                state.change(Name::Tag);
            }
            Read => state.read = Request { phase: 1, entry_mark: true, tag_mark: true, ..Request::default() },
            ReadEntryRuns => {
                (state.read.entry, state.entry_tracked, state.read.phase) = (state.entry, true, 2);
            }
            ReadTagRuns => {
                (state.read.epoch, state.tag_tracked, state.read.phase) = (state.epoch, true, 3);
            }
            ReadReply => state.reply(self.wrong),
            ReadSibling => (state.near_epoch, state.tag_tracked) = (state.epoch, true),
            Push => state.take_push(),
            CanarySend => state.canary = Some(Canary { floor: state.applied, before: None }),
            CanaryRuns => {
                let waiting = state.waiting();
                state.canary.as_mut()?.before = Some(waiting);
            }
            CanaryReply => {
                let Canary { floor, before } = state.canary?;
                (0..before?).for_each(|_| state.take_push());
                (state.canary, state.proved) = (None, floor);
            }
            Vanish(Name::Entry) => {
                state.entry = None;
                state.change(Name::Entry);
            }
            Vanish(Name::Tag) => {
                state.epoch = None;
                state.change(Name::Tag);
            }
        }
        if self.wrong == Wrong::Nothing {
            state.tidy();
        }
        Some(state)
    }

    fn within_boundary(&self, state: &State) -> bool {
        state.waiting() < PUSHES
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![Property::<Self>::always(NEAR, |model: &Self, state: &State| {
            state.proved == 0 || state.hit(model.wrong).is_none_or(|value| value >= state.proved)
        })];
        if self.wrong == Wrong::Nothing {
            properties.extend([
                Property::<Self>::sometimes("the newest version is hit and proved", |model: &Self, state: &State| {
                    state.hit(model.wrong) == Some(1 + WRITES) && state.proved == 1 + WRITES
                }),
                Property::<Self>::sometimes("an old version is hit, and the tag's push is on its way", |model: &Self, state| {
                    state.hit(model.wrong) == Some(1) && state.applied == 2 && state.pushes.contains(&Some(Name::Tag))
                }),
                Property::<Self>::sometimes("an old entry is near beside a new epoch", |_, state| {
                    matches!((state.near, state.near_epoch), (Some((_, captured)), Some(epoch)) if captured != epoch)
                }),
                Property::<Self>::sometimes("a fill of an older epoch is stored", |_, state| {
                    state.entry == Some((0, 0))
                }),
            ]);
        }
        properties
    }
}

#[test]
fn the_protocol_holds() {
    holds(TagsModel { wrong: Wrong::Nothing }, 100_000);
}

const FILLED: [Act; 2] = [Capture, Store];
const ANSWERED: [Act; 3] = [Read, ReadEntryRuns, ReadTagRuns];
const WRITTEN: [Act; 2] = [Commit, Delete];
const PROVED: [Act; 3] = [CanarySend, CanaryRuns, CanaryReply];

#[test]
fn tag_unchecked() {
    // The tag's push removes the epoch; the entry itself is not touched.
    let row = [&FILLED[..], &ANSWERED, &[ReadReply], &WRITTEN, &PROVED].concat();
    fails(TagsModel { wrong: Wrong::NearTagUnchecked }, NEAR, &row);
}

#[test]
fn tag_unmarked() {
    let row = [&FILLED[..], &ANSWERED, &WRITTEN, &[Push, ReadReply], &PROVED].concat();
    fails(TagsModel { wrong: Wrong::NearTagUnmarked }, NEAR, &row);
}

#[test]
fn tag_judged_once() {
    // Another entry under the tag is loaded and read, and with it the tag's new epoch is near.
    let row = [&FILLED[..], &ANSWERED, &[ReadReply], &WRITTEN, &[Push, Capture, ReadSibling], &PROVED].concat();
    fails(TagsModel { wrong: Wrong::NearTagJudgedOnce }, NEAR, &row);
}
