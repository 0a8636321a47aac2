//! The near cache of section 6: one process, one connection with client tracking, one entry.
//!
//! Replies and pushes reach the process in the order in which Redis sent them, but different tasks take them from
//! two queues: so a push may be taken before a reply that was sent earlier, and after one that was sent later. Only
//! the canary's reply looks back, by the number of pushes that were received before it and not yet taken.
//!
//! Time is left out. That a hit is served only while `now - proved <= near_grace` means that what it returns is as
//! new as what was applied at `proved`, and so at most `near_grace` old: that is what the property says. A strict writer
//! waits for `near_grace`, after which no proof from before its invalidation is believed: that is all its wait does.
//! What is in Redis is never older than what is applied ([`entry`](super::entry)).
//!
//! Entries without tags. Those with tags have a model of their own ([`tags`]), which leaves out what is asked here.

mod rows;
mod state;
mod tags;

use stateright::{Model, Property};

use self::state::{Canary, Request, State, Writer};
use super::wrong::Wrong;

/// G6.
pub(super) const NEAR: &str = "no near hit is older than what was applied when the canary's GET was sent";
/// For writes of this process; no proof is needed.
pub(super) const OWN: &str = "no near hit is older than this process's own acknowledged writes";
/// G1, with strict writers.
pub(super) const STRICT: &str = "no near hit that is believed is older than what strict writers have acknowledged";

/// How many invalidations there are.
const WRITES: u8 = 2;
/// Pushes that wait to be taken; a model of more would only be larger.
const PUSHES: usize = 3;
const READS: usize = 2;

/// Which steps are possible besides READs, invalidations, fills and the canary's. All at once would be too many states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// An emptied server, a lost connection, a lagged channel, expiry. A writer hears of its invalidation as it runs.
    Losses,
    /// A server that stops to push.
    Silence,
    /// What lies between a COMMIT, its invalidation, and the writer's hearing of it.
    Writers,
}

/// What is wrong, where.
#[derive(Clone, Copy, Debug)]
pub(super) struct NearModel {
    pub(super) scope: Scope,
    pub(super) wrong: Wrong,
}

/// Who invalidates or fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Who {
    /// This process, over the same connection.
    Here,
    Elsewhere,
}

/// One step; the number is that of a READ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// A mark is set, READ is in flight.
    Read(usize),
    ReadRuns(usize),
    /// The reply is taken.
    ReadReply(usize),
    /// The oldest push is taken.
    Push,
    /// The channel of pushes overflows; its oldest one is lost, and known to be.
    Lag,
    CanarySend,
    CanaryRuns,
    /// The canary's reply is taken. If it was not as set, the next thing to be sent is a SET.
    CanaryReply,
    /// COMMIT, and in this process the near entry is removed.
    Commit(Who),
    /// DELETE runs: applied.
    Delete,
    /// The writer hears of it; one of this process removes the near entry again. A strict one has waited.
    Acknowledge,
    /// Somebody's FILL runs where nothing is stored.
    Fill(Who),
    Expire,
    /// FLUSHALL, or an empty server behind the same address: its null push gets lost in the client.
    FlushAll,
    /// From now on the server pushes nothing to this connection.
    Deafen,
    /// The connection is lost, and another one made.
    Reconnect,
}

impl Model for NearModel {
    type State = State;
    type Action = Act;

    fn init_states(&self) -> Vec<State> {
        vec![State::new()]
    }

    fn actions(&self, state: &State, acts: &mut Vec<Act>) {
        for r in 0..READS {
            acts.push(match state.reads[r] {
                Request::None => Act::Read(r),
                Request::Sent { .. } => Act::ReadRuns(r),
                Request::Answered { .. } => Act::ReadReply(r),
            });
        }
        acts.push(match state.canary {
            Canary::None => Act::CanarySend,
            Canary::Sent { .. } | Canary::Placing => Act::CanaryRuns,
            Canary::Answered { .. } | Canary::Placed => Act::CanaryReply,
        });
        let losses = self.scope == Scope::Losses;
        if state.waiting() > 0 {
            acts.push(Act::Push);
            if losses {
                acts.push(Act::Lag);
            }
        }
        match state.writer {
            None if state.committed < 1 + WRITES => acts.extend([Act::Commit(Who::Here), Act::Commit(Who::Elsewhere)]),
            None => {}
            Some(Writer { ran: false, .. }) => acts.push(Act::Delete),
            Some(Writer { ran: true, .. }) => acts.push(Act::Acknowledge),
        }
        match state.stored {
            0 => acts.extend([Act::Fill(Who::Here), Act::Fill(Who::Elsewhere)]),
            _ if losses => acts.push(Act::Expire),
            _ => {}
        }
        match self.scope {
            Scope::Losses => acts.extend([Act::FlushAll, Act::Reconnect]),
            Scope::Silence if state.deaf => acts.push(Act::Reconnect),
            Scope::Silence => acts.push(Act::Deafen),
            Scope::Writers => {}
        }
    }

    fn next_state(&self, before: &State, act: Act) -> Option<State> {
        let mut state = *before;
        state.step(self, act);
        if self.wrong == Wrong::Nothing {
            state.tidy(self.scope);
        }
        Some(state)
    }

    fn within_boundary(&self, state: &State) -> bool {
        state.waiting() < PUSHES
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::<Self>::always(NEAR, |_, state| {
                state.near == 0 || state.proved == 0 || state.near >= state.proved
            }),
            Property::<Self>::always(OWN, |_, state| state.near == 0 || state.near >= state.own),
            Property::<Self>::always(STRICT, |model: &Self, state| {
                let waited = model.wrong != Wrong::StrictDoesNotWait;
                let believed = state.proved != 0 && (state.proved >= state.acknowledged() || !waited);
                state.near == 0 || !believed || state.near >= state.acknowledged()
            }),
        ];
        if self.wrong != Wrong::Nothing {
            return properties;
        }
        properties.extend([
            Property::<Self>::sometimes("the newest version is near and proved", |_, state| {
                state.near == 1 + WRITES && state.proved == 1 + WRITES
            }),
            Property::<Self>::sometimes("an old version is near, and its push has not been taken", |_, state| {
                state.near == 1 && state.applied == 2 && state.waiting() > 0 && state.proved == 1
            }),
            Property::<Self>::sometimes("a push has overtaken a reply", |_, state| {
                state.reads.iter().any(|read| matches!(read, Request::Answered { marked: false, .. }))
            }),
            Property::<Self>::sometimes(
                "a canary's reply will have to drain",
                |_, state| matches!(state.canary, Canary::Answered { before, alive: true, .. } if before > 0),
            ),
        ]);
        properties.extend(match self.scope {
            Scope::Losses => {
                vec![Property::<Self>::sometimes("a canary's reply will tell of a FLUSHALL", |_, state| {
                    state.near != 0 && matches!(state.canary, Canary::Answered { alive: false, .. })
                })]
            }
            Scope::Silence => vec![Property::<Self>::sometimes(
                "a canary's reply will tell of a server that does not push",
                |_, state| state.near != 0 && matches!(state.canary, Canary::Answered { alive: true, sung: false, .. }),
            )],
            Scope::Writers => vec![
                Property::<Self>::sometimes(
                    "what a write has invalidated is near and the writer has not heard",
                    |_, state| state.near == 1 && state.writer.is_some_and(|writer| writer.ran),
                ),
                Property::<Self>::sometimes("what another process has overwritten is near and believed", |_, state| {
                    state.near == 1 && state.proved == 1 && state.acknowledged() == 2
                }),
            ],
        });
        properties
    }
}
