//! Whose processes the servers are, and folders that this account can reach.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::TestbedError;

/// A user that is not us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    name: &'static str,
    uid: u32,
    gid: u32,
}

impl Account {
    /// PostgreSQL refuses to run as root: root runs it as `postgres`, else as `nobody`. Everybody else runs it as
    /// themselves (`None`).
    pub(crate) fn for_postgres() -> Result<Option<Self>, TestbedError> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        ["postgres", "nobody"].into_iter().find_map(Self::named).map(Some).ok_or(TestbedError::NoAccount)
    }

    fn named(name: &'static str) -> Option<Self> {
        let ask = |flag| {
            let output = Command::new("id").args([flag, name]).stderr(Stdio::null()).output().ok()?;
            String::from_utf8(output.stdout).ok()?.trim().parse().ok().filter(|_| output.status.success())
        };
        Some(Self { name, uid: ask("-u")?, gid: ask("-g")? })
    }

    /// Makes the command run as this account, without our supplementary groups.
    pub(crate) fn apply(&self, command: &mut Command) {
        command.gid(self.gid).uid(self.uid);
    }
}

fn name(account: Option<&Account>) -> &str {
    account.map_or("this user", |account| account.name)
}

/// Whether the account can list the folder and create files in it.
fn can_use(account: Option<&Account>, folder: &Path) -> bool {
    let mut command = Command::new("sh");
    command.args(["-c", r#"cd "$1" && test -r . && test -w ."#, "sh"]).arg(folder).current_dir("/");
    if let Some(account) = account {
        account.apply(&mut command);
    }
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// A path for a new folder below the system's temporary folder, in a place that the account can reach. Not created.
pub(crate) fn scratch_path(account: Option<&Account>, kind: &str) -> Result<PathBuf, TestbedError> {
    let bases = [std::env::temp_dir(), "/tmp".into(), "/var/tmp".into()];
    let base = bases
        .iter()
        .find(|base| can_use(account, base))
        .ok_or_else(|| TestbedError::Unreachable { path: bases[0].clone(), account: name(account).to_owned() })?;
    Ok(base.join(format!("testbed-{kind}-{}-{:012x}", std::process::id(), fastrand::u64(..1 << 48))))
}

/// Creates the folder (and what is missing above it) for the account, which must then be able to use it.
pub(crate) fn own_folder(account: Option<&Account>, folder: &Path) -> Result<(), TestbedError> {
    let io = |source| TestbedError::Io { action: "create", path: folder.to_owned(), source };
    if !folder.exists() {
        if let Some(parent) = folder.parent() {
            fs::create_dir_all(parent).map_err(io)?;
        }
        fs::DirBuilder::new().mode(0o700).create(folder).map_err(io)?;
        if let Some(account) = account {
            chown(folder, Some(account.uid), Some(account.gid)).map_err(io)?;
        }
    }
    if can_use(account, folder) {
        Ok(())
    } else {
        Err(TestbedError::Unreachable { path: folder.to_owned(), account: name(account).to_owned() })
    }
}

/// Whether a [`PostgresServer`](crate::PostgresServer) could have its files in this folder, or in the first folder above
/// it that exists: the account that runs PostgreSQL (not root, see the crate's documentation) must be able to get there.
///
/// An existing folder must also be writable for that account; a missing one would be created for it.
pub fn reachable(folder: &Path) -> bool {
    let Ok(account) = Account::for_postgres() else { return false };
    if folder.exists() {
        return can_use(account.as_ref(), folder);
    }
    let Some(above) = folder.ancestors().skip(1).find(|above| above.exists()) else { return false };
    // Root creates the folder for the account, which then only has to get there; everybody else creates their own.
    let Some(account) = account else { return can_use(None, above) };
    let mut command = Command::new("sh");
    command.args(["-c", r#"cd "$1""#, "sh"]).arg(above).current_dir("/").stderr(Stdio::null());
    account.apply(&mut command);
    command.status().is_ok_and(|status| status.success())
}
