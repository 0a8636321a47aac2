//! `ttl`: nobody tells the cache anything; entries end by themselves.
//!
//! - **Guarantee**: an entry is never older than its TTL, give or take a tenth. A write is answered `deferred`.
//! - **Cost**: nothing for writers. Each entry that is read is loaded once per TTL, whether its row has changed or not; the
//!   shorter the staleness, the more loads.
//! - **Choose it** for what nobody changes through this service, and for what may visibly be a little old: rankings, counts,
//!   search results.

use fenced_cache::{Cache, ConfigError, Effects, Epochs, Key};

use super::{About, Kept, Strategy, Tuning, labels, policies};
use crate::domain::CategoryId;
use crate::entry::Entry;
use crate::store::Touched;

pub(super) const NAME: &str = "ttl";

/// See the module.
#[derive(Debug)]
pub(super) struct Ttl {
    about: About,
    kept: Kept,
}

impl Ttl {
    pub(super) fn new(cache: &Cache, tuning: &Tuning) -> Result<Self, ConfigError> {
        // Neither early refresh nor a second life when the database is away: the TTL is all there is, and a bound.
        let kept = Kept::new(cache, NAME, policies(labels!("ttl"), tuning.ttl, tuning, |policy| policy))?;
        let about = About {
            name: NAME,
            guarantee: format!("A read is at most {:?} older than the database, give or take a tenth.", tuning.ttl),
            cost: "Nothing for writers. Each entry that is read is loaded once per TTL, whether it has changed or not."
                .into(),
            choose_when: "Nobody writes through this service, or a little age is no harm: rankings, counts, searches."
                .into(),
        };
        Ok(Self { about, kept })
    }
}

impl Strategy for Ttl {
    fn about(&self) -> &About {
        &self.about
    }

    fn kept(&self) -> &Kept {
        &self.kept
    }

    fn key(&self, entry: &Entry, _: Option<CategoryId>) -> Option<Key> {
        Some(self.kept.names.entry(entry))
    }

    fn effects(&self, _: &Touched, _: Option<Epochs>) -> Effects {
        Effects::deferred()
    }
}
