//! The near cache of the protocol's section 6: what this process read, in its own memory.
//!
//! It belongs to one session and dies with it. Entries and tags' epochs are kept alike, each under its own name, each
//! by a READ's reply that no invalidation has overtaken ([`marks`]), each until Redis' client tracking says that the name
//! has changed. An entry is answered while the epochs that it captured are the ones that are near as well: so a tag's
//! invalidation is one removal, however many entries are filed under it.
//!
//! What is near is believed only while a proof of it is young ([`canary`]).
//!
//! # The bound
//!
//! A near hit returns nothing older than what was applied `near_grace` before it began. Say that the last proof's GET was
//! sent at *p*. An invalidation that was applied before *p* ran in Redis before that GET, so its push was sent before
//! the GET's reply on the same connection, and was taken before the proof counted. The near entry it was about is gone,
//! and no READ that ran before it has been kept since. And *p* is at most `near_grace` ago, or nothing near is answered.

mod canary;
mod marks;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use fred::clients::Client;
use quick_cache::sync::{Cache as Store, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};
use tokio::time::Instant;

use self::marks::Marks;
use crate::entry::{self, Reply, Seen, Stored, now_ms};
use crate::error::RedisError;
use crate::key::Key;
use crate::layout::Epoch;
use crate::metrics::NearMetrics;
use crate::settings::Settings;

pub(crate) use self::canary::{Answer, Canary};

/// What a near entry costs beside its name and its bytes: the cache's own records and two allocations, rounded up.
const OVERHEAD: usize = 320;

/// What every session's near cache is made by.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    bytes: usize,
    grace: Duration,
    ttl: Duration,
    pub(crate) ping: Duration,
    pub(crate) canary: Bytes,
    metrics: NearMetrics,
}

impl Plan {
    /// `None` where the settings want no near cache.
    pub(crate) fn of(settings: &Settings, metrics: &NearMetrics) -> Option<Self> {
        (settings.near_bytes > 0).then(|| Self {
            bytes: settings.near_bytes,
            grace: settings.near_grace,
            ttl: settings.near_ttl,
            ping: settings.near_ping,
            canary: canary::name(&settings.keyspace),
            metrics: metrics.clone(),
        })
    }
}

/// One session's near cache.
#[derive(Debug)]
pub(crate) struct Near {
    store: Store<Bytes, Kept, ByBytes>,
    marks: Marks,
    grace: Duration,
    ttl: Duration,
    max_weight: u64,
    began: Instant,
    /// When the GET of the last proof was sent: nanoseconds since `began`, plus one. Zero: nothing is proved.
    proved: AtomicU64,
    metrics: NearMetrics,
}

#[derive(Clone, Debug)]
struct Kept {
    /// When its READ was about to be sent.
    asked: Instant,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    Entry(Arc<Stored>),
    Epoch(Epoch),
}

#[derive(Clone, Debug)]
struct ByBytes;

impl Weighter<Bytes, Kept> for ByBytes {
    fn weight(&self, name: &Bytes, kept: &Kept) -> u64 {
        let held = match &kept.what {
            What::Entry(stored) => stored.held_bytes(),
            What::Epoch(epoch) => epoch.len(),
        };
        weight(name, held)
    }
}

fn weight(name: &[u8], held: usize) -> u64 {
    u64::try_from(OVERHEAD + name.len() + held).unwrap_or(u64::MAX)
}

/// Why everything near was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flushed {
    /// The session has ended.
    Connection,
    /// Pushes were dropped on their way through this process.
    Lagged,
    /// The canary was not as it had been set: FLUSHALL, or an empty server.
    Canary,
    /// The canary's own push did not come: the server does not, or no longer, push to this connection.
    Silent,
}

impl Flushed {
    pub(crate) const ALL: [Self; 4] = [Self::Connection, Self::Lagged, Self::Canary, Self::Silent];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Lagged => "lagged",
            Self::Canary => "canary",
            Self::Silent => "silent",
        }
    }
}

impl Near {
    pub(crate) fn new(plan: &Plan) -> Self {
        // A shard of at least a MiB: a shard is the most that one entry could fill.
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let options = OptionsBuilder::new()
            .weight_capacity(u64::try_from(plan.bytes).unwrap_or(u64::MAX))
            .estimated_items_capacity(plan.bytes / 1_024)
            .shards((plan.bytes >> 20).clamp(1, 4 * cores))
            .build()
            .expect("both capacities are set");
        let store = Store::with_options(options, ByBytes, DefaultHashBuilder::default(), DefaultLifecycle::default());
        Self {
            max_weight: store.shard_capacity() / 8,
            store,
            marks: Marks::new(),
            grace: plan.grace,
            ttl: plan.ttl,
            began: Instant::now(),
            proved: AtomicU64::new(0),
            metrics: plan.metrics.clone(),
        }
    }

    /// The entry, if it is near, believed, valid and fresh. `now` is the moment at which the reader began.
    pub(crate) fn get(&self, key: &Key, now: Instant) -> Option<Arc<Stored>> {
        // The proof first: what is found after it is at least as new.
        if !self.is_proved(now) {
            return None;
        }
        let What::Entry(stored) = self.young(key.name(), now)? else { return None };
        let captured = stored.epochs.chunks_exact(16);
        let valid = captured.len() == key.tags().len()
            && key.tags().iter().zip(captured).all(
                |(tag, captured)| matches!(self.young(tag.name(), now), Some(What::Epoch(epoch)) if epoch == *captured),
            );
        (valid && stored.is_fresh(now_ms())).then_some(stored)
    }

    fn young(&self, name: &Bytes, now: Instant) -> Option<What> {
        let kept = self.store.get(name)?;
        (now.saturating_duration_since(kept.asked) <= self.ttl).then_some(kept.what)
    }

    /// READ over the connection that is tracked. What it shows is kept if it is fresh and no invalidation overtakes it.
    pub(crate) async fn read(&self, tracker: &Client, key: &Key) -> Result<Reply, RedisError> {
        let asked = Instant::now();
        let mark = self.marks.set(key.name());
        let tag_marks: Vec<_> = key.tags().iter().map(|tag| self.marks.set(tag.name())).collect();
        let mut fetched = entry::fetch(tracker, key).await?;

        let fits = fetched.entry.as_ref().is_some_and(|entry| weight(key.name(), entry.len()) <= self.max_weight);
        if fits {
            fetched = fetched.copied();
        }
        let epochs: Option<Vec<Epoch>> = fetched.epochs.iter().map(|epoch| epoch.as_deref()?.try_into().ok()).collect();
        let reply = fetched.judge();
        if let (Seen::Fresh(stored), Some(epochs)) = (&reply.seen, epochs) {
            if !fits {
                self.metrics.too_large.increment(1);
                return Ok(reply);
            }
            for ((tag, mark), epoch) in key.tags().iter().zip(tag_marks).zip(epochs) {
                mark.redeem(|| self.store.insert(tag.name().clone(), Kept { asked, what: What::Epoch(epoch) }));
            }
            let what = What::Entry(Arc::new(stored.clone()));
            if mark.redeem(|| self.store.insert(key.name().clone(), Kept { asked, what })) {
                self.metrics.kept.increment(1);
            } else {
                self.metrics.overtaken.increment(1);
            }
        }
        Ok(reply)
    }

    /// Redis says that this name has changed.
    pub(crate) fn pushed(&self, name: &[u8]) {
        if self.remove(name) {
            self.metrics.removed_by_push.increment(1);
        }
    }

    /// This process has changed it itself, or is about to.
    pub(crate) fn forget(&self, name: &[u8]) {
        if self.remove(name) {
            self.metrics.removed_by_write.increment(1);
        }
    }

    fn remove(&self, name: &[u8]) -> bool {
        self.marks.void(name, || self.store.remove(name)).is_some()
    }

    /// Everything goes, and nothing is believed before the next proof.
    pub(crate) fn flush(&self, reason: Flushed) {
        self.clear();
        self.metrics.flushed(reason);
    }

    fn clear(&self) {
        self.proved.store(0, Ordering::Release);
        self.marks.void_all();
        // After the marks: what was kept by a mark that stood is in it by now.
        self.store.clear();
        self.report();
    }

    fn prove(&self, sent: Instant) {
        let since = sent.saturating_duration_since(self.began).as_nanos();
        self.proved.store(u64::try_from(since).unwrap_or(u64::MAX - 1) + 1, Ordering::Release);
    }

    /// Whether what is near is believed at `now`.
    pub(crate) fn is_proved(&self, now: Instant) -> bool {
        match self.proved.load(Ordering::Acquire) {
            0 => false,
            proved => now.saturating_duration_since(self.began + Duration::from_nanos(proved - 1)) <= self.grace,
        }
    }

    /// Brings the gauges up to date.
    fn report(&self) {
        let (bytes, entries) = (self.store.weight(), self.store.len());
        self.metrics.holds(bytes, entries, self.is_proved(Instant::now()));
    }
}
