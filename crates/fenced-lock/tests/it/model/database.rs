//! Section 4: entry and guard, under a lock service that may be as wrong as it likes.

use stateright::{Model, Property};

const SECTIONS: usize = 3;
/// The numbers that the service hands out; few, so that equal ones are common.
const FENCES: u8 = 3;
const CAPACITY: u8 = 1;

/// One rule left out, or changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// The specification.
    AsSpecified,
    /// 1: neither entry nor guard.
    NoFence,
    /// 2: no entry; the write compares and raises.
    FenceAtLastWrite,
    /// 3: the entry takes an equal fence.
    EqualFence,
    /// 4: the guard does not lock the row.
    PlainGuard,
    /// 5: the entry's statement reads as well, on the snapshot that it began with.
    EntryReads,
    /// 6: a refused guard gets a new fence and keeps its read.
    FenceAgain,
}

/// What the entry's commit waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    /// The disk.
    Durable,
    /// Nothing; the write must come over the connection of the entry.
    Relaxed,
    /// Nothing, and the write may come over any connection: wrong.
    RelaxedAnywhere,
}

struct Sections {
    rule: Rule,
    entry: Entry,
    crashes: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Phase {
    Idle,
    Granted {
        fence: u8,
    },
    /// Variant 5: the statement waits for the row, with this snapshot.
    Entering {
        fence: u8,
        snapshot: u8,
    },
    Entered {
        fence: u8,
    },
    Read {
        fence: u8,
        booked: u8,
    },
    /// The guard has passed in an open transaction.
    Guarded {
        booked: u8,
    },
    Over,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    sections: [Phase; SECTIONS],
    /// As everybody sees it.
    fence: u8,
    booked: u8,
    /// Who has locked the row, by an open transaction.
    locked_by: Option<usize>,
    /// Fences before entries that are not on the disk, oldest first.
    unflushed: Vec<u8>,
    crashes: u8,
    /// A write was committed on a read that was out of date.
    overwrote: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Grant(usize, u8),
    Enter(usize),
    /// After a refused entry: what EXTEND(floor) answers.
    Raise(usize, u8),
    Finish(usize),
    Read(usize),
    Guard(usize),
    Commit(usize),
    GiveUp(usize),
    /// PostgreSQL restarts and has so many of the unflushed entries.
    Crash(usize),
    Flush,
}

impl Sections {
    fn new(rule: Rule) -> Self {
        Self { rule, entry: Entry::Durable, crashes: 0 }
    }

    fn enters(&self, state: &State, fence: u8) -> bool {
        match self.rule {
            Rule::NoFence | Rule::FenceAtLastWrite => true,
            Rule::EqualFence => state.fence <= fence,
            _ => state.fence < fence,
        }
    }

    fn raise(&self, state: &mut State, fence: u8) {
        if matches!(self.rule, Rule::NoFence | Rule::FenceAtLastWrite) {
            return;
        }
        if self.entry != Entry::Durable {
            state.unflushed.push(state.fence);
        }
        state.fence = fence;
    }
}

impl Model for Sections {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            sections: [Phase::Idle; SECTIONS],
            fence: 0,
            booked: 0,
            locked_by: None,
            unflushed: Vec::new(),
            crashes: 0,
            overwrote: false,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (section, phase) in state.sections.iter().enumerate() {
            match *phase {
                Phase::Idle => actions.extend((1..=FENCES).map(|fence| Action::Grant(section, fence))),
                Phase::Granted { fence } => {
                    actions.push(Action::Enter(section));
                    if !self.enters(state, fence) {
                        actions.extend((state.fence + 1..=FENCES).map(|fence| Action::Raise(section, fence)));
                        actions.push(Action::GiveUp(section));
                    }
                }
                Phase::Entering { .. } => actions.push(Action::Finish(section)),
                Phase::Entered { .. } => actions.push(Action::Read(section)),
                Phase::Read { .. } => actions.push(Action::Guard(section)),
                Phase::Guarded { .. } => actions.push(Action::Commit(section)),
                Phase::Over => {}
            }
        }
        if state.crashes < self.crashes {
            actions.extend((0..=state.unflushed.len()).map(Action::Crash));
        }
        if !state.unflushed.is_empty() {
            actions.push(Action::Flush);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        let next = match (action, action.section().map(|section| last.sections[section])) {
            (Action::Grant(_, fence), Some(Phase::Idle)) => Phase::Granted { fence },
            (Action::Enter(section), Some(Phase::Granted { fence })) => {
                if self.rule == Rule::EntryReads {
                    Phase::Entering { fence, snapshot: state.booked }
                } else {
                    // An update waits for whoever has locked the row.
                    if state.locked_by.is_some_and(|by| by != section) || !self.enters(last, fence) {
                        return None;
                    }
                    self.raise(&mut state, fence);
                    Phase::Entered { fence }
                }
            }
            (Action::Finish(_), Some(Phase::Entering { fence, snapshot })) => {
                if state.locked_by.is_some() {
                    return None;
                }
                if self.enters(last, fence) {
                    self.raise(&mut state, fence);
                    Phase::Read { fence, booked: snapshot }
                } else {
                    Phase::Over
                }
            }
            (Action::Raise(_, fence), Some(Phase::Granted { .. })) => Phase::Granted { fence },
            (Action::GiveUp(_), _) => Phase::Over,
            (Action::Read(_), Some(Phase::Entered { fence })) => Phase::Read { fence, booked: state.booked },
            (Action::Guard(section), Some(Phase::Read { fence, booked })) => {
                let locks = !matches!(self.rule, Rule::NoFence | Rule::PlainGuard);
                if locks && state.locked_by.is_some() {
                    return None;
                }
                let passes = match self.rule {
                    Rule::NoFence => true,
                    Rule::FenceAtLastWrite => state.fence < fence,
                    _ => state.fence == fence,
                };
                if passes {
                    if self.rule == Rule::FenceAtLastWrite {
                        state.fence = fence;
                    }
                    if locks {
                        state.locked_by = Some(section);
                    }
                    Phase::Guarded { booked }
                } else if self.rule == Rule::FenceAgain && state.fence < FENCES {
                    state.fence += 1;
                    Phase::Read { fence: state.fence, booked }
                } else {
                    Phase::Over
                }
            }
            (Action::Commit(section), Some(Phase::Guarded { booked })) => {
                if booked < CAPACITY {
                    state.overwrote |= booked != state.booked;
                    state.booked += 1;
                }
                if state.locked_by == Some(section) {
                    state.locked_by = None;
                }
                // Its flush takes everything before it in the log along.
                state.unflushed.clear();
                Phase::Over
            }
            (Action::Flush, _) => {
                state.unflushed.clear();
                return Some(state);
            }
            (Action::Crash(kept), _) => {
                if let Some(before) = state.unflushed.get(kept) {
                    state.fence = *before;
                }
                state.unflushed.clear();
                state.locked_by = None;
                state.crashes += 1;
                for phase in &mut state.sections {
                    let broken = match *phase {
                        Phase::Guarded { .. } | Phase::Entering { .. } => true,
                        Phase::Entered { .. } | Phase::Read { .. } => self.entry == Entry::Relaxed,
                        Phase::Idle | Phase::Granted { .. } | Phase::Over => false,
                    };
                    if broken {
                        *phase = Phase::Over;
                    }
                }
                return Some(state);
            }
            _ => return None,
        };
        state.sections[action.section()?] = next;
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("nothing is oversold", |_, state: &State| state.booked <= CAPACITY),
            Property::always("nothing is overwritten", |_, state: &State| !state.overwrote),
            Property::sometimes("somebody books", |_, state: &State| state.booked == CAPACITY),
        ]
    }
}

impl Action {
    fn section(self) -> Option<usize> {
        match self {
            Self::Grant(section, _)
            | Self::Enter(section)
            | Self::Raise(section, _)
            | Self::Finish(section)
            | Self::Read(section)
            | Self::Guard(section)
            | Self::Commit(section)
            | Self::GiveUp(section) => Some(section),
            Self::Crash(_) | Self::Flush => None,
        }
    }
}

#[test]
fn sections_are_serial_whatever_the_lock_service_grants() {
    super::holds(Sections::new(Rule::AsSpecified), 2_000);
}

#[test]
fn a_crash_changes_nothing() {
    super::holds(Sections { crashes: 2, ..Sections::new(Rule::AsSpecified) }, 3_000);
}

/// What the specification leaves to examine: an entry that does not wait for the disk is safe, if the write must come
/// over the connection of the entry.
#[test]
fn a_relaxed_entry_is_safe_on_its_own_connection() {
    super::holds(Sections { entry: Entry::Relaxed, crashes: 2, rule: Rule::AsSpecified }, 3_000);
}

/// And only then: A enters with 1 and reads, the crash forgets it, B is given 1 as well and books, A's guard passes.
#[test]
fn a_relaxed_entry_is_not_safe_on_any_connection() {
    let model = || Sections { entry: Entry::RelaxedAnywhere, crashes: 1, rule: Rule::AsSpecified };
    super::fails(model, "nothing is oversold", 11);
}

#[test]
fn without_a_fence() {
    super::fails(|| Sections::new(Rule::NoFence), "nothing is oversold", 10);
}

#[test]
fn with_a_fence_at_the_last_write_only() {
    super::fails(|| Sections::new(Rule::FenceAtLastWrite), "nothing is oversold", 10);
}

#[test]
fn with_entries_that_take_an_equal_fence() {
    super::fails(|| Sections::new(Rule::EqualFence), "nothing is oversold", 10);
}

#[test]
fn with_a_guard_that_does_not_lock() {
    super::fails(|| Sections::new(Rule::PlainGuard), "nothing is oversold", 10);
}

#[test]
fn with_an_entry_that_reads() {
    super::fails(|| Sections::new(Rule::EntryReads), "nothing is oversold", 10);
}

#[test]
fn with_a_new_fence_after_a_refused_write() {
    super::fails(|| Sections::new(Rule::FenceAgain), "nothing is oversold", 11);
}
