//! Work that outlives its request.

use std::future::Future;
use std::panic::resume_unwind;

use tokio_util::task::TaskTracker;

use crate::RequestContext;

/// Runs handlers to their end although their client hangs up, and lets the shutdown wait for them.
///
/// axum drops a handler's future when the connection breaks. For a read that is right; a write would be cut in half
/// between two of its steps, at a place that nobody chose. Whether a handler dies with its client is therefore
/// decided per handler: what is inside of [`detached`](Self::detached) does not.
///
/// ```
/// # async fn store() -> Result<u64, service::Problem> { Ok(1) }
/// # async fn handler(tasks: service::Tasks) -> Result<String, service::Problem> {
/// let id = tasks.detached(async move { store().await }).await?;
/// # Ok(id.to_string()) }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
}

impl Tasks {
    /// No tasks yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Spawns `work` now (not at the first poll) and returns a future of its result.
    ///
    /// Dropping the returned future leaves the work running. The work keeps the request's id and trace. A panic in it goes on in
    /// whoever awaits it, so that the client gets its 500.
    pub fn detached<F>(&self, work: F) -> impl Future<Output = F::Output> + Send + use<F>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let handle = match RequestContext::current() {
            Some(context) => self.tracker.spawn(context.scope(work)),
            None => self.tracker.spawn(work),
        };
        async move {
            match handle.await {
                Ok(output) => output,
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => resume_unwind(panic),
                    // Only a runtime that is being torn down cancels these tasks, and it polls nobody any more.
                    Err(_cancelled) => std::future::pending().await,
                },
            }
        }
    }

    /// How many are running.
    #[must_use]
    pub fn running(&self) -> usize {
        self.tracker.len()
    }

    /// Waits until none is running. Work that is started meanwhile is waited for, too.
    pub(crate) async fn finished(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }
}
