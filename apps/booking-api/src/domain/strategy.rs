//! How an event's seats are kept from being sold twice.

use std::fmt;
use std::str::FromStr;

use fenced_lock::Kind;

use super::Invalid;

/// How an event's seats are kept from being sold twice. Fixed for the event's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Strategy {
    /// Read, check, write, with no lock: oversells.
    None,
    /// One Redis, `SET NX PX`: oversells when a holder is paused.
    Redis,
    /// One Redis that grants, and fences which PostgreSQL checks.
    RedisFenced,
    /// A majority of several Redis: the same paused holder.
    Redlock,
    /// `pg_advisory_xact_lock`
    PgAdvisory,
    /// The event's row, `for no key update`.
    PgRow,
    /// A Kubernetes Lease with fences.
    K8sLease,
    /// No lock: one guarded `update`.
    PgConditional,
    /// No lock: a row per seat, `for update skip locked`.
    PgUnits,
    /// No lock: Redis hands out seat numbers, a claim in PostgreSQL decides.
    RedisReserve,
}

impl Strategy {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::None,
        Self::Redis,
        Self::RedisFenced,
        Self::Redlock,
        Self::PgAdvisory,
        Self::PgRow,
        Self::K8sLease,
        Self::PgConditional,
        Self::PgUnits,
        Self::RedisReserve,
    ];

    /// The name in requests, rows and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PgConditional => "pg-conditional",
            Self::PgUnits => "pg-units",
            Self::RedisReserve => "redis-reserve",
            Self::None => Kind::None.as_str(),
            Self::Redis => Kind::Redis.as_str(),
            Self::RedisFenced => Kind::RedisFenced.as_str(),
            Self::Redlock => Kind::Redlock.as_str(),
            Self::PgAdvisory => Kind::PgAdvisory.as_str(),
            Self::PgRow => Kind::PgRow.as_str(),
            Self::K8sLease => Kind::K8sLease.as_str(),
        }
    }

    /// Whether the schema lets it oversell: it is there to be seen failing.
    #[must_use]
    pub fn may_oversell(self) -> bool {
        matches!(self, Self::None | Self::Redis | Self::Redlock)
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Strategy {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::ALL.into_iter().find(|strategy| strategy.as_str() == text).ok_or_else(|| {
            let known = Self::ALL.map(Self::as_str).join(", ");
            Invalid::rule(format!("must be one of {known}"))
        })
    }
}

service::parsed_text!(Strategy);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_reads_back_and_the_error_lists_all() {
        for strategy in Strategy::ALL {
            assert_eq!(strategy.as_str().parse(), Ok(strategy));
        }
        for odd in ["", "None", "redis_fenced", " none", "pg", "none\0"] {
            let error = odd.parse::<Strategy>().unwrap_err().to_string();
            assert!(Strategy::ALL.iter().all(|strategy| error.contains(strategy.as_str())), "{odd:?}: {error}");
        }
    }

    #[test]
    fn every_kind_of_lock_is_a_strategy() {
        for kind in Kind::ALL {
            assert!(kind.as_str().parse::<Strategy>().is_ok(), "{kind}");
        }
    }
}
