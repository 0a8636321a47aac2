//! Why a server could not be had. Every message is one line that says what to do, where there is something to do.

use std::io;
use std::path::PathBuf;

/// What went wrong, by what the reader can do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TestbedError {
    /// The server is not installed, or only in a version that is too old.
    #[error("{name} {needed} or newer not found{found}: {advice}")]
    NotInstalled {
        /// "PostgreSQL" or "Redis".
        name: &'static str,
        /// The oldest major version that is good enough.
        needed: u32,
        /// What was found instead, with a leading space and parentheses, or nothing.
        found: String,
        /// How to install it, or how to point at it.
        advice: &'static str,
    },

    /// We are root, PostgreSQL refuses to run as root, and there is nobody else.
    #[error(
        "PostgreSQL does not run as root, and there is no user postgres or nobody: add one, or run as another user"
    )]
    NoAccount,

    /// The account that runs the server cannot get at its folder.
    #[error("{account} cannot use the folder {}: choose one that it can reach and write, such as one below /var/tmp", path.display())]
    Unreachable {
        /// The folder.
        path: PathBuf,
        /// The account's name.
        account: String,
    },

    /// Another server, or another process that uses this crate, works on the folder.
    #[error("{} is in use by process {pid}: stop that one first, or choose another folder", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
        /// The process that uses it.
        pid: u32,
    },

    /// The port that was asked for is taken.
    #[error("port {port} is taken: choose another port, or leave the choice to us")]
    PortTaken {
        /// The port.
        port: u16,
    },

    /// The server did not come up. The end of its log follows.
    #[error("{server} did not start: {reason}; the end of its log:\n{log}")]
    NotReady {
        /// "PostgreSQL", "Redis" or "initdb".
        server: &'static str,
        /// How it failed.
        reason: String,
        /// The last lines that it wrote.
        log: String,
    },

    /// A process could not be started at all.
    #[error("could not start {program}")]
    Spawn {
        /// Its path.
        program: String,
        /// Why.
        source: io::Error,
    },

    /// A file or folder could not be used.
    #[error("could not {action} {}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },

    /// A statement of our own, such as `create database`, failed.
    #[error("the private PostgreSQL refused a statement")]
    Sql(#[from] sqlx::Error),

    /// The caller's migration of a template database failed.
    #[error("the migration {key} failed: {source}")]
    Migration {
        /// The key under which the template was asked for.
        key: String,
        /// The caller's error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
