//! Sections 2 and 3: the scripts, the messages on their way, and the clock.
//!
//! Each acquisition is in a process of its own unless said otherwise. Commands of a process are run in order and answered
//! in order; pushes have a connection of their own, so they come at any time. Every delay is possible, so a process that
//! is stopped for a while is one whose steps come late; [`bounds`] has those that never go on, on a network that is
//! prompt. Time is in polls: P = 1, G = 2, T = 3. A fence is a serial number, which is what Redis' microseconds are.

mod bounds;
mod holds;
mod process;
mod properties;
mod redis;
mod steps;
mod wrong;

use std::collections::VecDeque;

use self::redis::Redis;

/// A waiter's poll.
const P: u8 = 1;
/// The first lease.
const G: u8 = 2;
/// The lease after an EXTEND.
const T: u8 = 3;
/// The keys' own life, in the one model that needs it.
const KEEP: u8 = 4;

/// One rule left out, or changed, by its number in the specification's section 8; those without a number are of the
/// rules that section 8 has no variant of.
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
    /// EXTEND without the token check.
    ExtendUnchecked,
    /// 7, for EXTEND.
    ExtendFromReply,
    /// Who does not wait takes a free lock past the queue.
    ImpatientFirst,
    /// The reply that names the next owner is not passed on.
    ReplyUnread,
    /// A process that is silent never counts as dead.
    SilenceIsLife,
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
    /// How many EXTENDs there may be.
    extends: u8,
    /// The acquisition that does not wait.
    impatient: Option<usize>,
    /// How often Redis loses everything that it knows.
    failovers: u8,
    /// Whether the new Redis' clock is so far behind that its fences begin again.
    lag: bool,
    /// The processes that may be killed: the first one at any time, the others while they do not own.
    killed: Vec<usize>,
    /// Whether Redis may still read what they have sent.
    read_after_death: bool,
    /// The processes that may stop for ever.
    stopped: Vec<usize>,
    /// Time passes only when nothing is due and nothing is on its way between those that run.
    prompt: bool,
    /// The longest time that somebody may wait while nobody who runs has the lock, if it is limited.
    bound: Option<u8>,
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
        /// When the EXTEND was sent whose reply has not come.
        renewing: Option<u8>,
        /// How often Redis had lost everything before.
        epoch: u8,
    },
    /// A RELEASE is on its way, or was, and nobody believes anything any more.
    Over,
    /// Went with its process.
    Dead,
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
    Extend { token: usize },
    Release { token: usize },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Reply {
    Owned { token: usize, left: u8 },
    Waiting { token: usize, ticket: u8, seen: u8 },
    Contended { token: usize },
    Extended { token: usize, ours: bool },
    Released { next: Option<(usize, u8)> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Life {
    Runs,
    /// Its connection stays, and nobody reads from it.
    Stopped,
    Killed,
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
    lives: Vec<Life>,
    connected: Vec<bool>,
    requests: Vec<VecDeque<Request>>,
    replies: Vec<VecDeque<Reply>>,
    pushes: Vec<VecDeque<(usize, u8)>>,
    /// Of broken connections, not yet read by Redis.
    late: Vec<Request>,
    cancels: u8,
    breaks: u8,
    lost_pushes: u8,
    extends: u8,
    failovers: u8,
    /// A grant went past somebody who stood in the queue before.
    jumped: bool,
    /// For how long somebody who runs has waited while nobody who runs has had the lock.
    idle: u8,
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
    Extend(usize),
    Release(usize),
    /// The connections of a process break; what Redis has not read may be read yet, or never.
    Break(usize, bool),
    Reconnect(usize),
    Late,
    Kill(usize, bool),
    Stop(usize),
    Failover,
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
            extends: 0,
            impatient: None,
            failovers: 0,
            lag: false,
            killed: Vec::new(),
            read_after_death: true,
            stopped: Vec::new(),
            prompt: false,
            bound: None,
            keep: false,
            queued: false,
        }
    }

    fn process(&self, token: usize) -> usize {
        self.processes[token]
    }

    fn runs(&self, state: &State, token: usize) -> bool {
        state.lives[self.process(token)] == Life::Runs
    }
}

impl Request {
    fn token(self) -> usize {
        let (Self::Acquire { token, .. } | Self::Extend { token } | Self::Release { token }) = self;
        token
    }
}
