//! `combined`: what production would run.
//!
//! A changed product is put, over an older version that is there, or deleted; pages and searches go by their tags; new prices for
//! a category are one epoch. Entries are refreshed early, by chance, so that a hot one never expires for everybody at once; when
//! the database is away, what is merely old is answered, and what was invalidated is not. The outbox's relay finishes what a writer
//! could not. A near cache, if there is one, answers hot products from this process's memory.
//!
//! - **Guarantee**: once a write is `applied`, no read that begins later shows what was before it, on any replica: every product,
//!   page and search. With the near cache, what it answers may be older than that by its bound, usually the time of a push;
//!   strict writers wait for the bound and have the guarantee whole.
//! - **Cost**: the code: all of the above. A read of a product compares one epoch; a write is a put and two epochs, whatever it
//!   shows in.
//! - **Choose it** when in doubt.

use std::time::Duration;

use fenced_cache::{Cache, ConfigError, Effects, Epochs, Key, Put};

use super::{About, GUARDED, Kept, Near, Strategy, Tuning, labels, policies};
use crate::domain::CategoryId;
use crate::entry::Entry;
use crate::store::{State, Touched, What};

pub(super) const NAME: &str = "combined";

/// For how long past its freshness an entry may be answered when the database is away.
const FAIL_SAFE: Duration = Duration::from_secs(540);

/// See the module.
#[derive(Debug)]
pub(super) struct Combined {
    about: About,
    kept: Kept,
}

impl Combined {
    pub(super) fn new(cache: &Cache, tuning: &Tuning) -> Result<Self, ConfigError> {
        let near = tuning.near != Near::Off;
        let kept = Kept::new(
            cache,
            NAME,
            policies(labels!("combined"), GUARDED, tuning, |policy| {
                policy.early_refresh(1.0).stale_if_error(FAIL_SAFE).near(near)
            }),
        )?;
        let applied = "Once a write is applied, no read that begins later shows what was before it, on any replica: every \
                       product, page and search.";
        let about = About {
            name: NAME,
            guarantee: match tuning.near {
                Near::Off | Near::Strict => applied.into(),
                Near::Within(grace) => format!(
                    "{applied} Answers of the near cache (X-Cache: NEAR_HIT) may be older than that by at most {grace:?}, usually \
                     by a push; X-Seen-Version passes over them."
                ),
            },
            cost: match tuning.near {
                Near::Strict => "A read compares an epoch, a write is a put and two epochs and waits until no near cache is believed.",
                Near::Off | Near::Within(_) => "A read compares an epoch, a write is a put and two epochs.",
            }
            .into(),
            choose_when: "In doubt: put or delete, tags, early refresh, answers when the database is away, a relay for what a \
                          writer could not finish."
                .into(),
        };
        Ok(Self { about, kept })
    }
}

impl Strategy for Combined {
    fn about(&self) -> &About {
        &self.about
    }

    fn kept(&self) -> &Kept {
        &self.kept
    }

    fn needs_home(&self) -> bool {
        true
    }

    /// A product captures no tag of its own and none of the lists: the write that puts it changes those.
    fn key(&self, entry: &Entry, home: Option<CategoryId>) -> Option<Key> {
        let names = &self.kept.names;
        match entry {
            Entry::Product(id) => Some(names.product(*id).tagged([names.of_category(home?)])),
            list => Some(names.filed_list(list)),
        }
    }

    fn puts(&self) -> bool {
        true
    }

    fn effects(&self, touched: &Touched, epochs: Option<Epochs>) -> Effects {
        let names = &self.kept.names;
        let effects = Effects::new().tag(&names.of_searches());
        let listed = |effects: Effects| effects.tag(&names.of_list(touched.category));
        match (&touched.what, epochs) {
            (What::Repriced(_), _) => effects.tag(&names.of_category(touched.category)),
            (What::Changed(state), Some(epochs)) => {
                let policy = self.kept.policy(&Entry::Product(state.id));
                let put = Put::new(&names.product(state.id), state.version, state.json.clone(), policy, epochs);
                listed(effects.put(put))
            }
            (What::Changed(state), None) => listed(effects.delete(&names.product(state.id))),
            (What::Created(State { id, .. }) | What::Deleted { id, .. }, _) => {
                listed(effects.delete(&names.product(*id)).delete(&names.home(*id)))
            }
        }
    }
}
