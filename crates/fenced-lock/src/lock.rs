//! The handle that applications hold.

use std::sync::Arc;

use tokio::time::Instant;
use tracing::{Instrument, debug_span, field};

use crate::backend::{Backend, Kind, Request};
use crate::error::LockError;
use crate::guard::Guard;
use crate::metrics::LockMetrics;
use crate::name::Name;
use crate::options::Options;

/// Locks of one backend. Cloning is cheap; all clones are the same.
#[derive(Clone, Debug)]
pub struct Lock {
    backend: Arc<dyn Backend>,
    metrics: Arc<LockMetrics>,
}

impl Lock {
    /// Puts `backend` behind the common interface. Install the metrics recorder before.
    #[must_use]
    pub fn new(backend: impl Backend) -> Self {
        let metrics = Arc::new(LockMetrics::register(backend.kind()));
        Self { backend: Arc::new(backend), metrics }
    }

    /// The backend in use.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.backend.kind()
    }

    #[cfg(feature = "postgres")]
    pub(crate) fn metrics(&self) -> &Arc<LockMetrics> {
        &self.metrics
    }

    /// Waits for the lock until the options' deadline.
    ///
    /// Dropping the future at any point is a cancellation: the place in the queue, or the lock, is given back by
    /// the library's own task.
    ///
    /// # Errors
    /// [`LockError::Timeout`], or [`LockError::Backend`] if the store did not answer until the deadline.
    pub async fn acquire(&self, name: &Name, options: Options) -> Result<Guard, LockError> {
        self.begin(name, options, true).await
    }

    /// Takes the lock only if it is free now. The options' deadline limits the wait for the store's answer.
    ///
    /// # Errors
    /// [`LockError::Contended`] if it is not free; else as [`acquire`](Self::acquire).
    pub async fn try_acquire(&self, name: &Name, options: Options) -> Result<Guard, LockError> {
        self.begin(name, options, false).await
    }

    async fn begin(&self, name: &Name, options: Options, wait: bool) -> Result<Guard, LockError> {
        let began = Instant::now();
        let span = debug_span!(
            "lock_acquire",
            backend = self.kind().as_str(),
            lock = name.as_str(),
            wait,
            fence = field::Empty,
            outcome = field::Empty
        );
        let request = Request {
            name: name.clone(),
            wait,
            deadline: began + options.deadline,
            max_hold: options.max_hold,
            metrics: Arc::clone(&self.metrics),
        };
        // A caller that goes away in the middle is an outcome as well.
        let mut observed = self.metrics.acquiring(began);
        let result = async {
            let acquiring = self.backend.begin(request);
            // The task only goes away without an answer if the runtime does.
            acquiring.0.await.unwrap_or_else(|_| Err(LockError::closed()))
        }
        .instrument(span.clone())
        .await;
        let outcome = observed.finish(&result);
        span.record("outcome", outcome);
        if let Some(fence) = result.as_ref().ok().and_then(Guard::fence) {
            span.record("fence", fence);
        }
        result
    }

    /// Refuses new acquisitions, ends the waiting ones with [`LockError::Backend`], and returns when every lock has
    /// been given back: those that are held by guards, too, so drop the guards first.
    pub async fn close(&self) {
        self.backend.close().await;
    }
}
