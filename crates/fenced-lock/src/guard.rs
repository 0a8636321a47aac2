//! What a holder has in hand.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::attend::Term;
use crate::error::LockError;
use crate::slot::Slot;
use crate::tenure::{Lost, Tenure};

/// A lock that is held. Dropping it gives the lock back in the background.
#[derive(Debug)]
pub struct Guard {
    tenure: Arc<Tenure>,
    /// 0: the backend has no fences.
    fence: AtomicU64,
    /// `None`: nothing has to be told (the backend `none`).
    slot: Option<Arc<Slot>>,
    released: Option<oneshot::Receiver<Result<(), LockError>>>,
    #[cfg(feature = "postgres")]
    session: Option<crate::postgres::HeldSession>,
}

/// The task's half of a guard.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) tenure: Arc<Tenure>,
    pub(crate) began: Instant,
    pub(crate) term: Term,
    /// What the holder's release will hear.
    pub(crate) released: oneshot::Sender<Result<(), LockError>>,
}

impl Held {
    pub(crate) fn new(term: Term, slot: &Arc<Slot>) -> (Self, Guard) {
        let tenure = Tenure::new(Some(term.until));
        let (released, told) = oneshot::channel();
        let guard = Guard {
            tenure: Arc::clone(&tenure),
            fence: AtomicU64::new(term.fence),
            slot: Some(Arc::clone(slot)),
            released: Some(told),
            #[cfg(feature = "postgres")]
            session: None,
        };
        (Self { tenure, began: Instant::now(), term, released }, guard)
    }
}

impl Guard {
    /// A guard that guards nothing.
    pub(crate) fn unguarded() -> Self {
        Self {
            tenure: Tenure::new(None),
            fence: AtomicU64::new(0),
            slot: None,
            released: None,
            #[cfg(feature = "postgres")]
            session: None,
        }
    }

    #[cfg(feature = "postgres")]
    pub(crate) fn with_session(self, session: Option<crate::postgres::HeldSession>) -> Self {
        // `Guard` has a `Drop`, so it can not be taken apart to be put together anew.
        let mut guard = self;
        guard.session = session;
        guard
    }

    #[cfg(feature = "postgres")]
    pub(crate) fn session(&self) -> Option<&crate::postgres::HeldSession> {
        self.session.as_ref()
    }

    /// The fence of this acquisition: higher than that of every earlier one as far as the backend remembers. `None`
    /// if the backend has none. Only what checks it makes a section safe.
    #[must_use]
    pub fn fence(&self) -> Option<u64> {
        Some(self.fence.load(Ordering::Acquire)).filter(|fence| *fence > 0)
    }

    /// Resolves when the lock is lost: its lease ran out by the local clock, somebody else has it, or its longest
    /// time is over. Latched. Independent of the guard's life.
    #[must_use]
    pub fn lost(&self) -> Lost {
        Lost::new(&self.tenure)
    }

    /// Whether the lock is lost.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.tenure.is_lost()
    }

    /// Runs `section`, and drops it where it stands when the lock is lost.
    ///
    /// # Errors
    /// [`LockError::Lost`]
    pub async fn run<T>(&self, section: impl Future<Output = T>) -> Result<T, LockError> {
        self.lost().run(section).await
    }

    /// Gives the lock back and waits for the store's word. Dropping this future leaves it to the background.
    ///
    /// # Errors
    /// [`LockError::Lost`] if the lock was not this holder's any more; [`LockError::Backend`] if the store did not
    /// answer as long as the lease lasted (it has ended by itself since).
    pub async fn release(mut self) -> Result<(), LockError> {
        let (Some(slot), Some(released)) = (&self.slot, self.released.take()) else { return Ok(()) };
        slot.release();
        released.await.unwrap_or_else(|_| Err(LockError::closed()))
    }

    /// Asks for a fence above `floor`, which the store that checks fences has seen already: the lock's own store has
    /// forgotten some. For the entry of a section only. Once a write was refused, never: what was read before it is out
    /// of date. ([`Sections`](crate::Sections) does all that for PostgreSQL.)
    ///
    /// # Errors
    /// [`LockError::Lost`] if the lock is not held any more; [`LockError::Backend`] if the store did not answer, or
    /// the backend has no fences.
    pub async fn raise(&self, floor: u64) -> Result<u64, LockError> {
        let Some(slot) = self.slot.as_ref().filter(|_| self.fence().is_some()) else {
            return Err(LockError::backend("this lock has no fences"));
        };
        let fence = slot.raise(floor).await.unwrap_or(Err(LockError::Lost))?;
        self.fence.store(fence, Ordering::Release);
        Ok(fence)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(slot) = &self.slot {
            slot.release();
        }
    }
}
