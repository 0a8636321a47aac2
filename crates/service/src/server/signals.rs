//! The signals that ask a process to stop.

use std::io;

use tokio::signal::unix::{self, SignalKind};

pub(super) struct Signals {
    interrupt: unix::Signal,
    terminate: unix::Signal,
}

#[derive(Clone, Copy)]
pub(super) struct Signal {
    pub(super) name: &'static str,
    number: i32,
}

impl Signal {
    /// What a shell shows for a process that the signal ended.
    pub(super) fn exit_status(self) -> i32 {
        128 + self.number
    }
}

impl Signals {
    /// From now on the signals no longer end the process by themselves.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: unix::signal(SignalKind::interrupt())?,
            terminate: unix::signal(SignalKind::terminate())?,
        })
    }

    pub(super) async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal { name: "SIGINT", number: SignalKind::interrupt().as_raw_value() },
            _ = self.terminate.recv() => Signal { name: "SIGTERM", number: SignalKind::terminate().as_raw_value() },
        }
    }
}
