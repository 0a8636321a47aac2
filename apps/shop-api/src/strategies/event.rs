//! `event`: a write records an event in its transaction; a worker elsewhere is told and deletes.
//!
//! - **Guarantee**: a read is old for the time of the event's way at most: numbered, published, applied, usually some milliseconds.
//!   An event that is lost on the way is noticed by its number, or by the next heartbeat, and repaired from the table. A write is
//!   answered `deferred`.
//! - **Cost**: a row per write, a relay, a channel and a worker, which can lag. Writers do not talk to Redis and need not know what
//!   is cached.
//! - **Choose it** where those who write must not know, or wait for, those who cache: several services over the same rows.

use fenced_cache::{Cache, ConfigError, Effects, Epochs, Key};

use super::{About, GUARDED, Kept, Strategy, Tuning, labels, policies};
use crate::domain::{CategoryId, ProductId};
use crate::entry::Entry;
use crate::store::{State, Touched, What};
use shop_events::ShopEvent;

pub(super) const NAME: &str = "event";

/// See the module.
#[derive(Debug)]
pub(super) struct Event {
    about: About,
    kept: Kept,
}

impl Event {
    pub(super) fn new(cache: &Cache, tuning: &Tuning) -> Result<Self, ConfigError> {
        let kept = Kept::new(cache, NAME, policies(labels!("event"), GUARDED, tuning, |policy| policy))?;
        let about = About {
            name: NAME,
            guarantee: "A read is old for the time of the event's way to the worker: usually some milliseconds. A lost event is \
                        noticed and repaired."
                .into(),
            cost: "A row per write, a relay, a channel and a worker, which can lag. Writers do not wait for Redis.".into(),
            choose_when: "Those who write must not know, or wait for, those who cache.".into(),
        };
        Ok(Self { about, kept })
    }
}

impl Strategy for Event {
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
            Entry::Product(id) => Some(names.product(*id).tagged([names.of_category(home?)])),
            list => Some(names.filed_list(list)),
        }
    }

    fn effects(&self, _: &Touched, _: Option<Epochs>) -> Effects {
        Effects::deferred()
    }

    fn event(&self, touched: &Touched) -> Option<ShopEvent> {
        let category_id = touched.category.get();
        // Both came from the database, which counts in signed numbers.
        let of = |id: ProductId, version: u64| (id.get(), i64::try_from(version).unwrap_or(i64::MAX));
        Some(match &touched.what {
            What::Created(State { id, version, .. }) => {
                let (product_id, version) = of(*id, *version);
                ShopEvent::ProductCreated { product_id, category_id, version }
            }
            What::Changed(State { id, version, .. }) => {
                let (product_id, version) = of(*id, *version);
                ShopEvent::ProductChanged { product_id, category_id, version }
            }
            What::Deleted { id, version } => {
                let (product_id, version) = of(*id, *version);
                ShopEvent::ProductDeleted { product_id, category_id, version }
            }
            What::Repriced(_) => ShopEvent::CategoryRepriced { category_id },
        })
    }
}
