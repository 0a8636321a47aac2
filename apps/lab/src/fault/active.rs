//! Shows in the lab's own metrics that something is broken on purpose, so that dashboards can mark it.

use std::net::SocketAddr;

use anyhow::Context as _;
use metrics::gauge;
use metrics_exporter_prometheus::PrometheusBuilder;

/// 1 while the lab breaks something, 0 before and after.
const ACTIVE: &str = "lab_fault_active";

/// Serves the lab's metrics at `/metrics` from now on.
///
/// # Errors
/// The address cannot be listened on.
pub(crate) fn serve(listen: SocketAddr) -> anyhow::Result<()> {
    PrometheusBuilder::new()
        .with_http_listener(listen)
        .install()
        .with_context(|| format!("cannot serve metrics on {listen}"))?;
    metrics::describe_gauge!(ACTIVE, "Whether the lab breaks something just now");
    Ok(())
}

/// Something is broken while this lives.
#[derive(Debug)]
pub(crate) struct Active {
    fault: &'static str,
    target: String,
}

impl Active {
    pub(crate) fn new(fault: &'static str, target: impl Into<String>) -> Self {
        let active = Self { fault, target: target.into() };
        active.set(1.0);
        active
    }

    fn set(&self, value: f64) {
        gauge!(ACTIVE, "fault" => self.fault, "target" => self.target.clone()).set(value);
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.set(0.0);
    }
}
