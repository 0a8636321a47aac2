//! No process outlives the lab, even if the lab is killed with SIGKILL.
//!
//! A killed process cannot clean up, so another one waits for its death: the guardian, this same
//! binary as `lab guard`, holds the read end of a pipe whose only write end is the lab's. The kernel closes that end
//! however the lab ends, and then the guardian ends the processes whose ids came through the pipe.
//! What remains is a process that is started and not yet reported; so each one starts as
//! `lab launch`, which waits for one byte before it becomes the real program (same process, same id), and the
//! byte is sent after the report.
//!
//! Linux' `PR_SET_PDEATHSIG` would do without a guardian, but it fires when the *thread* that started
//! the process ends, and macOS has nothing like it.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead as _, Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tokio::io::AsyncWriteExt as _;

/// How long orphans may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(5);

/// The lab's end of the pipe.
#[derive(Debug)]
pub(crate) struct Guardian {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Kept so that it is reaped and not left as a zombie.
    process: Child,
    pipe: Option<ChildStdin>,
    guarded: BTreeSet<u32>,
}

impl Guardian {
    pub(crate) fn start() -> anyhow::Result<Self> {
        let (process, pipe) = spawn().context("cannot start the guardian process")?;
        Ok(Self { inner: Mutex::new(Inner { process, pipe: Some(pipe), guarded: BTreeSet::new() }) })
    }

    /// Starts the program of a [`launcher`], which from its first moment ends with the lab. What it prints goes to `log`.
    pub(crate) async fn launch(
        &self,
        launcher: &mut tokio::process::Command,
        log: File,
        name: &str,
    ) -> anyhow::Result<(tokio::process::Child, u32)> {
        let child = launcher
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Ctrl-C is the lab's to hear: it stops the replicas before the stores.
            .process_group(0)
            .kill_on_drop(true)
            .spawn();
        let mut child = child.with_context(|| format!("cannot start {name}"))?;
        let pid = child.id().context("a process that was just started has an id")?;
        self.guard(pid)?;
        let mut stdin = child.stdin.take().context("the launcher has no stdin")?;
        // An error means that it died already, which the wait for it tells better.
        let _ = stdin.write_all(b".").await;
        Ok((child, pid))
    }

    /// From now on the process ends with the lab.
    pub(crate) fn guard(&self, pid: u32) -> anyhow::Result<()> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.guarded.insert(pid);
        if inner.tell(&format!("+{pid}\n")).is_ok() {
            return Ok(());
        }
        // Somebody killed the guardian: a new one takes over all of them.
        let (process, pipe) = spawn().context("cannot start the guardian process again")?;
        let mut old = std::mem::replace(&mut inner.process, process);
        inner.pipe = Some(pipe);
        old.wait()?;
        let all: String = inner.guarded.iter().map(|pid| format!("+{pid}\n")).collect();
        inner.tell(&all).context("the guardian process does not listen")
    }

    /// The process has ended and was reaped: its id may soon be another's.
    pub(crate) fn release(&self, pid: u32) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.guarded.remove(&pid);
        // A guardian that is gone has nothing to forget; the next `guard` replaces it.
        let _ = inner.tell(&format!("-{pid}\n"));
    }
}

impl Inner {
    fn tell(&mut self, line: &str) -> io::Result<()> {
        let pipe = self.pipe.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        pipe.write_all(line.as_bytes())
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        let inner = self.inner.get_mut().unwrap_or_else(PoisonError::into_inner);
        inner.pipe = None;
        // With nothing left to guard it ends at once; otherwise it is just doing its work, in at most `GRACE`.
        let _ = inner.process.wait();
    }
}

/// A command for [`Guardian::launch`]: the program and its arguments are to follow.
pub(crate) fn launcher() -> anyhow::Result<tokio::process::Command> {
    let mut launcher = tokio::process::Command::new(super::own_binary()?);
    launcher.arg("launch");
    Ok(launcher)
}

fn spawn() -> anyhow::Result<(Child, ChildStdin)> {
    let mut process = Command::new(super::own_binary()?)
        .arg("guard")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        // Ctrl-C reaches the whole foreground group of the terminal; the guardian must outlive it.
        .process_group(0)
        .spawn()?;
    let pipe = process.stdin.take().context("the guardian has no stdin")?;
    Ok((process, pipe))
}

/// `lab guard`: reads ids until the lab is gone, then ends the processes that are left.
pub(crate) fn guard() {
    let mut guarded = BTreeSet::new();
    for line in io::stdin().lock().lines().map_while(Result::ok) {
        let Some((sign, pid)) = line.split_at_checked(1) else { continue };
        let Ok(pid) = pid.parse::<i32>() else { continue };
        if sign == "+" {
            guarded.insert(pid);
        } else {
            guarded.remove(&pid);
        }
    }
    let mut left: Vec<Pid> = guarded.into_iter().filter_map(Pid::from_raw).collect();
    for &pid in &left {
        // An error means that it is gone already.
        let _ = kill_process(pid, Signal::TERM);
        // A stopped process hears it only when it goes on.
        let _ = kill_process(pid, Signal::CONT);
    }
    let deadline = Instant::now() + GRACE;
    while !left.is_empty() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
        left.retain(|&pid| test_kill_process(pid).is_ok());
    }
    for pid in left {
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// `lab launch`: becomes `program` once the byte has come; ends when the lab dies before that.
pub(crate) fn launch(program: &Path, args: &[std::ffi::OsString]) -> anyhow::Result<std::convert::Infallible> {
    let mut byte = [0];
    io::stdin().read_exact(&mut byte).context("the lab was gone before the start")?;
    let error = Command::new(program).args(args).stdin(Stdio::null()).exec();
    Err(error).with_context(|| format!("cannot run {}", program.display()))
}
