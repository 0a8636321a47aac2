//! How reads and writes end.

use std::time::Duration;

use bytes::Bytes;

/// A loaded value on its way into the cache: the payload as it will be answered, and the row's version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    pub(crate) payload: Bytes,
    pub(crate) version: Option<u64>,
}

impl Loaded {
    /// A value without a version: a list, a count, anything that no single row's version orders.
    pub fn new(payload: impl Into<Bytes>) -> Self {
        Self { payload: payload.into(), version: None }
    }

    /// The version of the one row that this value shows. It must grow with every committed change of the row
    /// and never restart (ids of versioned rows are never reused); only then may the entry be put.
    #[must_use]
    pub fn version(mut self, version: u64) -> Self {
        self.version = Some(version);
        self
    }
}

/// How a read was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// From this process's own memory, be it a value or the knowledge that there is nothing; as new as what Redis held
    /// at most [`near_grace`](crate::Settings::near_grace) ago.
    NearHit,
    /// From Redis, within its freshness.
    Hit,
    /// From Redis, past its freshness: while it is refreshed, or because the load failed.
    Stale,
    /// This read's own load.
    Miss,
    /// Another read's load, in this process or another.
    Coalesced,
    /// From Redis: it is known that there is nothing.
    Negative,
    /// From the database, past a cache that is away or too slow; nothing was stored.
    Bypass,
}

impl Outcome {
    pub(crate) const ALL: [Self; 7] =
        [Self::NearHit, Self::Hit, Self::Stale, Self::Miss, Self::Coalesced, Self::Negative, Self::Bypass];

    /// The metric label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NearHit => "near_hit",
            Self::Hit => "hit",
            Self::Stale => "stale",
            Self::Miss => "miss",
            Self::Coalesced => "coalesced",
            Self::Negative => "negative",
            Self::Bypass => "bypass",
        }
    }
}

/// The answer to one read.
#[derive(Clone, Debug)]
pub struct Read {
    /// The payload; `None` where the loader found nothing.
    pub value: Option<Bytes>,
    /// How it was answered.
    pub outcome: Outcome,
    /// The time since it was loaded, by this process's wall clock.
    pub age: Duration,
    /// How long it stays fresh; zero when stale or not stored.
    pub fresh_for: Duration,
    /// The row's version, where the loader gave one.
    pub version: Option<u64>,
}

/// The answer to one typed read; see [`Read`] for the fields.
#[derive(Clone, Debug)]
pub struct TypedRead<T> {
    /// The decoded value.
    pub value: Option<T>,
    /// How it was answered.
    pub outcome: Outcome,
    /// The time since it was loaded.
    pub age: Duration,
    /// How long it stays fresh.
    pub fresh_for: Duration,
    /// The row's version.
    pub version: Option<u64>,
}

/// How a committed write stands with the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WriteOutcome {
    /// Every invalidation ran on the Redis primary: no read begun from now on returns an older version.
    Applied,
    /// Committed, and not every invalidation is confirmed: the outbox's relay finishes it. Until then a read
    /// may return the older version.
    Pending,
    /// The connection died in COMMIT and the database has not yet said what became of it. If it was committed,
    /// the relay finishes it.
    Unknown,
    /// Committed; by its strategy the write leaves the cache to a TTL or to an event.
    Deferred,
}

impl WriteOutcome {
    /// The metric label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Pending => "pending",
            Self::Unknown => "unknown",
            Self::Deferred => "deferred",
        }
    }
}

/// What a write returned, and how it stands with the cache.
#[derive(Clone, Debug)]
pub struct Written<T> {
    /// What the transaction returned. With [`WriteOutcome::Unknown`] it is what it *would* have returned.
    pub value: T,
    /// How the write ended.
    pub outcome: WriteOutcome,
}
