//! Section 3: what an acquisition sends, and what it makes of what it hears.

use super::{G, Granting, Phase, Reply, Request, Rule, State, T, Ticket};

impl Granting {
    fn send(&self, state: &mut State, request: Request) {
        let requests = &mut state.requests[self.process(request.token())];
        // Variant 11: as if the command before it died with its future, and were run after all.
        match request {
            Request::Release { .. } if self.rule == Rule::ReleaseOvertakes => requests.push_front(request),
            _ => requests.push_back(request),
        }
    }

    pub(super) fn ask(&self, state: &mut State, token: usize) {
        state.phases[token] = Phase::Asking { asked: state.now };
        let ticket = state.tickets[token];
        self.send(state, Request::Acquire { token, ticket });
    }

    /// The watchdog.
    pub(super) fn renew(&self, state: &mut State, token: usize) {
        if let Phase::Held { renewing, .. } = &mut state.phases[token] {
            *renewing = Some(state.now);
            state.extends += 1;
            self.send(state, Request::Extend { token });
        }
    }

    pub(super) fn give_up(&self, state: &mut State, token: usize) {
        state.phases[token] = Phase::Over;
        self.send(state, Request::Release { token });
    }

    fn hold(state: &mut State, token: usize, until: u8) {
        state.phases[token] = Phase::Held { until, renewing: None, epoch: state.failovers };
    }

    /// A grant, by a push or by the reply to a release of the same process.
    pub(super) fn granted(&self, state: &mut State, token: usize, fence: u8) {
        match state.phases[token] {
            Phase::Waiting { asked, seen } => {
                let until = if self.rule == Rule::LeaseFromPush { state.now + G } else { asked + G };
                let new = fence > seen || self.rule == Rule::NoSeen;
                if self.rule != Rule::FreeAndWake && new && state.now < until {
                    Self::hold(state, token, until);
                } else {
                    self.ask(state, token);
                }
            }
            // Not in the table any more.
            Phase::Over => self.send(state, Request::Release { token }),
            Phase::Asking { .. } => state.inbox[token] = state.inbox[token].max(fence),
            Phase::Idle | Phase::Held { .. } | Phase::Dead => {}
        }
    }

    pub(super) fn hear(&self, state: &mut State, reply: Reply) {
        match reply {
            Reply::Released { next: Some((next, fence)) } if self.rule != Rule::ReplyUnread => {
                self.granted(state, next, fence);
            }
            Reply::Released { .. } => {}
            Reply::Owned { token, left } => {
                let Phase::Asking { asked } = state.phases[token] else { return };
                let from = if self.rule == Rule::LeaseFromReply { state.now } else { asked };
                if state.unwanted[token] {
                    self.give_up(state, token);
                } else if state.now < from + left {
                    Self::hold(state, token, from + left);
                } else {
                    // Too late; with its old ticket, if it has one.
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
            Reply::Contended { token } => {
                if state.tickets[token] == Ticket::First {
                    // Its only question has left nothing behind.
                    state.phases[token] = Phase::Over;
                } else {
                    self.give_up(state, token);
                }
            }
            Reply::Extended { token, ours } => {
                let Phase::Held { until, renewing: Some(sent), .. } = state.phases[token] else { return };
                let from = if self.rule == Rule::ExtendFromReply { state.now } else { sent };
                // What was lost by the clock is not had back.
                if ours && state.now < until {
                    Self::hold(state, token, from + T);
                } else {
                    self.give_up(state, token);
                }
            }
        }
    }
}
