//! The folder that one `lab up` owns: who holds it, and what runs on it.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

use crate::exit::Failure;
use crate::target::{BookingStores, BookingTargets, ShopStores, ShopTargets, Targets};

/// A data folder, owned or not.
#[derive(Debug, Clone)]
pub(crate) struct DataDir {
    root: PathBuf,
}

/// The right to use a data folder. Held by the kernel for this process, so it ends with it, however
/// it ends; no stale lock can be left behind.
#[derive(Debug)]
pub(crate) struct Held {
    _lock: File,
}

/// What runs on a data folder, as `state.json` in it. Written anew at each change (a restarted
/// replica has another pid), by rename, so that a reader never sees half of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    /// Version of this shape.
    pub(crate) format: u32,
    /// The `lab up` itself.
    pub(crate) pid: u32,
    /// RFC 3339.
    pub(crate) started_at: String,
    pub(crate) database_url: String,
    /// Process id of the private PostgreSQL; absent when it is somebody else's server.
    pub(crate) postgres_pid: Option<u32>,
    /// Absent when only the booking runs, which has no cache.
    pub(crate) cache_redis_url: Option<String>,
    /// Process id of the private Redis; absent when it is somebody else's server.
    pub(crate) cache_redis_pid: Option<u32>,
    /// Absent when booking-api does not run.
    pub(crate) lock_redis_url: Option<String>,
    /// Process id of the private Redis of the locks; absent when it is somebody else's server.
    pub(crate) lock_redis_pid: Option<u32>,
    pub(crate) redlock_redis_urls: Vec<String>,
    pub(crate) redlock_redis_pids: Vec<u32>,
    pub(crate) blog: Option<BlogState>,
    pub(crate) booking: Option<BookingState>,
    pub(crate) shop: Option<ShopState>,
}

/// The booking's part of [`State`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BookingState {
    pub(crate) replicas: Vec<ReplicaState>,
}

/// The blog's part of [`State`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BlogState {
    pub(crate) posts: u64,
    pub(crate) replicas: Vec<ReplicaState>,
}

/// The shop's part of [`State`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ShopState {
    pub(crate) products: u64,
    pub(crate) replicas: Vec<ReplicaState>,
    pub(crate) workers: Vec<ReplicaState>,
}

/// One replica of a service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReplicaState {
    /// Base URL of the API.
    pub(crate) api: String,
    /// Base URL of the admin port.
    pub(crate) admin: String,
    /// Absent between a death and the restart.
    pub(crate) pid: Option<u32>,
    pub(crate) restarts: u32,
}

/// The shape of the state file that this binary writes and reads.
pub(crate) const STATE_FORMAT: u32 = 3;

impl State {
    /// # Errors
    /// [`Failure::Usage`] when the blog does not run.
    pub(crate) fn blog_targets(&self) -> anyhow::Result<Targets> {
        let (Some(blog), Some(cache_redis_url)) = (&self.blog, &self.cache_redis_url) else {
            return Err(Failure::usage(
                "the running `lab up` has no blog: start it without --only, or with --only blog",
            )
            .into());
        };
        let (replicas, admin) = urls(&blog.replicas);
        Ok(Targets {
            replicas,
            admin,
            database_url: self.database_url.clone(),
            cache_redis_url: cache_redis_url.clone(),
        })
    }

    /// # Errors
    /// [`Failure::Usage`] when booking-api does not run.
    pub(crate) fn booking_targets(&self) -> anyhow::Result<BookingTargets> {
        let (Some(booking), Some(lock_redis_url)) = (&self.booking, &self.lock_redis_url) else {
            return Err(Failure::usage(
                "the running `lab up` has no booking-api: start it without --only, or with --only booking",
            )
            .into());
        };
        let (replicas, admin) = urls(&booking.replicas);
        let stores = BookingStores {
            database_url: self.database_url.clone(),
            lock_redis_url: lock_redis_url.clone(),
            redlock_redis_urls: self.redlock_redis_urls.clone(),
        };
        Ok(BookingTargets { replicas, admin, stores })
    }

    /// # Errors
    /// [`Failure::Usage`] when the shop does not run.
    pub(crate) fn shop_targets(&self) -> anyhow::Result<ShopTargets> {
        let (Some(shop), Some(cache_redis_url)) = (&self.shop, &self.cache_redis_url) else {
            return Err(Failure::usage(
                "the running `lab up` has no shop: start it without --only, or with --only shop",
            )
            .into());
        };
        let (replicas, admin) = urls(&shop.replicas);
        let stores = ShopStores { database_url: self.database_url.clone(), cache_redis_url: cache_redis_url.clone() };
        Ok(ShopTargets { replicas, admin, stores })
    }

    /// Each replica with the name that a person reads.
    pub(crate) fn replicas(&self) -> impl Iterator<Item = (String, &ReplicaState)> {
        let services = [
            ("blog-api", self.blog.as_ref().map(|blog| &blog.replicas)),
            ("booking-api", self.booking.as_ref().map(|booking| &booking.replicas)),
            ("shop-api", self.shop.as_ref().map(|shop| &shop.replicas)),
            ("shop-worker", self.shop.as_ref().map(|shop| &shop.workers)),
        ];
        services.into_iter().flat_map(|(name, replicas)| {
            let numbered = replicas.into_iter().flatten().zip(1..);
            numbered.map(move |(replica, number)| (format!("{name} {number}"), replica))
        })
    }
}

/// The base URLs of APIs and of admin ports.
fn urls(replicas: &[ReplicaState]) -> (Vec<String>, Vec<String>) {
    replicas.iter().map(|replica| (replica.api.clone(), replica.admin.clone())).unzip()
}

impl DataDir {
    /// The folder named, or the one of this user. `/var/tmp` outlives a reboot, and PostgreSQL's
    /// user can reach it where it cannot reach a clone below root's home.
    pub(crate) fn locate(named: Option<PathBuf>) -> anyhow::Result<Self> {
        let root = match named {
            Some(named) => {
                std::path::absolute(&named).with_context(|| format!("--data {}: not a usable path", named.display()))?
            }
            None => {
                let uid = rustix::process::geteuid().as_raw();
                PathBuf::from(format!("/var/tmp/redis-in-real-backends-{uid}"))
            }
        };
        Ok(Self { root })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.root
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    fn state_file(&self) -> PathBuf {
        self.root.join("state.json")
    }

    fn lock_file(&self) -> PathBuf {
        self.root.join("lock")
    }

    /// Makes the folder and takes the right to use it.
    ///
    /// # Errors
    /// [`Failure::AlreadyRunning`] when another `lab up` has it; an error that names the folder when
    /// it cannot be made or belongs to another user.
    pub(crate) fn hold(&self) -> anyhow::Result<Held> {
        let root = &self.root;
        // Others may pass through (PostgreSQL's user, when the lab runs as root), not look around.
        DirBuilder::new()
            .recursive(true)
            .mode(0o711)
            .create(root)
            .with_context(|| format!("cannot make the data folder {}; name another with --data", root.display()))?;
        let metadata = fs::symlink_metadata(root)?;
        let uid = rustix::process::geteuid().as_raw();
        if metadata.uid() != uid || !metadata.is_dir() {
            // The name is predictable and /var/tmp is everybody's: a stranger's folder or link is not trusted.
            bail!("{} is not a folder of user {uid}; name another with --data", root.display());
        }
        if metadata.permissions().mode() & 0o022 != 0 {
            fs::set_permissions(root, fs::Permissions::from_mode(0o711))?;
        }
        DirBuilder::new().recursive(true).mode(0o700).create(self.logs())?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(self.lock_file())
            .with_context(|| format!("cannot open {}", self.lock_file().display()))?;
        match lock.try_lock() {
            Ok(()) => {
                self.forget()?;
                Ok(Held { _lock: lock })
            }
            Err(TryLockError::WouldBlock) => Err(self.already_running().into()),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("cannot lock {}", self.lock_file().display()))
            }
        }
    }

    fn already_running(&self) -> Failure {
        let mut lines = match self.read_state() {
            Ok(Some(state)) => {
                let mut lines = vec![format!("already running on {} (pid {})", self.root.display(), state.pid)];
                lines.extend(
                    state
                        .replicas()
                        .map(|(name, replica)| format!("  {name}: {}  admin {}", replica.api, replica.admin)),
                );
                lines
            }
            _ => vec![format!("another `lab up` is just starting or stopping on {}", self.root.display())],
        };
        lines.push("stop it with Ctrl-C in its terminal, or start a second system with --data DIR".to_owned());
        Failure::AlreadyRunning(lines)
    }

    /// The state of the `lab up` that holds this folder now.
    ///
    /// # Errors
    /// [`Failure::Usage`] when none does, or when it has not finished starting.
    pub(crate) fn running(&self) -> anyhow::Result<State> {
        let nothing = || {
            Failure::usage(format!(
                "no `lab up` runs on {}: start ./start.sh in another terminal, or name the system with --target and its stores",
                self.root.display()
            ))
        };
        let Ok(lock) = File::open(self.lock_file()) else {
            return Err(nothing().into());
        };
        match lock.try_lock_shared() {
            Ok(()) => return Err(nothing().into()),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        self.read_state()?.ok_or_else(|| {
            Failure::usage(format!(
                "the `lab up` on {} has not finished starting: wait until it shows its URLs",
                self.root.display()
            ))
            .into()
        })
    }

    /// What the state file says, if there is one.
    fn read_state(&self) -> anyhow::Result<Option<State>> {
        let text = match fs::read(self.state_file()) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", self.state_file().display()));
            }
        };
        let state: State = serde_json::from_slice(&text).with_context(|| {
            format!("{} is not a state file of this version of the lab", self.state_file().display())
        })?;
        Ok(Some(state))
    }

    /// Replaces the state file.
    pub(crate) fn publish(&self, state: &State) -> anyhow::Result<()> {
        let new = self.root.join("state.json.new");
        // URLs carry passwords.
        let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&new)?;
        serde_json::to_writer_pretty(&mut file, state)?;
        file.write_all(b"\n")?;
        drop(file);
        fs::rename(&new, self.state_file())?;
        Ok(())
    }

    /// Removes the state file: nothing runs, or not yet.
    pub(crate) fn forget(&self) -> anyhow::Result<()> {
        match fs::remove_file(self.state_file()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", self.state_file().display()))
            }
            _ => Ok(()),
        }
    }
}
