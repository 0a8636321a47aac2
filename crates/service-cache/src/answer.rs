//! The answer to one read.

use std::time::Duration;

use fenced_cache::{Outcome, Read};

use crate::document::{Document, Validator};

/// The answer to one read.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The document; `None` if there is no such thing.
    pub document: Option<Document>,
    /// How it was answered.
    pub outcome: Outcome,
    /// The time since it was loaded.
    pub age: Duration,
    /// How long it stays fresh in the cache; zero if it is stale, or not in it.
    pub fresh_for: Duration,
}

impl Answer {
    /// What the cache has answered about a document of this kind.
    #[must_use]
    pub fn of_read(validator: Validator, read: Read) -> Self {
        let Read { value, outcome, age, fresh_for, version } = read;
        Self { document: value.map(|value| Document::decode(validator, value, version)), outcome, age, fresh_for }
    }

    /// What was just loaded from the database.
    #[must_use]
    pub fn loaded(document: Option<Document>, outcome: Outcome, fresh_for: Duration) -> Self {
        Self { document, outcome, age: Duration::ZERO, fresh_for }
    }

    /// What was just loaded from the database and is not kept.
    #[must_use]
    pub fn bypassed(document: Option<Document>) -> Self {
        Self::loaded(document, Outcome::Bypass, Duration::ZERO)
    }
}
