//! The bypass of section 3, step 6: readers of one key in one process may share a query if they joined before it
//! was sent. Redis has no part in it, so a write here is a COMMIT and its acknowledgement.

use stateright::{Model, Property};

use super::check::{fails, holds};
use super::wrong::Wrong;
use Act::{Acknowledge, Answer, Begin, Commit, Join, Query, Send};

const READ: &str = "no read returns what is older than its beginning";
const READERS: usize = 3;

#[derive(Clone, Copy, Debug)]
struct BypassModel {
    wrong: Wrong,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct State {
    committed: u8,
    floor: u8,
    /// What was acknowledged when each read began; `None`: it has not begun, or it is over.
    begun: [Option<u8>; READERS],
    /// The query that each reader is a member of: that of the reader with this number.
    member_of: [Option<usize>; READERS],
    queries: [Phase; READERS],
    stale_read: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum Phase {
    #[default]
    None,
    /// Waits at the gate.
    Queued,
    Sent,
    /// The database has run it and has seen this.
    Ran(u8),
    Over,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Begin(usize),
    /// The reader joins a query, or, where the numbers are equal, enters one.
    Join(usize, usize),
    Send(usize),
    Query(usize),
    Answer(usize),
    Commit,
    Acknowledge,
}

impl BypassModel {
    fn may_join(&self, query: Phase) -> bool {
        match query {
            Phase::Queued => true,
            Phase::Sent | Phase::Ran(_) => self.wrong == Wrong::CoalescedBypass,
            Phase::None | Phase::Over => false,
        }
    }
}

impl Model for BypassModel {
    type State = State;
    type Action = Act;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            committed: 1,
            floor: 1,
            begun: [None; READERS],
            member_of: [None; READERS],
            queries: [Phase::None; READERS],
            stale_read: false,
        }]
    }

    fn actions(&self, state: &State, acts: &mut Vec<Act>) {
        for r in 0..READERS {
            match (state.begun[r], state.member_of[r]) {
                (None, None) => acts.push(Begin(r)),
                (Some(_), None) => {
                    let joinable = (0..READERS).find(|&q| self.may_join(state.queries[q]));
                    acts.push(Join(r, joinable.unwrap_or(r)));
                }
                _ => {}
            }
            match state.queries[r] {
                Phase::Queued => acts.push(Send(r)),
                Phase::Sent => acts.push(Query(r)),
                Phase::Ran(_) => acts.push(Answer(r)),
                Phase::None | Phase::Over => {}
            }
        }
        if state.committed < 3 {
            acts.push(Commit);
        }
        if state.floor < state.committed {
            acts.push(Acknowledge);
        }
    }

    fn next_state(&self, before: &State, act: Act) -> Option<State> {
        let mut state = *before;
        match act {
            Begin(r) => state.begun[r] = Some(state.floor),
            Join(r, q) => {
                state.member_of[r] = Some(q);
                if r == q {
                    state.queries[q] = Phase::Queued;
                }
            }
            Send(q) => state.queries[q] = Phase::Sent,
            Query(q) => state.queries[q] = Phase::Ran(state.committed),
            Answer(q) => {
                let Phase::Ran(seen) = state.queries[q] else { return None };
                for r in (0..READERS).filter(|&r| before.member_of[r] == Some(q)) {
                    state.stale_read |= state.begun[r].take().is_some_and(|begun| seen < begun);
                }
                state.queries[q] = Phase::Over;
            }
            Commit => state.committed += 1,
            Acknowledge => state.floor += 1,
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::<Self>::always(READ, |_, state| !state.stale_read),
            Property::<Self>::sometimes("a query is shared", |_, state| {
                let members = |q| state.member_of.iter().filter(|member| **member == Some(q)).count();
                (0..READERS).any(|q| state.queries[q] == Phase::Sent && members(q) == READERS)
            }),
            Property::<Self>::sometimes("a query is entered beside one that was sent", |_, state| {
                state.queries[0] == Phase::Ran(1) && state.queries[1] == Phase::Queued && state.floor == 2
            }),
        ]
    }
}

#[test]
fn the_protocol_holds() {
    holds(BypassModel { wrong: Wrong::Nothing }, 1_000);
}

/// R1's query saw v1; W acknowledges v2; R2 joins it.
#[test]
fn coalesced_bypass() {
    let sent = [Begin(0), Join(0, 0), Send(0), Query(0), Commit, Acknowledge];
    fails(
        BypassModel { wrong: Wrong::CoalescedBypass },
        READ,
        &[&sent[..], &[Begin(1), Join(1, 0), Answer(0)]].concat(),
    );
}
