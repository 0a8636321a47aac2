//! What there is to know about one tagged entry, and how a step changes it.

use super::super::redis::{Acquired, Content, Entry, Token, Value};
use super::super::wrong::Wrong;
use super::{Act, READERS, TaggedModel};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in super::super) struct State {
    pub(super) entry: Entry,
    /// The tag's epoch in Redis; zero is missing.
    pub(super) epoch: u8,
    committed: Content,
    pub(super) floor: Content,
    pub(super) readers: [Reader; READERS],
    pub(super) flights: [Flight; READERS],
    pub(super) row: RowWriter,
    pub(super) tag: Writing,
    pub(super) stale_read: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Reader {
    pub(super) phase: Reading,
    /// What was acknowledged when the read began.
    begun: Content,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Reading {
    #[default]
    Idle,
    /// The entry's reply is here, the epoch's is not.
    HasEntry(Value),
    /// The other way round.
    HasEpoch(u8),
    /// About to join or to start a flight, with ACQUIRE's `seen` and `drop`.
    Missed(Token, bool),
    /// A member of this reader's flight.
    Joined(usize),
    Done,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Flight {
    pub(super) phase: Flying,
    /// Zero: not captured yet.
    pub(super) captured: u8,
    loaded: Content,
    pub(super) large: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Flying {
    #[default]
    Grounded,
    /// ACQUIRE is in flight with its `seen` and `drop`.
    Acquiring(Token, bool),
    Granted,
    Loaded,
    /// Closed; FILL or ABANDON is in flight.
    Proving,
    /// It matched; the epoch is to be read again.
    Proved,
    /// Nobody waits any more; FILL may still run.
    Late,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct RowWriter {
    pub(super) phase: Writing,
    pub(super) captured: u8,
    put: Content,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Writing {
    #[default]
    Idle,
    /// The epochs of a put are captured.
    Captured,
    /// A put's statement has run.
    Stated,
    Committed,
    Applied,
}

/// Names of epochs. A new one is told apart from all others until the step is over.
const CURRENT: u8 = 1;
const IN_HAND: u8 = 2;
const DEAD: u8 = 3;
const NEW: u8 = 4;

/// The token of a value that no reader and no ACQUIRE in flight has seen, and that of a value which is gone.
const UNNAMED: Token = 90;
const GONE: Token = 91;

fn token(f: usize) -> Token {
    [1, 2, 3][f]
}

impl State {
    pub(super) fn new() -> Self {
        let first = Content { row: 1, group: 1 };
        Self {
            entry: Entry::default(),
            epoch: 0,
            committed: first,
            floor: first,
            readers: Default::default(),
            flights: Default::default(),
            row: RowWriter::default(),
            tag: Writing::default(),
            stale_read: false,
        }
    }

    pub(super) fn members(&self, f: usize) -> usize {
        self.readers.iter().filter(|reader| reader.phase == Reading::Joined(f)).count()
    }

    pub(super) fn holds_lease(&self, f: usize) -> bool {
        self.entry.holds_lease(token(f))
    }

    pub(super) fn step(&mut self, model: &TaggedModel, act: Act) {
        match act {
            Act::Read(r) | Act::ReadEntry(r) | Act::ReadEpoch(r) | Act::ReadStale(r) => self.read(model, r, act),
            Act::Join(r, f) => self.readers[r].phase = Reading::Joined(f),
            Act::Start(r) => {
                if let Reading::Missed(seen, drop) = self.readers[r].phase {
                    // Its own load begins after it began, so there is nothing to remember.
                    self.readers[r] = Reader { phase: Reading::Joined(r), begun: Content::default() };
                    self.flights[r] = Flight { phase: Flying::Acquiring(seen, drop), ..Flight::default() };
                }
            }
            Act::Capture(f) => self.flights[f].captured = self.capture(model.wrong),
            Act::Acquire(f) => {
                let Flying::Acquiring(seen, drop) = self.flights[f].phase else { return };
                match self.entry.acquire(token(f), seen, drop, model.wrong) {
                    Acquired::Granted => self.flights[f].phase = Flying::Granted,
                    Acquired::Held | Acquired::Changed => self.turn_back(f),
                }
            }
            Act::Load(f) | Act::LoadLarge(f) => {
                let (loaded, large) = (self.committed, matches!(act, Act::LoadLarge(_)));
                self.flights[f] = Flight { phase: Flying::Loaded, loaded, large, ..self.flights[f] };
            }
            Act::Close(f) => self.flights[f].phase = Flying::Proving,
            Act::Prove(f) => self.prove(model, f),
            Act::TimeOut(f) => self.land(model, f, false),
            Act::Reread(f) => self.land(model, f, model.valid(self.flights[f].captured, self.epoch)),
            Act::CaptureForPut => {
                self.row.captured = self.capture(model.wrong);
                if self.row.phase == Writing::Idle {
                    self.row.phase = Writing::Captured;
                }
            }
            Act::StatePut => {
                self.row.put = Content { row: self.committed.row + 1, group: self.committed.group };
                self.row.phase = Writing::Stated;
            }
            Act::CommitRow => {
                self.committed.row += 1;
                self.row.phase = Writing::Committed;
            }
            Act::Invalidate => self.invalidate(model),
            Act::CommitTag => {
                self.committed.group += 1;
                self.tag = Writing::Committed;
            }
            Act::InvalidateTag => {
                self.epoch = if model.wrong == Wrong::TagCounter { self.epoch + 1 } else { 0 };
                self.floor.group = self.committed.group;
                self.tag = Writing::Applied;
            }
            Act::Lapse => self.entry.lapse(),
            Act::Vanish => self.entry = Entry::default(),
            Act::EpochVanishes => self.epoch = 0,
        }
    }

    fn read(&mut self, model: &TaggedModel, r: usize, act: Act) {
        let Reader { phase, begun } = self.readers[r];
        let begun = if phase == Reading::Idle { self.floor } else { begun };
        let stored = self.entry.value;
        let (value, epoch) = match (phase, act) {
            (Reading::Idle, Act::ReadEntry(_)) => {
                let phase = stored.map_or(Reading::Missed(0, false), Reading::HasEntry);
                self.readers[r] = Reader { phase, begun };
                return;
            }
            (Reading::Idle, Act::ReadEpoch(_)) => {
                self.readers[r] = Reader { phase: Reading::HasEpoch(self.epoch), begun };
                return;
            }
            (Reading::HasEntry(value), _) => (Some(value), self.epoch),
            (Reading::HasEpoch(epoch), _) => (stored, epoch),
            _ => (stored, self.epoch),
        };
        let valid = value.is_some_and(|value| model.valid(value.epoch, epoch));
        let phase = Reading::Missed(value.map_or(0, |value| value.n), value.is_some() && !valid);
        self.readers[r] = Reader { phase, begun };
        if let (true, Some(value), false) = (valid, value, matches!(act, Act::ReadStale(_))) {
            self.answer(r, value.content);
        }
    }

    fn answer(&mut self, r: usize, content: Content) {
        self.stale_read |= !content.covers(self.readers[r].begun);
        self.leave(r);
    }

    fn leave(&mut self, r: usize) {
        self.readers[r] = Reader { phase: Reading::Done, begun: Content::default() };
    }

    /// `SET .. NX GET`.
    fn capture(&mut self, wrong: Wrong) -> u8 {
        if self.epoch == 0 {
            self.epoch = if wrong == Wrong::TagCounter { 1 } else { NEW };
        }
        self.epoch
    }

    /// HELD or CHANGED: all members read again.
    fn turn_back(&mut self, f: usize) {
        self.flights[f] = Flight::default();
        for reader in self.readers.iter_mut().filter(|reader| reader.phase == Reading::Joined(f)) {
            *reader = Reader::default();
        }
    }

    fn prove(&mut self, model: &TaggedModel, f: usize) {
        let Flight { phase, captured, loaded, large } = self.flights[f];
        let matched = if large {
            self.entry.abandon(token(f), model.wrong)
        } else {
            let v = if model.puts { loaded.row } else { 0 };
            let value = Value { content: loaded, epoch: captured, v, ..Value::default() };
            self.entry.fill(token(f), value, model.wrong)
        };
        if phase == Flying::Late {
            return;
        }
        let believed =
            matched || model.wrong == Wrong::ShareRefused || model.wrong == Wrong::AbandonReplyIgnored && large;
        if believed && model.tag && model.wrong != Wrong::NoSecondEpochRead {
            self.flights[f].phase = Flying::Proved;
        } else {
            self.land(model, f, believed);
        }
    }

    /// The flight is over: who started it answers with what it loaded, the others only if that is proven. Else they
    /// go to the bypass, whose query is sent now and so sees all that was acknowledged before.
    fn land(&mut self, model: &TaggedModel, f: usize, proven: bool) {
        for r in 0..model.readers {
            if self.readers[r].phase == Reading::Joined(f) {
                if proven || r == f {
                    self.answer(r, self.flights[f].loaded);
                } else {
                    self.leave(r);
                }
            }
        }
        self.flights[f].phase = Flying::Late;
    }

    fn invalidate(&mut self, model: &TaggedModel) {
        let RowWriter { captured, put, .. } = self.row;
        if model.puts {
            let value = Value { content: put, epoch: captured, v: put.row, ..Value::default() };
            self.entry.put(11, value, model.wrong);
        } else {
            self.entry.delete(model.wrong);
        }
        self.floor.row = self.committed.row;
        self.row = RowWriter { phase: Writing::Applied, ..RowWriter::default() };
    }

    /// Renames epochs and tokens and forgets what cannot matter any more, so that states which no later step tells
    /// apart are one. Epochs are random: all that a step sees is whether one is the current one, or the one that
    /// the split reader has in its hand.
    pub(super) fn tidy(&mut self, model: &TaggedModel) {
        for f in 0..READERS {
            let flight = &self.flights[f];
            if flight.phase == Flying::Late && (flight.large || !self.holds_lease(f)) {
                self.flights[f] = Flight::default();
            }
        }
        let current = self.epoch;
        let in_hand = self.readers.iter().find_map(|reader| match reader.phase {
            Reading::HasEpoch(epoch) => Some(epoch),
            _ => None,
        });
        let rename = |id: &mut u8| {
            *id = match *id {
                0 => 0,
                id if id == current => CURRENT,
                id if Some(id) == in_hand => IN_HAND,
                _ => DEAD,
            }
        };
        rename(&mut self.epoch);
        rename(&mut self.row.captured);
        let mut stored = 0;
        if let Some(value) = &mut self.entry.value {
            rename(&mut value.epoch);
            stored = value.n;
            if value.epoch == DEAD && model.wrong != Wrong::MissingEpochValid {
                value.content = Content::default();
            }
        }
        let mut named = false;
        let mut name = |seen: &mut Token| match *seen {
            0 => {}
            seen if seen == stored => named = true,
            _ => *seen = GONE,
        };
        for flight in &mut self.flights {
            rename(&mut flight.captured);
            if flight.captured == DEAD && model.wrong == Wrong::Nothing {
                // Neither shared nor valid any more, whatever it has loaded; PUT looks at the version.
                flight.loaded = Content { row: if model.puts { flight.loaded.row } else { 0 }, group: 0 };
            }
            if let Flying::Acquiring(seen, _) = &mut flight.phase {
                name(seen);
            }
        }
        for reader in &mut self.readers {
            match &mut reader.phase {
                Reading::HasEpoch(epoch) => rename(epoch),
                Reading::HasEntry(value) => {
                    rename(&mut value.epoch);
                    name(&mut value.n);
                }
                Reading::Missed(seen, _) => name(seen),
                _ => {}
            }
        }
        if let (false, Some(value)) = (named, &mut self.entry.value) {
            value.n = UNNAMED;
        }
    }
}
