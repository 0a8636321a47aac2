//! What a figure was measured on. Without it a figure cannot be compared with any other.

use std::fmt;

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The machine that the lab runs on.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    /// In MiB; absent where it cannot be learned.
    pub(crate) memory_mib: Option<u64>,
    pub(crate) system: String,
    /// Absent where it cannot be learned.
    pub(crate) kernel: Option<String>,
    /// One-minute load average when the run began: what else the machine was doing.
    pub(crate) load_before: Option<f64>,
}

impl Machine {
    pub(crate) fn look() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let unknown = || "unknown".to_owned();
        Self {
            processor: field(&read("/proc/cpuinfo"), "model name", ':').unwrap_or_else(unknown),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_mib: field(&read("/proc/meminfo"), "MemTotal", ':')
                .and_then(|text| text.trim_end_matches(" kB").trim().parse::<u64>().ok())
                .map(|kib| kib / 1024),
            system: field(&read("/etc/os-release"), "PRETTY_NAME", '=')
                .map_or_else(|| std::env::consts::OS.to_owned(), |name| name.trim_matches('"').to_owned()),
            kernel: Some(read("/proc/sys/kernel/osrelease").trim().to_owned()).filter(|text| !text.is_empty()),
            load_before: read("/proc/loadavg").split(' ').next().and_then(|text| text.parse().ok()),
        }
    }
}

/// As the head of a report says it: `2 cores (AMD EPYC), Debian GNU/Linux 12 (bookworm)`.
impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cores, processor, system, .. } = self;
        write!(f, "{cores} cores ({processor}), {system}")
    }
}

/// Ends the head of a report by a lab whose figures are none.
pub(crate) const BUILT: &str = if cfg!(debug_assertions) { " (lab built without optimizations)" } else { "" };

/// RFC 3339, in UTC, to the second.
pub(crate) fn now() -> String {
    let now = OffsetDateTime::now_utc();
    let now = now.replace_nanosecond(0).unwrap_or(now);
    now.format(&Rfc3339).unwrap_or_default()
}

/// The first value of `name` in lines of `name<separator> value`.
fn field(text: &str, name: &str, separator: char) -> Option<String> {
    text.lines()
        .filter_map(|line| line.split_once(separator))
        .find(|(key, _)| key.trim() == name)
        .map(|(_, value)| value.trim().to_owned())
}

/// Resident memory of a process of this machine, in bytes; `None` where there is no procfs or no such process.
pub(crate) fn resident_bytes(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let kib = field(&status, "VmRSS", ':')?;
    kib.trim_end_matches(" kB").trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::{field, resident_bytes};

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let text = "MemTotalX:  1 kB\nMemTotal:       24576 kB\nMemFree: 3 kB\n";
        assert_eq!(field(text, "MemTotal", ':').as_deref(), Some("24576 kB"));
        assert_eq!(field(text, "Mem", ':'), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_has_memory() {
        assert!(resident_bytes(std::process::id()).unwrap() > 100_000);
        assert_eq!(resident_bytes(0), None);
    }
}
