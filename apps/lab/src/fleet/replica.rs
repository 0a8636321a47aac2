//! One replica: started, watched, started again when it dies, stopped when it is told to.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Child;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::guardian::{Guardian, launcher};
use super::probe;
use crate::data::ReplicaState;
use crate::screen;

/// How long a replica may take to end after SIGTERM, before SIGKILL.
const GRACE: Duration = Duration::from_secs(10);

/// The wait before a restart, doubled by each death that follows soon after a start.
const BACKOFF: std::ops::RangeInclusive<Duration> = Duration::from_millis(200)..=Duration::from_secs(5);

/// A replica that lived this long did not die of its start.
const SETTLED: Duration = Duration::from_secs(30);

/// Everything about a replica that does not change.
#[derive(Debug)]
pub(crate) struct Replica {
    /// As a person reads it: `blog-api 2`.
    pub(crate) name: String,
    pub(crate) binary: PathBuf,
    pub(crate) api_port: u16,
    pub(crate) admin_port: u16,
    /// Settings as environment, so that passwords in URLs do not show in the list of processes.
    pub(crate) environment: Vec<(&'static str, String)>,
    pub(crate) log: PathBuf,
}

impl Replica {
    pub(crate) fn state(&self) -> ReplicaState {
        ReplicaState {
            api: format!("http://127.0.0.1:{}", self.api_port),
            admin: format!("http://127.0.0.1:{}", self.admin_port),
            pid: None,
            restarts: 0,
        }
    }

    /// Runs the replica until `stop`, restarting it whenever it dies. `state` has its pid while it runs.
    ///
    /// # Errors
    /// A death before it was ready for the first time: starting it again would not help.
    pub(crate) async fn supervise(
        self,
        guardian: Arc<Guardian>,
        state: watch::Sender<ReplicaState>,
        ready: CancellationToken,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        let mut backoff = *BACKOFF.start();
        loop {
            let begun = Instant::now();
            let (mut child, pid) = self.launch(&guardian).await?;
            state.send_modify(|state| state.pid = Some(pid));
            let was_ready = ready.is_cancelled();
            let status = {
                let answers = async {
                    probe::ready(self.admin_port, pid).await;
                    if was_ready {
                        screen::note(&format!("{} is back (pid {pid})", self.name));
                    }
                    ready.cancel();
                    std::future::pending().await
                };
                tokio::select! {
                    status = child.wait() => Some(status?),
                    () = stop.cancelled() => None,
                    never = answers => never,
                }
            };
            let Some(status) = status else {
                self.end(child, pid).await?;
                guardian.release(pid);
                return Ok(());
            };
            guardian.release(pid);
            state.send_modify(|state| state.pid = None);
            if !ready.is_cancelled() {
                return Err(anyhow!("{} {} before it was ready: {}", self.name, describe(status), self.last_words()));
            }
            if begun.elapsed() >= SETTLED {
                backoff = *BACKOFF.start();
            }
            screen::note(&format!(
                "{} (pid {pid}) {}; starting it again in {} ms (log: {})",
                self.name,
                describe(status),
                backoff.as_millis(),
                self.log.display()
            ));
            tokio::select! {
                () = tokio::time::sleep(backoff) => {}
                () = stop.cancelled() => return Ok(()),
            }
            backoff = (backoff * 2).min(*BACKOFF.end());
            state.send_modify(|state| state.restarts += 1);
        }
    }

    async fn launch(&self, guardian: &Guardian) -> anyhow::Result<(Child, u32)> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .with_context(|| format!("cannot write {}", self.log.display()))?;
        let mut replica = launcher()?;
        replica
            .arg(&self.binary)
            .arg("serve")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .env("LISTEN", format!("127.0.0.1:{}", self.api_port))
            .env("ADMIN_LISTEN", format!("127.0.0.1:{}", self.admin_port));
        guardian.launch(&mut replica, log, &self.name).await
    }

    /// SIGTERM, a grace, SIGKILL.
    async fn end(&self, mut child: Child, pid: u32) -> anyhow::Result<()> {
        signal(pid, Signal::TERM);
        // A replica that an experiment has paused hears it only when it goes on.
        signal(pid, Signal::CONT);
        if tokio::time::timeout(GRACE, child.wait()).await.is_err() {
            screen::note(&format!(
                "{} (pid {pid}) did not end within {} s of SIGTERM; killed",
                self.name,
                GRACE.as_secs()
            ));
            child.kill().await?;
        }
        Ok(())
    }

    /// The last line that it logged, for an error message.
    fn last_words(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let last = text.lines().rev().find(|line| !line.trim().is_empty());
        format!("{} (log: {})", last.unwrap_or("it logged nothing").trim(), self.log.display())
    }
}

/// Sends a signal to a child that has not been reaped, so the id is still its own.
pub(crate) fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // The only possible failure is that it has ended.
        let _ = kill_process(pid, signal);
    }
}

fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with exit status {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}
