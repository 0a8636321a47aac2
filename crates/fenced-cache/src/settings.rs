//! What a cache needs to know at start, with the defaults of the protocol's section 8.

use std::time::Duration;

use crate::error::ConfigError;
use crate::key::Keyspace;

/// How a [`Cache`](crate::Cache) reaches Redis and how patient it is. Every duration has a default; only the
/// Redis URL and the keyspace have none.
#[derive(Clone, Debug)]
#[must_use]
pub struct Settings {
    pub(crate) redis_url: String,
    pub(crate) keyspace: Keyspace,
    pub(crate) command_timeout: Duration,
    pub(crate) tag_ttl: Duration,
    pub(crate) apply_deadline: Duration,
    pub(crate) replay_window: Duration,
    pub(crate) settle: Duration,
    pub(crate) ping: Duration,
    pub(crate) breaker_failures: u32,
    pub(crate) breaker_cooldown: Duration,
    pub(crate) gate_permits: usize,
    pub(crate) gate_queue: usize,
    pub(crate) gate_wait: Duration,
    pub(crate) near_bytes: usize,
    pub(crate) near_grace: Duration,
    pub(crate) near_ping: Duration,
    pub(crate) near_ttl: Duration,
    pub(crate) near_strict: bool,
}

impl Settings {
    /// Settings with their defaults for one Redis (`redis://`). TLS is not built in yet, so `rediss://` is refused: without it the client would
    /// connect in the clear.
    pub fn new(redis_url: impl Into<String>, keyspace: Keyspace) -> Self {
        Self {
            redis_url: redis_url.into(),
            keyspace,
            command_timeout: Duration::from_millis(200),
            tag_ttl: Duration::from_secs(7 * 24 * 3600),
            apply_deadline: Duration::from_secs(1),
            replay_window: Duration::from_secs(600),
            settle: Duration::from_secs(30),
            ping: Duration::from_millis(500),
            breaker_failures: 5,
            breaker_cooldown: Duration::from_millis(250),
            gate_permits: 8,
            gate_queue: 1_024,
            gate_wait: Duration::from_secs(1),
            near_bytes: 0,
            near_grace: Duration::from_millis(500),
            near_ping: Duration::from_millis(100),
            near_ttl: Duration::from_secs(5),
            near_strict: false,
        }
    }

    /// The most that one Redis command may take before its outcome counts as unknown; 200 ms unless told.
    pub fn command_timeout(mut self, timeout: Duration) -> Self {
        self.command_timeout = timeout;
        self
    }

    /// The life of a tag's epoch from its creation; 7 days unless told. Longer than any entry's, or entries
    /// become needless misses.
    pub fn tag_ttl(mut self, ttl: Duration) -> Self {
        self.tag_ttl = ttl;
        self
    }

    /// How long a write tries to have its invalidations confirmed before it ends as `Pending`; 1 s unless told.
    pub fn apply_deadline(mut self, deadline: Duration) -> Self {
        self.apply_deadline = deadline;
        self
    }

    /// How far back a replay goes after Redis was replaced; 10 min unless told. Must exceed a replica's lag
    /// plus the longest transaction plus `settle`.
    pub fn replay_window(mut self, window: Duration) -> Self {
        self.replay_window = window;
        self
    }

    /// How long a deposed primary may still confirm writes; after it a replay is repeated. 30 s unless told.
    pub fn settle(mut self, settle: Duration) -> Self {
        self.settle = settle;
        self
    }

    /// How often an idle connection is asked whether it still answers; 500 ms unless told.
    pub fn ping(mut self, interval: Duration) -> Self {
        self.ping = interval;
        self
    }

    /// How many commands in a row must fail to open the breaker, and how long it then stays open before one
    /// probe; 5 and 250 ms unless told.
    pub fn breaker(mut self, failures: u32, cooldown: Duration) -> Self {
        self.breaker_failures = failures;
        self.breaker_cooldown = cooldown;
        self
    }

    /// The gate in front of the database while Redis is away: how many loads at once, how many distinct keys
    /// may queue for it, and for how long. 8, 1,024 and 1 s unless told; keep `permits` below the connection pool.
    pub fn gate(mut self, permits: usize, queue: usize, wait: Duration) -> Self {
        self.gate_permits = permits;
        self.gate_queue = queue;
        self.gate_wait = wait;
        self
    }

    /// How many bytes of this process's memory the near cache may hold, names and its own records included; 0, which is
    /// no near cache, unless told. Policies take part one by one ([`near`](crate::PolicyBuilder::near)).
    ///
    /// **A near hit is not covered by the guarantee of reads after writes, but by a bound**: it returns nothing older than
    /// what was applied `near_grace` before the read began. Usually that is the time which Redis' push takes: the bound
    /// is what holds when the network, Redis, or this process misbehaves. In the process that writes, the guarantee
    /// stands: once a write has ended as [`Applied`](crate::WriteOutcome::Applied) there, no near hit of the same
    /// [`Cache`](crate::Cache) is older. To read one's own writes in any process, see
    /// [`ReadOptions::at_least`](crate::ReadOptions::at_least); to have the guarantee for all, `near_strict`.
    pub fn near_bytes(mut self, bytes: usize) -> Self {
        self.near_bytes = bytes;
        self
    }

    /// The bound on the staleness of near hits; 500 ms unless told. Nothing near is answered when Redis has not proved
    /// for so long that this process has heard of every change.
    pub fn near_grace(mut self, grace: Duration) -> Self {
        self.near_grace = grace;
        self
    }

    /// How often Redis is asked for that proof; 100 ms unless told, and less than half of `near_grace`.
    pub fn near_ping(mut self, interval: Duration) -> Self {
        self.near_ping = interval;
        self
    }

    /// After how long a near entry is read from Redis again, whatever has been proved; 5 s unless told. It bounds what
    /// would follow from a push that got lost alone, which neither Redis nor TCP lets happen.
    pub fn near_ttl(mut self, ttl: Duration) -> Self {
        self.near_ttl = ttl;
        self
    }

    /// Whether a write waits for `near_grace` before it ends as [`Applied`](crate::WriteOutcome::Applied); off unless
    /// told. Then near hits are covered by the guarantee of reads after writes, at the price of that wait. It is for
    /// every process that *writes*, with a near cache of its own or not, and `near_grace` must then be the same in all
    /// processes.
    pub fn near_strict(mut self, yes: bool) -> Self {
        self.near_strict = yes;
        self
    }

    pub(crate) fn check(&self) -> Result<fred::types::config::Config, ConfigError> {
        // The URL may carry a password: it is not repeated. fred itself takes any scheme for plain Redis.
        let wrong = || ConfigError::new("redis_url", "(not shown)", "a URL such as redis://host:6379");
        if !self.redis_url.starts_with("redis://") {
            return Err(wrong());
        }
        let config = fred::types::config::Config::from_url(&self.redis_url).map_err(|_| wrong())?;
        let within = |setting: &str, value: Duration, low: Duration, high: Duration| {
            if value < low || value > high {
                return Err(ConfigError::new(setting, format!("{value:?}"), format!("{low:?} to {high:?}")));
            }
            Ok(())
        };
        let (ms, s) = (Duration::from_millis, Duration::from_secs);
        within("command_timeout", self.command_timeout, ms(1), s(10))?;
        within("tag_ttl", self.tag_ttl, s(1), s(365 * 24 * 3600))?;
        within("apply_deadline", self.apply_deadline, ms(1), s(60))?;
        within("settle", self.settle, Duration::ZERO, s(3_600))?;
        within("replay_window", self.replay_window, self.settle + s(1), s(7 * 24 * 3600))?;
        within("ping", self.ping, ms(10), s(10))?;
        within("breaker cooldown", self.breaker_cooldown, ms(10), s(60))?;
        within("gate wait", self.gate_wait, Duration::ZERO, s(60))?;
        within("near_ping", self.near_ping, ms(10), s(10))?;
        within("near_grace", self.near_grace, 2 * self.near_ping + ms(1), s(60))?;
        within("near_ttl", self.near_ttl, ms(1), s(24 * 3_600))?;
        if self.near_bytes != 0 && !(1 << 20..=1 << 40).contains(&self.near_bytes) {
            return Err(ConfigError::new("near_bytes", self.near_bytes.to_string(), "0 (off), or 1 MiB to 1 TiB"));
        }
        if self.breaker_failures == 0 {
            return Err(ConfigError::new("breaker failures", "0", "at least 1"));
        }
        if self.gate_permits == 0 || self.gate_permits > 1 << 16 {
            return Err(ConfigError::new("gate permits", self.gate_permits.to_string(), "1 to 65536"));
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_setting_is_named_and_a_password_is_not_shown() {
        let settings = |url: &str| Settings::new(url, Keyspace::new("t").unwrap());
        let error = settings("http://user:secret@host").check().unwrap_err();
        assert!(error.to_string().starts_with("redis_url"), "{error}");
        assert!(!error.to_string().contains("secret"), "{error}");
        let error = settings("redis://h").command_timeout(Duration::ZERO).check().unwrap_err();
        assert!(error.to_string().starts_with("command_timeout = 0ns"), "{error}");
        assert!(settings("redis://h").gate(0, 1, Duration::ZERO).check().is_err());
        assert!(settings("redis://h").near_bytes(4_096).check().is_err(), "an entry would hardly fit");
        assert!(settings("redis://h").near_bytes(1 << 20).check().is_ok());
        let error = settings("redis://h").near_ping(Duration::from_millis(250)).check().unwrap_err();
        assert!(error.to_string().starts_with("near_grace = 500ms: must be 501ms"), "{error}");
        assert!(settings("rediss://h").check().is_err(), "fred would connect in the clear");
        assert!(settings("redis://h").check().is_ok());
    }
}
