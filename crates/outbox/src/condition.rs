//! Failures logged when they begin and when they end, not once per try.

use std::fmt::Display;
use std::time::Instant;

use tracing::{info, warn};

/// Whether one thing that is tried again and again works.
#[derive(Debug)]
pub(crate) struct Condition {
    of: &'static str,
    failing_since: Option<Instant>,
}

impl Condition {
    /// `of`: what is tried, for the log.
    pub(crate) fn new(of: &'static str) -> Self {
        Self { of, failing_since: None }
    }

    pub(crate) fn failed(&mut self, error: &dyn Display) {
        if self.failing_since.is_none() {
            self.failing_since = Some(Instant::now());
            warn!(what = self.of, %error, "failing; trying again until it works");
        }
    }

    pub(crate) fn worked(&mut self) {
        if let Some(since) = self.failing_since.take() {
            info!(what = self.of, failed_for = ?since.elapsed(), "working again");
        }
    }
}
