//! What one write does to the cache.

use std::collections::HashSet;

use bytes::Bytes;

use crate::journal::{RecordId, TransactionId};
use crate::key::{Key, Tag};
use crate::layout::Epoch;
use crate::policy::Policy;

/// The tags' epochs of an entry as they were before a transaction began; see [`Cache::capture`](crate::Cache::capture).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Epochs(pub(crate) Vec<Epoch>);

/// A new value for an entry that is already there (write-through).
///
/// The payload is what the transaction's `returning` gave, the version is that of the row. It is stored only
/// over an older version that is *present*: onto an absent, leased, negative, unversioned or softly
/// invalidated entry nothing tells which of two writes is the newer one, so there it only invalidates. A write that puts an entry must not
/// invalidate a tag that the entry itself is filed under.
#[derive(Clone, Debug)]
pub struct Put {
    pub(crate) key: Bytes,
    pub(crate) version: u64,
    pub(crate) payload: Bytes,
    pub(crate) policy: Policy,
    pub(crate) epochs: Epochs,
}

impl Put {
    /// A put of `payload` at `version`; `epochs` were captured for this key before the transaction began.
    #[must_use]
    pub fn new(key: &Key, version: u64, payload: impl Into<Bytes>, policy: &Policy, epochs: Epochs) -> Self {
        Self { key: key.name().clone(), version, payload: payload.into(), policy: policy.clone(), epochs }
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Effect {
    Delete(Bytes),
    Soften(Bytes),
    Put(Box<Put>),
}

impl Effect {
    pub(crate) fn name(&self) -> &Bytes {
        match self {
            Self::Delete(name) | Self::Soften(name) => name,
            Self::Put(put) => &put.key,
        }
    }
}

/// What a write invalidates or replaces once it is committed. An effect is named once: a second one for the
/// same name is ignored.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Effects {
    pub(crate) entries: Vec<Effect>,
    /// The names of these entries: a bulk change has thousands.
    named: HashSet<Bytes>,
    pub(crate) tags: Vec<Bytes>,
    pub(crate) deferred: bool,
}

impl Effects {
    /// No effects yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Nothing to do at once, by strategy: the write ends as [`WriteOutcome::Deferred`](crate::WriteOutcome::Deferred).
    pub fn deferred() -> Self {
        Self { deferred: true, ..Self::default() }
    }

    /// Deletes the entry, with its lease.
    pub fn delete(self, key: &Key) -> Self {
        self.entry(Effect::Delete(key.name().clone()))
    }

    /// Marks the entry: only a policy with `serve_softened` still answers it, while it is refreshed.
    pub fn soften(self, key: &Key) -> Self {
        self.entry(Effect::Soften(key.name().clone()))
    }

    /// Replaces the entry by a newer version.
    pub fn put(self, put: Put) -> Self {
        self.entry(Effect::Put(Box::new(put)))
    }

    /// Invalidates every entry filed under the tag.
    pub fn tag(mut self, tag: &Tag) -> Self {
        if !self.tags.contains(tag.name()) {
            self.tags.push(tag.name().clone());
        }
        self
    }

    fn entry(mut self, effect: Effect) -> Self {
        if self.named.insert(effect.name().clone()) {
            self.entries.push(effect);
        }
        self
    }

    /// The names of the entries touched, for the outbox row.
    pub fn keys(&self) -> impl Iterator<Item = &Bytes> {
        self.entries.iter().map(Effect::name)
    }

    /// The names of the tag epochs touched, for the outbox row.
    pub fn tags(&self) -> impl Iterator<Item = &Bytes> {
        self.tags.iter()
    }

    /// Whether there is nothing that Redis has to hear of.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.tags.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len() + self.tags.len()
    }
}

/// Whether COMMIT was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitState {
    /// It returned: the change is visible.
    Committed,
    /// The connection died in it; the id lets the journal ask what became of it.
    InDoubt(TransactionId),
}

/// A transaction that reached its COMMIT, and what it did.
#[derive(Debug)]
#[must_use]
pub struct Commit<T> {
    /// What the transaction returns to its caller.
    pub value: T,
    /// What it does to the cache.
    pub effects: Effects,
    /// Its row of the outbox, to be marked once every effect is confirmed.
    pub record: Option<RecordId>,
    /// Whether COMMIT was answered.
    pub state: CommitState,
}
