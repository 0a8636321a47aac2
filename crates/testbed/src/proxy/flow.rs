//! One direction of one connection: what has come, what is to happen between its messages, and how it is passed on.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::framing::Unit;
use super::state::Lane;
use super::traps::{Action, Cut, REMEMBERED, Signal};

/// What a direction of a connection keeps at most (held or delayed) before the proxy stops reading from its sender.
const MOST_KEPT: usize = 64 << 20;

/// One direction of one connection.
#[derive(Debug, Default)]
pub(super) struct Flow {
    pub(super) queue: VecDeque<Piece>,
    pub(super) kept: usize,
    pub(super) wake: Arc<Notify>,
    tail: Vec<u8>,
    /// A cut after a message: set from the message until the request that it belongs to is complete.
    finishing: Option<Arc<Signal>>,
    /// Whatever still comes is thrown away.
    pub(super) muted: bool,
    /// The receiver has been told that no more comes.
    pub(super) ended: bool,
    /// When this flow's sender closes, the cut is complete.
    pub(super) cut_at_end: Option<Arc<Signal>>,
}

#[derive(Debug)]
pub(super) enum Piece {
    Data {
        bytes: Bytes,
        arrived: Instant,
    },
    Hold(Arc<Signal>),
    CutBefore(Arc<Signal>),
    /// The next message is the one after which to cut: its answer shall not get back.
    MuteAnswer,
    /// The request is complete: no more of it, and the cut when the receiver has closed.
    Finish(Arc<Signal>),
    /// The sender has closed its side.
    Close,
    /// The sender's side is broken.
    Reset,
}

impl Flow {
    pub(super) fn has_room(&self) -> bool {
        self.kept < MOST_KEPT
    }

    pub(super) fn keep(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.kept += bytes.len();
            self.queue.push_back(Piece::Data { bytes, arrived: Instant::now() });
        }
    }

    /// Tells those who only wait for a message that it has come.
    pub(super) fn notice(&mut self, number: u64, unit: &Unit, lane: &mut Lane) {
        lane.traps.retain_mut(|trap| {
            let seen = matches!(trap.action, Action::Report) && trap.find(unit, &self.tail).is_some();
            if seen {
                trap.signal.caught(number);
                trap.signal.hit();
            }
            !seen
        });
        self.remember(unit);
    }

    /// Queues a unit, with whatever the traps put before and after it.
    pub(super) fn take(&mut self, number: u64, unit: Unit, lane: &mut Lane) {
        let mut barriers = Vec::new();
        let mut start = unit.bytes.len();
        let mut dropped = false;
        lane.traps.retain_mut(|trap| {
            if trap.signal.is_disarmed() {
                return false;
            }
            let Some(found) = trap.find(&unit, &self.tail) else { return true };
            let signal = Arc::clone(&trap.signal);
            signal.caught(number);
            match trap.action {
                Action::Report => {
                    signal.hit();
                    return false;
                }
                Action::Drop { once } => {
                    dropped = true;
                    signal.hit();
                    return !once;
                }
                Action::Hold => barriers.push(Piece::Hold(signal)),
                Action::Cut(Cut::Before) => barriers.push(Piece::CutBefore(signal)),
                Action::Cut(Cut::After) => {
                    barriers.push(Piece::MuteAnswer);
                    self.finishing = Some(signal);
                }
            }
            start = start.min(found);
            false
        });
        self.remember(&unit);
        if dropped {
            return;
        }
        let mut bytes = unit.bytes;
        if !barriers.is_empty() {
            let before = bytes.split_to(start);
            self.keep(before);
        }
        self.queue.extend(barriers);
        self.keep(bytes);
        if unit.complete_request
            && let Some(signal) = self.finishing.take()
        {
            self.queue.push_back(Piece::Finish(signal));
        }
    }

    fn remember(&mut self, unit: &Unit) {
        if !unit.whole {
            self.tail.extend_from_slice(&unit.bytes);
            self.tail.drain(..self.tail.len().saturating_sub(REMEMBERED));
        }
    }

    /// Writes as many of the pieces that are due as fit into one call.
    pub(super) fn write(&mut self, receiver: &TcpStream, delay: Duration) -> io::Result<u64> {
        let now = Instant::now();
        let due = self.queue.iter().map_while(|piece| match piece {
            Piece::Data { bytes, arrived } if *arrived + delay <= now => Some(IoSlice::new(bytes)),
            _ => None,
        });
        let slices: Vec<IoSlice<'_>> = due.take(64).collect();
        let written = receiver.try_write_vectored(&slices)?;
        self.kept -= written;
        let mut rest = written;
        while rest > 0
            && let Some(Piece::Data { bytes, .. }) = self.queue.front_mut()
        {
            let taken = rest.min(bytes.len());
            bytes.advance(taken);
            rest -= taken;
            if bytes.is_empty() {
                self.queue.pop_front();
            }
        }
        Ok(u64::try_from(written).unwrap_or(u64::MAX))
    }
}
