//! `explicit`: a write deletes the entries that show what it changed, by their names.
//!
//! - **Guarantee**: once a write is `applied`, no read that begins later shows what was before it, on any replica.
//! - **Cost**: a command per entry, so that new prices for a category are thousands of them. Only what a write can name may be
//!   cached at all: products, and the first page of a category. Other pages and searches are read from the database each time.
//! - **Choose it** where each change is in a handful of entries that it can name. It is the simplest of those that promise
//!   something.

use fenced_cache::{Cache, ConfigError, Effects, Epochs, Key};

use super::{About, GUARDED, Kept, Strategy, Tuning, labels, policies};
use crate::domain::{CategoryId, Listing};
use crate::entry::{Entry, Names};
use crate::store::{Detail, State, Touched, What};

pub(super) const NAME: &str = "explicit";

/// See the module.
#[derive(Debug)]
pub(super) struct Explicit {
    about: About,
    kept: Kept,
}

impl Explicit {
    pub(super) fn new(cache: &Cache, tuning: &Tuning) -> Result<Self, ConfigError> {
        let kept = Kept::new(cache, NAME, policies(labels!("explicit"), GUARDED, tuning, |policy| policy))?;
        let about = About {
            name: NAME,
            guarantee: "Once a write is applied, no read that begins later shows what was before it, on any replica.".into(),
            cost: "A DEL per entry: thousands for a bulk change. What a write cannot name is not cached: further pages of a \
                   category, searches."
                .into(),
            choose_when: "Each change shows in a handful of entries that it can name.".into(),
        };
        Ok(Self { about, kept })
    }
}

/// What a write can name: products and first pages. The rest is not cached where it must not be stale.
pub(super) fn nameable(names: &Names, entry: &Entry) -> Option<Key> {
    match entry {
        Entry::Product(id) => Some(names.product(*id)),
        Entry::Page(listing) if listing.is_first() => Some(names.page(listing)),
        Entry::Page(_) | Entry::Search(_) => None,
    }
}

impl Strategy for Explicit {
    fn about(&self) -> &About {
        &self.about
    }

    fn kept(&self) -> &Kept {
        &self.kept
    }

    fn key(&self, entry: &Entry, _: Option<CategoryId>) -> Option<Key> {
        nameable(&self.kept.names, entry)
    }

    fn detail(&self) -> Detail {
        Detail::Ids
    }

    fn effects(&self, touched: &Touched, _: Option<Epochs>) -> Effects {
        let names = &self.kept.names;
        let list = Effects::new().delete(&names.page(&Listing::first(touched.category)));
        match &touched.what {
            What::Created(State { id, .. }) | What::Deleted { id, .. } => list.delete(&names.product(*id)),
            What::Changed(state) => list.delete(&names.product(state.id)),
            What::Repriced(bulk) => bulk.ids().fold(list, |effects, id| effects.delete(&names.product(id))),
        }
    }
}
