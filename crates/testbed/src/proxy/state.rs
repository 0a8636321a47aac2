//! What the proxy knows and decides. One lock for everything: after a call of a control has returned, no byte passes that
//! the control forbids.

use std::collections::HashMap;
use std::io;
use std::net::Shutdown;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Direction;
use super::flow::{Flow, Piece};
use super::framing::Framer;
use super::traps::{Action, Trap};

#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// Counts the changes of the controls, so that whoever waits for one misses none.
    changes: watch::Sender<u64>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) refuse: bool,
    pub(super) half_open: bool,
    pub(super) lanes: [Lane; 2],
    connections: HashMap<u64, Connection>,
    /// The number of the last connection; the first has 1.
    last: u64,
    pub(super) accepted: u64,
    /// Changes with every [`Shared::cut`]: a connection that was still being made then is not wanted any more.
    era: u64,
}

/// One direction of all connections.
#[derive(Debug, Default)]
pub(super) struct Lane {
    pub(super) held: bool,
    pub(super) delay: Duration,
    pub(super) forwarded: u64,
    pub(super) traps: Vec<Trap>,
}

#[derive(Debug)]
struct Connection {
    /// Where each direction goes to: the server, the client.
    ends: [Arc<TcpStream>; 2],
    closed: CancellationToken,
    framer: Framer,
    flows: [Flow; 2],
    /// Bytes were thrown away: the streams make no sense any more.
    lost: bool,
}

/// What the writing task of a flow does next.
#[derive(Debug)]
pub(super) enum Step {
    /// Wait for more data, or for a change of the controls.
    Wait,
    /// As above, but not longer than this.
    Until(Instant),
    /// The receiver takes no more for now.
    Full,
    /// The connection is no more.
    Gone,
}

impl Shared {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), changes: watch::Sender::new(0) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.lock())
    }

    /// Changes the controls.
    pub(super) fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.announce();
    }

    /// Wakes whoever waits for a change of the controls.
    pub(super) fn announce(&self) {
        self.changes.send_modify(|number| *number += 1);
    }

    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// A new connection from a client: `None` when it is refused, else the era in which it came.
    pub(super) fn accept(&self) -> Option<u64> {
        let mut state = self.lock();
        if state.refuse {
            return None;
        }
        state.accepted += 1;
        Some(state.era)
    }

    /// Registers a connection, and says under which number; `None` when it was cut while the server was being reached.
    pub(super) fn add(
        &self,
        era: u64,
        client: Arc<TcpStream>,
        server: Arc<TcpStream>,
        closed: CancellationToken,
    ) -> Option<u64> {
        let mut state = self.lock();
        if state.era != era {
            return None;
        }
        state.last += 1;
        let number = state.last;
        let connection = Connection {
            ends: [server, client],
            closed,
            framer: Framer::new(),
            flows: [Flow::default(), Flow::default()],
            lost: false,
        };
        state.connections.insert(number, connection);
        Some(number)
    }

    /// The bell of a flow's writing task.
    pub(super) fn wake(&self, number: u64, direction: Direction) -> Arc<Notify> {
        let state = self.lock();
        state
            .connections
            .get(&number)
            .map(|connection| Arc::clone(&connection.flows[direction.index()].wake))
            .unwrap_or_default()
    }

    /// Bytes have come in. Says whether the flow can take more at once.
    pub(super) fn arrive(&self, number: u64, direction: Direction, bytes: &[u8]) -> bool {
        let mut state = self.lock();
        let State { half_open, lanes, connections, .. } = &mut *state;
        let Some(connection) = connections.get_mut(&number) else { return true };
        connection.lost |= *half_open;
        connection.framer.push(direction, bytes);
        let flow = &mut connection.flows[direction.index()];
        let lane = &mut lanes[direction.index()];
        while let Some(unit) = connection.framer.next(direction) {
            if *half_open || flow.muted {
                flow.notice(number, &unit, lane);
            } else {
                flow.take(number, unit, lane);
            }
        }
        flow.wake.notify_one();
        flow.has_room()
    }

    pub(super) fn has_room(&self, number: u64, direction: Direction) -> bool {
        let state = self.lock();
        state.connections.get(&number).is_none_or(|connection| connection.flows[direction.index()].has_room())
    }

    /// The sender has closed its side, or it broke.
    pub(super) fn end(&self, number: u64, direction: Direction, broken: bool) {
        let mut state = self.lock();
        let half_open = state.half_open;
        let Some(connection) = state.connections.get_mut(&number) else { return };
        if half_open {
            // The other side does not get to know.
            connection.lost = true;
            return;
        }
        let flow = &mut connection.flows[direction.index()];
        if let Some(signal) = flow.cut_at_end.take() {
            state.reset(number);
            signal.hit();
            return;
        }
        if !flow.muted
            && let Some(bytes) = connection.framer.rest(direction)
        {
            flow.keep(bytes);
        }
        flow.queue.push_back(if broken { Piece::Reset } else { Piece::Close });
        flow.wake.notify_one();
    }

    /// Passes on what may be passed on.
    pub(super) fn step(&self, number: u64, direction: Direction) -> Step {
        self.lock().step(number, direction)
    }

    pub(super) fn cut(&self) {
        let mut state = self.lock();
        state.era += 1;
        let numbers: Vec<u64> = state.connections.keys().copied().collect();
        numbers.into_iter().for_each(|number| state.reset(number));
    }

    pub(super) fn reset(&self, number: u64) {
        self.lock().reset(number);
    }
}

impl State {
    pub(super) fn open(&self) -> usize {
        self.connections.len()
    }

    /// From now on everything is thrown away, also what waits.
    pub(super) fn lose(&mut self) {
        self.half_open = true;
        for connection in self.connections.values_mut() {
            for flow in &mut connection.flows {
                connection.lost |= !flow.queue.is_empty();
                flow.queue.clear();
                flow.kept = 0;
            }
        }
    }

    /// Takes away every fault. Connections whose streams have holes are reset.
    pub(super) fn heal(&mut self) {
        self.refuse = false;
        self.half_open = false;
        for lane in &mut self.lanes {
            lane.held = false;
            lane.delay = Duration::ZERO;
            lane.traps.retain(|trap| matches!(trap.action, Action::Report));
        }
        for connection in self.connections.values() {
            for piece in connection.flows.iter().flat_map(|flow| &flow.queue) {
                if let Piece::Hold(signal) = piece {
                    signal.release();
                }
            }
        }
        let broken: Vec<u64> =
            self.connections.iter().filter(|(_, connection)| connection.lost).map(|(number, _)| *number).collect();
        broken.into_iter().for_each(|number| self.reset(number));
    }

    fn reset(&mut self, number: u64) {
        if let Some(connection) = self.connections.remove(&number) {
            for end in &connection.ends {
                // Fails only on a socket that is broken already.
                let _ = end.set_zero_linger();
            }
            // The tasks let go of the sockets, which closes them.
            connection.closed.cancel();
        }
    }

    fn step(&mut self, number: u64, direction: Direction) -> Step {
        loop {
            let lane = &mut self.lanes[direction.index()];
            let Some(connection) = self.connections.get_mut(&number) else { return Step::Gone };
            if lane.held || self.half_open {
                return Step::Wait;
            }
            let flow = &mut connection.flows[direction.index()];
            match flow.queue.front() {
                None => return Step::Wait,
                Some(Piece::Data { arrived, .. }) => {
                    let due = *arrived + lane.delay;
                    if due > Instant::now() {
                        return Step::Until(due);
                    }
                    match flow.write(&connection.ends[direction.index()], lane.delay) {
                        Ok(written) => lane.forwarded += written,
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Step::Full,
                        // The receiver is gone, and its sender must get to know it.
                        Err(_) => {
                            self.reset(number);
                            return Step::Gone;
                        }
                    }
                    continue;
                }
                Some(Piece::Hold(signal)) if !signal.is_released() => {
                    if signal.hits() == 0 {
                        signal.hit();
                    }
                    return Step::Wait;
                }
                Some(_) => {}
            }
            match flow.queue.pop_front() {
                Some(Piece::CutBefore(signal)) => {
                    self.reset(number);
                    signal.hit();
                    return Step::Gone;
                }
                Some(Piece::MuteAnswer) => connection.flows[direction.opposite().index()].muted = true,
                Some(Piece::Finish(signal)) => {
                    flow.muted = true;
                    flow.queue.clear();
                    flow.kept = 0;
                    close(&connection.ends[direction.index()]);
                    connection.flows[direction.opposite().index()].cut_at_end = Some(signal);
                }
                Some(Piece::Close) => {
                    flow.ended = true;
                    close(&connection.ends[direction.index()]);
                    if connection.flows.iter().all(|flow| flow.ended)
                        && let Some(connection) = self.connections.remove(&number)
                    {
                        connection.closed.cancel();
                    }
                }
                Some(Piece::Reset) => self.reset(number),
                _ => {}
            }
        }
    }
}

/// Tells the receiver that no more comes.
fn close(stream: &TcpStream) {
    // Fails only when the receiver is gone, which the next read finds out.
    let _ = SockRef::from(stream).shutdown(Shutdown::Write);
}
