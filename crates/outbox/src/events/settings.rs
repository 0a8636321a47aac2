//! How patient the event relay is.

use std::time::Duration;

use fenced_cache::ConfigError;

use crate::settings::{within, wrong};

/// How events are numbered, published and pruned; every value has a default.
#[derive(Clone, Debug)]
#[must_use]
pub struct EventSettings {
    pub(crate) poll: Duration,
    pub(crate) heartbeat: Duration,
    pub(crate) batch: usize,
    pub(crate) lease: Duration,
    pub(crate) publish_within: Duration,
    pub(crate) keep: Duration,
    pub(crate) absence: Duration,
    pub(crate) prune_every: Duration,
}

impl Default for EventSettings {
    fn default() -> Self {
        Self {
            poll: Duration::from_millis(15),
            heartbeat: Duration::from_millis(250),
            batch: 1_000,
            lease: Duration::from_secs(1),
            publish_within: Duration::from_secs(1),
            keep: Duration::from_secs(15 * 60),
            absence: Duration::from_secs(24 * 3_600),
            prune_every: Duration::from_secs(10),
        }
    }
}

impl EventSettings {
    /// How often the leader looks for events of other processes; 15 ms unless told. Those of its own process wake it.
    pub fn poll(mut self, interval: Duration) -> Self {
        self.poll = interval;
        self
    }

    /// How often the last number is published; 250 ms unless told. Readers must know it: they count the missing ones.
    pub fn heartbeat(mut self, interval: Duration) -> Self {
        self.heartbeat = interval;
        self
    }

    /// The most events that are numbered in one transaction and published in one call; 1,000 unless told.
    pub fn batch(mut self, events: usize) -> Self {
        self.batch = events;
        self
    }

    /// How long a leader that has fallen silent is waited for; 1 s unless told. At least two heartbeats.
    pub fn lease(mut self, time: Duration) -> Self {
        self.lease = time;
        self
    }

    /// The most that publishing one batch may take; 1 s unless told. Nothing is numbered meanwhile.
    pub fn publish_within(mut self, limit: Duration) -> Self {
        self.publish_within = limit;
        self
    }

    /// How long an event is kept after it was numbered, even if every reader has applied it; 15 min unless told. At least a
    /// cache's `replay_window` plus its `settle`, if readers replay from here.
    pub fn keep(mut self, keep: Duration) -> Self {
        self.keep = keep;
        self
    }

    /// How long a reader may be away and still find everything; 24 h unless told. One that has been away for longer is not
    /// waited for any more. Longer than anything that the events invalidate can live.
    pub fn absence(mut self, absence: Duration) -> Self {
        self.absence = absence;
        self
    }

    /// How often events are pruned; 10 s unless told.
    pub fn prune_every(mut self, interval: Duration) -> Self {
        self.prune_every = interval;
        self
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let (ms, s) = (Duration::from_millis, Duration::from_secs);
        within("poll", self.poll, ms(1), s(60))?;
        within("heartbeat", self.heartbeat, ms(10), s(60))?;
        within("lease", self.lease, 2 * self.heartbeat, s(600))?;
        within("publish_within", self.publish_within, ms(1), s(60))?;
        within("keep", self.keep, Duration::ZERO, s(365 * 24 * 3_600))?;
        within("absence", self.absence, self.keep, s(365 * 24 * 3_600))?;
        within("prune_every", self.prune_every, ms(1), s(24 * 3_600))?;
        if !(1..=10_000).contains(&self.batch) {
            return Err(wrong("batch", self.batch.to_string(), "1 to 10000".into()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_setting_is_named() {
        let named = |settings: EventSettings| settings.check().unwrap_err().setting;
        let (ms, new) = (Duration::from_millis, EventSettings::default);
        assert!(new().check().is_ok());
        assert_eq!(named(new().poll(Duration::ZERO)), "poll");
        assert_eq!(named(new().heartbeat(ms(1))), "heartbeat");
        assert_eq!(named(new().lease(ms(499))), "lease");
        assert_eq!(named(new().batch(0)), "batch");
        assert_eq!(named(new().publish_within(Duration::ZERO)), "publish_within");
        assert_eq!(named(new().absence(ms(1))), "absence");
        assert_eq!(named(new().prune_every(Duration::ZERO)), "prune_every");
    }
}
