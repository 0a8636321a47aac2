//! Section 6: what is promised.

use stateright::{Model, Property};

use super::{Granting, Phase, Reply, State};

pub(super) const OWNS: &str = "who believes, owns";
pub(super) const ORDER: &str = "first come, first served";
pub(super) const ORPHAN: &str = "nobody owns or queues who has gone";
pub(super) const STUCK: &str = "nobody waits for ever";
pub(super) const BOUND: &str = "nobody waits for longer than that";

impl Granting {
    pub(super) fn believes(state: &State, token: usize) -> bool {
        matches!(state.phases[token], Phase::Held { until, .. } if state.now < until)
    }

    pub(super) fn somebody_believes(&self, state: &State) -> bool {
        (0..state.phases.len()).any(|token| self.runs(state, token) && Self::believes(state, token))
    }

    pub(super) fn somebody_waits(&self, state: &State) -> bool {
        let waits = |token: &usize| matches!(state.phases[*token], Phase::Asking { .. } | Phase::Waiting { .. });
        (0..state.phases.len()).filter(waits).any(|token| self.runs(state, token) && !state.unwanted[token])
    }

    /// Something about this acquisition is still on its way.
    pub(super) fn under_way(&self, state: &State, token: usize) -> bool {
        state.requests[self.process(token)].iter().any(|request| request.token() == token)
            || state.late.iter().any(|request| request.token() == token)
            || state.pushes[self.process(token)].iter().any(|(other, _)| *other == token)
            || state.replies[self.process(token)].iter().any(|reply| match reply {
                Reply::Owned { token: other, .. }
                | Reply::Waiting { token: other, .. }
                | Reply::Contended { token: other }
                | Reply::Extended { token: other, .. } => *other == token,
                Reply::Released { next } => next.is_some_and(|(other, _)| other == token),
            })
    }

    /// S2. What was believed before a failover is believed for as long as its lease would have lasted.
    fn owns(&self, state: &State) -> bool {
        (0..state.phases.len()).all(|token| {
            let since = matches!(state.phases[token], Phase::Held { epoch, .. } if epoch == state.failovers);
            !(since && Self::believes(state, token))
                || (state.redis.owner == Some(token) && state.redis.until > state.now)
        })
    }

    /// L3. A connection that breaks in the middle leaves something behind for a first lease: that is a bound.
    fn orphan(&self, state: &State) -> bool {
        let owner = state.redis.owner.filter(|_| state.redis.until > state.now);
        let left = owner.into_iter().chain(state.redis.queue.iter().map(|(_, token)| *token));
        state.breaks + state.failovers == 0
            && left.into_iter().any(|token| {
                let gone = state.phases[token] == Phase::Over && self.runs(state, token);
                gone && !self.under_way(state, token)
            })
    }

    fn stuck(&self, state: &State) -> bool {
        let mut actions = Vec::new();
        self.actions(state, &mut actions);
        let waits = |token: usize| matches!(state.phases[token], Phase::Waiting { .. }) && self.runs(state, token);
        let held = |token: usize| matches!(state.phases[token], Phase::Held { .. });
        actions.is_empty() && (0..state.phases.len()).any(waits) && !state.redis.owner.is_some_and(held)
    }

    pub(super) fn promises(&self) -> Vec<Property<Self>> {
        let mut promises = vec![
            Property::always(OWNS, |model: &Self, state: &State| model.owns(state)),
            Property::always(ORDER, |_, state: &State| !state.jumped),
            Property::always(ORPHAN, |model: &Self, state: &State| !model.orphan(state)),
            Property::sometimes("the last one holds", |_, state: &State| Self::believes(state, state.phases.len() - 1)),
        ];
        if self.bound.is_some() {
            promises.push(Property::always(BOUND, |model: &Self, state: &State| Some(state.idle) <= model.bound));
            promises.push(Property::sometimes("somebody waits for so long", |model: &Self, state: &State| {
                Some(state.idle) == model.bound
            }));
        } else {
            promises.push(Property::always(STUCK, |model: &Self, state: &State| !model.stuck(state)));
            promises.push(Property::sometimes("all have been served", |_, state: &State| {
                state.phases.iter().all(|phase| *phase == Phase::Over)
            }));
        }
        if self.failovers > 0 {
            promises.push(Property::sometimes("two believe, after a failover", |_, state: &State| {
                (0..state.phases.len()).filter(|token| Self::believes(state, *token)).count() > 1
            }));
        }
        promises
    }
}
