//! How long one kind of entry lives, and what may be served when it is old.

use std::sync::Arc;
use std::time::Duration;

use crate::error::ConfigError;
use crate::metrics::ReadMetrics;
use crate::settings::Settings;

/// A policy under construction: [`Policy::named`], then [`Cache::policy`](crate::Cache::policy).
#[derive(Clone, Debug)]
#[must_use]
pub struct PolicyBuilder {
    name: &'static str,
    fresh_ttl: Duration,
    jitter: f64,
    negative_ttl: Option<Duration>,
    stale_while_revalidate: Duration,
    stale_if_error: Duration,
    serve_softened: bool,
    early_refresh: f64,
    load_deadline: Duration,
    lease_ttl: Option<Duration>,
    wait_max: Option<Duration>,
    max_value_bytes: usize,
    near: bool,
}

impl PolicyBuilder {
    /// Spreads each entry's freshness by up to this fraction either way, so that what was stored together does
    /// not expire together. 0 to 0.5; 0.1 unless told.
    pub fn jitter(mut self, fraction: f64) -> Self {
        self.jitter = fraction;
        self
    }

    /// How long "not found" is remembered; 5 s unless told, and never longer than `fresh_ttl`.
    pub fn negative_ttl(mut self, ttl: Duration) -> Self {
        self.negative_ttl = Some(ttl);
        self
    }

    /// For how long past its freshness an entry is answered at once, while one background load refreshes it.
    /// 0 (off) unless told. A read may then be older than `fresh_ttl`, but never than an invalidation.
    pub fn stale_while_revalidate(mut self, window: Duration) -> Self {
        self.stale_while_revalidate = window;
        self
    }

    /// For how long past its freshness an entry may be answered when the load fails. 0 (off) unless told.
    /// What an invalidation has removed never comes back.
    pub fn stale_if_error(mut self, window: Duration) -> Self {
        self.stale_if_error = window;
        self
    }

    /// Whether an entry that was softly invalidated ([`Effects::soften`](crate::Effects::soften)) may still be
    /// answered while it is refreshed. Off unless told: it gives up the guarantee, by choice.
    pub fn serve_softened(mut self, yes: bool) -> Self {
        self.serve_softened = yes;
        self
    }

    /// XFetch's beta: refresh in the background, with a probability that grows towards expiry and with the
    /// cost of the load. 0 turns it off; 1 is the paper's optimum and the default; larger is earlier. (Vattani,
    /// Chierichetti, Lowenstein: Optimal Probabilistic Cache Stampede Prevention, VLDB 2015.)
    pub fn early_refresh(mut self, beta: f64) -> Self {
        self.early_refresh = beta;
        self
    }

    /// The most that one load may take; 2 s unless told. Set it as the database's statement timeout as well,
    /// or a load that was given up goes on there.
    pub fn load_deadline(mut self, deadline: Duration) -> Self {
        self.load_deadline = deadline;
        self
    }

    /// How long a lease keeps other processes from loading the same key; `load_deadline` + 5 command timeouts
    /// unless told.
    pub fn lease_ttl(mut self, ttl: Duration) -> Self {
        self.lease_ttl = Some(ttl);
        self
    }

    /// The most that one read waits for somebody else's load before it asks the database itself;
    /// `load_deadline` + 2.5 command timeouts unless told.
    pub fn wait_max(mut self, wait: Duration) -> Self {
        self.wait_max = Some(wait);
        self
    }

    /// Larger values are served and not stored. 1 MiB unless told.
    pub fn max_value_bytes(mut self, bytes: usize) -> Self {
        self.max_value_bytes = bytes;
        self
    }

    /// Whether entries are also kept near, in this process's memory, where the cache has been given some
    /// ([`Settings::near_bytes`]). Off unless told. A near hit may be older than an applied write, by at most
    /// [`Settings::near_grace`]. Good for what is read far more often than it is written.
    pub fn near(mut self, yes: bool) -> Self {
        self.near = yes;
        self
    }

    /// Checks every inequality of the protocol's section 8.
    pub(crate) fn build(self, settings: &Settings) -> Result<Policy, ConfigError> {
        let of = |what: &str| format!("{what} of policy {:?}", self.name);
        let command = settings.command_timeout;
        let refuse = |what: &str, value: String, allowed: String| Err(ConfigError::new(of(what), value, allowed));
        let negative_ttl = self.negative_ttl.unwrap_or_else(|| self.fresh_ttl.min(Duration::from_secs(5)));
        let lease_ttl = self.lease_ttl.unwrap_or(self.load_deadline + 5 * command);
        let wait_max = self.wait_max.unwrap_or(self.load_deadline + command * 5 / 2);

        if self.fresh_ttl < Duration::from_millis(1) || self.fresh_ttl > MAX_TTL {
            return refuse("fresh_ttl", format!("{:?}", self.fresh_ttl), format!("1ms to {MAX_TTL:?}"));
        }
        if !(0.0..=0.5).contains(&self.jitter) {
            return refuse("jitter", self.jitter.to_string(), "0 to 0.5".into());
        }
        if negative_ttl.is_zero() || negative_ttl > self.fresh_ttl {
            return refuse(
                "negative_ttl",
                format!("{negative_ttl:?}"),
                format!("above 0 and at most fresh_ttl ({:?})", self.fresh_ttl),
            );
        }
        for (what, window) in
            [("stale_while_revalidate", self.stale_while_revalidate), ("stale_if_error", self.stale_if_error)]
        {
            if window > MAX_TTL {
                return refuse(what, format!("{window:?}"), format!("at most {MAX_TTL:?}"));
            }
        }
        if !(0.0..=100.0).contains(&self.early_refresh) {
            return refuse("early_refresh", self.early_refresh.to_string(), "0 (off) to 100".into());
        }
        if self.load_deadline.is_zero() {
            return refuse("load_deadline", "0ns".into(), "above 0".into());
        }
        if lease_ttl <= self.load_deadline + 2 * command {
            return refuse(
                "lease_ttl",
                format!("{lease_ttl:?}"),
                format!("above load_deadline + 2 command_timeout ({:?})", self.load_deadline + 2 * command),
            );
        }
        if wait_max < self.load_deadline + command {
            return refuse(
                "wait_max",
                format!("{wait_max:?}"),
                format!("at least load_deadline + command_timeout ({:?})", self.load_deadline + command),
            );
        }
        if self.max_value_bytes == 0 || self.max_value_bytes > 512 << 20 {
            return refuse("max_value_bytes", self.max_value_bytes.to_string(), "1 to 536870912".into());
        }
        if self.near && settings.near_bytes == 0 {
            return refuse("near", "true".into(), "false where the cache has no near_bytes".into());
        }
        // The entry lives exactly as long as this policy may still use it.
        let usable_past_fresh = self.stale_while_revalidate.max(self.stale_if_error);
        let hard_ttl = self.fresh_ttl.mul_f64(1.0 + self.jitter) + usable_past_fresh + Duration::from_millis(1);
        if settings.tag_ttl <= hard_ttl {
            return refuse(
                "fresh_ttl + stale windows",
                format!("{hard_ttl:?}"),
                format!("below tag_ttl ({:?})", settings.tag_ttl),
            );
        }
        Ok(Policy(Arc::new(PolicyInner {
            metrics: ReadMetrics::register(self.name),
            name: self.name,
            fresh_ttl: self.fresh_ttl,
            jitter: self.jitter,
            negative_ttl,
            usable_past_fresh,
            stale_while_revalidate: self.stale_while_revalidate,
            stale_if_error: self.stale_if_error,
            serve_softened: self.serve_softened,
            early_refresh: self.early_refresh,
            load_deadline: self.load_deadline,
            lease_ttl,
            wait_max,
            max_value_bytes: self.max_value_bytes,
            near: self.near,
        })))
    }
}

const MAX_TTL: Duration = Duration::from_secs(30 * 24 * 3600);

/// A policy that a cache has checked. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Policy(pub(crate) Arc<PolicyInner>);

#[derive(Debug)]
pub(crate) struct PolicyInner {
    pub(crate) metrics: ReadMetrics,
    pub(crate) name: &'static str,
    pub(crate) fresh_ttl: Duration,
    pub(crate) jitter: f64,
    pub(crate) negative_ttl: Duration,
    usable_past_fresh: Duration,
    pub(crate) stale_while_revalidate: Duration,
    pub(crate) stale_if_error: Duration,
    pub(crate) serve_softened: bool,
    pub(crate) early_refresh: f64,
    pub(crate) load_deadline: Duration,
    pub(crate) lease_ttl: Duration,
    pub(crate) wait_max: Duration,
    pub(crate) max_value_bytes: usize,
    pub(crate) near: bool,
}

impl Policy {
    /// Starts a policy. `name` is a metric label; `fresh_ttl` is how long an entry is answered without a doubt:
    /// it is not optional, because it is the last bound on whatever no invalidation reaches.
    pub fn named(name: &'static str, fresh_ttl: Duration) -> PolicyBuilder {
        PolicyBuilder {
            name,
            fresh_ttl,
            jitter: 0.1,
            negative_ttl: None,
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Duration::ZERO,
            serve_softened: false,
            early_refresh: 1.0,
            load_deadline: Duration::from_secs(2),
            lease_ttl: None,
            wait_max: None,
            max_value_bytes: 1 << 20,
            near: false,
        }
    }

    /// The name given to [`Policy::named`].
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.0.name
    }

    /// How long the next entry stored is fresh: `fresh_ttl` with its jitter, or `negative_ttl`.
    pub(crate) fn next_fresh_ttl(&self, negative: bool) -> Duration {
        if negative {
            return self.0.negative_ttl;
        }
        let spread = self.0.jitter * (2.0 * fastrand::f64() - 1.0);
        self.0.fresh_ttl.mul_f64(1.0 + spread).max(Duration::from_millis(1))
    }

    /// When Redis drops an entry that is fresh for `fresh`. A "not found" is not worth serving past its time.
    pub(crate) fn hard_ttl(&self, fresh: Duration, negative: bool) -> Duration {
        if negative { fresh } else { fresh + self.0.usable_past_fresh }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Keyspace;

    fn settings() -> Settings {
        Settings::new("redis://127.0.0.1:1", Keyspace::new("t").unwrap())
    }

    fn base() -> PolicyBuilder {
        Policy::named("p", Duration::from_secs(60))
    }

    #[test]
    fn the_defaults_are_those_of_the_specification() {
        let policy = base().build(&settings()).unwrap();
        assert_eq!(policy.0.lease_ttl, Duration::from_secs(3));
        assert_eq!(policy.0.wait_max, Duration::from_millis(2_500));
        assert_eq!(policy.0.negative_ttl, Duration::from_secs(5));
    }

    #[test]
    fn each_wrong_combination_is_one_clear_error() {
        let ms = Duration::from_millis;
        let wrong = [
            (Policy::named("p", Duration::ZERO), "fresh_ttl"),
            (base().jitter(0.6), "jitter"),
            (base().jitter(f64::NAN), "jitter"),
            (base().negative_ttl(Duration::from_secs(61)), "negative_ttl"),
            (base().early_refresh(-1.0), "early_refresh"),
            (base().load_deadline(Duration::ZERO), "load_deadline"),
            (base().lease_ttl(ms(2_400)), "lease_ttl"),
            (base().wait_max(ms(2_199)), "wait_max"),
            (base().max_value_bytes(0), "max_value_bytes"),
            (base().near(true), "near"),
            (base().stale_if_error(Duration::from_secs(8 * 24 * 3600)), "fresh_ttl + stale windows"),
        ];
        for (builder, setting) in wrong {
            let error = builder.build(&settings()).unwrap_err();
            assert!(error.setting.starts_with(setting), "{error}");
            assert!(error.to_string().contains("policy \"p\""), "{error}");
        }
    }

    #[test]
    fn jitter_stays_within_its_fraction() {
        let policy = base().jitter(0.1).build(&settings()).unwrap();
        let (mut below, mut above) = (0, 0);
        for _ in 0..1_000 {
            let fresh = policy.next_fresh_ttl(false);
            assert!((54_000..=66_000).contains(&fresh.as_millis()), "{fresh:?}");
            if fresh < Duration::from_secs(60) { below += 1 } else { above += 1 }
        }
        assert!(below > 300 && above > 300, "{below} below, {above} above");
        assert_eq!(policy.next_fresh_ttl(true), Duration::from_secs(5));
    }

    #[test]
    fn an_entry_lives_as_long_as_it_may_be_used() {
        let policy = base().stale_if_error(Duration::from_secs(540)).build(&settings()).unwrap();
        assert_eq!(policy.hard_ttl(Duration::from_secs(60), false), Duration::from_secs(600));
        assert_eq!(policy.hard_ttl(Duration::from_secs(5), true), Duration::from_secs(5));
    }
}
