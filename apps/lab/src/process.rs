//! Signals for processes by the name of their program: what `lab fault` runs inside of a replica's container, which has
//! no shell and no `kill`.

use std::fs;

use anyhow::{Context as _, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::screen::say;

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "UPPER")]
pub(crate) enum Sent {
    /// Stops the process where it stands
    Stop,
    /// Lets a stopped process go on
    Cont,
    /// Ends it without a word
    Kill,
}

impl Sent {
    fn signal(self) -> Signal {
        match self {
            Self::Stop => Signal::STOP,
            Self::Cont => Signal::CONT,
            Self::Kill => Signal::KILL,
        }
    }
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct SignalArgs {
    #[arg(value_enum)]
    pub(crate) signal: Sent,
    /// Name of the program, as the kernel shows it
    pub(crate) program: String,
}

/// Sends the signal to each process of that name, and says in which state each is then.
///
/// # Errors
/// There is no such process, or it cannot be signalled.
pub(crate) fn signal(args: &SignalArgs) -> anyhow::Result<()> {
    let processes = processes(&args.program)?;
    ensure!(!processes.is_empty(), "no process here is called {}", args.program);
    // The kernel keeps the first process of a namespace from every signal of its own namespace that it does not handle.
    ensure!(
        !processes.contains(&1),
        "{} is process 1 here and cannot be signalled from within: install its chart with common.shareProcessNamespace=true",
        args.program
    );
    for process in processes {
        let pid = i32::try_from(process).ok().and_then(Pid::from_raw).context("a process id")?;
        kill_process(pid, args.signal.signal()).with_context(|| format!("signalling process {process}"))?;
        say(&format!("process {process} is {}", state(process)));
    }
    Ok(())
}

fn processes(program: &str) -> anyhow::Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").context("there is no /proc")? {
        let Some(process) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // It may have ended by now.
        let Ok(name) = fs::read_to_string(format!("/proc/{process}/comm")) else { continue };
        if name.trim_end() == program && process != std::process::id() {
            found.push(process);
        }
    }
    Ok(found)
}

/// The word that the kernel has for the state that a process comes to be in: a signal may take a moment.
fn state(process: u32) -> String {
    let read = || {
        let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("State:"))?;
        Some(line.trim().to_owned())
    };
    for _ in 0..100 {
        match read() {
            None => return "gone".to_owned(),
            Some(state) if state.starts_with('T') => return "stopped".to_owned(),
            Some(_) => std::thread::sleep(std::time::Duration::from_millis(1)),
        }
    }
    read().map_or_else(|| "gone".to_owned(), |_| "running".to_owned())
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::{Sent, SignalArgs, processes, signal, state};
    use std::process::Command;

    #[test]
    fn a_process_is_stopped_goes_on_and_is_killed_by_its_name() {
        let folder = std::env::temp_dir().join(format!("lab-signal-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        // A name of its own, so that no other process of this machine is meant.
        let program = format!("s{}", std::process::id());
        std::fs::copy("/bin/sleep", folder.join(&program)).unwrap();
        let mut child = Command::new(folder.join(&program)).arg("60").spawn().unwrap();
        let send = |sent| signal(&SignalArgs { signal: sent, program: program.clone() });
        while processes(&program).unwrap() != [child.id()] {
            std::thread::yield_now();
        }
        send(Sent::Stop).unwrap();
        assert_eq!(state(child.id()), "stopped");
        send(Sent::Cont).unwrap();
        assert_eq!(state(child.id()), "running");
        send(Sent::Kill).unwrap();
        assert!(!child.wait().unwrap().success());
        assert!(send(Sent::Stop).unwrap_err().to_string().contains("no process"));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
