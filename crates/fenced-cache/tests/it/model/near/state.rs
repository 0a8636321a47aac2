//! What Redis and the process know, and how a step changes it.

use super::super::wrong::Wrong;
use super::{Act, NearModel, PUSHES, READS, Scope, Who};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in super::super) struct State {
    /// PostgreSQL's newest commit, and the newest whose invalidation has run.
    pub(super) committed: u8,
    pub(super) applied: u8,
    /// Who has committed and not yet been told that the invalidation has run.
    pub(super) writer: Option<Writer>,
    /// The newest commit of this process that was acknowledged.
    pub(super) own: u8,
    /// Redis: the commit that the entry shows, zero for none; whether it pushes to this connection; the canary.
    pub(super) stored: u8,
    tracked: bool,
    canary_set: bool,
    /// It pushes nothing to this connection.
    pub(super) deaf: bool,
    /// The process: whether it believes that the canary is set;
    /// its near entry, zero for none, and what was applied at `proved`, zero for "not proved".
    placed: bool,
    pub(super) near: u8,
    pub(super) proved: u8,
    pub(super) reads: [Request; READS],
    pushes: [Option<Push>; PUSHES],
    pub(super) canary: Canary,
    /// Of wrong variants: the one mark of all reads.
    shared_mark: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Writer {
    who: Who,
    /// DELETE has run.
    pub(super) ran: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Request {
    None,
    Sent { marked: bool },
    Answered { value: u8, marked: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Push {
    Entry,
    /// Some were lost here.
    Lagged,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Canary {
    None,
    /// What was applied when it was sent.
    Sent {
        floor: u8,
    },
    /// The value was as set, or not; its renewal caused a push, or not; so many pushes were received before the reply and
    /// are not taken yet.
    Answered {
        floor: u8,
        alive: bool,
        sung: bool,
        before: u8,
    },
    /// SET is in flight.
    Placing,
    Placed,
}

impl State {
    pub(super) fn new() -> Self {
        Self {
            committed: 1,
            applied: 1,
            writer: None,
            own: 1,
            stored: 0,
            tracked: false,
            canary_set: true,
            deaf: false,
            placed: true,
            near: 0,
            proved: 0,
            reads: [Request::None; READS],
            pushes: [None; PUSHES],
            canary: Canary::None,
            shared_mark: false,
        }
    }

    /// The newest commit that was acknowledged: all of them but one that is under way.
    pub(super) fn acknowledged(&self) -> u8 {
        self.committed - u8::from(self.writer.is_some())
    }

    pub(super) fn waiting(&self) -> usize {
        self.pushes.iter().flatten().count()
    }

    pub(super) fn step(&mut self, model: &NearModel, act: Act) {
        match act {
            Act::Read(r) => {
                self.reads[r] = Request::Sent { marked: true };
                self.shared_mark = model.wrong == Wrong::SharedMark;
            }
            Act::ReadRuns(r) => {
                if let Request::Sent { marked } = self.reads[r] {
                    self.reads[r] = Request::Answered { value: self.stored, marked };
                    self.tracked = !self.deaf;
                }
            }
            Act::ReadReply(r) => {
                let Request::Answered { value, marked } = self.reads[r] else { return };
                let marked = match model.wrong {
                    Wrong::NoMark => true,
                    Wrong::SharedMark => self.shared_mark,
                    _ => marked,
                };
                if marked {
                    self.near = value;
                }
                self.reads[r] = Request::None;
            }
            Act::Push => self.take_push(model),
            Act::Lag => self.pushes[0] = Some(Push::Lagged),
            Act::CanarySend if self.placed => self.canary = Canary::Sent { floor: self.applied },
            Act::CanarySend => self.canary = Canary::Placing,
            Act::CanaryRuns => {
                let before = [0, 1, 2, 3][self.waiting()];
                self.canary = match self.canary {
                    Canary::Sent { floor } => {
                        Canary::Answered { floor, alive: self.canary_set, sung: !self.deaf, before }
                    }
                    _ => Canary::Placed,
                };
                self.canary_set |= self.canary == Canary::Placed;
            }
            Act::CanaryReply => self.canary_reply(model),
            Act::Commit(who) => {
                self.committed += 1;
                self.writer = Some(Writer { who, ran: false });
                if who == Who::Here {
                    self.forget_own(model);
                }
            }
            Act::Delete => {
                let Some(writer) = &mut self.writer else { return };
                writer.ran = true;
                let who = writer.who;
                self.change(model, 0, who);
                self.applied = self.committed;
                if model.scope != Scope::Writers {
                    self.writer = None;
                }
            }
            Act::Acknowledge => {
                let Some(Writer { who, .. }) = self.writer.take() else { return };
                if who == Who::Here {
                    self.own = self.committed;
                    if model.wrong != Wrong::OwnWriteForgottenOnce {
                        self.forget_own(model);
                    }
                }
            }
            Act::Fill(who) => {
                self.change(model, self.committed, who);
                if who == Who::Here && model.wrong == Wrong::ScriptReplyKept {
                    self.near = self.stored;
                }
            }
            Act::Expire => self.change(model, 0, Who::Elsewhere),
            Act::FlushAll => {
                (self.stored, self.tracked, self.canary_set) = (0, false, false);
            }
            Act::Deafen => {
                (self.deaf, self.tracked) = (true, false);
            }
            Act::Reconnect => {
                (self.tracked, self.deaf) = (false, false);
                self.reads = [Request::None; READS];
                self.pushes = [None; PUSHES];
                self.canary = Canary::None;
                if model.wrong != Wrong::NoFlushOnLoss {
                    self.flush();
                }
            }
        }
    }

    /// The key changes, and Redis pushes once to who has read it.
    fn change(&mut self, model: &NearModel, stored: u8, who: Who) {
        self.stored = stored;
        let silent = model.wrong == Wrong::NoLoop && who == Who::Here;
        if self.tracked && !silent {
            let end = self.waiting();
            self.pushes[end] = Some(Push::Entry);
        }
        self.tracked = false;
    }

    fn take_push(&mut self, model: &NearModel) {
        let taken = self.pushes[0];
        self.pushes.rotate_left(1);
        self.pushes[PUSHES - 1] = None;
        if let Canary::Answered { before, .. } = &mut self.canary {
            *before = before.saturating_sub(1);
        }
        match taken {
            Some(Push::Lagged) if model.wrong == Wrong::LagIgnored => {}
            Some(_) => self.forget(),
            None => {}
        }
    }

    /// The near entry and the marks of all reads go.
    fn forget(&mut self) {
        self.near = 0;
        self.shared_mark = false;
        for read in &mut self.reads {
            match read {
                Request::Sent { marked } | Request::Answered { marked, .. } => *marked = false,
                Request::None => {}
            }
        }
    }

    fn forget_own(&mut self, model: &NearModel) {
        if model.wrong == Wrong::OwnWriteLeavesMarks {
            self.near = 0;
        } else {
            self.forget();
        }
    }

    fn flush(&mut self) {
        self.forget();
        self.proved = 0;
    }

    fn canary_reply(&mut self, model: &NearModel) {
        let Canary::Answered { floor, alive, sung, before } = self.canary else {
            self.canary = Canary::None;
            self.placed = true;
            if model.wrong != Wrong::FlushedBeforeCanaryIsSet {
                self.flush();
            }
            return;
        };
        if model.wrong != Wrong::NoDrain {
            for _ in 0..before {
                self.take_push(model);
            }
        }
        self.canary = Canary::None;
        if (alive || model.wrong == Wrong::NoCanary) && (sung || model.wrong == Wrong::SilenceBelieved) {
            self.proved = if model.wrong == Wrong::ProvedAtReply { self.applied } else { floor };
        } else {
            self.flush();
            self.placed = false;
        }
    }

    /// Makes one state of those that only a wrong variant tells apart.
    pub(super) fn tidy(&mut self, scope: Scope) {
        for read in &mut self.reads {
            if let Request::Answered { value, marked: false } = read {
                *value = 0;
            }
        }
        if let Canary::Answered { alive: false, floor, .. } = &mut self.canary {
            *floor = 0;
        }
        self.reads.sort_unstable();
        if scope != Scope::Writers {
            self.writer = self.writer.map(|writer| Writer { who: Who::Elsewhere, ..writer });
        }
        for push in self.pushes.iter_mut().flatten() {
            *push = Push::Entry;
        }
    }
}
