//! Marks of READs in flight.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::registry::shard_of;

/// Which READs are in flight, and which of them an invalidation has overtaken.
///
/// Replies and invalidations are taken by different tasks, so a reply may be looked at after an invalidation that Redis
/// sent later. Each READ sets a mark of its own before it is sent; an invalidation voids the marks that it finds; a reply
/// is kept only if its own mark still stands. What is done to the near cache is done under the lock of the mark, so no
/// invalidation can come between the look at the mark and the keeping.
#[derive(Debug)]
pub(crate) struct Marks {
    shards: Box<[Mutex<InFlight>]>,
}

type InFlight = HashMap<Bytes, Slot>;

/// The READs of one key that are in flight. All who set their mark between two invalidations share a turn, which is as
/// good as a number each, and costs no list.
#[derive(Debug, Default)]
struct Slot {
    reads: usize,
    turn: u64,
}

/// One READ's mark; gone when dropped.
#[derive(Debug)]
pub(crate) struct Mark<'a> {
    marks: &'a Marks,
    name: &'a Bytes,
    turn: u64,
}

impl Marks {
    pub(crate) fn new() -> Self {
        Self { shards: (0..32).map(|_| Mutex::default()).collect() }
    }

    fn shard(&self, name: &[u8]) -> MutexGuard<'_, InFlight> {
        // Nothing below can panic half way through a change, so a poisoned map is a sound map.
        self.shards[shard_of(name, self.shards.len())].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be called before the READ is sent.
    pub(crate) fn set<'a>(&'a self, name: &'a Bytes) -> Mark<'a> {
        let mut shard = self.shard(name);
        let turn = match shard.get_mut(name) {
            Some(slot) => {
                slot.reads += 1;
                slot.turn
            }
            None => {
                shard.insert(name.clone(), Slot { reads: 1, turn: 0 });
                0
            }
        };
        Mark { marks: self, name, turn }
    }

    /// Voids the marks of the READs of this name, and removes what is near, as one.
    pub(crate) fn void<T>(&self, name: &[u8], remove: impl FnOnce() -> T) -> T {
        let mut shard = self.shard(name);
        if let Some(slot) = shard.get_mut(name) {
            slot.turn += 1;
        }
        remove()
    }

    /// Voids every mark. Not one step: a mark that is set meanwhile may stand or not.
    pub(crate) fn void_all(&self) {
        for shard in &self.shards {
            for slot in shard.lock().unwrap_or_else(PoisonError::into_inner).values_mut() {
                slot.turn += 1;
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn in_flight(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().unwrap().len()).sum()
    }

    /// Keeps every invalidation of names in this name's shard waiting.
    #[cfg(test)]
    pub(crate) fn block(&self, name: &[u8]) -> MutexGuard<'_, impl Sized> {
        self.shard(name)
    }
}

impl Mark<'_> {
    #[cfg(test)]
    pub(crate) fn stands(&self) -> bool {
        self.marks.shard(self.name).get(self.name).is_some_and(|slot| slot.turn == self.turn)
    }

    /// Runs `keep` unless an invalidation has voided this mark; says whether it ran.
    pub(crate) fn redeem(self, keep: impl FnOnce()) -> bool {
        let shard = self.marks.shard(self.name);
        let stands = shard.get(self.name).is_some_and(|slot| slot.turn == self.turn);
        if stands {
            keep();
        }
        // Before `self` is dropped, which locks again.
        drop(shard);
        stands
    }
}

impl Drop for Mark<'_> {
    fn drop(&mut self) {
        let mut shard = self.marks.shard(self.name);
        if let Some(slot) = shard.get_mut(self.name) {
            slot.reads -= 1;
            if slot.reads == 0 {
                shard.remove(self.name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> Bytes {
        Bytes::from_static(b"k")
    }

    fn stands(mark: Mark<'_>) -> bool {
        mark.redeem(|| ())
    }

    #[test]
    fn an_invalidation_voids_the_marks_that_it_finds_and_no_later_one() {
        let (marks, name, other) = (Marks::new(), name(), Bytes::from_static(b"other"));
        let (before, beside) = (marks.set(&name), marks.set(&other));
        marks.void(b"k", || ());
        let after = marks.set(&name);
        assert!(!stands(before));
        assert!(stands(after), "a mark is its READ's own");
        assert!(stands(beside));
        assert_eq!(marks.in_flight(), 0, "nothing is left behind");
    }

    #[test]
    fn readers_in_flight_together_share_a_fate_and_not_a_mark() {
        let (marks, name) = (Marks::new(), name());
        let (first, second) = (marks.set(&name), marks.set(&name));
        assert!(stands(first), "the first reply leaves the second one's mark alone");
        marks.void_all();
        assert!(!stands(second));
    }

    #[test]
    fn a_read_that_is_given_up_takes_its_mark_along() {
        let (marks, name) = (Marks::new(), name());
        drop(marks.set(&name));
        assert_eq!(marks.in_flight(), 0);
        marks.void(b"k", || ());
        assert_eq!(marks.in_flight(), 0, "an invalidation that nobody waits for leaves nothing");
    }
}
