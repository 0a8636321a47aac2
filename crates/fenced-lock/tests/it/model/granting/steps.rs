//! What can happen, and when.

use std::collections::VecDeque;

use stateright::{Model, Property};

use super::redis::Redis;
use super::{Action, Granting, Life, P, Phase, Request, Rule, State, Ticket};

impl Granting {
    fn start(&self) -> State {
        let (tokens, processes) = (self.processes.len(), self.processes.iter().max().map_or(0, |last| last + 1));
        State {
            now: 0,
            redis: Redis::empty(processes),
            phases: vec![Phase::Idle; tokens],
            tickets: vec![Ticket::First; tokens],
            came: vec![None; tokens],
            unwanted: vec![false; tokens],
            inbox: vec![0; tokens],
            lives: vec![Life::Runs; processes],
            connected: vec![true; processes],
            requests: vec![VecDeque::new(); processes],
            replies: vec![VecDeque::new(); processes],
            pushes: vec![VecDeque::new(); processes],
            late: Vec::new(),
            cancels: 0,
            breaks: 0,
            lost_pushes: 0,
            extends: 0,
            failovers: 0,
            jumped: false,
            idle: 0,
        }
    }

    fn polls(&self, state: &State, token: usize) -> bool {
        match state.phases[token] {
            Phase::Waiting { asked, .. } => {
                let due = state.now >= asked + P || (state.now == self.end && !self.prompt);
                due && self.rule != Rule::NoPoll
            }
            // Its question or the answer went with a connection.
            Phase::Asking { .. } => !self.under_way(state, token),
            _ => false,
        }
    }

    fn of_token(&self, state: &State, token: usize, actions: &mut Vec<Action>) {
        if !self.runs(state, token) {
            return;
        }
        if self.polls(state, token) {
            actions.push(Action::Poll(token));
        }
        match state.phases[token] {
            // They are alike, so they may as well come in this order.
            Phase::Idle if token == 0 || state.phases[token - 1] != Phase::Idle => actions.push(Action::Ask(token)),
            Phase::Held { until, renewing, .. } => {
                actions.push(Action::Release(token));
                let may = state.extends < self.extends && state.now < until;
                if may && (renewing.is_none() || !self.under_way(state, token)) {
                    actions.push(Action::Extend(token));
                }
            }
            _ => {}
        }
        let cancellable = matches!(state.phases[token], Phase::Asking { .. } | Phase::Waiting { .. });
        if cancellable && !state.unwanted[token] && state.cancels < self.cancels {
            actions.push(Action::Cancel(token));
        }
    }

    fn of_process(&self, state: &State, process: usize, actions: &mut Vec<Action>) {
        if !state.requests[process].is_empty() && state.connected[process] {
            actions.push(Action::Serve(process));
        }
        if !state.pushes[process].is_empty() && state.lost_pushes < self.lost_pushes {
            actions.push(Action::LosePush(process));
        }
        if state.lives[process] != Life::Runs {
            return;
        }
        if !state.replies[process].is_empty() {
            actions.push(Action::Hear(process));
        }
        if !state.pushes[process].is_empty() {
            actions.push(Action::Push(process));
        }
        if state.connected[process] && state.breaks == 0 && self.breaker == Some(process) {
            actions.extend([Action::Break(process, false), Action::Break(process, true)]);
        }
        if !state.connected[process] {
            actions.push(Action::Reconnect(process));
        }
        // The others are killed while they only wait: one that owns is a killed holder once more.
        let owns = state.redis.owner.is_some_and(|owner| self.process(owner) == process);
        if self.killed.contains(&process) && !(owns && self.killed[0] != process) {
            actions.push(Action::Kill(process, false));
            if self.read_after_death {
                actions.push(Action::Kill(process, true));
            }
        }
        if self.stopped.contains(&process) {
            actions.push(Action::Stop(process));
        }
    }

    /// Whether those that run have nothing left to do at this moment.
    fn quiet(&self, state: &State) -> bool {
        let processes = 0..state.lives.len();
        let tokens = 0..state.phases.len();
        state.late.is_empty()
            && processes.into_iter().all(|process| {
                let runs = state.lives[process] == Life::Runs;
                (state.requests[process].is_empty() || !state.connected[process])
                    && (!runs
                        || (state.replies[process].is_empty()
                            && state.pushes[process].is_empty()
                            && state.connected[process]))
            })
            && tokens.into_iter().filter(|token| self.runs(state, *token)).all(|token| {
                let over = matches!(state.phases[token], Phase::Held { until, .. } if state.now >= until);
                !over && !self.polls(state, token)
            })
    }

    /// What processes hear at one moment does not depend on each other's, nor on what Redis does meanwhile: where time
    /// stands still anyway, one order of it is as good as all.
    fn first_heard(actions: &mut Vec<Action>) {
        let heard = |action: &Action| matches!(action, Action::Hear(_) | Action::Push(_));
        if let Some(first) = actions.iter().copied().find(heard) {
            actions.retain(|action| {
                *action == first
                    || matches!(
                        action,
                        Action::LosePush(_)
                            | Action::Cancel(_)
                            | Action::Break(..)
                            | Action::Kill(..)
                            | Action::Stop(_)
                    )
            });
        }
    }

    /// A connection that is gone; what Redis has not read may be read yet.
    fn cut(&self, state: &mut State, process: usize, read: bool) {
        state.connected[process] = false;
        state.replies[process].clear();
        state.pushes[process].clear();
        let unread: Vec<Request> = std::mem::take(&mut state.requests[process]).into();
        if read {
            state.late.extend(unread);
        }
    }

    fn step(&self, state: &mut State, action: Action) -> Option<()> {
        match action {
            Action::Ask(token) => self.ask(state, token),
            Action::Poll(token) => {
                if state.tickets[token] == Ticket::First {
                    state.tickets[token] = Ticket::Unknown;
                }
                if state.unwanted[token] {
                    self.give_up(state, token);
                } else {
                    self.ask(state, token);
                }
            }
            Action::Serve(process) => {
                let request = state.requests[process].pop_front()?;
                self.serve(state, request, true);
            }
            Action::Late => {
                let request = state.late.remove(0);
                self.serve(state, request, false);
            }
            Action::Hear(process) => {
                let reply = state.replies[process].pop_front()?;
                self.hear(state, reply);
            }
            Action::Push(process) => {
                let (token, fence) = state.pushes[process].pop_front()?;
                self.granted(state, token, fence);
            }
            Action::LosePush(process) => {
                state.pushes[process].pop_front()?;
                state.lost_pushes += 1;
            }
            Action::Cancel(token) => {
                state.cancels += 1;
                state.unwanted[token] = true;
                // One that asks is released after its answer; variants do not wait for it.
                if matches!(state.phases[token], Phase::Waiting { .. }) || self.rule == Rule::ReleaseOvertakes {
                    self.give_up(state, token);
                }
            }
            Action::Extend(token) => self.renew(state, token),
            Action::Release(token) => self.give_up(state, token),
            Action::Break(process, read) => {
                state.breaks += 1;
                self.cut(state, process, read);
            }
            Action::Reconnect(process) => state.connected[process] = true,
            Action::Kill(process, read) => {
                self.cut(state, process, read);
                state.lives[process] = Life::Killed;
                for token in (0..state.phases.len()).filter(|token| self.process(*token) == process) {
                    state.phases[token] = Phase::Dead;
                }
            }
            Action::Stop(process) => state.lives[process] = Life::Stopped,
            Action::Failover => {
                state.failovers += 1;
                state.redis.forget(self.lag);
                for process in 0..state.connected.len() {
                    self.cut(state, process, false);
                }
            }
            Action::Tick => {
                if self.bound.is_some() && self.somebody_waits(state) && !self.somebody_believes(state) {
                    state.idle += 1;
                }
                state.now += 1;
                if self.keep && state.redis.life <= state.now {
                    state.redis.owner = None;
                    state.redis.alive.fill(0);
                }
            }
        }
        if self.somebody_believes(state) {
            state.idle = 0;
        }
        Some(())
    }
}

impl Model for Granting {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let mut start = self.start();
        for token in 0..if self.queued { self.processes.len() } else { 0 } {
            let process = self.process(token);
            for action in [Action::Ask(token), Action::Serve(process), Action::Hear(process)] {
                self.step(&mut start, action).unwrap();
            }
        }
        vec![start]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for token in 0..state.phases.len() {
            self.of_token(state, token, actions);
        }
        for process in 0..state.connected.len() {
            self.of_process(state, process, actions);
        }
        if !state.late.is_empty() {
            actions.push(Action::Late);
        }
        if state.failovers < self.failovers {
            actions.push(Action::Failover);
        }
        if state.now < self.end && (!self.prompt || self.quiet(state)) {
            actions.push(Action::Tick);
        }
        if self.prompt {
            Self::first_heard(actions);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        self.step(&mut state, action)?;
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        self.promises()
    }
}
