//! How patient the background work is.

use std::time::Duration;

use fenced_cache::ConfigError;

/// How rows are marked, relayed and pruned; every value has a default.
#[derive(Clone, Debug)]
#[must_use]
pub struct RelaySettings {
    pub(crate) relay_after: Duration,
    pub(crate) poll: Duration,
    pub(crate) batch: usize,
    pub(crate) invalidate_within: Duration,
    pub(crate) mark_every: Duration,
    pub(crate) keep: Duration,
    pub(crate) prune_every: Duration,
}

impl Default for RelaySettings {
    fn default() -> Self {
        Self {
            relay_after: Duration::from_secs(1),
            poll: Duration::from_millis(250),
            batch: 500,
            invalidate_within: Duration::from_secs(2),
            mark_every: Duration::from_millis(50),
            keep: Duration::from_secs(15 * 60),
            prune_every: Duration::from_secs(30),
        }
    }
}

impl RelaySettings {
    /// How long the writer itself has before the relay takes a row; 1 s unless told. At least twice `mark_every`, or
    /// the relay repeats what was long applied, and readers pay with misses.
    pub fn relay_after(mut self, patience: Duration) -> Self {
        self.relay_after = patience;
        self
    }

    /// How often to look for such rows while there are none; 250 ms unless told.
    pub fn poll(mut self, interval: Duration) -> Self {
        self.poll = interval;
        self
    }

    /// The most rows that are relayed in one transaction; 500 unless told.
    pub fn batch(mut self, rows: usize) -> Self {
        self.batch = rows;
        self
    }

    /// The most that one batch's invalidation may take; 2 s unless told. The relay's transaction is open meanwhile.
    /// More than the cache's `apply_deadline`, which is what normally ends it.
    pub fn invalidate_within(mut self, limit: Duration) -> Self {
        self.invalidate_within = limit;
        self
    }

    /// How long marks are collected for one statement; 50 ms unless told.
    pub fn mark_every(mut self, delay: Duration) -> Self {
        self.mark_every = delay;
        self
    }

    /// How long a row is kept after it was applied; 15 min unless told. At least the cache's `replay_window` plus its
    /// `settle`: a replay finds only what is still there. Rows that are not applied are kept for ever.
    pub fn keep(mut self, keep: Duration) -> Self {
        self.keep = keep;
        self
    }

    /// How often rows are pruned; 30 s unless told.
    pub fn prune_every(mut self, interval: Duration) -> Self {
        self.prune_every = interval;
        self
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let (ms, s) = (Duration::from_millis, Duration::from_secs);
        within("mark_every", self.mark_every, ms(1), s(10))?;
        within("relay_after", self.relay_after, 2 * self.mark_every, s(3_600))?;
        within("poll", self.poll, ms(1), s(60))?;
        within("invalidate_within", self.invalidate_within, ms(1), s(60))?;
        check_keep(self.keep)?;
        within("prune_every", self.prune_every, ms(1), s(24 * 3_600))?;
        if !(1..=10_000).contains(&self.batch) {
            return Err(wrong("batch", self.batch.to_string(), "1 to 10000".into()));
        }
        Ok(())
    }
}

/// The journal's answers about transactions in doubt rest on rows for MEMORY.
pub(crate) fn check_keep(keep: Duration) -> Result<(), ConfigError> {
    within("keep", keep, 2 * crate::doubt::MEMORY, Duration::from_secs(365 * 24 * 3_600))
}

pub(crate) fn within(setting: &str, value: Duration, low: Duration, high: Duration) -> Result<(), ConfigError> {
    if value < low || value > high {
        return Err(wrong(setting, format!("{value:?}"), format!("{low:?} to {high:?}")));
    }
    Ok(())
}

pub(crate) fn wrong(setting: &str, value: String, allowed: String) -> ConfigError {
    ConfigError { setting: setting.into(), value, allowed }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_setting_is_named() {
        let named = |settings: RelaySettings| settings.check().unwrap_err().setting;
        let zero = Duration::ZERO;
        assert!(RelaySettings::default().check().is_ok());
        assert_eq!(named(RelaySettings::default().relay_after(Duration::from_millis(99))), "relay_after");
        assert_eq!(named(RelaySettings::default().mark_every(zero)), "mark_every");
        assert_eq!(named(RelaySettings::default().poll(zero)), "poll");
        assert_eq!(named(RelaySettings::default().batch(0)), "batch");
        assert_eq!(named(RelaySettings::default().invalidate_within(zero)), "invalidate_within");
        assert_eq!(named(RelaySettings::default().keep(Duration::from_secs(60))), "keep");
        assert_eq!(named(RelaySettings::default().prune_every(zero)), "prune_every");
    }
}
