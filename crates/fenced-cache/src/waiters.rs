//! Readers that sleep until somebody else's load has ended.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

/// Who waits for which entry. A push of client tracking wakes them; so does everything after which a push can
/// no longer be relied on.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    by_key: Mutex<HashMap<Bytes, Slot>>,
}

#[derive(Debug)]
struct Slot {
    notify: Arc<Notify>,
    waiting: usize,
}

/// One registration; ends when dropped.
#[derive(Debug)]
pub(crate) struct Waiter<'a> {
    waiters: &'a Waiters,
    key: Bytes,
    pub(crate) notify: Arc<Notify>,
}

impl Waiters {
    pub(crate) fn register(&self, key: &Bytes) -> Waiter<'_> {
        let mut by_key = self.by_key.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = by_key.entry(key.clone()).or_insert_with(|| Slot { notify: Arc::default(), waiting: 0 });
        slot.waiting += 1;
        Waiter { waiters: self, key: key.clone(), notify: Arc::clone(&slot.notify) }
    }

    pub(crate) fn wake(&self, key: &[u8]) {
        if let Some(slot) = self.by_key.lock().unwrap_or_else(PoisonError::into_inner).get(key) {
            slot.notify.notify_waiters();
        }
    }

    pub(crate) fn wake_all(&self) {
        for slot in self.by_key.lock().unwrap_or_else(PoisonError::into_inner).values() {
            slot.notify.notify_waiters();
        }
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let mut by_key = self.waiters.by_key.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = by_key.get_mut(&self.key) {
            slot.waiting -= 1;
            if slot.waiting == 0 {
                by_key.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[tokio::test]
    async fn a_wake_before_the_sleep_is_not_lost_and_no_slot_is_left_behind() {
        let waiters = Waiters::default();
        let key = Bytes::from_static(b"k");
        {
            let waiter = waiters.register(&key);
            let other = waiters.register(&key);
            // As a reader does: the future first, then READ, then the sleep.
            let mut pushed = std::pin::pin!(waiter.notify.notified());
            waiters.wake(b"other");
            assert!(pushed.as_mut().now_or_never().is_none());
            waiters.wake(b"k");
            pushed.await;
            let all = other.notify.notified();
            waiters.wake_all();
            all.await;
        }
        assert!(waiters.by_key.lock().unwrap().is_empty());
    }
}
