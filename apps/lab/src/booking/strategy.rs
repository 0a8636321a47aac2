//! How booking-api can keep seats from being sold twice, by the names that it takes, and what each of them promises.

use serde::Serialize;

/// A strategy of booking-api.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Strategy {
    /// No lock at all
    None,
    /// One Redis, SET NX PX
    Redis,
    /// One Redis that grants, with fences that PostgreSQL checks
    RedisFenced,
    /// A majority of five Redis
    Redlock,
    /// An advisory lock of PostgreSQL
    PgAdvisory,
    /// The event's row, locked
    PgRow,
    /// A Lease of Kubernetes; needs a cluster
    K8sLease,
    /// No lock: one guarded update
    PgConditional,
    /// No lock: a row for each seat
    PgUnits,
    /// No lock: Redis hands out seats, PostgreSQL decides
    RedisReserve,
}

/// What a strategy promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Promise {
    /// Never to oversell, whatever fails.
    Always,
    /// Not to oversell while no process pauses and no server forgets.
    Undisturbed,
    /// Nothing: it is there to be seen failing.
    Nothing,
}

impl Strategy {
    /// In the order in which they are shown: the unlocked first.
    pub(crate) const ALL: [Self; 10] = [
        Self::None,
        Self::Redis,
        Self::Redlock,
        Self::RedisFenced,
        Self::PgAdvisory,
        Self::PgRow,
        Self::K8sLease,
        Self::PgConditional,
        Self::PgUnits,
        Self::RedisReserve,
    ];

    /// Those that were asked for, or else `by_default`, in the order in which they are shown.
    pub(crate) fn chosen(asked: &[Self], by_default: &[Self]) -> Vec<Self> {
        let wanted = if asked.is_empty() { by_default } else { asked };
        Self::ALL.into_iter().filter(|strategy| wanted.contains(strategy)).collect()
    }

    /// The name in requests, rows and metrics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Redis => "redis",
            Self::RedisFenced => "redis-fenced",
            Self::Redlock => "redlock",
            Self::PgAdvisory => "pg-advisory",
            Self::PgRow => "pg-row",
            Self::K8sLease => "k8s-lease",
            Self::PgConditional => "pg-conditional",
            Self::PgUnits => "pg-units",
            Self::RedisReserve => "redis-reserve",
        }
    }

    pub(crate) fn promise(self) -> Promise {
        match self {
            Self::None => Promise::Nothing,
            Self::Redis | Self::Redlock => Promise::Undisturbed,
            _ => Promise::Always,
        }
    }

    /// Whether each booking is written with a fence that rises from one to the next.
    pub(crate) fn has_fences(self) -> bool {
        matches!(self, Self::RedisFenced | Self::K8sLease)
    }
}

impl std::fmt::Display for Strategy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::Strategy;
    use clap::ValueEnum as _;

    #[test]
    fn flags_and_requests_and_files_have_the_same_names() {
        assert_eq!(Strategy::ALL.len(), Strategy::value_variants().len());
        for strategy in Strategy::ALL {
            assert_eq!(strategy.to_possible_value().unwrap().get_name(), strategy.as_str());
            assert_eq!(serde_json::to_value(strategy).unwrap(), strategy.as_str());
        }
    }
}
