//! What a caller says with each acquisition.

use std::time::Duration;

use crate::error::ConfigError;

/// How long to wait for the lock, and how long to keep it at most. Both are always limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Options {
    pub(crate) deadline: Duration,
    pub(crate) max_hold: Duration,
}

impl Options {
    /// The longest wait and the longest section that can be asked for: one day.
    pub const LONGEST: Duration = Duration::from_secs(24 * 3600);

    /// Waits for at most `deadline`, counted from the call; keeps the lock for at most 60 s.
    ///
    /// # Errors
    /// [`ConfigError`] unless `deadline` is 1 ms to one day.
    pub fn within(deadline: Duration) -> Result<Self, ConfigError> {
        Ok(Self { deadline: check("deadline", deadline)?, max_hold: Duration::from_secs(60) })
    }

    /// The most that a section may take, counted from the grant. The library keeps the lease alive that long and no
    /// longer; soon afterwards the lock is lost, so that a section that hangs does not keep everybody out for ever.
    /// (The backends whose lease is never renewed, `redis` and `redlock`, lose it at the end of the lease.)
    ///
    /// # Errors
    /// [`ConfigError`] unless `max_hold` is 1 ms to one day.
    pub fn max_hold(self, max_hold: Duration) -> Result<Self, ConfigError> {
        Ok(Self { max_hold: check("max_hold", max_hold)?, ..self })
    }
}

fn check(setting: &str, value: Duration) -> Result<Duration, ConfigError> {
    if value < Duration::from_millis(1) || value > Options::LONGEST {
        return Err(ConfigError::new(setting, format!("{value:?}"), "1 ms to one day"));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_zero_nor_forever() {
        let error = Options::within(Duration::ZERO).unwrap_err();
        assert_eq!(error.to_string(), "deadline = 0ns: must be 1 ms to one day");
        assert!(Options::within(Duration::MAX).is_err());
        assert!(Options::within(Duration::from_secs(1)).unwrap().max_hold(Duration::ZERO).is_err());
    }
}
