//! Starting and stopping what runs beside the writers.

use std::sync::Arc;
use std::time::Duration;

use fenced_cache::{ConfigError, Invalidate};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::events::{self, EventRelay, EventSettings, Publish};
use crate::marker;
use crate::outbox::Outbox;
use crate::prune;
use crate::relay::Relay;
use crate::settings::{self, RelaySettings};

/// What one process runs: the relay and the marking, or the event relay. Dropping it stops nothing: that is what the token is for.
#[derive(Debug)]
pub struct Background {
    tasks: Vec<JoinHandle<()>>,
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
        Ok(Background { tasks: vec![tokio::spawn(marker), tokio::spawn(relay)] })
    }

    /// Starts deleting rows that are older than `keep`, applied or not, until `shutdown` is cancelled: for a replica that has no cache,
    /// and so has nothing to relay to. Its writes are recorded all the same, for replicas that do have one, whose relays apply them
    /// within a second or so; where there is none, the rows would pile up for ever.
    ///
    /// `keep` must be longer than any entry lives (the cache's `hard_ttl`): what a row of that age names is gone by itself.
    ///
    /// # Errors
    /// [`ConfigError`] if `keep` is not within 2 min and 365 d; then nothing was started.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub fn start_without_cache(&self, keep: Duration, shutdown: CancellationToken) -> Result<Background, ConfigError> {
        settings::check_keep(keep)?;
        Ok(Background { tasks: vec![tokio::spawn(prune::unread(self.clone(), keep, shutdown))] })
    }

    /// Starts numbering and publishing [events](crate::events) until `shutdown` is cancelled. Outlives any failure of
    /// PostgreSQL and of the channel.
    ///
    /// Every replica of a service calls this: one of them leads at a time, and keeps one connection of its pool meanwhile. Cancel the token once no more writes end, await
    /// [`Background::stopped`], and close the pool after that: a leader then hands over at once.
    ///
    /// # Errors
    /// [`ConfigError`] names a setting out of its range; then nothing was started.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub fn start_events(
        &self,
        settings: EventSettings,
        publish: Arc<dyn Publish>,
        shutdown: CancellationToken,
    ) -> Result<Background, ConfigError> {
        settings.check()?;
        let metrics = Arc::new(events::Metrics::new());
        let prune = events::prune(self.clone(), settings.clone(), Arc::clone(&metrics), shutdown.clone());
        let relay = EventRelay::new(self.clone(), settings, publish, metrics).run(shutdown);
        Ok(Background { tasks: vec![tokio::spawn(relay), tokio::spawn(prune)] })
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
