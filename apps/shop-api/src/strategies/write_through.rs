//! `write-through`: a write stores what it wrote, over the older version that is there.
//!
//! - **Guarantee**: once a write is `applied`, no read that begins later shows what was before it, on any replica. A put goes
//!   only over an older version which is *there*: onto an absent entry, or one that is just being loaded, nothing tells which of
//!   two writes is the newer, so there it deletes.
//! - **Cost**: a script with the whole document per product, thousands for a bulk change; and, as with `explicit`, what a write
//!   cannot name is not cached. What was created or deleted, and the first page of a category, is deleted.
//! - **Choose it** where what was written is read at once, and loading it again is expensive: readers of a changed product hit.

use fenced_cache::{Cache, ConfigError, Effects, Epochs, Key, Put};

use super::explicit::nameable;
use super::{About, GUARDED, Kept, Strategy, Tuning, labels, policies};
use crate::domain::{CategoryId, Listing};
use crate::entry::Entry;
use crate::store::{Bulk, Detail, State, Touched, What};

pub(super) const NAME: &str = "write-through";

/// See the module.
#[derive(Debug)]
pub(super) struct WriteThrough {
    about: About,
    kept: Kept,
}

impl WriteThrough {
    pub(super) fn new(cache: &Cache, tuning: &Tuning) -> Result<Self, ConfigError> {
        let kept = Kept::new(cache, NAME, policies(labels!("write-through"), GUARDED, tuning, |policy| policy))?;
        let about = About {
            name: NAME,
            guarantee: "Once a write is applied, no read that begins later shows what was before it, on any replica.".into(),
            cost: "The whole document to Redis per product changed, read or not: thousands for a bulk change. What a write \
                   cannot name is not cached: further pages of a category, searches."
                .into(),
            choose_when: "What was written is read at once, and loading it again is expensive.".into(),
        };
        Ok(Self { about, kept })
    }

    fn put(&self, effects: Effects, state: &State, epochs: Option<&Epochs>) -> Effects {
        let key = self.kept.names.product(state.id);
        match epochs {
            Some(epochs) => {
                let policy = self.kept.policy(&Entry::Product(state.id));
                effects.put(Put::new(&key, state.version, state.json.clone(), policy, epochs.clone()))
            }
            None => effects.delete(&key),
        }
    }
}

impl Strategy for WriteThrough {
    fn about(&self) -> &About {
        &self.about
    }

    fn kept(&self) -> &Kept {
        &self.kept
    }

    fn key(&self, entry: &Entry, _: Option<CategoryId>) -> Option<Key> {
        nameable(&self.kept.names, entry)
    }

    fn puts(&self) -> bool {
        true
    }

    fn detail(&self) -> Detail {
        Detail::States
    }

    fn effects(&self, touched: &Touched, epochs: Option<Epochs>) -> Effects {
        let names = &self.kept.names;
        let list = Effects::new().delete(&names.page(&Listing::first(touched.category)));
        match &touched.what {
            What::Created(State { id, .. }) | What::Deleted { id, .. } => list.delete(&names.product(*id)),
            What::Changed(state) => self.put(list, state, epochs.as_ref()),
            // Its products are filed under no tag, so the epochs of one are those of all: none.
            What::Repriced(Bulk::States(states)) => {
                states.iter().fold(list, |effects, state| self.put(effects, state, epochs.as_ref()))
            }
            What::Repriced(bulk) => bulk.ids().fold(list, |effects, id| effects.delete(&names.product(id))),
        }
    }
}
