//! The acquisitions of this process, by token.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fred::bytes_utils::Str;

use crate::random::characters;
use crate::slot::Slot;

/// Length of a process' name within a token and an entry of the queue.
pub(crate) const PROCESS_LENGTH: usize = 16;

/// Who is who in this process.
#[derive(Debug)]
pub(crate) struct Table {
    process: String,
    last: AtomicU64,
    slots: Mutex<HashMap<u64, Arc<Slot>>>,
}

/// A place in the table; ends when dropped.
#[derive(Debug)]
pub(crate) struct Registration {
    table: Arc<Table>,
    number: u64,
}

impl Table {
    /// A new process: 96 random bits as 16 characters.
    pub(crate) fn new() -> Arc<Self> {
        let process = characters::<PROCESS_LENGTH>();
        Arc::new(Self { process, last: AtomicU64::new(0), slots: Mutex::default() })
    }

    pub(crate) fn process(&self) -> &str {
        &self.process
    }

    /// A token that was never used, and its slot, entered before anything is sent.
    pub(crate) fn register(self: &Arc<Self>, slot: &Arc<Slot>) -> (Str, Registration) {
        let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        self.lock().insert(number, Arc::clone(slot));
        (format!("{}:{number}", self.process).into(), Registration { table: Arc::clone(self), number })
    }

    /// The slot of a token of this process, if its acquisition still runs.
    pub(crate) fn find(&self, token: &str) -> Option<Arc<Slot>> {
        let number = token.strip_prefix(self.process.as_str())?.strip_prefix(':')?.parse().ok()?;
        self.lock().get(&number).cloned()
    }

    pub(crate) fn each(&self, tell: impl Fn(&Slot)) {
        self.lock().values().for_each(|slot| tell(slot));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<Slot>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.table.lock().remove(&self.number);
    }
}
