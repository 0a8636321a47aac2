//! Logs and metrics of a process.

mod log;
mod process;

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use axum::routing::{Router, get};
use http::header::CONTENT_TYPE;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

pub use log::LogFormat;

use crate::config::LogArgs;
use crate::metrics::{BUILD_INFO, DURATION_BUCKETS};

/// Recorded histogram values lie in memory until they are sorted into their buckets: at 100,000 requests a second, 16 bytes
/// each, a longer period would cost megabytes.
const UPKEEP: Duration = Duration::from_secs(1);

static INSTALLED: OnceLock<Telemetry> = OnceLock::new();

/// What a process needs to know before its telemetry is installed.
///
/// ```no_run
/// # let args = service::config::LogArgs::default();
/// let telemetry = service::telemetry("blog-api", env!("CARGO_PKG_VERSION"))
///     .buckets("blog_page_size_bytes", &[1e3, 1e4, 1e5])
///     .install(&args)?;
/// # Ok::<_, service::TelemetryError>(())
/// ```
#[derive(Debug)]
#[must_use = "nothing is recorded until it is installed"]
pub struct TelemetryBuilder {
    service: &'static str,
    version: &'static str,
    buckets: Vec<(&'static str, Vec<f64>)>,
}

/// Why the telemetry could not be installed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TelemetryError {
    /// The buckets of this histogram are empty.
    #[error("the histogram {0} has no buckets")]
    Buckets(&'static str),
    /// Another recorder of metrics was installed in this process, by somebody else.
    #[error("another metrics recorder is installed already")]
    Recorder,
}

/// Begins to describe the telemetry of the service of this name; both end up in the metric `build_info`.
pub fn telemetry(service: &'static str, version: &'static str) -> TelemetryBuilder {
    TelemetryBuilder { service, version, buckets: Vec::new() }
}

impl TelemetryBuilder {
    /// Sets the upper bounds of a histogram's buckets; one without them gets [`DURATION_BUCKETS`].
    pub fn buckets(mut self, metric: &'static str, bounds: &[f64]) -> Self {
        self.buckets.push((metric, bounds.to_vec()));
        self
    }

    /// Sets the same buckets for several histograms, as a library names them.
    pub fn buckets_of(self, metrics: &[&'static str], bounds: &[f64]) -> Self {
        metrics.iter().fold(self, |builder, metric| builder.buckets(metric, bounds))
    }

    /// Installs the log subscriber and the metrics recorder for the whole process.
    ///
    /// Metrics that were registered before this are lost, so it comes first of all. A second call in one process (tests
    /// that start several servers) returns the first one's handle.
    ///
    /// # Errors
    /// When another recorder is installed, or a histogram has no buckets.
    pub fn install(self, log: &LogArgs) -> Result<Telemetry, TelemetryError> {
        static INSTALLING: Mutex<()> = Mutex::new(());
        let _one_at_a_time = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(installed) = INSTALLED.get() {
            return Ok(installed.clone());
        }
        let mut builder =
            PrometheusBuilder::new().set_buckets(DURATION_BUCKETS).map_err(|_| TelemetryError::Buckets("(default)"))?;
        for (metric, bounds) in &self.buckets {
            builder = builder
                .set_buckets_for_metric(Matcher::Full((*metric).to_owned()), bounds)
                .map_err(|_| TelemetryError::Buckets(metric))?;
        }
        let recorder = builder.build_recorder();
        let handle = recorder.handle();
        metrics::set_global_recorder(recorder).map_err(|_| TelemetryError::Recorder)?;
        log::install(log);
        crate::metrics::describe();
        metrics::gauge!(BUILD_INFO, "service" => self.service, "version" => self.version).set(1.0);
        let telemetry = Telemetry(Arc::new(Inner {
            handle,
            process: process::Process::new(),
            before_scrape: Mutex::new(Vec::new()),
        }));
        Ok(INSTALLED.get_or_init(|| telemetry).clone())
    }
}

/// The installed telemetry of this process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Telemetry(Arc<Inner>);

type BeforeScrape = Box<dyn Fn() + Send + Sync>;

struct Inner {
    handle: PrometheusHandle,
    process: process::Process,
    before_scrape: Mutex<Vec<BeforeScrape>>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").finish_non_exhaustive()
    }
}

impl Telemetry {
    /// Has `set` called before each scrape: for gauges that are read off something when they are asked for.
    ///
    /// `set` must not block. It is kept until the process ends.
    pub fn before_scrape(&self, set: impl Fn() + Send + Sync + 'static) {
        self.0.before_scrape.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(set));
    }

    /// All metrics in Prometheus' text format: ours, the runtime's, and those of the operating system's process.
    #[must_use]
    pub fn render(&self) -> String {
        for set in self.0.before_scrape.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            set();
        }
        process::set_runtime_metrics();
        let mut text = self.0.handle.render();
        self.0.process.append_to(&mut text);
        text
    }

    /// Sorts recorded values into their buckets, for ever; the server runs this.
    pub(crate) async fn upkeep(self) {
        let mut tick = tokio::time::interval(UPKEEP);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            self.0.handle.run_upkeep();
        }
    }

    /// `GET /metrics`.
    pub(crate) fn router(&self) -> Router {
        let telemetry = self.clone();
        let answer = async move || ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], telemetry.render());
        Router::new().route("/metrics", get(answer))
    }
}
