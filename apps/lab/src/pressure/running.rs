//! A load that goes on beside whatever else is done, until it is stopped or dropped.

use std::sync::{Arc, PoisonError};
use std::time::Instant;

use anyhow::Context as _;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::database::{self, Look, Looks};
use super::log::{Log, Progress};
use crate::measure::own_thread::on_own_thread;

/// A thread with a load on it. Dropped, it ends at its next await.
#[derive(Debug)]
pub(crate) struct Running<T> {
    pub(crate) log: Arc<Log>,
    stopping: CancellationToken,
    load: AbortOnDropHandle<anyhow::Result<T>>,
    looks: Looks,
    looking: AbortOnDropHandle<()>,
}

impl<T: Send + 'static> Running<T> {
    /// Starts `work`, which ends by itself soon after the token is cancelled. Must be called within a runtime.
    pub(crate) fn start<F>(
        name: &'static str,
        database: PgPool,
        log: Arc<Log>,
        stopping: CancellationToken,
        work: impl FnOnce() -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = anyhow::Result<T>> + 'static,
    {
        let looks = Looks::default();
        let looking = AbortOnDropHandle::new(tokio::spawn(database::watch(database, Arc::clone(&looks))));
        let load = AbortOnDropHandle::new(tokio::spawn(on_own_thread(name, work)));
        Self { log, stopping, load, looks, looking }
    }

    pub(crate) fn mark(&self, text: &str) -> Instant {
        self.log.mark(text)
    }

    pub(crate) fn progress(&self) -> Progress {
        self.log.progress()
    }

    /// Sends nothing new, waits for what is under way, and returns what the work found.
    ///
    /// # Errors
    /// The work's own, or it panicked.
    pub(crate) async fn stop(self) -> anyhow::Result<(T, Vec<Look>)> {
        self.stopping.cancel();
        let found = self.load.await.context("the load was ended")??;
        self.looking.abort();
        let looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok((found, looks))
    }
}

#[cfg(test)]
mod tests {
    use super::Running;
    use crate::pressure::log::Log;
    use sqlx::postgres::PgPoolOptions;
    use std::sync::Arc;
    use std::time::Duration;
    use tokio_util::sync::CancellationToken;

    struct Tell(Option<tokio::sync::oneshot::Sender<()>>);

    impl Drop for Tell {
        fn drop(&mut self) {
            let _ = self.0.take().unwrap().send(());
        }
    }

    fn start(
        stopping: &CancellationToken,
        until: CancellationToken,
    ) -> (Running<u8>, tokio::sync::oneshot::Receiver<()>) {
        let database = PgPoolOptions::new().connect_lazy("postgres://nobody@127.0.0.1:1/nothing").unwrap();
        let (tell, told) = tokio::sync::oneshot::channel();
        let tell = Tell(Some(tell));
        let work = move || async move {
            let _tell = tell;
            until.cancelled().await;
            Ok(7)
        };
        (Running::start("test", database, Arc::new(Log::new()), stopping.clone(), work), told)
    }

    #[tokio::test]
    async fn a_load_that_is_stopped_ends_by_itself_without_a_database_too() {
        let stopping = CancellationToken::new();
        let (running, _told) = start(&stopping, stopping.clone());
        assert_eq!(running.progress().sent, 0);
        assert_eq!(running.stop().await.unwrap(), (7, Vec::new()));
    }

    #[tokio::test]
    async fn a_load_that_is_dropped_ends() {
        let (running, told) = start(&CancellationToken::new(), CancellationToken::new());
        drop(running);
        tokio::time::timeout(Duration::from_secs(20), told).await.unwrap().unwrap();
    }
}
