//! How long a holder may believe that it holds.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::error::LockError;

/// A latched loss and the local deadline that brings it on.
///
/// The clock is asked whenever anybody looks, not only by the watchdog: after a pause the holder's own code may
/// well run before the watchdog does.
#[derive(Debug)]
pub(crate) struct Tenure {
    /// `None`: no local clock ends this one.
    until: Mutex<Option<Instant>>,
    lost: CancellationToken,
}

impl Tenure {
    pub(crate) fn new(until: Option<Instant>) -> Arc<Self> {
        Arc::new(Self { until: Mutex::new(until), lost: CancellationToken::new() })
    }

    /// A new deadline, unless the old one has passed: what was lost once stays lost.
    pub(crate) fn extend(&self, until: Instant) -> bool {
        let mut current = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        if self.lost.is_cancelled() || current.is_some_and(|current| Instant::now() >= current) {
            self.lost.cancel();
            return false;
        }
        *current = Some(until);
        true
    }

    pub(crate) fn lose(&self) {
        // Under the lock, so that an extension can not be told 'yes' after a look at the clock has said 'lost'.
        let _current = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        self.lost.cancel();
    }

    pub(crate) fn is_lost(&self) -> bool {
        let current = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        if current.is_some_and(|until| Instant::now() >= until) {
            self.lost.cancel();
        }
        self.lost.is_cancelled()
    }
}

/// Resolves when the lock is lost, and at once ever after. It never takes a loss back.
///
/// It does not say that the lock is *still* held: only what the database refuses is safe against a pause between
/// the look and the act. See the crate's documentation.
pub struct Lost {
    tenure: Arc<Tenure>,
    cancelled: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Lost {
    pub(crate) fn new(tenure: &Arc<Tenure>) -> Self {
        Self { tenure: Arc::clone(tenure), cancelled: Box::pin(tenure.lost.clone().cancelled_owned()) }
    }

    /// Whether it has happened.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.tenure.is_lost()
    }

    /// Runs `section` until it ends or the lock is lost; in the second case it is dropped where it stands.
    ///
    /// # Errors
    /// [`LockError::Lost`]
    pub async fn run<T>(self, section: impl Future<Output = T>) -> Result<T, LockError> {
        tokio::select! {
            biased;
            () = self => Err(LockError::Lost),
            value = section => Ok(value),
        }
    }
}

impl Future for Lost {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.tenure.is_lost() {
            return Poll::Ready(());
        }
        self.cancelled.as_mut().poll(context)
    }
}

impl Clone for Lost {
    fn clone(&self) -> Self {
        Self::new(&self.tenure)
    }
}

impl fmt::Debug for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lost").field("is_lost", &self.is_lost()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_passed_deadline_is_a_loss_that_no_extension_takes_back() {
        let tenure = Tenure::new(Some(Instant::now() + Duration::from_secs(1)));
        assert!(tenure.extend(Instant::now() + Duration::from_secs(2)));
        assert!(!tenure.is_lost());
        tokio::time::advance(Duration::from_secs(2)).await;
        // Nobody has looked yet: the extension itself finds that it comes too late.
        assert!(!tenure.extend(Instant::now() + Duration::from_secs(5)));
        assert!(tenure.is_lost());
        Lost::new(&tenure).await;
        assert!(matches!(Lost::new(&tenure).run(async { 1 }).await, Err(LockError::Lost)));
    }
}
