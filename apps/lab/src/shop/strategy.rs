//! The strategies of the shop, by their names, and what is expected of each.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How the cache learns of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Strategy {
    /// Entries end by themselves
    Ttl,
    /// A write deletes the entries that it changes
    Explicit,
    /// A write stores what it has changed
    WriteThrough,
    /// A write records an event, and a worker deletes
    Event,
    /// A write marks what it has changed, and readers get it until it is refreshed
    Swr,
    /// A write changes the tags that entries are filed under
    Tags,
    /// Put or delete, tags, early refresh, fail-safe, relay
    Combined,
}

/// What reads of a strategy promise after a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Promise {
    /// Nothing but that an entry ends: the control, which must be seen stale.
    Expiry,
    /// The new version, a moment later.
    Soon,
    /// No read that begins after the write was applied shows an older version.
    Applied,
}

impl Strategy {
    pub(crate) const ALL: [Self; 7] =
        [Self::Ttl, Self::Explicit, Self::WriteThrough, Self::Event, Self::Swr, Self::Tags, Self::Combined];

    /// As it stands in paths.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Ttl => "ttl",
            Self::Explicit => "explicit",
            Self::WriteThrough => "write-through",
            Self::Event => "event",
            Self::Swr => "swr",
            Self::Tags => "tags",
            Self::Combined => "combined",
        }
    }

    pub(crate) fn promise(self) -> Promise {
        match self {
            Self::Ttl => Promise::Expiry,
            Self::Event | Self::Swr => Promise::Soon,
            Self::Explicit | Self::WriteThrough | Self::Tags | Self::Combined => Promise::Applied,
        }
    }

    /// Those asked for, each once and in their order; all if none were.
    pub(crate) fn chosen(asked: &[Self]) -> Vec<Self> {
        Self::ALL.into_iter().filter(|strategy| asked.is_empty() || asked.contains(strategy)).collect()
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::Strategy;
    use clap::ValueEnum as _;

    #[test]
    fn names_are_those_of_the_paths_and_of_the_figures() {
        for strategy in Strategy::ALL {
            assert_eq!(Strategy::from_str(strategy.as_str(), false), Ok(strategy));
            assert_eq!(serde_json::to_value(strategy).unwrap(), strategy.as_str());
        }
        assert_eq!(Strategy::chosen(&[Strategy::Tags, Strategy::Ttl, Strategy::Tags]), [Strategy::Ttl, Strategy::Tags]);
        assert_eq!(Strategy::chosen(&[]).len(), 7);
    }
}
