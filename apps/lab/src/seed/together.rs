//! Several connections at work on one bar.

use anyhow::Context as _;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;

use crate::screen::Bar;

/// How a worker tells that it has done something.
#[derive(Debug, Clone)]
pub(super) struct Steps(UnboundedSender<u64>);

impl Steps {
    pub(super) fn done(&self, steps: u64) {
        // Nobody listens any more only when the whole run is being dropped.
        let _ = self.0.send(steps);
    }
}

/// Runs the workers that `make` makes, and moves the bar by the steps that they report. The first
/// that fails ends the others.
pub(super) async fn together<F>(mut bar: Bar, make: impl FnOnce(Steps) -> Vec<F>) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let (sender, mut steps) = unbounded_channel();
    let mut workers: JoinSet<_> = make(Steps(sender)).into_iter().collect();
    loop {
        tokio::select! {
            Some(more) = steps.recv() => bar.advance(more),
            Some(ended) = workers.join_next() => ended.context("a seeding worker panicked")??,
            else => break,
        }
    }
    bar.done();
    Ok(())
}
