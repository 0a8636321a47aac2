//! The outbox of the `event` strategy, section 4: numbers without gaps, heartbeats, and the worker that repairs gaps.
//!
//! Ids are drawn when a row is inserted, and transactions end in any order, or never commit. The relay numbers the
//! rows that it sees, commits that, and publishes afterwards; it may die in between. Whatever is published may be
//! lost, or arrive late; the worker may die between two steps of its own, and keeps its cursor in PostgreSQL. Numbers
//! are read and given under an advisory lock, so there is one relay at a time; applying is a DELETE, so applying twice
//! is harmless. ([`entry`](super::entry) has the relay that repairs what a writer left undone.)

use stateright::{Model, Property};

use super::check::{fails, holds};
use super::wrong::Wrong;
use Act::{Arrives, Commit, Crash, Heartbeat, Insert, Lost, Number, Publish, Rollback, Step, WorkerCrash};

const APPLIED: &str = "when nothing is left to do, every committed change is applied";
const CURSOR: &str = "everything up to the cursor is applied";

const ROWS: usize = 3;

#[derive(Clone, Copy, Debug)]
struct RelayModel {
    wrong: Wrong,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct State {
    rows: [Row; ROWS],
    ids: u8,
    /// Of a wrong variant: the last id that was numbered.
    last_id: u8,
    /// The counter row, and the last number that was published.
    last: u8,
    published: u8,
    /// Messages on their way, by number.
    messages: [bool; ROWS + 1],
    /// A heartbeat on its way, with the last number; zero for none.
    heartbeat: u8,
    worker: Worker,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Row {
    phase: Phase,
    id: u8,
    /// Zero: not numbered.
    number: u8,
    applied: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum Phase {
    #[default]
    None,
    Inserted,
    Committed,
    RolledBack,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Worker {
    cursor: u8,
    /// It is on its way to this number; zero: idle. What it was not told it reads in the table.
    target: u8,
    /// Of a wrong variant: the number that the cursor is ahead by.
    pending: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Insert(usize),
    Commit(usize),
    Rollback(usize),
    /// The relay takes one of the rows that it sees, numbers it, commits.
    Number(usize),
    /// It publishes the oldest number that it has not.
    Publish,
    /// It dies with numbers that are not published.
    Crash,
    Heartbeat,
    Arrives(usize),
    HeartbeatArrives,
    Lost(usize),
    HeartbeatLost,
    /// The worker applies the next number, or saves its cursor.
    Step,
    WorkerCrash,
}

impl RelayModel {
    fn takes(&self, state: &State, row: &Row) -> bool {
        let new = if self.wrong == Wrong::IdGreaterThanLast { row.id > state.last_id } else { row.number == 0 };
        row.phase == Phase::Committed && new
    }

    /// What is still to happen even if nobody writes any more.
    fn left_to_do(&self, state: &State) -> usize {
        let mut acts = Vec::new();
        self.actions(state, &mut acts);
        acts.iter().filter(|act| !matches!(act, Insert(_))).count()
    }

    /// The worker hears of number `n`, by a message of its own or by a heartbeat.
    fn hears(&self, worker: &mut Worker, n: u8, message: bool) {
        if n <= worker.cursor {
            return;
        }
        if message && self.wrong == Wrong::GapsIgnored {
            // It takes what it was told for all that there is.
            worker.cursor = n - 1;
        }
        worker.target = worker.target.max(n);
    }
}

impl State {
    /// `false`: it was applied already.
    fn apply(&mut self, number: u8) -> bool {
        let row = self.rows.iter_mut().find(|row| row.number == number && !row.applied);
        row.map(|row| row.applied = true).is_some()
    }
}

impl Model for RelayModel {
    type State = State;
    type Action = Act;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            rows: [Row::default(); ROWS],
            ids: 0,
            last_id: 0,
            last: 0,
            published: 0,
            messages: [false; ROWS + 1],
            heartbeat: 0,
            worker: Worker::default(),
        }]
    }

    fn actions(&self, state: &State, acts: &mut Vec<Act>) {
        for (r, row) in state.rows.iter().enumerate() {
            match row.phase {
                // Rows are alike: they are inserted in their own order.
                Phase::None if r == usize::from(state.ids) => acts.push(Insert(r)),
                Phase::Inserted => acts.extend([Commit(r), Rollback(r)]),
                _ => {}
            }
            // By id among those that are seen, so that there is one choice.
            let first = state.rows[..r].iter().all(|before| !self.takes(state, before));
            if self.takes(state, row) && first {
                acts.push(Number(r));
            }
        }
        if state.published < state.last {
            acts.extend([Publish, Crash]);
        }
        for (n, &on_its_way) in state.messages.iter().enumerate() {
            if on_its_way {
                acts.extend([Arrives(n), Lost(n)]);
            }
        }
        if state.heartbeat != 0 {
            acts.extend([Act::HeartbeatArrives, Act::HeartbeatLost]);
        } else if state.worker.cursor < state.last && self.wrong != Wrong::NoHeartbeat {
            acts.push(Heartbeat);
        }
        if state.worker.cursor < state.worker.target || state.worker.pending != 0 {
            acts.extend([Step, WorkerCrash]);
        }
    }

    fn next_state(&self, before: &State, act: Act) -> Option<State> {
        let mut state = *before;
        match act {
            Insert(r) => {
                state.ids += 1;
                state.rows[r] = Row { phase: Phase::Inserted, id: state.ids, ..Row::default() };
            }
            Commit(r) => state.rows[r].phase = Phase::Committed,
            Rollback(r) => state.rows[r].phase = Phase::RolledBack,
            Number(r) => {
                state.last += 1;
                state.rows[r].number = state.last;
                state.last_id = state.last_id.max(state.rows[r].id);
            }
            Publish => {
                state.published += 1;
                state.messages[usize::from(state.published)] = true;
            }
            Crash => state.published = state.last,
            Heartbeat => state.heartbeat = state.last,
            Arrives(n) => {
                state.messages[n] = false;
                self.hears(&mut state.worker, u8::try_from(n).unwrap_or(0), true);
            }
            Act::HeartbeatArrives => {
                self.hears(&mut state.worker, before.heartbeat, false);
                state.heartbeat = 0;
            }
            Lost(n) => state.messages[n] = false,
            Act::HeartbeatLost => state.heartbeat = 0,
            Step if self.wrong == Wrong::CursorBeforeApplying => {
                let Worker { cursor, pending, .. } = state.worker;
                if pending == 0 {
                    (state.worker.cursor, state.worker.pending) = (cursor + 1, cursor + 1);
                } else {
                    state.apply(pending);
                    state.worker.pending = 0;
                }
            }
            Step => {
                let next = state.worker.cursor + 1;
                if !state.apply(next) {
                    state.worker.cursor = next;
                }
            }
            WorkerCrash => state.worker = Worker { cursor: before.worker.cursor, ..Worker::default() },
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::<Self>::always(APPLIED, |model, state| {
                let mut committed = state.rows.iter().filter(|row| row.phase == Phase::Committed);
                committed.all(|row| row.applied) || model.left_to_do(state) > 0
            }),
            Property::<Self>::always(CURSOR, |_, state| {
                state.rows.iter().all(|row| row.number == 0 || row.number > state.worker.cursor || row.applied)
            }),
        ];
        if self.wrong == Wrong::Nothing {
            properties.extend([
                Property::<Self>::sometimes("everything is applied", |_, state| {
                    state.rows.iter().all(|row| row.applied)
                }),
                Property::<Self>::sometimes("numbers are in another order than ids", |_, state| {
                    state.rows[0].number > state.rows[1].number && state.rows[1].number != 0
                }),
                Property::<Self>::sometimes("the worker repairs a gap", |_, state| {
                    state.worker.target > state.worker.cursor + 1
                }),
                Property::<Self>::sometimes("an old message arrives late", |_, state| {
                    state.messages[1] && state.worker.cursor >= 2
                }),
            ]);
        }
        properties
    }
}

#[test]
fn the_protocol_holds() {
    holds(RelayModel { wrong: Wrong::Nothing }, 10_000);
}

#[test]
fn id_greater_than_last() {
    // Id 2 commits before id 1.
    let committed = [Insert(0), Insert(1), Commit(1), Number(1), Commit(0)];
    let row = [&committed[..], &[Publish, Arrives(1), Step, Step]].concat();
    fails(RelayModel { wrong: Wrong::IdGreaterThanLast }, APPLIED, &row);
}

#[test]
fn no_heartbeat() {
    // The last message is lost.
    let row = [Insert(0), Commit(0), Number(0), Publish, Lost(1)];
    fails(RelayModel { wrong: Wrong::NoHeartbeat }, APPLIED, &row);
}

#[test]
fn gaps_ignored() {
    let first = [Insert(0), Commit(0), Number(0), Publish, Lost(1)];
    let row = [&first[..], &[Insert(1), Commit(1), Number(1), Publish, Arrives(2)]].concat();
    fails(RelayModel { wrong: Wrong::GapsIgnored }, CURSOR, &row);
}

// A rule that has no row of its own.

#[test]
fn cursor_saved_before_applying() {
    let row = [Insert(0), Commit(0), Number(0), Publish, Arrives(1), Step, WorkerCrash];
    fails(RelayModel { wrong: Wrong::CursorBeforeApplying }, APPLIED, &row);
}
