//! `tags`: a write changes the epochs that the entries captured, and deletes no entry.
//!
//! - **Guarantee**: once a write is `applied`, no read that begins later shows what was before it, on any replica, and that holds
//!   for every page and every search.
//! - **Cost**: a read compares the epochs of its entry's tags, one or two GETs beside its own, in the same round trip; each product
//!   has an epoch of its own in Redis; searches are lost with each write. An entry's tags must follow from its key, so a product's
//!   category is looked up once, and then known.
//! - **Choose it** where a change shows in more entries than it can name, or changes come by the thousand: new prices for a
//!   category are one epoch, whatever the number of its products and pages.

use fenced_cache::{Cache, ConfigError, Effects, Epochs, Key};

use super::{About, GUARDED, Kept, Strategy, Tuning, labels, policies};
use crate::domain::CategoryId;
use crate::entry::Entry;
use crate::store::{State, Touched, What};

pub(super) const NAME: &str = "tags";

/// See the module.
#[derive(Debug)]
pub(super) struct Tags {
    about: About,
    kept: Kept,
}

impl Tags {
    pub(super) fn new(cache: &Cache, tuning: &Tuning) -> Result<Self, ConfigError> {
        let kept = Kept::new(cache, NAME, policies(labels!("tags"), GUARDED, tuning, |policy| policy))?;
        let about = About {
            name: NAME,
            guarantee: "Once a write is applied, no read that begins later shows what was before it, on any replica: every \
                        product, page and search."
                .into(),
            cost: "A read compares one or two epochs, in the round trip that it makes anyway; an epoch in Redis per product; \
                   searches are lost with each write. A bulk change is one epoch."
                .into(),
            choose_when: "A change shows in more entries than it can name, or changes come by the thousand.".into(),
        };
        Ok(Self { about, kept })
    }
}

impl Strategy for Tags {
    fn about(&self) -> &About {
        &self.about
    }

    fn kept(&self) -> &Kept {
        &self.kept
    }

    fn needs_home(&self) -> bool {
        true
    }

    fn key(&self, entry: &Entry, home: Option<CategoryId>) -> Option<Key> {
        let names = &self.kept.names;
        match entry {
            Entry::Product(id) => Some(names.product(*id).tagged([names.of_product(*id), names.of_category(home?)])),
            list => Some(names.filed_list(list)),
        }
    }

    fn effects(&self, touched: &Touched, _: Option<Epochs>) -> Effects {
        let names = &self.kept.names;
        let effects = Effects::new().tag(&names.of_searches());
        let one = |id| effects.clone().tag(&names.of_list(touched.category)).tag(&names.of_product(id));
        match &touched.what {
            What::Repriced(_) => effects.tag(&names.of_category(touched.category)),
            What::Changed(State { id, .. }) | What::Deleted { id, .. } => one(*id),
            // That there was no such product, and so no category of it, was known by name.
            What::Created(State { id, .. }) => one(*id).delete(&names.home(*id)),
        }
    }
}
