//! Work in progress that readers of the same key may share.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::watch;

/// At most one *open* piece of work per key. The rule of sharing in the protocol's section 3 is kept by
/// [`close`](Ongoing::close): it ends joining, and whoever works calls it before it sends what proves the result
/// current. Work that is closed goes on, and new work for the key may begin beside it.
#[derive(Debug)]
pub(crate) struct Registry<T> {
    shards: Box<[Mutex<Open<T>>]>,
}

type Open<T> = HashMap<Bytes, Arc<watch::Sender<Option<T>>>>;

/// The result, once there is one. `None` from [`wait`](Self::wait): the work ended without.
#[derive(Debug)]
pub(crate) struct Joined<T>(watch::Receiver<Option<T>>);

/// The worker's side. Dropping it ends the work without a result and wakes all who joined.
#[derive(Debug)]
pub(crate) struct Ongoing<T> {
    registry: Arc<Registry<T>>,
    key: Bytes,
    sender: Arc<watch::Sender<Option<T>>>,
}

/// Which of so many shards a name belongs to.
pub(crate) fn shard_of(name: &[u8], shards: usize) -> usize {
    // FNV-1a; keys of one kind differ in their last bytes.
    let hash = name.iter().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3));
    usize::try_from(hash >> 32).unwrap_or(0) % shards
}

impl<T> Registry<T> {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { shards: (0..16).map(|_| Mutex::default()).collect() })
    }

    fn shard(&self, key: &Bytes) -> MutexGuard<'_, Open<T>> {
        // Nothing below can panic half way through a change, so a poisoned map is a sound map.
        self.shards[shard_of(key, self.shards.len())].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Joins the open work for `key`, or begins it: then the second part is the caller's to drive.
    pub(crate) fn join_or_begin(self: &Arc<Self>, key: &Bytes) -> (Joined<T>, Option<Ongoing<T>>) {
        let mut shard = self.shard(key);
        if let Some(sender) = shard.get(key) {
            return (Joined(sender.subscribe()), None);
        }
        // A copy: a name cut out of a larger buffer would keep all of it.
        let key = Bytes::copy_from_slice(key);
        let (sender, receiver) = watch::channel(None);
        let sender = Arc::new(sender);
        shard.insert(key.clone(), Arc::clone(&sender));
        (Joined(receiver), Some(Ongoing { registry: Arc::clone(self), key, sender }))
    }
}

impl<T> Ongoing<T> {
    /// From here on nobody joins.
    pub(crate) fn close(&self) {
        let mut shard = self.registry.shard(&self.key);
        if shard.get(&self.key).is_some_and(|sender| Arc::ptr_eq(sender, &self.sender)) {
            shard.remove(&self.key);
        }
    }

    /// Ends the work with a result for all who joined.
    pub(crate) fn finish(self, result: T) {
        self.close();
        self.sender.send_replace(Some(result));
    }
}

impl<T> Drop for Ongoing<T> {
    fn drop(&mut self) {
        self.close();
    }
}

impl<T: Clone> Joined<T> {
    pub(crate) async fn wait(&mut self) -> Option<T> {
        self.0.wait_for(Option::is_some).await.ok().and_then(|result| result.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Bytes {
        Bytes::from_static(b"k")
    }

    #[tokio::test]
    async fn all_who_joined_get_the_result_and_nobody_joins_closed_work() {
        let registry = Registry::new();
        let (mut first, work) = registry.join_or_begin(&key());
        let work = work.unwrap();
        let (mut second, none) = registry.join_or_begin(&key());
        assert!(none.is_none());
        work.close();
        let (mut third, other) = registry.join_or_begin(&key());
        let other = other.expect("closed work is not joined");
        work.finish(1);
        assert_eq!((first.wait().await, second.wait().await), (Some(1), Some(1)));
        let (mut fourth, none) = registry.join_or_begin(&key());
        assert!(none.is_none(), "finishing old work must not close the new one");
        other.finish(2);
        assert_eq!((third.wait().await, fourth.wait().await), (Some(2), Some(2)));
    }

    #[tokio::test]
    async fn work_that_is_dropped_frees_its_key_and_wakes_its_readers() {
        let registry = Registry::<u8>::new();
        let (mut joined, work) = registry.join_or_begin(&key());
        drop(work);
        assert_eq!(joined.wait().await, None);
        assert!(registry.join_or_begin(&key()).1.is_some());
    }
}
