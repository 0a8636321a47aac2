//! What waits for a certain message: traps, and the handles by which a test hears of them.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::timeout;

use super::Direction;
use super::framing::Unit;
use super::state::Shared;

/// How long a test waits for a message before it fails instead of hanging.
const LIMIT: Duration = Duration::from_secs(30);

/// On which side of the message a connection is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Everything before the message is passed on, the message is not, and both ends are reset. The receiver never sees
    /// the message: a `COMMIT` that did not happen.
    Before,
    /// The message is passed on (for PostgreSQL with what belongs to it, up to its `Sync`), its receiver deals with all it
    /// was sent and closes; only then is the sender reset. Nothing that the receiver answered gets back: a `COMMIT` that
    /// did happen, and whose sender cannot know.
    After,
}

pub(super) enum Action {
    Report,
    Hold,
    Cut(Cut),
    Drop { once: bool },
}

/// What a test asks of a message.
pub(super) type Predicate = Box<dyn FnMut(&[u8]) -> bool + Send>;

enum Pattern {
    Needle(Bytes),
    Predicate(Predicate),
}

/// Waits in one direction of all connections.
pub(super) struct Trap {
    pattern: Pattern,
    pub(super) action: Action,
    pub(super) signal: Arc<Signal>,
}

impl fmt::Debug for Trap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trap").field("signal", &self.signal).finish_non_exhaustive()
    }
}

impl Trap {
    /// # Panics
    /// When the needle is empty or longer than 4096 bytes: it would match everything, or more than is remembered.
    pub(super) fn needle(needle: &[u8], action: Action) -> Self {
        assert!((1..=REMEMBERED).contains(&needle.len()), "a needle has 1 to {REMEMBERED} bytes");
        let text = needle.escape_ascii().to_string();
        Self { pattern: Pattern::Needle(Bytes::copy_from_slice(needle)), action, signal: Signal::new(text) }
    }

    pub(super) fn predicate(predicate: Predicate, action: Action) -> Self {
        Self { pattern: Pattern::Predicate(predicate), action, signal: Signal::new("a match of the predicate".into()) }
    }

    /// Where in the unit the match starts: always 0 for a whole message. `tail` is the end of what came before a chunk.
    pub(super) fn find(&mut self, unit: &Unit, tail: &[u8]) -> Option<usize> {
        match &mut self.pattern {
            Pattern::Predicate(predicate) => predicate(&unit.bytes).then_some(0),
            Pattern::Needle(needle) if unit.whole => contains(&unit.bytes, needle).map(|_| 0),
            Pattern::Needle(needle) => {
                // Only a match that ends in this chunk is new.
                let tail = &tail[(tail.len() + 1).saturating_sub(needle.len()).min(tail.len())..];
                let joined = [tail, &unit.bytes].concat();
                contains(&joined, needle).map(|start| start.saturating_sub(tail.len()))
            }
        }
    }
}

/// How much of a stream of chunks is remembered, so that a needle may straddle them.
pub(super) const REMEMBERED: usize = 4096;

fn contains(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes.windows(needle.len()).position(|window| window == needle)
}

/// What a trap has to say to its handle, and the handle to the trap.
#[derive(Debug)]
pub(super) struct Signal {
    text: String,
    hits: watch::Sender<u64>,
    disarmed: AtomicBool,
    released: AtomicBool,
    /// The connection that walked into the trap; 0 before.
    connection: AtomicU64,
}

impl Signal {
    fn new(text: String) -> Arc<Self> {
        Arc::new(Self {
            text,
            hits: watch::Sender::new(0),
            disarmed: AtomicBool::new(false),
            released: AtomicBool::new(false),
            connection: AtomicU64::new(0),
        })
    }

    pub(super) fn hit(&self) {
        self.hits.send_modify(|hits| *hits += 1);
    }

    pub(super) fn hits(&self) -> u64 {
        *self.hits.borrow()
    }

    pub(super) fn caught(&self, connection: u64) {
        self.connection.store(connection, Ordering::SeqCst);
    }

    pub(super) fn is_released(&self) -> bool {
        self.released.load(Ordering::SeqCst)
    }

    pub(super) fn release(&self) {
        self.released.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_disarmed(&self) -> bool {
        self.disarmed.load(Ordering::SeqCst)
    }

    pub(super) fn disarm(&self) {
        self.disarmed.store(true, Ordering::SeqCst);
    }

    pub(super) async fn reached(&self, direction: Direction) {
        let mut hits = self.hits.subscribe();
        // The sender is in `self`: the wait itself cannot fail.
        let waited = timeout(LIMIT, hits.wait_for(|hits| *hits > 0)).await.is_ok();
        assert!(waited, "{direction:?}: no message with {:?} within {} s", self.text, LIMIT.as_secs());
    }
}

/// A fault that is armed: by [`FaultProxy::cut_when`](super::FaultProxy::cut_when),
/// [`drop_matching`](super::FaultProxy::drop_matching) or [`drop_next`](super::FaultProxy::drop_next). It stays armed when
/// the handle is dropped.
#[derive(Debug, Clone)]
pub struct Armed {
    pub(super) direction: Direction,
    pub(super) signal: Arc<Signal>,
}

impl Armed {
    /// Waits until the fault has struck: until the message was dropped, or the connection cut.
    ///
    /// # Panics
    /// After 30 seconds, so that a test fails rather than hangs.
    pub async fn reached(&self) {
        self.signal.reached(self.direction).await;
    }

    /// How often it has struck.
    pub fn count(&self) -> u64 {
        self.signal.hits()
    }

    /// Takes it away. A message that has already arrived is not affected.
    pub fn disarm(&self) {
        self.signal.disarm();
    }
}

/// A hold on the first connection on which a certain message comes, made by
/// [`FaultProxy::hold_when`](super::FaultProxy::hold_when). Dropping it releases the hold, or disarms it.
#[derive(Debug)]
#[must_use = "dropping the handle releases the hold"]
pub struct Held {
    pub(super) direction: Direction,
    pub(super) signal: Arc<Signal>,
    pub(super) shared: Arc<Shared>,
}

impl Held {
    /// Waits until the message has come. Everything before it has been passed on then, and it is being kept.
    ///
    /// # Panics
    /// After 30 seconds, so that a test fails rather than hangs.
    pub async fn reached(&self) {
        self.signal.reached(self.direction).await;
    }

    /// Passes on the message and what has come after it.
    pub fn release(self) {}

    /// Resets both ends of the connection. What was kept is lost. Nothing happens before the message has come.
    pub fn cut(self) {
        let connection = self.signal.connection.load(Ordering::SeqCst);
        self.shared.reset(connection);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.signal.disarm();
        self.signal.release();
        self.shared.announce();
    }
}
