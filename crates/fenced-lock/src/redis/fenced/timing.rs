//! The protocol's constants, and what must hold between them.

use std::time::Duration;

use crate::error::ConfigError;

/// Times of the protocol. **Equal in all processes that share a lock.** Every one has a default, and none can be
/// switched off: a lock without an end is not on offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Timing {
    pub(crate) poll: Duration,
    pub(crate) first_lease: Duration,
    pub(crate) lease: Duration,
    pub(crate) command_timeout: Duration,
    pub(crate) keep: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            poll: Duration::from_secs(1),
            first_lease: Duration::from_secs(3),
            lease: Duration::from_secs(10),
            command_timeout: Duration::from_millis(500),
            keep: Duration::from_secs(600),
        }
    }
}

impl Timing {
    /// P: how often a waiter asks. Its sign of life, and the most that a lost wake-up costs; 1 s unless told.
    pub fn poll(mut self, poll: Duration) -> Self {
        self.poll = poll;
        self
    }

    /// G: the lease of every grant until it is acknowledged, and how long a process may be silent before its waiters
    /// are passed over; 3 s unless told. A section that ends within a third of it sends no renewal.
    pub fn first_lease(mut self, lease: Duration) -> Self {
        self.first_lease = lease;
        self
    }

    /// T: the lease after a renewal: what a dead or stopped holder costs the others, and the longest outage of Redis
    /// that a holder survives; 10 s unless told.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// C: the most that one command may take before its outcome counts as unknown; 500 ms unless told.
    pub fn command_timeout(mut self, timeout: Duration) -> Self {
        self.command_timeout = timeout;
        self
    }

    /// How long the keys of a lock outlive the last sign of anybody; 10 min unless told.
    pub fn keep(mut self, keep: Duration) -> Self {
        self.keep = keep;
        self
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let Self { poll, first_lease, lease, command_timeout, keep } = *self;
        let margin = margin(first_lease);
        let day = Duration::from_secs(24 * 3600);
        let rules = [
            (command_timeout >= Duration::from_millis(1), "command_timeout", command_timeout, "at least 1 ms"),
            (poll >= Duration::from_millis(1), "poll", poll, "at least 1 ms"),
            (lease <= day, "lease", lease, "at most one day"),
            (keep <= 30 * day, "keep", keep, "at most 30 days"),
            // A lost grant is found while it is still alive.
            (
                poll + 2 * command_timeout + margin < first_lease,
                "first_lease",
                first_lease,
                "more than poll + 2 * command_timeout + the clock's margin (1 % + 10 ms)",
            ),
            // One failed poll is not death.
            (
                2 * (poll + command_timeout) <= first_lease,
                "first_lease",
                first_lease,
                "at least 2 * (poll + command_timeout)",
            ),
            // Two renewals may fail.
            (
                first_lease / 3 + 2 * command_timeout < first_lease,
                "first_lease",
                first_lease,
                "more than 3 * command_timeout",
            ),
            (first_lease <= lease, "lease", lease, "at least first_lease"),
            (keep / 2 > lease + poll, "keep", keep, "more than 2 * (lease + poll)"),
        ];
        match rules.into_iter().find(|(holds, ..)| !holds) {
            Some((_, setting, value, allowed)) => Err(ConfigError::new(setting, format!("{value:?}"), allowed)),
            None => Ok(()),
        }
    }
}

/// By how much the local clock is trusted less than Redis' over a lease: drift, and the granularity of both.
pub(crate) fn margin(lease: Duration) -> Duration {
    lease / 100 + Duration::from_millis(10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_inequality_is_checked_and_named() {
        let ms = Duration::from_millis;
        assert_eq!(Timing::default().check(), Ok(()));
        let wrong = |timing: Timing| timing.check().unwrap_err().to_string();
        assert!(
            wrong(Timing::default().first_lease(ms(2_000))).starts_with("first_lease = 2s: must be more than poll")
        );
        assert!(wrong(Timing::default().lease(ms(2_900))).starts_with("lease = 2.9s: must be at least first_lease"));
        assert!(wrong(Timing::default().keep(ms(22_000))).starts_with("keep = 22s"));
        assert!(wrong(Timing::default().command_timeout(Duration::ZERO)).starts_with("command_timeout"));
        assert!(wrong(Timing::default().poll(Duration::ZERO)).starts_with("poll"));
        assert!(
            wrong(Timing::default().poll(ms(1_200)).first_lease(ms(3_390))).contains("2 * (poll + command_timeout)")
        );
    }
}
