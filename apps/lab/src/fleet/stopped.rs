//! Processes of a fleet, signalled: how they stand, and one that stands still.

use rustix::process::Signal;

use super::replica::signal;

/// A process that is stopped. It goes on when this is dropped, however the experiment ends.
#[derive(Debug)]
pub(crate) struct Stopped(u32);

impl Stopped {
    pub(crate) fn stop(pid: u32) -> Self {
        signal(pid, Signal::STOP);
        Self(pid)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        signal(self.0, Signal::CONT);
    }
}

/// The state of a process, as `T` for a stopped one; `None` when there is none.
pub(crate) fn process_state(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(") ").next()?.chars().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn a_running_process_is_not_stopped() {
        assert!(matches!(process_state(std::process::id()), Some('R' | 'S' | 'D')));
        assert_eq!(process_state(0), None);
    }
}
