//! One server process under a guardian: a small shell that stops the server and removes its files when we are gone.
//!
//! The kernel closes our end of the guardian's pipe whatever ends this process: a return from `main`, a panic, SIGKILL.
//! The guardian has a process group of its own, so that a Ctrl-C in the terminal reaches only us.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::watch;

use crate::account::Account;
use crate::error::TestbedError;

const SCRIPT: &str = include_str!("guardian.sh");

/// How the guardian ends a server whose owner is gone.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ending {
    /// Sent first, then once a second.
    pub(crate) signal: &'static str,
    /// Sent as well when the server is still there after `patience_seconds`.
    pub(crate) last_resort: &'static str,
    pub(crate) patience_seconds: u32,
}

impl Ending {
    /// Nothing that the process leaves behind is worth a second.
    pub(crate) const KILL: Self = Self { signal: "KILL", last_resort: "KILL", patience_seconds: 1 };
}

/// A folder that is removed together with the server.
#[derive(Debug, Clone)]
pub(crate) enum Scratch {
    /// The guardian creates it (mode 0700) before the server starts; it is an error when it exists.
    New(PathBuf),
    /// An earlier guardian created it; this one takes over its removal.
    Kept(PathBuf),
    /// Nothing is removed: the files belong to the user.
    None,
}

impl Scratch {
    fn path(&self) -> &Path {
        match self {
            Self::New(path) | Self::Kept(path) => path,
            Self::None => Path::new(""),
        }
    }
}

/// What is known of the guardian and its server.
#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    pid: Option<u32>,
    /// Set when the server has ended. The guardian then waits for the order to keep or to remove the files.
    exit: Option<Exit>,
    /// The guardian has ended as well: what was to be removed is removed.
    gone: bool,
}

/// The exit status of a server, as the shell reports it: 128 + n after signal n.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit(u32);

impl Exit {
    /// What the guardian itself would report if it could: it did not get as far as the server.
    const LOST: Self = Self(70);

    /// Whether the server ended by itself without an error.
    pub fn success(self) -> bool {
        self.0 == 0
    }
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            status if status > 128 => write!(f, "killed by signal {}", status - 128),
            status => write!(f, "exit status {status}"),
        }
    }
}

/// What to run, and as whom.
#[derive(Debug)]
pub(crate) struct Spec<'a> {
    pub(crate) program: &'a Path,
    pub(crate) args: Vec<String>,
    pub(crate) account: Option<&'a Account>,
    pub(crate) log: &'a Path,
    pub(crate) ending: Ending,
    pub(crate) scratch: Scratch,
    /// Held by the guardian for as long as it lives.
    pub(crate) lock: Option<Arc<File>>,
}

/// A running (or ended) server with its guardian. Dropping it makes the guardian stop the server and remove its scratch
/// folder, in the background.
#[derive(Debug)]
pub(crate) struct Guarded {
    leash: Mutex<Option<ChildStdin>>,
    progress: watch::Receiver<Progress>,
    pid: u32,
}

impl Guarded {
    /// Starts the guardian and waits until it has started the server. The server need not be ready then.
    pub(crate) async fn spawn(spec: Spec<'_>) -> Result<Self, TestbedError> {
        let program = spec.program.display().to_string();
        let failed = |source| TestbedError::Spawn { program: program.clone(), source };

        let mut command = Command::new("sh");
        command
            .arg("-c")
            .arg(SCRIPT)
            .arg("guardian")
            .args([spec.ending.signal, spec.ending.last_resort])
            .arg(spec.ending.patience_seconds.to_string())
            .arg(spec.scratch.path())
            .arg(if matches!(spec.scratch, Scratch::New(_)) { "new" } else { "kept" })
            .arg(spec.log)
            .arg(spec.program)
            .args(&spec.args)
            // Messages that are searched for ("Address already in use") must not be translated.
            .env("LC_ALL", "C")
            // Our own working directory may be closed to the server's user.
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(match spec.lock {
                Some(lock) => Stdio::from(lock.try_clone().map_err(failed)?),
                None => Stdio::null(),
            });
        if let Some(account) = spec.account {
            account.apply(&mut command);
        }
        let mut child = command.spawn().map_err(failed)?;
        let leash = child.stdin.take();

        let (sender, mut progress) = watch::channel(Progress::default());
        // A thread and not a task: a server may outlive the runtime of the test that started it.
        std::thread::Builder::new().name("guardian".into()).spawn(move || follow(child, &sender)).map_err(failed)?;

        let started = progress.wait_for(|now| now.pid.is_some() || now.gone).await.ok().and_then(|now| now.pid);
        match started {
            Some(pid) => Ok(Self { leash: Mutex::new(leash), progress, pid }),
            None => Err(failed(io::Error::other("its guardian could not use its folder"))),
        }
    }

    /// The server's process id.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// The status with which the server has ended, if it has.
    pub(crate) fn exit(&self) -> Option<Exit> {
        let now = *self.progress.borrow();
        now.exit.or(now.gone.then_some(Exit::LOST))
    }

    /// Waits until the server has ended. The future holds nothing: it does not keep the server alive.
    pub(crate) fn ended(&self) -> impl Future<Output = Exit> + Send + use<> {
        let mut progress = self.progress.clone();
        async move {
            // An error means that the following thread is gone, and with it the guardian.
            let now = progress.wait_for(|now| now.exit.is_some() || now.gone).await;
            now.ok().and_then(|now| now.exit).unwrap_or(Exit::LOST)
        }
    }

    /// Sends a signal to the server; nothing when it has ended.
    pub(crate) fn signal(&self, signal: Signal) {
        if self.exit().is_none()
            && let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw)
        {
            // It can only fail because the process has just ended.
            let _ = kill_process(pid, signal);
        }
    }

    /// After the server has ended: lets the guardian end without removing the scratch folder.
    pub(crate) async fn keep(&self) {
        if let Some(mut leash) = self.take_leash() {
            let _ = leash.write_all(b"keep\n");
        }
        self.gone().await;
    }

    /// Lets the guardian stop the server and remove the scratch folder, and waits until it has.
    pub(crate) async fn remove(&self) {
        drop(self.take_leash());
        self.gone().await;
    }

    async fn gone(&self) {
        let _ = self.progress.clone().wait_for(|now| now.gone).await;
    }

    fn take_leash(&self) -> Option<ChildStdin> {
        self.leash.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Turns the guardian's lines into progress, and reaps it.
fn follow(mut guardian: Child, progress: &watch::Sender<Progress>) {
    if let Some(stdout) = guardian.stdout.take() {
        let mut numbers = BufReader::new(stdout).lines().map_while(Result::ok).map_while(|line| line.parse().ok());
        let pid = numbers.next();
        progress.send_modify(|now| now.pid = pid);
        let exit = numbers.next().map(Exit);
        progress.send_modify(|now| now.exit = exit);
    }
    let _ = guardian.wait();
    progress.send_modify(|now| now.gone = true);
}
