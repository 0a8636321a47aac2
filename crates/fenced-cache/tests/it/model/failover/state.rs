//! Two servers, two processes, one database, and how a step changes them.

use super::super::redis::{Acquired, Content, Entry, Token, Value};
use super::super::wrong::Wrong;
use super::{Act, FailoverModel, NEW, OLD};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in super::super) struct State {
    pub(super) nodes: [Entry; 2],
    pub(super) standing: Standing,
    committed: u8,
    /// Whether the outbox row of each commit is marked; by commit, from 2 on.
    marked: [bool; 2],
    /// The newest commit that counts as acknowledged, on each server.
    pub(super) floors: [u8; 2],
    /// The newest commit that was acknowledged on any.
    pub(super) acknowledged: u8,
    /// PostgreSQL: the server whose replay is finished, the second one included.
    recorded: usize,
    pub(super) processes: [Process; 2],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Standing {
    /// Before the failover.
    Before,
    /// Both answer.
    Both,
    /// The deposed primary is gone.
    Gone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Process {
    /// The server that it is connected to.
    pub(super) link: Option<usize>,
    pub(super) trust: Trust,
    /// It has never been connected.
    fresh: bool,
    /// The second replay is still to be done.
    pub(super) owes: bool,
    /// How many leases it has taken.
    pub(super) leases: u8,
    pub(super) reading: Reading,
    pub(super) writing: Writing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Trust {
    None,
    /// The pair was (un)equal; there are rows to delete for, or none.
    Read {
        equal: bool,
        rows: bool,
    },
    Deleted {
        equal: bool,
    },
    Full,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Reading {
    Idle,
    Loading {
        node: usize,
    },
    /// FILL is in flight, and stays so when its connection is lost.
    Filling {
        node: usize,
        loaded: u8,
    },
}

impl Reading {
    /// The server over whose connection this flight fills.
    fn node(self) -> Option<usize> {
        match self {
            Self::Idle => None,
            Self::Loading { node } | Self::Filling { node, .. } => Some(node),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Writing {
    Idle,
    Committed(u8),
    Over,
}

/// What the second process's tokens differ by from the first one's.
const SECOND: Token = 10;
/// The token of a lease that no flight can fill any more.
const ORPHAN: Token = 90;

fn value_of(row: u8) -> Value {
    Value { content: Content { row, group: 0 }, v: row, ..Value::default() }
}

impl State {
    /// Both processes are connected to the old primary, and trust it.
    pub(super) fn new() -> Self {
        let process = Process {
            link: Some(OLD),
            trust: Trust::Full,
            fresh: false,
            owes: false,
            leases: 0,
            reading: Reading::Idle,
            writing: Writing::Idle,
        };
        Self {
            nodes: [Entry::default(); 2],
            standing: Standing::Before,
            committed: 1,
            marked: [false; 2],
            floors: [1, 1],
            acknowledged: 1,
            recorded: OLD,
            processes: [process; 2],
        }
    }

    /// Whether clients can use this server.
    pub(super) fn answers(&self, node: usize) -> bool {
        if node == OLD { self.standing != Standing::Gone } else { self.standing != Standing::Before }
    }

    /// The stored commit; where nothing is stored, nothing is too old.
    pub(super) fn stored(&self, node: usize) -> u8 {
        self.nodes[node].value.map_or(u8::MAX, |value| value.content.row)
    }

    /// The deposed primary is gone, somebody trusts the new one, and nobody has anything left to do.
    pub(super) fn is_settled(&self) -> bool {
        let idle = |process: &Process| !process.owes && (process.link.is_none() || process.trust == Trust::Full);
        let trusting = self.processes.iter().any(|process| process.link.is_some() && process.trust == Trust::Full);
        self.standing == Standing::Gone && trusting && self.processes.iter().all(idle)
    }

    pub(super) fn commits(&self) -> u8 {
        self.committed - 1
    }

    fn token(&self, p: usize) -> Token {
        (if p == 0 { 1 } else { 1 + SECOND }) + self.processes[p].leases
    }

    pub(super) fn step(&mut self, model: &FailoverModel, act: Act) {
        match act {
            Act::Replicate => self.nodes[NEW] = self.nodes[OLD],
            Act::Promote => {
                self.standing = Standing::Both;
                self.floors[NEW] = self.floors[OLD];
            }
            Act::OldGone => {
                self.standing = Standing::Gone;
                self.nodes[OLD] = Entry::default();
                for p in 0..2 {
                    if self.processes[p].link == Some(OLD) {
                        self.disconnect(model, p);
                    }
                }
            }
            Act::Disconnect(p) => self.disconnect(model, p),
            Act::Restart(p) => {
                self.disconnect(model, p);
                let process = &mut self.processes[p];
                (process.fresh, process.trust) = (model.wrong == Wrong::FreshTrusts, Trust::None);
                if process.writing != Writing::Idle {
                    process.writing = Writing::Over;
                }
            }
            Act::Connect(p, node) => self.connect(model, p, node),
            Act::ReplayRead(p) => self.replay_read(model, p),
            Act::ReplayDelete(p) => {
                let process = &mut self.processes[p];
                let (Trust::Read { equal, rows }, Some(node)) = (process.trust, process.link) else { return };
                process.trust = Trust::Deleted { equal };
                if rows {
                    self.nodes[node].delete(model.wrong);
                }
            }
            Act::Trust(p) => self.trust(model, p),
            Act::Settle(p) => {
                self.processes[p].owes = false;
                if model.wrong != Wrong::NoSecondReplay && self.committed > 1 {
                    self.nodes[NEW].delete(model.wrong);
                }
                self.recorded = NEW;
                self.floors[NEW] = self.floors[NEW].max(self.acknowledged);
            }
            Act::Read(p) => {
                let Some(node) = self.processes[p].link else { return };
                if self.nodes[node].acquire(self.token(p), 0, false, model.wrong) == Acquired::Granted {
                    self.processes[p].reading = Reading::Loading { node };
                }
            }
            Act::Load(p) => {
                let Reading::Loading { node } = self.processes[p].reading else { return };
                self.processes[p].reading = Reading::Filling { node, loaded: self.committed };
            }
            Act::Fill(p) => {
                let Reading::Filling { node, loaded } = self.processes[p].reading else { return };
                self.nodes[node].fill(self.token(p), value_of(loaded), model.wrong);
                self.lease_over(p);
            }
            Act::Commit(p) => {
                self.committed += 1;
                self.processes[p].writing = Writing::Committed(self.committed);
            }
            Act::Delete(p) | Act::Put(p) => {
                let (Writing::Committed(row), Some(node)) = (self.processes[p].writing, self.processes[p].link) else {
                    return;
                };
                if let Act::Put(_) = act {
                    self.nodes[node].put(0, value_of(row), model.wrong);
                } else {
                    self.nodes[node].delete(model.wrong);
                }
                self.floors[node] = self.floors[node].max(row);
                self.acknowledged = self.acknowledged.max(row);
                self.marked[usize::from(row) - 2] = true;
                self.processes[p].writing = Writing::Over;
            }
            Act::Vanish(node) => self.nodes[node] = Entry::default(),
        }
    }

    fn disconnect(&mut self, model: &FailoverModel, p: usize) {
        let process = &mut self.processes[p];
        (process.link, process.owes) = (None, false);
        if model.wrong != Wrong::TrustOutlivesConnection {
            process.trust = Trust::None;
        }
        if matches!(process.reading, Reading::Loading { .. }) {
            self.lease_over(p);
        }
    }

    fn connect(&mut self, model: &FailoverModel, p: usize, node: usize) {
        let process = &mut self.processes[p];
        process.link = Some(node);
        if model.wrong == Wrong::NoReplay || model.wrong == Wrong::FreshTrusts && process.fresh {
            process.trust = Trust::Full;
        }
        process.fresh = false;
    }

    fn replay_read(&mut self, model: &FailoverModel, p: usize) {
        let Some(node) = self.processes[p].link else { return };
        let equal = self.recorded == node;
        let visible = &self.marked[..usize::from(self.committed) - 1];
        let all = !equal && model.wrong != Wrong::OnlyUnmarkedReplayed;
        let rows = visible.iter().any(|&marked| all || !marked);
        self.processes[p].trust = Trust::Read { equal, rows };
        if !equal && model.wrong == Wrong::RecordedBeforeReplay {
            self.recorded = node;
        }
    }

    fn trust(&mut self, model: &FailoverModel, p: usize) {
        let process = &mut self.processes[p];
        let (Trust::Deleted { equal }, Some(node)) = (process.trust, process.link) else { return };
        process.trust = Trust::Full;
        if !equal {
            process.owes = true;
            if model.wrong == Wrong::SecondReplayForgotten {
                self.recorded = node;
            }
        }
        if model.wrong == Wrong::NoSecondReplay {
            process.owes = false;
        }
    }

    fn lease_over(&mut self, p: usize) {
        self.processes[p].leases += 1;
        self.processes[p].reading = Reading::Idle;
    }

    /// Forgets what no later step can tell apart.
    pub(super) fn tidy(&mut self, model: &FailoverModel) {
        if self.standing == Standing::Gone {
            self.floors[OLD] = 0;
        }
        // Nobody refreshes here, so nobody looks at a value's token.
        for value in self.nodes.iter_mut().filter_map(|node| node.value.as_mut()) {
            value.n = 0;
        }
        for p in 0..2 {
            // A flight that can not fill is over: nothing brings a lease back to a server that clients can use.
            let node = self.processes[p].reading.node();
            if node.is_some_and(|node| !self.nodes[node].holds_lease(self.token(p))) {
                self.lease_over(p);
            }
        }
        for node in [OLD, NEW] {
            let owner = (0..2).find(|&p| self.nodes[node].holds_lease(self.token(p)));
            let fillable = owner.is_some_and(|p| self.processes[p].reading.node() == Some(node));
            match &mut self.nodes[node].lease {
                Some(lease) if !fillable => lease.t = ORPHAN,
                _ => {}
            }
        }
        // Which process is which does not matter.
        if model.wrong == Wrong::Nothing && self.processes[0] > self.processes[1] {
            self.processes.swap(0, 1);
            for lease in self.nodes.iter_mut().filter_map(|node| node.lease.as_mut()) {
                lease.t = match lease.t {
                    ORPHAN => ORPHAN,
                    t if t > SECOND => t - SECOND,
                    t => t + SECOND,
                };
            }
        }
    }
}
