//! A failover to a replica that lags, and the trust that is regained after it: section 7.
//!
//! Two processes, each with a reader and a writer, and two servers: [`OLD`] is the primary, [`NEW`] its replica,
//! which holds whatever [`OLD`] held at some earlier moment. After the promotion both answer for a while. A process
//! has one connection at a time, and trust belongs to that connection: when it is lost, its flight is over too. All
//! rows of the outbox are younger than `replay_window`. Readers take a lease only where nothing is stored: what a
//! refresh can do is the business of [`entry`](super::entry).
//!
//! In one point the model goes beyond the specification: the pair is recorded after the second replay, not after the
//! first one. Until then everybody who connects finds another server than recorded, and owes both replays. Recorded
//! earlier, the second replay is known to one process alone, and forgotten if that one dies within `settle`
//! ([`Wrong::SecondReplayForgotten`]).

mod rows;
mod state;

use stateright::{Model, Property};

use self::state::{Reading, Standing, State, Trust, Writing};
use super::redis::Entry;
use super::wrong::Wrong;

/// G5: G1 for everybody who sees one primary. What counts as acknowledged on the new primary is what was so before
/// the promotion, or there.
pub(super) const TRUSTED: &str = "no trusted process finds an older version than was acknowledged there";
/// Limit 2 is over after `settle`.
pub(super) const SETTLED: &str = "after the second replay nothing is older than what was acknowledged anywhere";

/// The servers.
const OLD: usize = 0;
const NEW: usize = 1;

/// What may happen, and what is wrong.

#[derive(Clone, Copy, Debug)]
pub(super) struct FailoverModel {
    pub(super) wrong: Wrong,
    /// How many leases each process may take.
    pub(super) leases: u8,
    /// How many writes there are.
    pub(super) commits: u8,
    /// Whether a process may die and another one take its place.
    pub(super) restarts: bool,
}

/// One step; the number is the process's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// The replica catches up.
    Replicate,
    Promote,
    /// The deposed primary stops answering.
    OldGone,
    Disconnect(usize),
    Restart(usize),
    Connect(usize, usize),
    /// The pair is compared, the outbox read.
    ReplayRead(usize),
    ReplayDelete(usize),
    /// Readers may use the connection.
    Trust(usize),
    /// The second replay, which deletes; then the pair is recorded.
    Settle(usize),
    /// READ finds nothing and ACQUIRE runs.
    Read(usize),
    Load(usize),
    Fill(usize),
    Commit(usize),
    /// DELETE runs where the writer is connected: applied.
    Delete(usize),
    /// The same with PUT.
    Put(usize),
    Vanish(usize),
}

impl FailoverModel {
    fn process_acts(&self, state: &State, p: usize, acts: &mut Vec<Act>) {
        let process = &state.processes[p];
        if self.restarts {
            acts.push(Act::Restart(p));
        }
        let servers = [OLD, NEW].into_iter().filter(|&node| state.answers(node));
        match process.link {
            None => acts.extend(servers.map(|node| Act::Connect(p, node))),
            Some(_) => acts.push(Act::Disconnect(p)),
        }
        if process.link.is_some() {
            match process.trust {
                Trust::None => acts.push(Act::ReplayRead(p)),
                Trust::Read { .. } => acts.push(Act::ReplayDelete(p)),
                Trust::Deleted { .. } => acts.push(Act::Trust(p)),
                Trust::Full => {}
            }
        }
        if process.owes && process.link == Some(NEW) && process.trust == Trust::Full && state.standing == Standing::Gone
        {
            acts.push(Act::Settle(p));
        }
        match process.reading {
            Reading::Idle if process.trust == Trust::Full && process.leases < self.leases => {
                acts.extend(process.link.filter(|&node| state.nodes[node] == Entry::default()).map(|_| Act::Read(p)));
            }
            Reading::Loading { .. } => acts.push(Act::Load(p)),
            Reading::Filling { node, .. } if state.answers(node) => acts.push(Act::Fill(p)),
            Reading::Idle | Reading::Filling { .. } => {}
        }
        match process.writing {
            Writing::Idle if state.commits() < self.commits => acts.push(Act::Commit(p)),
            Writing::Committed(_) if process.link.is_some() => {
                acts.extend([Act::Delete(p), Act::Put(p)]);
            }
            Writing::Idle | Writing::Committed(_) | Writing::Over => {}
        }
    }
}

impl Model for FailoverModel {
    type State = State;
    type Action = Act;

    fn init_states(&self) -> Vec<State> {
        vec![State::new()]
    }

    fn actions(&self, state: &State, acts: &mut Vec<Act>) {
        match state.standing {
            Standing::Before => acts.extend([Act::Replicate, Act::Promote]),
            Standing::Both => acts.push(Act::OldGone),
            Standing::Gone => {}
        }
        for p in 0..2 {
            self.process_acts(state, p, acts);
        }
        for node in [OLD, NEW] {
            if state.answers(node) && state.nodes[node] != Entry::default() {
                acts.push(Act::Vanish(node));
            }
        }
    }

    fn next_state(&self, before: &State, act: Act) -> Option<State> {
        let mut state = *before;
        state.step(self, act);
        state.tidy(self);
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::<Self>::always(TRUSTED, |_, state| {
                let trusting = state.processes.iter().filter(|process| process.trust == Trust::Full);
                trusting.filter_map(|process| process.link).all(|node| state.stored(node) >= state.floors[node])
            }),
            Property::<Self>::always(SETTLED, |_, state| {
                !state.is_settled() || state.stored(NEW) >= state.acknowledged
            }),
        ];
        if self.wrong == Wrong::Nothing {
            properties.extend([
                Property::<Self>::sometimes("a trusted process finds a version that was stored before", |_, state| {
                    state.standing == Standing::Gone && state.is_settled() && state.stored(NEW) == 1
                }),
                Property::<Self>::sometimes("the new primary lacks an acknowledged deletion", |_, state| {
                    state.standing != Standing::Before && state.stored(NEW) < state.floors[NEW]
                }),
                Property::<Self>::sometimes("limit 2", |_, state| {
                    let trusting =
                        state.processes.iter().any(|process| process.trust == Trust::Full && process.link == Some(NEW));
                    trusting && state.stored(NEW) < state.acknowledged
                }),
                Property::<Self>::sometimes("a lease is replicated", |_, state| {
                    state.standing == Standing::Both && state.nodes[NEW].lease.is_some()
                }),
            ]);
        }
        properties
    }
}
