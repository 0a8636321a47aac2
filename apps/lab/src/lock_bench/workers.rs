//! Processes of the library's bench, told what to do line by line.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use futures_util::future::try_join_all;
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::contention::{Cell, Turn};

/// How long a worker may take beyond what it was told.
const ANSWER: Duration = Duration::from_secs(60);

/// They end when this is dropped.
#[derive(Debug)]
pub(super) struct Workers(Vec<Worker>);

#[derive(Debug)]
struct Worker {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

#[derive(Deserialize)]
struct Took {
    took: Vec<u64>,
}

#[derive(Deserialize)]
struct Ready {
    ready: usize,
}

/// Of each waiter: asked, had, given back, asked, ...
#[derive(Deserialize)]
struct Turns {
    turns: Vec<Vec<u64>>,
}

impl Workers {
    pub(super) async fn start(bench: &Path, url: &str, processes: usize) -> anyhow::Result<Self> {
        let mut workers = Vec::with_capacity(processes);
        for _ in 0..processes {
            workers.push(Worker::start(bench, url)?);
        }
        Ok(Self(workers))
    }

    /// How long each pair of an acquisition and a release took, in nanoseconds.
    pub(super) async fn uncontended(&mut self, way: &str, pairs: u32) -> anyhow::Result<Vec<u64>> {
        let worker = self.0.first_mut().context("there is a worker")?;
        Ok(worker.ask::<Took>(&format!("uncontended {way} {pairs}"), ANSWER).await?.took)
    }

    /// All waiters of a cell for so long; the acquisitions of each of them.
    pub(super) async fn contend(&mut self, cell: &Cell, time: Duration) -> anyhow::Result<Vec<Vec<Turn>>> {
        let workers = &mut self.0[..cell.processes.min(cell.waiters)];
        let shares = shares(cell.waiters, workers.len());
        for (worker, share) in workers.iter_mut().zip(&shares) {
            let ready: Ready = worker.ask(&format!("ready {} {share}", cell.way), ANSWER).await?;
            anyhow::ensure!(ready.ready == *share, "a worker has {} waiters and not {share}", ready.ready);
        }
        if cell.way == "blpop" {
            workers[0].ask::<Ready>("seed", ANSWER).await?;
        }
        let line = format!("contend {} {}", cell.inside_ms * 1_000, time.as_millis());
        let all = try_join_all(workers.iter_mut().map(|worker| worker.ask::<Turns>(&line, time + ANSWER))).await?;
        let turn = |three: &[u64]| Turn { asked: three[0], had: three[1], gave: three[2] };
        let waiters = all.into_iter().flat_map(|turns| turns.turns);
        Ok(waiters.map(|turns| turns.chunks_exact(3).map(turn).collect()).collect())
    }

    /// Lets them close their locks.
    pub(super) async fn stop(self) {
        for mut worker in self.0 {
            drop(worker.input);
            // One that does not end is killed as it is dropped.
            let _ = tokio::time::timeout(ANSWER, worker.child.wait()).await;
        }
    }
}

/// As evenly as possible.
fn shares(waiters: usize, workers: usize) -> Vec<usize> {
    (0..workers).map(|worker| waiters / workers + usize::from(worker < waiters % workers)).collect()
}

impl Worker {
    fn start(bench: &Path, url: &str) -> anyhow::Result<Self> {
        let mut child = Command::new(bench)
            .args(["worker", url])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", bench.display()))?;
        let input = child.stdin.take().context("the worker has no stdin")?;
        let output = BufReader::new(child.stdout.take().context("the worker has no stdout")?).lines();
        Ok(Self { child, input, output })
    }

    async fn ask<T: for<'a> Deserialize<'a>>(&mut self, line: &str, within: Duration) -> anyhow::Result<T> {
        self.input.write_all(format!("{line}\n").as_bytes()).await.context("the bench has ended")?;
        let answer = tokio::time::timeout(within, self.output.next_line()).await;
        let Some(answer) = answer.with_context(|| format!("the bench does not answer '{line}'"))?? else {
            bail!("the bench has ended on '{line}'; what it said is above");
        };
        serde_json::from_str(&answer).with_context(|| format!("what the bench answered to '{line}'"))
    }
}

#[cfg(test)]
mod tests {
    use super::shares;

    #[test]
    fn waiters_are_shared_out_evenly() {
        assert_eq!(shares(64, 4), [16; 4]);
        assert_eq!(shares(10, 4), [3, 3, 2, 2]);
        assert_eq!(shares(2, 2), [1, 1]);
    }
}
