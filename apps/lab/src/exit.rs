//! How a run of the lab ends, and the exit status that says so.

use std::fmt;
use std::process::ExitCode;

use crate::screen::note;

/// Everything that was judged held, or there was nothing to judge.
const HELD: u8 = 0;
/// An invariant is broken, or an experiment proved nothing.
const BROKEN: u8 = 1;
/// The command line or the environment is wrong (`EX_USAGE`).
const USAGE: u8 = 64;
/// Something that is needed could not be had: a server, a binary, a port, room on the disk (`EX_UNAVAILABLE`).
const UNAVAILABLE: u8 = 69;
/// Another `lab up` runs on the same data (`EX_TEMPFAIL`).
const ALREADY_RUNNING: u8 = 75;

/// The end of a run that got as far as having one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Every invariant that was checked held. Exit status 0.
    Held,
    /// At least one invariant is broken, or an experiment proved nothing. Exit status 1.
    Broken,
    /// A signal arrived before the work was done. Exit status 128 + its number, as shells do it.
    Interrupted(Signal),
}

/// The signals that the lab answers by stopping everything it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// Ctrl-C.
    Interrupt,
    /// `kill`, a service manager, a container runtime.
    Terminate,
    /// The terminal was closed.
    HangUp,
}

impl Signal {
    fn number(self) -> u8 {
        match self {
            Self::HangUp => 1,
            Self::Interrupt => 2,
            Self::Terminate => 15,
        }
    }
}

impl From<Ending> for ExitCode {
    fn from(ending: Ending) -> Self {
        Self::from(match ending {
            Ending::Held => HELD,
            Ending::Broken => BROKEN,
            Ending::Interrupted(signal) => 128 + signal.number(),
        })
    }
}

/// Failures that have an exit status of their own; any other error ends with 69.
#[derive(Debug)]
pub(crate) enum Failure {
    /// One line per wrong setting, each naming the setting, its value and what is allowed.
    Usage(Vec<String>),
    /// Another `lab up` holds the data folder; the lines say where it answers.
    AlreadyRunning(Vec<String>),
    /// An invariant is broken; one line each.
    Broken(Vec<String>),
}

impl Failure {
    /// A single wrong setting.
    pub(crate) fn usage(line: impl Into<String>) -> Self {
        Self::Usage(vec![line.into()])
    }

    fn lines(&self) -> &[String] {
        match self {
            Self::Usage(lines) | Self::AlreadyRunning(lines) | Self::Broken(lines) => lines,
        }
    }

    fn status(&self) -> u8 {
        match self {
            Self::Usage(_) => USAGE,
            Self::AlreadyRunning(_) => ALREADY_RUNNING,
            Self::Broken(_) => BROKEN,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines().join("\n"))
    }
}

impl std::error::Error for Failure {}

/// Says on stderr why the run failed, and picks the exit status.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    if let Some(failure) = error.downcast_ref::<Failure>() {
        for line in failure.lines() {
            note(&format!("lab: {line}"));
        }
        return ExitCode::from(failure.status());
    }
    // The chain on one line: what failed, then what lies below it.
    note(&format!("lab: {error:#}"));
    ExitCode::from(UNAVAILABLE)
}
