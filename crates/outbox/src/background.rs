//! Starting and stopping what runs beside the writers.

use std::sync::Arc;

use fenced_cache::{ConfigError, Invalidate};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::marker;
use crate::outbox::Outbox;
use crate::relay::Relay;
use crate::settings::RelaySettings;

/// The relay and the marking of one process. Dropping it stops nothing: that is what the token is for.
#[derive(Debug)]
pub struct Background {
    tasks: [JoinHandle<()>; 2],
}

impl Outbox {
    /// Starts marking and relaying until `shutdown` is cancelled. Both outlive any failure of PostgreSQL and Redis.
    ///
    /// Every replica of a service calls this: one of them relays at a time, and each marks its own rows. `invalidate`
    /// is the cache. Cancel the token once no more writes end, await [`Background::stopped`], and close the pool
    /// after that.
    ///
    /// # Errors
    /// [`ConfigError`] names a setting out of its range; then nothing was started.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub fn start(
        &self,
        settings: RelaySettings,
        invalidate: Arc<dyn Invalidate>,
        shutdown: CancellationToken,
    ) -> Result<Background, ConfigError> {
        settings.check()?;
        let marker = marker::mark(self.clone(), settings.mark_every, shutdown.clone());
        let relay = Relay::new(self.clone(), settings, invalidate).run(shutdown);
        Ok(Background { tasks: [tokio::spawn(marker), tokio::spawn(relay)] })
    }
}

impl Background {
    /// Returns when both have ended: after the token was cancelled, and within a few of the outbox's deadlines. The marks
    /// that were queued are then written.
    pub async fn stopped(self) {
        for task in self.tasks {
            if let Err(error) = task.await {
                error!(%error, "a background task of the outbox failed");
            }
        }
    }
}
