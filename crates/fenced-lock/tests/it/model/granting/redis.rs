//! Section 2: what Redis knows, and its three scripts.

use super::{G, Granting, KEEP, Reply, Request, Rule, State, T, Ticket};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Redis {
    pub(super) owner: Option<usize>,
    pub(super) until: u8,
    pub(super) queue: Vec<(u8, usize)>,
    pub(super) alive: Vec<u8>,
    /// The last fence and the last ticket: both are this server's time.
    pub(super) serial: u8,
    pub(super) tickets: u8,
    /// When each ticket was given.
    pub(super) queued_at: Vec<u8>,
    /// When the hash ends by itself.
    pub(super) life: u8,
}

impl Redis {
    pub(super) fn empty(processes: usize) -> Self {
        Self {
            owner: None,
            until: 0,
            queue: Vec::new(),
            alive: vec![0; processes],
            serial: 0,
            tickets: 0,
            queued_at: Vec::new(),
            life: 0,
        }
    }

    /// A new primary that has none of it. Its tickets go on, as its time does; so do its fences, unless it lags.
    pub(super) fn forget(&mut self, lag: bool) {
        let serial = if lag { 0 } else { self.serial };
        let (tickets, queued_at) = (self.tickets, std::mem::take(&mut self.queued_at));
        *self = Self { serial, tickets, queued_at, ..Self::empty(self.alive.len()) };
    }
}

impl Granting {
    fn lives(&self, state: &State, ticket: u8, process: usize) -> bool {
        let queued = state.redis.queued_at[usize::from(ticket)];
        state.now - queued < G || state.redis.alive[process] > state.now || self.rule == Rule::SilenceIsLife
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
        let waits = self.impatient != Some(token);
        if owned && state.redis.owner == Some(token) {
            return Reply::Owned { token, left: state.redis.until - state.now };
        }
        if owned && !waits {
            return Reply::Contended { token };
        }
        let next_ticket = state.redis.tickets;
        let past_the_queue = self.rule == Rule::FreeAndWake || (self.rule == Rule::ImpatientFirst && !waits);
        if !owned && (state.redis.queue.is_empty() || past_the_queue) {
            state.came[token].get_or_insert(next_ticket);
            state.redis.queue.retain(|(_, other)| *other != token);
            self.own(state, token);
            return Reply::Owned { token, left: G };
        }
        if !waits {
            state.came[token].get_or_insert(next_ticket);
            if self.grant(state, |_| false).is_some() {
                return Reply::Contended { token };
            }
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

    /// The owner alone counts, not its lease.
    fn extend(&self, state: &mut State, token: usize) -> Reply {
        let owner = state.redis.owner == Some(token) || self.rule == Rule::ExtendUnchecked;
        if owner {
            state.redis.until = state.now + T;
            state.redis.life = state.now + KEEP;
        }
        Reply::Extended { token, ours: owner }
    }

    fn release(&self, state: &mut State, token: usize) -> Option<(usize, u8)> {
        let owner =
            state.redis.owner == Some(token) || (self.rule == Rule::ReleaseUnchecked && state.redis.owner.is_some());
        let only_leaves = self.rule == Rule::CancelOnlyLeavesQueue && state.unwanted[token];
        if !owner || only_leaves {
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
    pub(super) fn serve(&self, state: &mut State, request: Request, heard: bool) {
        let reply = match request {
            Request::Acquire { token, ticket } => self.acquire(state, token, ticket),
            Request::Extend { token } => self.extend(state, token),
            Request::Release { token } => Reply::Released { next: self.release(state, token) },
        };
        if heard {
            state.replies[self.process(request.token())].push_back(reply);
        }
    }
}
