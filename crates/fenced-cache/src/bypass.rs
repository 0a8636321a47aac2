//! Past the cache, while it is away or too slow: a bounded gate in front of the database.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::cache::Inner;
use crate::error::ReadError;
use crate::flight::{Landed, guarded};
use crate::policy::Policy;
use crate::read::Loader;
use crate::registry::Ongoing;

/// The result of one query past the cache.
#[derive(Clone, Debug)]
pub(crate) struct Bypassed(pub(crate) Result<Arc<Landed>, ReadError>);

/// So many loads at once, so many keys in the queue.
#[derive(Debug)]
pub(crate) struct Gate {
    pub(crate) permits: Arc<Semaphore>,
    pub(crate) queued: Arc<AtomicUsize>,
}

/// Spawns the query. Readers of the key may join while it queues; from the moment it is sent they may not, for its
/// snapshot could then be older than their beginning.
pub(crate) fn start(inner: &Arc<Inner>, work: Ongoing<Bypassed>, policy: &Policy, load: Loader) {
    let (inner, policy) = (Arc::clone(inner), policy.clone());
    let tasks = inner.tasks.clone();
    tasks.spawn(async move {
        let result = query(&inner, &work, &policy, load).await;
        work.finish(Bypassed(result));
    });
}

async fn query(
    inner: &Inner,
    work: &Ongoing<Bypassed>,
    policy: &Policy,
    load: Loader,
) -> Result<Arc<Landed>, ReadError> {
    let settings = &inner.settings;
    let refused = || {
        inner.metrics.gate_refused.increment(1);
        ReadError::Overloaded { retry_after: settings.gate_wait.max(Duration::from_secs(1)) }
    };
    let permits = &inner.gate.permits;
    let permit = match permits.try_acquire() {
        Ok(permit) => permit,
        Err(_) => {
            let place = Queued::enter(inner, settings.gate_queue).ok_or_else(refused)?;
            let waited = timeout(settings.gate_wait, permits.acquire()).await;
            drop(place);
            waited.ok().and_then(Result::ok).ok_or_else(refused)?
        }
    };
    work.close();
    inner.metrics.gate_busy.increment(1.0);
    let loaded = guarded(policy, load).await;
    inner.metrics.gate_busy.decrement(1.0);
    drop(permit);
    Ok(Arc::new(Landed::new(loaded?, Duration::ZERO)))
}

/// A place in the queue, given back when dropped.
struct Queued<'a>(&'a Inner);

impl<'a> Queued<'a> {
    fn enter(inner: &'a Inner, limit: usize) -> Option<Self> {
        let before = inner.gate.queued.fetch_add(1, Ordering::AcqRel);
        inner.metrics.gate_queue.increment(1.0);
        let place = Self(inner);
        (before < limit).then_some(place)
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.gate.queued.fetch_sub(1, Ordering::AcqRel);
        self.0.metrics.gate_queue.decrement(1.0);
    }
}
