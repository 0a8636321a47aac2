//! How the cache learns of a change: seven ways, one trait, a file each.
//!
//! A strategy says under which keys and tags entries lie and how long they live, and what a write does to them. It talks to
//! neither store: [`catalog`](crate::catalog) reads and writes by what it says. The writer's part of each is the table in section
//! 4 of the cache's protocol.

mod combined;
mod event;
mod explicit;
mod swr;
mod tags;
mod ttl;
mod write_through;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use fenced_cache::{Cache, ConfigError, Effects, Epochs, Key, Keyspace, Policy, PolicyBuilder};
use shop_events::ShopEvent;

use crate::NAMESPACE;
use crate::domain::CategoryId;
use crate::entry::{Entry, Names};
use crate::model::StrategyDocument;
use crate::store::{Detail, Touched};

/// The names of all strategies.
pub const ALL: [&str; 7] =
    [ttl::NAME, explicit::NAME, write_through::NAME, event::NAME, swr::NAME, tags::NAME, combined::NAME];

/// What a strategy is, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// Its name in paths, metrics and the prefix of its keys.
    pub name: &'static str,
    /// What its reads promise after a write.
    pub guarantee: String,
    /// What it costs.
    pub cost: String,
    /// When to choose it.
    pub choose_when: String,
}

/// A way in which the cache learns of a change.
pub trait Strategy: fmt::Debug + Send + Sync + 'static {
    /// What it is, in words.
    fn about(&self) -> &About;

    /// Its names and how long what is under them lives.
    fn kept(&self) -> &Kept;

    /// The key of an entry, with the tags that it is filed under; `None` if it is not cached. `home` is the category of the
    /// product, where the strategy [asks for it](Self::needs_home).
    fn key(&self, entry: &Entry, home: Option<CategoryId>) -> Option<Key>;

    /// Whether the key of a product depends on its category.
    fn needs_home(&self) -> bool {
        false
    }

    /// Whether a product that was changed is put into the cache, and so needs the epochs of its tags as they were before the
    /// transaction.
    fn puts(&self) -> bool {
        false
    }

    /// What it has to know of the rows of a bulk change.
    fn detail(&self) -> Detail {
        Detail::Count
    }

    /// What a committed change does to the cache. `epochs` were captured if the strategy [puts](Self::puts) and Redis
    /// answered.
    fn effects(&self, touched: &Touched, epochs: Option<Epochs>) -> Effects;

    /// What is told to the cache by way of an event, which commits with the change.
    fn event(&self, _touched: &Touched) -> Option<ShopEvent> {
        None
    }
}

/// What a deployment decides about the strategies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuning {
    /// How long an entry of `ttl` is fresh, and what `swr` cannot name.
    pub ttl: Duration,
    /// Whether `combined` has a near cache, and whether writers wait for it.
    pub near: Near,
    /// The most that one load may take.
    pub load_deadline: Duration,
}

/// The near cache of `combined`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Near {
    /// There is none.
    Off,
    /// There is one; what it answers may be older than an applied write, by this time at most.
    Within(Duration),
    /// There is one, and each write waits until nobody believes what was in it.
    Strict,
}

/// A strategy's names, and how long what is under them lives.
#[derive(Clone, Debug)]
pub struct Kept {
    /// The names.
    pub names: Names,
    product: Policy,
    page: Policy,
    search: Policy,
    home: Policy,
}

/// The metric labels of one strategy's policies.
macro_rules! labels {
    ($name:literal) => {
        [concat!($name, "-product"), concat!($name, "-page"), concat!($name, "-search"), concat!($name, "-home")]
    };
}
use labels;

impl Kept {
    /// Under `shop:<strategy>`, with these policies.
    fn new(cache: &Cache, name: &str, [product, page, search, home]: [PolicyBuilder; 4]) -> Result<Self, ConfigError> {
        Ok(Self {
            names: Names::new(Keyspace::new(&format!("{NAMESPACE}:{name}"))?),
            product: cache.policy(product)?,
            page: cache.policy(page)?,
            search: cache.policy(search)?,
            home: cache.policy(home)?,
        })
    }

    /// The policy of an entry.
    #[must_use]
    pub fn policy(&self, entry: &Entry) -> &Policy {
        match entry {
            Entry::Product(_) => &self.product,
            Entry::Page(_) => &self.page,
            Entry::Search(_) => &self.search,
        }
    }

    /// The policy of what is known of a product's category.
    #[must_use]
    pub fn home(&self) -> &Policy {
        &self.home
    }
}

/// Policies of one kind, for products, pages, searches and homes in this order.
fn policies(
    labels: [&'static str; 4],
    fresh: Duration,
    tuning: &Tuning,
    adjust: impl Fn(PolicyBuilder) -> PolicyBuilder,
) -> [PolicyBuilder; 4] {
    let [product, page, search, home] = labels;
    let of = |label| {
        let base = Policy::named(label, fresh)
            .jitter(0.1)
            .negative_ttl(fresh.min(Duration::from_secs(5)))
            .early_refresh(0.0)
            .load_deadline(tuning.load_deadline);
        adjust(base)
    };
    // A product's category never changes: only that there is no such product is soon doubted.
    let day = Duration::from_secs(24 * 3_600);
    let known = Policy::named(home, day).negative_ttl(Duration::from_secs(5)).load_deadline(tuning.load_deadline);
    [of(product), of(page), of(search), known.stale_if_error(day)]
}

/// How long what a write invalidates is fresh until then: the last bound on what no invalidation reaches.
const GUARDED: Duration = Duration::from_secs(60);

/// All strategies of this replica. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Strategies(Arc<[Arc<dyn Strategy>]>);

impl Strategies {
    /// All of them.
    ///
    /// # Errors
    /// [`ConfigError`] for a time that the cache cannot work with.
    pub fn new(cache: &Cache, tuning: &Tuning) -> Result<Self, ConfigError> {
        Ok(Self(Arc::new([
            Arc::new(ttl::Ttl::new(cache, tuning)?) as Arc<dyn Strategy>,
            Arc::new(explicit::Explicit::new(cache, tuning)?),
            Arc::new(write_through::WriteThrough::new(cache, tuning)?),
            Arc::new(event::Event::new(cache, tuning)?),
            Arc::new(swr::Swr::new(cache, tuning)?),
            Arc::new(tags::Tags::new(cache, tuning)?),
            Arc::new(combined::Combined::new(cache, tuning)?),
        ])))
    }

    /// The strategy of this name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Arc<dyn Strategy>> {
        self.0.iter().find(|strategy| strategy.about().name == name)
    }

    /// All of them, in words.
    pub fn documents(&self) -> impl Iterator<Item = StrategyDocument> {
        self.0.iter().map(|strategy| {
            let About { name, guarantee, cost, choose_when } = strategy.about().clone();
            StrategyDocument { name, prefix: format!("{NAMESPACE}:{name}:"), guarantee, cost, choose_when }
        })
    }
}
