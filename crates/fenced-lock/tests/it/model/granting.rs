//! Sections 2 and 3: the scripts, the messages on their way, and the clock.
//!
//! Each acquisition is in a process of its own unless said otherwise. Commands of a process are run in order and answered
//! in order; pushes have a connection of their own, so they come at any time. Every delay is possible: a process that is
//! stopped is one whose steps come late. Time is in polls: P = 1, G = 2. A fence is a serial number, which is what Redis'
//! microseconds are.

use std::collections::VecDeque;

use stateright::{Model, Property};

const G: u8 = 2;
const P: u8 = 1;
/// The keys' own life, in the one model that needs it.
const KEEP: u8 = 4;

/// One rule left out, or changed, by its number in the specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    AsSpecified,
    /// 7
    LeaseFromReply,
    /// 8
    LeaseFromPush,
    /// 9
    NoSeen,
    /// 10
    CancelOnlyLeavesQueue,
    /// 11
    ReleaseOvertakes,
    /// 12
    NoPoll,
    /// 13
    FreeAndWake,
    /// 14
    NoTicketOnReturn,
    /// 15
    LifeOnlyAtCreation,
    /// 16
    ReleaseUnchecked,
}

#[derive(Clone, Debug)]
struct Granting {
    rule: Rule,
    /// The process of each acquisition.
    processes: Vec<usize>,
    /// The last moment.
    end: u8,
    cancels: u8,
    /// The process that loses its connection, once.
    breaker: Option<usize>,
    lost_pushes: u8,
    /// Whether the keys have a life of their own.
    keep: bool,
    /// Whether the first one holds and the others have queued, in their order, before anything else happens.
    queued: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Phase {
    Idle,
    /// An ACQUIRE is on its way, sent at `asked`.
    Asking {
        asked: u8,
    },
    /// Answered 'waiting'; `asked` was then known not to own.
    Waiting {
        asked: u8,
        seen: u8,
    },
    Held {
        until: u8,
    },
    /// A RELEASE is on its way, or was, and nobody believes anything any more.
    Over,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Ticket {
    First,
    Unknown,
    Known(u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Request {
    Acquire { token: usize, ticket: Ticket },
    Release { token: usize },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Reply {
    Owned { token: usize, left: u8 },
    Waiting { token: usize, ticket: u8, seen: u8 },
    Released { next: Option<(usize, u8)> },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Redis {
    owner: Option<usize>,
    until: u8,
    queue: Vec<(u8, usize)>,
    alive: Vec<u8>,
    /// The last fence and the last ticket: both are this server's time.
    serial: u8,
    tickets: u8,
    /// When each ticket was given.
    queued_at: Vec<u8>,
    /// When the hash ends by itself.
    life: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    now: u8,
    redis: Redis,
    phases: Vec<Phase>,
    /// What each acquisition knows of its place.
    tickets: Vec<Ticket>,
    /// Its first ticket, whether or not it still uses it.
    came: Vec<Option<u8>>,
    /// The caller does not want it any more.
    unwanted: Vec<bool>,
    /// A grant that came while the answer to a question was awaited.
    inbox: Vec<u8>,
    connected: Vec<bool>,
    requests: Vec<VecDeque<Request>>,
    replies: Vec<VecDeque<Reply>>,
    pushes: Vec<VecDeque<(usize, u8)>>,
    /// Of broken connections, not yet read by Redis.
    late: Vec<Request>,
    cancels: u8,
    breaks: u8,
    lost_pushes: u8,
    /// A grant went past somebody who stood in the queue before.
    jumped: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Ask(usize),
    /// A poll, or a second question after an answer that did not come.
    Poll(usize),
    /// Redis runs the next command of a process.
    Serve(usize),
    /// A process reads its next reply.
    Hear(usize),
    /// A process reads its next push.
    Push(usize),
    LosePush(usize),
    Cancel(usize),
    Release(usize),
    /// The connections of a process break; what Redis has not read may be read yet, or never.
    Break(usize, bool),
    Reconnect(usize),
    Late,
    Tick,
}

impl Granting {
    fn new(rule: Rule, processes: &[usize], end: u8) -> Self {
        Self {
            rule,
            processes: processes.to_vec(),
            end,
            cancels: 0,
            breaker: None,
            lost_pushes: 0,
            keep: false,
            queued: false,
        }
    }

    fn process(&self, token: usize) -> usize {
        self.processes[token]
    }

    fn lives(&self, state: &State, ticket: u8, process: usize) -> bool {
        let queued = state.redis.queued_at[usize::from(ticket)];
        state.now - queued < G || state.redis.alive[process] > state.now
    }

    fn own(&self, state: &mut State, token: usize) -> u8 {
        let made = state.redis.owner.is_none() && state.redis.life <= state.now;
        if made || (self.rule != Rule::LifeOnlyAtCreation && state.now + KEEP / 2 > state.redis.life) {
            state.redis.life = state.now + KEEP;
        }
        let came = state.came[token];
        state.jumped |=
            state.redis.queue.iter().any(|(_, other)| {
                *other != token && state.connected[self.process(*other)] && state.came[*other] < came
            });
        state.redis.serial += 1;
        state.redis.owner = Some(token);
        state.redis.until = state.now + G;
        state.redis.serial
    }

    /// The loop that both scripts share. `reply`: who needs no push.
    fn grant(&self, state: &mut State, reply: impl Fn(usize) -> bool) -> Option<(usize, u8)> {
        while !state.redis.queue.is_empty() {
            let (ticket, token) = state.redis.queue.remove(0);
            let process = self.process(token);
            if reply(token) {
                return Some((token, self.own(state, token)));
            }
            if self.lives(state, ticket, process) && state.connected[process] {
                let fence = self.own(state, token);
                state.pushes[process].push_back((token, fence));
                return Some((token, fence));
            }
        }
        None
    }

    fn acquire(&self, state: &mut State, token: usize, ticket: Ticket) -> Reply {
        let owned = state.redis.owner.is_some() && state.redis.until > state.now;
        if owned && state.redis.owner == Some(token) {
            return Reply::Owned { token, left: state.redis.until - state.now };
        }
        let next_ticket = state.redis.tickets;
        if !owned && (state.redis.queue.is_empty() || self.rule == Rule::FreeAndWake) {
            state.came[token].get_or_insert(next_ticket);
            state.redis.queue.retain(|(_, other)| *other != token);
            self.own(state, token);
            return Reply::Owned { token, left: G };
        }
        let process = self.process(token);
        let queued = state.redis.queue.iter().find(|(_, other)| *other == token).map(|(ticket, _)| *ticket);
        if ticket != Ticket::First {
            state.redis.alive[process] = state.now + G;
        }
        let ticket = match (queued, ticket) {
            (Some(ticket), _) => ticket,
            (None, Ticket::Known(ticket)) if self.rule != Rule::NoTicketOnReturn => ticket,
            (None, _) => {
                state.redis.tickets += 1;
                state.redis.queued_at.push(state.now);
                next_ticket
            }
        };
        state.came[token].get_or_insert(ticket);
        if queued.is_none() {
            let at = state.redis.queue.iter().position(|(other, _)| *other > ticket);
            state.redis.queue.insert(at.unwrap_or(state.redis.queue.len()), (ticket, token));
        }
        if !owned {
            match self.grant(state, |other| other == token) {
                Some((winner, _)) if winner == token => return Reply::Owned { token, left: G },
                Some(_) => {}
                None => {
                    self.own(state, token);
                    return Reply::Owned { token, left: G };
                }
            }
        }
        Reply::Waiting { token, ticket, seen: state.redis.serial }
    }

    fn release(&self, state: &mut State, token: usize) -> Option<(usize, u8)> {
        let owner =
            state.redis.owner == Some(token) || (self.rule == Rule::ReleaseUnchecked && state.redis.owner.is_some());
        if self.rule == Rule::CancelOnlyLeavesQueue && state.unwanted[token] {
            state.redis.queue.retain(|(_, other)| *other != token);
            return None;
        }
        if !owner {
            state.redis.queue.retain(|(_, other)| *other != token);
            return None;
        }
        if self.rule == Rule::FreeAndWake {
            state.redis.owner = None;
            if let Some((_, first)) = state.redis.queue.first() {
                // A wake-up, which makes it ask.
                state.pushes[self.process(*first)].push_back((*first, 0));
            }
            return None;
        }
        let process = self.process(token);
        let next = self.grant(state, |other| self.process(other) == process);
        if next.is_none() {
            state.redis.owner = None;
            state.redis.life = 0;
        }
        next.filter(|(next, _)| self.process(*next) == process)
    }

    /// Redis runs one command; the reply goes nowhere if nobody listens any more.
    fn serve(&self, state: &mut State, request: Request, heard: bool) {
        let (process, reply) = match request {
            Request::Acquire { token, ticket } => (self.process(token), self.acquire(state, token, ticket)),
            Request::Release { token } => (self.process(token), Reply::Released { next: self.release(state, token) }),
        };
        if heard {
            state.replies[process].push_back(reply);
        }
    }

    fn send(&self, state: &mut State, request: Request) {
        let (Request::Acquire { token, .. } | Request::Release { token }) = request;
        let requests = &mut state.requests[self.process(token)];
        // Variant 11: as if the command before it died with its future, and were run after all.
        match request {
            Request::Release { .. } if self.rule == Rule::ReleaseOvertakes => requests.push_front(request),
            _ => requests.push_back(request),
        }
    }

    fn ask(&self, state: &mut State, token: usize) {
        state.phases[token] = Phase::Asking { asked: state.now };
        let ticket = state.tickets[token];
        self.send(state, Request::Acquire { token, ticket });
    }

    fn give_up(&self, state: &mut State, token: usize) {
        state.phases[token] = Phase::Over;
        self.send(state, Request::Release { token });
    }

    /// A grant, by a push or by the reply to a release of the same process.
    fn granted(&self, state: &mut State, token: usize, fence: u8) {
        match state.phases[token] {
            Phase::Waiting { asked, seen } => {
                let until = if self.rule == Rule::LeaseFromPush { state.now + G } else { asked + G };
                let new = fence > seen || self.rule == Rule::NoSeen;
                if self.rule != Rule::FreeAndWake && new && state.now < until {
                    state.phases[token] = Phase::Held { until };
                } else {
                    self.ask(state, token);
                }
            }
            // Not in the table any more.
            Phase::Over => self.send(state, Request::Release { token }),
            Phase::Asking { .. } => state.inbox[token] = state.inbox[token].max(fence),
            Phase::Idle | Phase::Held { .. } => {}
        }
    }

    fn hear(&self, state: &mut State, reply: Reply) {
        match reply {
            Reply::Released { next: Some((next, fence)) } => self.granted(state, next, fence),
            Reply::Released { next: None } => {}
            Reply::Owned { token, left } => {
                let Phase::Asking { asked } = state.phases[token] else { return };
                let from = if self.rule == Rule::LeaseFromReply { state.now } else { asked };
                if state.unwanted[token] {
                    self.give_up(state, token);
                } else if state.now < from + left {
                    state.phases[token] = Phase::Held { until: from + left };
                } else {
                    state.tickets[token] = Ticket::Unknown;
                    self.ask(state, token);
                }
            }
            Reply::Waiting { token, ticket, seen } => {
                let Phase::Asking { asked } = state.phases[token] else { return };
                state.tickets[token] = Ticket::Known(ticket);
                if state.unwanted[token] {
                    self.give_up(state, token);
                } else {
                    state.phases[token] = Phase::Waiting { asked, seen };
                    let grant = std::mem::take(&mut state.inbox[token]);
                    if grant > 0 {
                        self.granted(state, token, grant);
                    }
                }
            }
        }
    }

    fn believes(state: &State, token: usize) -> bool {
        matches!(state.phases[token], Phase::Held { until } if state.now < until)
    }

    /// Something about this acquisition is still on its way.
    fn under_way(&self, state: &State, token: usize) -> bool {
        let about = |request: &Request| matches!(request, Request::Acquire { token: other, .. } | Request::Release { token: other } if *other == token);
        state.requests.iter().flatten().any(about)
            || state.late.iter().any(about)
            || state.pushes.iter().flatten().any(|(other, _)| *other == token)
            || state.replies.iter().flatten().any(|reply| match reply {
                Reply::Owned { token: other, .. } | Reply::Waiting { token: other, .. } => *other == token,
                Reply::Released { next } => next.is_some_and(|(other, _)| other == token),
            })
    }
}

impl Model for Granting {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let (tokens, processes) = (self.processes.len(), self.processes.iter().max().map_or(0, |last| last + 1));
        let mut start = State {
            now: 0,
            redis: Redis {
                owner: None,
                until: 0,
                queue: Vec::new(),
                alive: vec![0; processes],
                serial: 0,
                tickets: 0,
                queued_at: Vec::new(),
                life: 0,
            },
            phases: vec![Phase::Idle; tokens],
            tickets: vec![Ticket::First; tokens],
            came: vec![None; tokens],
            unwanted: vec![false; tokens],
            inbox: vec![0; tokens],
            connected: vec![true; processes],
            requests: vec![VecDeque::new(); processes],
            replies: vec![VecDeque::new(); processes],
            pushes: vec![VecDeque::new(); processes],
            late: Vec::new(),
            cancels: 0,
            breaks: 0,
            lost_pushes: 0,
            jumped: false,
        };
        for token in 0..if self.queued { tokens } else { 0 } {
            let process = self.process(token);
            for action in [Action::Ask(token), Action::Serve(process), Action::Hear(process)] {
                start = self.next_state(&start, action).unwrap();
            }
        }
        vec![start]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (token, phase) in state.phases.iter().enumerate() {
            match *phase {
                // They are alike, so they may as well come in this order.
                Phase::Idle if token == 0 || state.phases[token - 1] != Phase::Idle => actions.push(Action::Ask(token)),
                Phase::Waiting { asked, .. }
                    if (state.now >= asked + P || state.now == self.end) && self.rule != Rule::NoPoll =>
                {
                    actions.push(Action::Poll(token));
                }
                // Its question or the answer went with a connection.
                Phase::Asking { .. } if !self.under_way(state, token) => actions.push(Action::Poll(token)),
                Phase::Held { .. } => actions.push(Action::Release(token)),
                _ => {}
            }
            let cancellable = matches!(phase, Phase::Asking { .. } | Phase::Waiting { .. });
            if cancellable && !state.unwanted[token] && state.cancels < self.cancels {
                actions.push(Action::Cancel(token));
            }
        }
        for process in 0..state.connected.len() {
            if !state.requests[process].is_empty() && state.connected[process] {
                actions.push(Action::Serve(process));
            }
            if !state.replies[process].is_empty() {
                actions.push(Action::Hear(process));
            }
            if !state.pushes[process].is_empty() {
                actions.push(Action::Push(process));
                if state.lost_pushes < self.lost_pushes {
                    actions.push(Action::LosePush(process));
                }
            }
            if state.connected[process] && state.breaks == 0 && self.breaker == Some(process) {
                actions.extend([Action::Break(process, false), Action::Break(process, true)]);
            }
            if !state.connected[process] {
                actions.push(Action::Reconnect(process));
            }
        }
        if !state.late.is_empty() {
            actions.push(Action::Late);
        }
        if state.now < self.end {
            actions.push(Action::Tick);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Ask(token) => self.ask(&mut state, token),
            Action::Poll(token) => {
                if state.tickets[token] == Ticket::First {
                    state.tickets[token] = Ticket::Unknown;
                }
                if state.unwanted[token] {
                    self.give_up(&mut state, token);
                } else {
                    self.ask(&mut state, token);
                }
            }
            Action::Serve(process) => {
                let request = state.requests[process].pop_front()?;
                self.serve(&mut state, request, true);
            }
            Action::Late => {
                let request = state.late.remove(0);
                self.serve(&mut state, request, false);
            }
            Action::Hear(process) => {
                let reply = state.replies[process].pop_front()?;
                self.hear(&mut state, reply);
            }
            Action::Push(process) => {
                let (token, fence) = state.pushes[process].pop_front()?;
                self.granted(&mut state, token, fence);
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
                    self.give_up(&mut state, token);
                }
            }
            Action::Release(token) => self.give_up(&mut state, token),
            Action::Break(process, read) => {
                state.breaks += 1;
                state.connected[process] = false;
                state.replies[process].clear();
                state.pushes[process].clear();
                let unread = std::mem::take(&mut state.requests[process]);
                if read {
                    state.late.extend(unread);
                }
            }
            Action::Reconnect(process) => state.connected[process] = true,
            Action::Tick => {
                state.now += 1;
                if self.keep && state.redis.life <= state.now {
                    state.redis.owner = None;
                    state.redis.alive.fill(0);
                }
            }
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("who believes, owns", |_, state: &State| {
                (0..state.phases.len()).all(|token| {
                    !Self::believes(state, token) || (state.redis.owner == Some(token) && state.redis.until > state.now)
                })
            }),
            Property::always("first come, first served", |_, state: &State| !state.jumped),
            Property::always("nobody owns who has gone", |model: &Self, state: &State| {
                state.breaks > 0
                    || !state.redis.owner.is_some_and(|token| {
                        state.phases[token] == Phase::Over
                            && state.redis.until > state.now
                            && !model.under_way(state, token)
                    })
            }),
            Property::always("nobody waits for ever", |model: &Self, state: &State| {
                let mut actions = Vec::new();
                model.actions(state, &mut actions);
                !(actions.is_empty() && state.phases.iter().any(|phase| matches!(phase, Phase::Waiting { .. })))
                    || state.redis.owner.is_some_and(|token| matches!(state.phases[token], Phase::Held { .. }))
            }),
            Property::sometimes("the last one holds", |_, state: &State| Self::believes(state, state.phases.len() - 1)),
            Property::sometimes("all have been served", |_, state: &State| {
                state.phases.iter().all(|phase| *phase == Phase::Over)
            }),
        ]
    }
}

const OWNS: &str = "who believes, owns";
const ORDER: &str = "first come, first served";
const ORPHAN: &str = "nobody owns who has gone";
const STUCK: &str = "nobody waits for ever";

#[test]
fn two_processes() {
    super::holds(Granting::new(Rule::AsSpecified, &[0, 1], 3), 10_000);
}

#[test]
fn two_processes_that_cancel() {
    super::holds(Granting { cancels: 2, ..Granting::new(Rule::AsSpecified, &[0, 1], 3) }, 1_000);
}

#[test]
fn two_processes_that_lose_a_push() {
    super::holds(Granting { lost_pushes: 1, ..Granting::new(Rule::AsSpecified, &[0, 1], 3) }, 1_000);
}

#[test]
fn two_processes_of_which_one_loses_its_connection() {
    for breaker in 0..2 {
        let model = Granting::new(Rule::AsSpecified, &[0, 1], 2);
        super::holds(Granting { breaker: Some(breaker), cancels: 1, ..model }, 1_000);
    }
}

#[test]
fn two_waiters_in_one_process() {
    super::holds(Granting::new(Rule::AsSpecified, &[0, 0], 3), 1_000);
}

#[test]
fn keys_that_end_by_themselves() {
    super::holds(Granting { keep: true, ..Granting::new(Rule::AsSpecified, &[0, 1], 5) }, 1_000);
}

#[test]
fn three_processes() {
    super::holds(Granting::new(Rule::AsSpecified, &[0, 1, 2], 1), 1_000);
}

#[test]
fn four_processes_of_which_one_comes_back() {
    let model = Granting::new(Rule::AsSpecified, &[0, 1, 2, 3], 0);
    super::holds(Granting { breaker: Some(1), queued: true, ..model }, 1_000);
}

#[test]
fn with_a_lease_counted_from_the_replys_arrival() {
    super::fails(|| Granting::new(Rule::LeaseFromReply, &[0, 1], 4), OWNS, 5);
}

#[test]
fn with_a_lease_counted_from_the_pushs_arrival() {
    super::fails(|| Granting::new(Rule::LeaseFromPush, &[0, 1], 4), OWNS, 11);
}

#[test]
fn with_grants_that_are_older_than_the_wait() {
    super::fails(|| Granting::new(Rule::NoSeen, &[0, 1], 4), OWNS, 18);
}

#[test]
fn with_a_cancellation_that_only_leaves_the_queue() {
    super::fails(|| Granting { cancels: 1, ..Granting::new(Rule::CancelOnlyLeavesQueue, &[0, 1], 2) }, ORPHAN, 5);
}

#[test]
fn with_a_release_that_overtakes_the_question() {
    super::fails(|| Granting { cancels: 1, ..Granting::new(Rule::ReleaseOvertakes, &[0, 1], 2) }, ORPHAN, 6);
}

#[test]
fn without_polls() {
    super::fails(|| Granting { lost_pushes: 1, ..Granting::new(Rule::NoPoll, &[0, 1], 2) }, STUCK, 11);
}

#[test]
fn with_a_release_that_frees_and_wakes() {
    super::fails(|| Granting::new(Rule::FreeAndWake, &[0, 1, 2], 1), ORDER, 9);
}

#[test]
fn without_a_ticket_on_return() {
    let model = || Granting::new(Rule::NoTicketOnReturn, &[0, 1, 2, 3], 0);
    super::fails(|| Granting { breaker: Some(1), queued: true, ..model() }, ORDER, 9);
}

#[test]
fn with_keys_whose_life_is_set_only_at_creation() {
    super::fails(|| Granting { keep: true, ..Granting::new(Rule::LifeOnlyAtCreation, &[0, 1, 2], 5) }, OWNS, 9);
}

#[test]
fn with_a_release_that_does_not_look() {
    super::fails(|| Granting::new(Rule::ReleaseUnchecked, &[0, 1], 4), OWNS, 10);
}
