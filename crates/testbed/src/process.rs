//! What PostgreSQL and Redis processes have in common: one current process after another on the same port and files.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use crate::error::TestbedError;
use crate::guardian::{Exit, Guarded};

/// The current process of a server that can be killed and started again.
#[derive(Debug)]
pub(crate) struct Current {
    guarded: Mutex<Arc<Guarded>>,
    /// Held while the process is being replaced.
    pub(crate) turn: tokio::sync::Mutex<()>,
}

impl Current {
    pub(crate) fn new(guarded: Guarded) -> Self {
        Self { guarded: Mutex::new(Arc::new(guarded)), turn: tokio::sync::Mutex::new(()) }
    }

    pub(crate) fn get(&self) -> Arc<Guarded> {
        Arc::clone(&self.guarded.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces a process that has ended; its files stay.
    pub(crate) async fn replace(&self, next: Guarded) {
        self.swap(next).keep().await;
    }

    fn swap(&self, next: Guarded) -> Arc<Guarded> {
        std::mem::replace(&mut *self.guarded.lock().unwrap_or_else(PoisonError::into_inner), Arc::new(next))
    }
}

/// Waits until `probe` says yes. Fails when the server ends first, or after `limit`.
pub(crate) async fn until_ready(
    guarded: &Guarded,
    limit: Duration,
    probe: impl AsyncFn() -> bool,
) -> Result<(), String> {
    let deadline = Instant::now() + limit;
    let mut pause = Duration::from_millis(4);
    let ended = guarded.ended();
    tokio::pin!(ended);
    loop {
        // A probe that hangs (somebody else's port that never answers) must not hang us.
        let attempt = timeout(Duration::from_secs(2), probe());
        tokio::select! {
            biased;
            exit = &mut ended => return Err(ended_early(exit)),
            ready = attempt => if ready.unwrap_or(false) { return Ok(()) },
        }
        if Instant::now() > deadline {
            return Err(format!("it did not answer within {} s", limit.as_secs()));
        }
        tokio::select! {
            exit = &mut ended => return Err(ended_early(exit)),
            () = sleep(pause) => {}
        }
        pause = (pause * 3 / 2).min(Duration::from_millis(100));
    }
}

fn ended_early(exit: Exit) -> String {
    format!("it ended at once ({exit})")
}

/// The length of a log, from which [`log_since`] reads on later.
pub(crate) fn log_length(log: &Path) -> u64 {
    fs::metadata(log).map_or(0, |metadata| metadata.len())
}

/// What was written to a log after it had the given length: at most the last 64 KiB, as text.
pub(crate) fn log_since(log: &Path, start: u64) -> String {
    const MOST: u64 = 64 * 1024;
    let mut bytes = Vec::new();
    if let Ok(mut file) = File::open(log) {
        let start = start.max(log_length(log).saturating_sub(MOST));
        let _ = file.seek(SeekFrom::Start(start)).and_then(|_| file.take(MOST).read_to_end(&mut bytes));
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The error for a server that did not come up, with the last lines of what it wrote.
pub(crate) fn not_ready(server: &'static str, reason: String, written: &str) -> TestbedError {
    let lines: Vec<&str> = written.lines().collect();
    let log = lines[lines.len().saturating_sub(20)..].join("\n");
    TestbedError::NotReady { server, reason, log }
}
