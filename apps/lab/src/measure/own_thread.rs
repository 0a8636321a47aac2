//! A thread with a runtime of its own for what is timed.

use std::future::Future;

use anyhow::{Context as _, anyhow};
use tokio_util::sync::CancellationToken;

/// Runs a future on a new thread, with a runtime that has no other thread. There, an answer wakes the task
/// that waits for it without a detour over another core, which is worth 10 to 20 microseconds a request
/// against a shared runtime; and the generator cannot take more than one core from the servers.
///
/// Dropping the returned future ends the work at its next await.
///
/// # Errors
/// The work's own; a panic in it; no thread to be had.
pub(crate) async fn on_own_thread<T, F>(
    name: &'static str,
    work: impl FnOnce() -> F + Send + 'static,
) -> anyhow::Result<T>
where
    T: Send + 'static,
    F: Future<Output = anyhow::Result<T>>,
{
    let (done, result) = tokio::sync::oneshot::channel();
    let cancelled = CancellationToken::new();
    let stop = cancelled.clone().drop_guard();
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        let outcome = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start a runtime")
            .and_then(|runtime| {
                let tasks = tokio::task::LocalSet::new();
                tasks.block_on(&runtime, async {
                    cancelled.run_until_cancelled(work()).await.unwrap_or_else(|| Err(anyhow!("stopped")))
                })
            });
        // Nobody listens when the caller was dropped.
        let _ = done.send(outcome);
    })?;
    let outcome = result.await.map_err(|_| anyhow!("the thread {name:?} panicked"))?;
    drop(stop.disarm());
    outcome
}

#[cfg(test)]
mod tests {
    use super::on_own_thread;
    use std::time::Duration;

    #[tokio::test]
    async fn the_result_comes_back_and_errors_too() {
        let doubled = on_own_thread("test", || async {
            // Local tasks need no Send.
            let shared = std::rc::Rc::new(21);
            let copy = std::rc::Rc::clone(&shared);
            Ok(tokio::task::spawn_local(async move { *copy * 2 }).await?)
        });
        assert_eq!(doubled.await.unwrap(), 42);
        let failed = on_own_thread::<(), _>("test", || async { anyhow::bail!("no") }).await;
        assert_eq!(failed.unwrap_err().to_string(), "no");
    }

    #[tokio::test]
    async fn a_dropped_caller_ends_the_work() {
        struct Tell(Option<tokio::sync::oneshot::Sender<()>>);
        impl Drop for Tell {
            fn drop(&mut self) {
                let _ = self.0.take().unwrap().send(());
            }
        }
        let (tell, told) = tokio::sync::oneshot::channel();
        let tell = Tell(Some(tell));
        let work = on_own_thread::<(), _>("test", || async move {
            let _tell = tell;
            std::future::pending().await
        });
        assert!(tokio::time::timeout(Duration::from_millis(50), work).await.is_err());
        tokio::time::timeout(Duration::from_secs(10), told).await.unwrap().unwrap();
    }
}
