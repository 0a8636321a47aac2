//! `swr`: a write marks what it changed, and readers are answered with it while one of them refreshes it.
//!
//! - **Guarantee**: a product, or the first page of a category, is old from the write until one reader's refresh is stored, which
//!   is a load after the first read; other pages and searches, which a write cannot name, for their TTL and such a refresh more.
//!   An `applied` write has marked everything that it can name.
//! - **Cost**: a script per entry. In exchange, no reader ever waits for the database when something changes.
//! - **Choose it** where the wait counts for more than the moment: the front page of a shop, what is read by everybody.

use std::time::Duration;

use fenced_cache::{Cache, ConfigError, Effects, Epochs, Key};

use super::{About, GUARDED, Kept, Strategy, Tuning, labels, policies};
use crate::domain::{CategoryId, Listing};
use crate::entry::Entry;
use crate::store::{Detail, State, Touched, What};

pub(super) const NAME: &str = "swr";

/// For how long past its freshness an entry is answered while it is refreshed.
const WINDOW: Duration = Duration::from_secs(300);

/// See the module.
#[derive(Debug)]
pub(super) struct Swr {
    about: About,
    kept: Kept,
}

impl Swr {
    pub(super) fn new(cache: &Cache, tuning: &Tuning) -> Result<Self, ConfigError> {
        let revalidated = |fresh| {
            policies(labels!("swr"), fresh, tuning, |policy| policy.serve_softened(true).stale_while_revalidate(WINDOW))
        };
        let [product, page, _, home] = revalidated(GUARDED);
        let [_, _, search, _] = revalidated(tuning.ttl);
        let kept = Kept::new(cache, NAME, [product, page, search, home])?;
        let about = About {
            name: NAME,
            guarantee: "A product or the first page of a category is old from the write until one refresh is stored, about a load \
                        after the first read. Other pages and searches: for their TTL, and such a refresh more."
                .into(),
            cost: "A script per entry that a write can name. No reader waits for the database when something changes.".into(),
            choose_when: "A wait is worse than a moment of the old: what everybody reads first.".into(),
        };
        Ok(Self { about, kept })
    }
}

impl Strategy for Swr {
    fn about(&self) -> &About {
        &self.about
    }

    fn kept(&self) -> &Kept {
        &self.kept
    }

    fn key(&self, entry: &Entry, _: Option<CategoryId>) -> Option<Key> {
        Some(self.kept.names.entry(entry))
    }

    fn detail(&self) -> Detail {
        Detail::Ids
    }

    fn effects(&self, touched: &Touched, _: Option<Epochs>) -> Effects {
        let names = &self.kept.names;
        let list = Effects::new().soften(&names.page(&Listing::first(touched.category)));
        match &touched.what {
            // A product that is gone is no older version of anything, and neither is one that was not there.
            What::Created(State { id, .. }) | What::Deleted { id, .. } => list.delete(&names.product(*id)),
            What::Changed(state) => list.soften(&names.product(state.id)),
            What::Repriced(bulk) => bulk.ids().fold(list, |effects, id| effects.soften(&names.product(id))),
        }
    }
}
