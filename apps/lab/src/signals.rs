//! The signals that end a run.

use futures_util::FutureExt as _;
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

use crate::exit::{Ending, Signal};

/// Once installed, these signals no longer end the process: whoever holds this decides.
#[derive(Debug)]
pub(crate) struct Signals {
    interrupt: Stream,
    terminate: Stream,
    hang_up: Stream,
}

impl Signals {
    pub(crate) fn install() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Ignores what has come until now.
    pub(crate) fn forget(&mut self) {
        while self.next().now_or_never().is_some() {}
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) -> Signal {
        tokio::select! {
            Some(()) = self.interrupt.recv() => Signal::Interrupt,
            Some(()) = self.terminate.recv() => Signal::Terminate,
            Some(()) = self.hang_up.recv() => Signal::HangUp,
        }
    }
}

/// Does the work, unless a signal ends it first: then it is dropped where it stands.
pub(crate) async fn until_signal(work: impl Future<Output = anyhow::Result<Ending>>) -> anyhow::Result<Ending> {
    let mut signals = Signals::install()?;
    tokio::select! {
        outcome = work => outcome,
        signal = signals.next() => Ok(Ending::Interrupted(signal)),
    }
}
