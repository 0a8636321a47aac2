//! Metrics of the runtime and of the operating system's process.

use metrics::gauge;
use prometheus::{Registry, TextEncoder};

use crate::metrics::{TOKIO_ALIVE_TASKS, TOKIO_QUEUE_DEPTH, TOKIO_WORKERS};

/// What the `prometheus` crate knows about this process: CPU time, memory, file descriptors, threads, start time.
/// Empty where it has no collector (off Linux).
pub(super) struct Process {
    registry: Registry,
}

impl Process {
    pub(super) fn new() -> Self {
        let registry = Registry::new();
        #[cfg(target_os = "linux")]
        {
            let collector = prometheus::process_collector::ProcessCollector::for_self();
            // It can only fail for a name that is registered twice, and the registry is empty.
            if let Err(error) = registry.register(Box::new(collector)) {
                tracing::warn!(%error, "no process metrics");
            }
        }
        Self { registry }
    }

    pub(super) fn append_to(&self, text: &mut String) {
        if let Err(error) = TextEncoder::new().encode_utf8(&self.registry.gather(), text) {
            tracing::warn!(%error, "process metrics cannot be written");
        }
    }
}

/// Reads the runtime that this is called in. Does nothing outside of one.
pub(super) fn set_runtime_metrics() {
    let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
    let runtime = runtime.metrics();
    gauge!(TOKIO_WORKERS).set(as_f64(runtime.num_workers()));
    gauge!(TOKIO_ALIVE_TASKS).set(as_f64(runtime.num_alive_tasks()));
    gauge!(TOKIO_QUEUE_DEPTH).set(as_f64(runtime.global_queue_depth()));
}

/// Exact up to 2^53, which no number of tasks or connections reaches.
fn as_f64(number: usize) -> f64 {
    number as f64
}
