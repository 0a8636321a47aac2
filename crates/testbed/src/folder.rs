//! The folder of a server: a scratch folder, or one that its user keeps.
//!
//! A kept folder has three entries: `data`, `server.log` (and `server.log.old`, of the start before), and `lock`. The
//! lock is held by us and by the guardian, so that it outlasts us exactly as long as the server does.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use tokio::time::{Instant, sleep};

use crate::account::{self, Account};
use crate::error::TestbedError;

/// How long the previous server of a folder may take to shut down (a last checkpoint) before we give up on it.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(60);

/// Where a server has its files.
#[derive(Debug)]
pub(crate) struct Folder {
    pub(crate) path: PathBuf,
    kept: bool,
    /// For a kept folder: present from the start to the stop of its server.
    lock: Mutex<Option<Arc<File>>>,
}

impl Folder {
    pub(crate) fn scratch(account: Option<&Account>, kind: &str) -> Result<Self, TestbedError> {
        Ok(Self { path: account::scratch_path(account, kind)?, kept: false, lock: Mutex::default() })
    }

    /// Takes a folder of the user, waiting for a previous server that is still shutting down.
    pub(crate) async fn kept(account: Option<&Account>, path: &Path) -> Result<Self, TestbedError> {
        let path = std::path::absolute(path).map_err(|source| TestbedError::Io {
            action: "find",
            path: path.to_owned(),
            source,
        })?;
        account::own_folder(account, &path)?;
        let folder = Self { path, kept: true, lock: Mutex::default() };
        folder.take().await?;
        match fs::rename(folder.log(), folder.path.join("server.log.old")) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(TestbedError::Io { action: "rename", path: folder.log(), source })
            }
            _ => Ok(folder),
        }
    }

    /// Whether the folder belongs to the user and stays.
    pub(crate) fn is_kept(&self) -> bool {
        self.kept
    }

    /// Locks the folder if it is a kept one that is not locked.
    pub(crate) async fn take(&self) -> Result<(), TestbedError> {
        if self.kept && self.lock().is_none() {
            let file = take_lock(&self.path).await?;
            *self.guard() = Some(Arc::new(file));
        }
        Ok(())
    }

    /// Unlocks the folder, as far as we are concerned: a guardian may still hold its lock.
    pub(crate) fn leave(&self) {
        *self.guard() = None;
    }

    pub(crate) fn lock(&self) -> Option<Arc<File>> {
        self.guard().clone()
    }

    fn guard(&self) -> MutexGuard<'_, Option<Arc<File>>> {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.path.join("data")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.path.join("server.log")
    }
}

async fn take_lock(folder: &Path) -> Result<File, TestbedError> {
    let path = folder.join("lock");
    let io = |action| {
        let path = path.clone();
        move |source| TestbedError::Io { action, path, source }
    };
    let mut file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(io("open"))?;
    let deadline = Instant::now() + SHUTDOWN_LIMIT;
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::Error(source)) => return Err(io("lock")(source)),
            Err(TryLockError::WouldBlock) => {
                let mut owner = String::new();
                file.rewind().and_then(|()| file.read_to_string(&mut owner)).map_err(io("read"))?;
                let owner = owner.trim().parse().unwrap_or(0);
                // A dead owner's guardian is shutting its server down, and so does that of one that we dropped.
                let closing = owner == std::process::id() || !is_alive(owner);
                if !closing || Instant::now() > deadline {
                    return Err(TestbedError::InUse { path: folder.to_owned(), pid: owner });
                }
                sleep(Duration::from_millis(20)).await;
            }
        }
    }
    let id = std::process::id();
    file.set_len(0).and_then(|()| file.rewind()).and_then(|()| write!(file, "{id}")).map_err(io("write"))?;
    Ok(file)
}

/// Whether there is a process with this id, of any user.
pub(crate) fn is_alive(pid: u32) -> bool {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return false };
    !matches!(test_kill_process(pid), Err(Errno::SRCH))
}

/// Deals with the `postmaster.pid` that a crash has left in a data folder whose lock we hold.
///
/// PostgreSQL itself never starts a second postmaster on a folder; but it also refuses when the dead one's id now belongs
/// to an unrelated process of the same user, as happens after a reboot or in a new container.
pub(crate) async fn settle_postmaster(data: &Path) -> Result<(), TestbedError> {
    let file = data.join("postmaster.pid");
    let deadline = Instant::now() + SHUTDOWN_LIMIT;
    loop {
        let Ok(text) = fs::read_to_string(&file) else { return Ok(()) };
        let Some((pid, rest)) = text.split_once('\n') else { return Ok(()) };
        let Some(pid) = pid.trim().parse::<u32>().ok().filter(|pid| is_alive(*pid)) else { return Ok(()) };
        if !command_line(pid).contains(&*data.to_string_lossy()) {
            // The rest of the file stays: by it PostgreSQL finds backends that outlived their postmaster.
            return fs::write(&file, format!("{NOBODY}\n{rest}")).map_err(|source| TestbedError::Io {
                action: "write",
                path: file,
                source,
            });
        }
        let stopping = rest.contains("stopping");
        if !stopping || Instant::now() > deadline {
            return Err(TestbedError::InUse { path: data.to_owned(), pid });
        }
        sleep(Duration::from_millis(20)).await;
    }
}

/// An id that no system gives to a process.
const NOBODY: i32 = i32::MAX - 1;

/// The command line of a process, or nothing when it has ended.
fn command_line(pid: u32) -> String {
    if let Ok(bytes) = fs::read(format!("/proc/{pid}/cmdline")) {
        return String::from_utf8_lossy(&bytes).replace('\0', " ");
    }
    let output = Command::new("ps").args(["-o", "args=", "-p", &pid.to_string()]).output();
    output.map_or_else(|_| String::new(), |output| String::from_utf8_lossy(&output.stdout).into_owned())
}
