//! What there is to know about one key, and how a step changes it.

use super::super::redis::{Acquired, Content, Entry, Token, Value};
use super::super::wrong::Wrong;
use super::{Act, EntryModel, Judged, LIST, Write};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in super::super) struct State {
    pub(super) entry: Entry,
    /// PostgreSQL: the committed versions in the order of their commits, from index 1; zero stands for "no row".
    versions: [u8; 4],
    /// The newest commit.
    pub(super) last: u8,
    /// The newest commit that was acknowledged.
    pub(super) floor: u8,
    pub(super) readers: [Reader; 2],
    pub(super) writers: [Writer; 2],
    /// Something that entitles to a second load has happened since a load began.
    pub(super) excused: bool,
    /// A lease was granted over a value that its reader had not judged.
    pub(super) unjudged: bool,
    /// Of wrong variants: the version floor in Redis.
    pub(super) floor_key: u8,
    /// Of wrong variants: the sequence that versions are drawn from.
    drawn: u8,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Reader {
    pub(super) phase: Reading,
    /// Which of its attempts it is at.
    pub(super) at: u8,
    pub(super) attempts: [Attempt; 2],
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Reading {
    #[default]
    Idle,
    Acquiring,
    Loading,
    Filling,
    Done,
}

/// What one acquisition has in flight. It stays there when nobody waits for a reply any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Attempt {
    /// ACQUIRE with its `seen` and `drop`.
    pub(super) acquire: Option<(Token, bool)>,
    /// The commit that was loaded, which FILL carries; zero: not yet.
    pub(super) fill: u8,
    pub(super) abandon: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Writer {
    pub(super) phase: Writing,
    pub(super) write: Option<Write>,
    /// Its commit's place in the order.
    row: u8,
    /// The row's version as `returning` gave it.
    version: u8,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Writing {
    #[default]
    Idle,
    /// Of wrong variants: has done something before COMMIT.
    Begun,
    /// The connection died in COMMIT; the writer polls.
    InDoubt,
    /// It has given up polling.
    Unknown,
    /// Of wrong variants: it has acknowledged all the same.
    AckedInDoubt,
    /// PUT or SOFTEN is in flight.
    Effect,
    /// DELETE is in flight.
    Deleting,
    Applied,
    /// Committed, and nobody's but the relay's.
    Open,
    Relayed,
    RolledBack,
}

impl Reader {
    pub(super) fn attempt(&mut self) -> &mut Attempt {
        &mut self.attempts[usize::from(self.at)]
    }

    /// The acquisition is over; what it has in flight stays.
    fn leave(&mut self, attempts: u8) {
        self.at += 1;
        self.phase = if self.at < attempts { Reading::Idle } else { Reading::Done };
    }
}

impl State {
    /// An empty cache; the row has `version`, or there is none.
    pub(super) fn new(version: u8) -> Self {
        Self {
            entry: Entry::default(),
            versions: [0, version, 0, 0],
            last: 1,
            floor: 1,
            readers: [Reader::default(); 2],
            writers: [Writer::default(); 2],
            excused: false,
            unjudged: false,
            floor_key: 0,
            drawn: 1,
        }
    }

    /// Whether the row as it is now can be written so. Ids are never used again: a deleted row stays deleted.
    pub(super) fn allows(&self, write: Write, model: &EntryModel) -> bool {
        let undecided =
            |writer: &Writer| matches!(writer.phase, Writing::InDoubt | Writing::Unknown | Writing::AckedInDoubt);
        if model.writes != LIST && self.writers.iter().any(undecided) {
            return false;
        }
        let there = self.versions[usize::from(self.last)] != 0;
        if write == Write::Create { !there && (self.last == 1 || model.wrong == Wrong::VersionRestarts) } else { there }
    }

    pub(super) fn loading(&self) -> usize {
        self.readers.iter().filter(|reader| reader.phase == Reading::Loading).count()
    }

    /// No invalidation is left to be done by anybody.
    pub(super) fn settled(&self, wrong: Wrong) -> bool {
        self.writers.iter().all(|writer| match writer.phase {
            Writing::Idle | Writing::Applied | Writing::Relayed | Writing::RolledBack => true,
            Writing::Open => wrong == Wrong::NoOutbox,
            _ => false,
        })
    }

    /// The tokens of the FILLs that a reader waits for.
    pub(super) fn fills<'a>(&'a self, model: &'a EntryModel) -> impl Iterator<Item = Token> + 'a {
        let waiting = (0..).zip(&self.readers).filter(|(_, reader)| reader.phase == Reading::Filling);
        waiting.map(|(r, reader)| model.token(r, reader.at))
    }

    /// The `seen` of the ACQUIREs in flight.
    pub(super) fn seen(&self) -> impl Iterator<Item = Token> + '_ {
        let attempts = self.readers.iter().flat_map(|reader| &reader.attempts);
        attempts.filter_map(|attempt| attempt.acquire.map(|(seen, _)| seen))
    }

    /// The versions of the PUTs that a writer waits for.
    pub(super) fn puts(&self) -> impl Iterator<Item = u8> + '_ {
        let waiting = self.writers.iter().filter(|writer| writer.phase == Writing::Effect);
        waiting.filter(|writer| writer.write == Some(Write::Put)).map(|writer| writer.version)
    }

    pub(super) fn step(&mut self, model: &EntryModel, act: Act) {
        match act {
            Act::Read(r, judged) => self.read(model, r, judged),
            Act::Acquire(r, a) => self.acquire(model, r, a),
            Act::Load(r) => {
                let last = self.last;
                let reader = &mut self.readers[r];
                reader.phase = Reading::Filling;
                if model.wrong != Wrong::SnapshotBeforeLease {
                    reader.attempt().fill = last;
                }
            }
            Act::LoadFails(r) | Act::GiveUp(r) => {
                let reader = &mut self.readers[r];
                reader.attempt().abandon = true;
                reader.leave(model.attempts[r]);
            }
            Act::Fill(r, a) => self.fill(model, r, a),
            Act::Abandon(r, a) => {
                self.entry.abandon(model.token(r, a), model.wrong);
            }
            Act::Begin(w) => {
                self.drawn += 1;
                self.writers[w] = Writer { phase: Writing::Begun, version: self.drawn, ..Writer::default() };
            }
            Act::DeleteEarly(w) => {
                self.entry.delete(model.wrong);
                self.writers[w].phase = Writing::Begun;
            }
            Act::Commit(w, write) => self.commit(model, w, write),
            Act::ConnectionDies(w, write) => {
                self.writers[w] = Writer { phase: Writing::InDoubt, write: Some(write), ..Writer::default() };
            }
            Act::Decide(w, visible) => self.decide(model, w, visible),
            Act::StopPolling(w) => self.writers[w].phase = Writing::Unknown,
            Act::Apply(w) => {
                self.run_effect(model, w);
                self.writers[w].phase = Writing::Applied;
                self.acknowledge(w);
            }
            Act::TimeOut(w) if model.wrong == Wrong::FailedPutAcked => {
                self.writers[w].phase = Writing::Applied;
                self.acknowledge(w);
            }
            Act::TimeOut(w) => self.writers[w].phase = Writing::Deleting,
            Act::Delete(w) => {
                self.delete(model, w);
                let in_doubt = self.writers[w].phase == Writing::InDoubt;
                self.writers[w].phase = if in_doubt { Writing::AckedInDoubt } else { Writing::Applied };
                self.acknowledge(w);
            }
            Act::Crash(w) => self.writers[w].phase = Writing::Open,
            Act::Repeat(w) => self.run_effect(model, w),
            Act::Relay(w) => {
                self.delete(model, w);
                self.writers[w].phase = Writing::Relayed;
                // The row is marked: nothing will repair it after this.
                self.acknowledge(w);
            }
            Act::Lapse => self.entry.lapse(),
            Act::Vanish => self.entry = Entry::default(),
            Act::FloorVanishes => self.floor_key = 0,
        }
        let cause =
            matches!(act, Act::Apply(_) | Act::Delete(_) | Act::Repeat(_) | Act::Relay(_) | Act::Lapse | Act::Vanish);
        self.excused = self.loading() > 0 && (self.excused || cause);
    }

    fn read(&mut self, model: &EntryModel, r: usize, judged: Judged) {
        let seen = self.entry.value.map_or(0, |value| value.n);
        let snapshot = if model.wrong == Wrong::SnapshotBeforeLease { self.last } else { 0 };
        let reader = &mut self.readers[r];
        *reader.attempt() =
            Attempt { acquire: Some((seen, judged == Judged::Invalid)), fill: snapshot, abandon: false };
        reader.phase = Reading::Acquiring;
    }

    fn acquire(&mut self, model: &EntryModel, r: usize, a: u8) {
        let attempt = &mut self.readers[r].attempts[usize::from(a)];
        let Some((seen, drop)) = attempt.acquire else { return };
        if model.wrong != Wrong::AcquireRepeated {
            attempt.acquire = None;
        }
        let judged = self.entry.value.is_none_or(|value| value.n == seen);
        let reply = self.entry.acquire(model.token(r, a), seen, drop, model.wrong);
        self.unjudged |= reply == Acquired::Granted && !judged;
        let reader = &mut self.readers[r];
        if reader.at == a && reader.phase == Reading::Acquiring {
            if reply == Acquired::Granted {
                reader.phase = Reading::Loading;
            } else {
                // It waits, then reads again.
                reader.phase = Reading::Idle;
                *reader.attempt() = Attempt::default();
            }
        }
    }

    fn fill(&mut self, model: &EntryModel, r: usize, a: u8) {
        let value = self.value_of(self.readers[r].attempts[usize::from(a)].fill);
        if model.wrong != Wrong::VersionFloor {
            self.entry.fill(model.token(r, a), value, model.wrong);
        } else if value.v >= self.floor_key {
            self.entry = Entry { value: Some(value), lease: None };
        }
        let reader = &mut self.readers[r];
        if reader.at == a && reader.phase == Reading::Filling {
            reader.leave(model.attempts[r]);
        }
    }

    /// What a load that sees commit `row` stores.
    fn value_of(&self, row: u8) -> Value {
        Value { content: Content { row, group: 0 }, v: self.versions[usize::from(row)], ..Value::default() }
    }

    /// The transaction becomes visible. The row lock and the trigger make version order commit order.
    fn commit(&mut self, model: &EntryModel, w: usize, write: Write) {
        let before = self.versions[usize::from(self.last)];
        let drawn = self.writers[w].version;
        self.last += 1;
        let version = match write {
            Write::Remove => 0,
            Write::Create => 1,
            _ if model.wrong == Wrong::VersionDrawnAtBegin => drawn,
            _ => before + 1,
        };
        self.versions[usize::from(self.last)] = version;
        let puts = matches!(write, Write::Put | Write::Soften)
            || write == Write::Create && model.wrong == Wrong::VersionRestarts;
        let phase = match model.wrong {
            Wrong::DeleteOnlyBeforeCommit => Writing::Applied,
            _ if puts => Writing::Effect,
            _ => Writing::Deleting,
        };
        self.writers[w] = Writer { phase, write: Some(write), row: self.last, version };
        if matches!(model.wrong, Wrong::DeleteOnlyBeforeCommit | Wrong::AppliedWhenJournalled) {
            self.acknowledge(w);
        }
    }

    fn decide(&mut self, model: &EntryModel, w: usize, visible: bool) {
        let Writer { phase, write, .. } = self.writers[w];
        self.writers[w].phase = Writing::RolledBack;
        let (true, Some(write)) = (visible, write) else { return };
        self.commit(model, w, write);
        match phase {
            Writing::Unknown => self.writers[w].phase = Writing::Open,
            Writing::AckedInDoubt => {
                self.writers[w].phase = Writing::Applied;
                self.acknowledge(w);
            }
            _ => {}
        }
    }

    fn acknowledge(&mut self, w: usize) {
        self.floor = self.floor.max(self.writers[w].row);
    }

    fn delete(&mut self, model: &EntryModel, w: usize) {
        if model.wrong == Wrong::VersionFloor {
            self.entry.value = None;
            self.floor_key = self.floor_key.max(self.writers[w].version);
        } else {
            self.entry.delete(model.wrong);
        }
    }

    /// PUT or SOFTEN runs.
    fn run_effect(&mut self, model: &EntryModel, w: usize) {
        let Writer { write, row, .. } = self.writers[w];
        if write == Some(Write::Soften) {
            self.entry.soften(model.wrong);
        } else {
            self.entry.put(if w == 0 { 11 } else { 12 }, self.value_of(row), model.wrong);
        }
    }
}
