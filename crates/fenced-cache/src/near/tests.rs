//! What only the inside can arrange: a reply that is looked at late, a channel that overflows, the memory that is held.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fred::interfaces::{KeysInterface, TrackingInterface};
use futures_util::poll;
use testbed::RedisServer;
use tokio::time::{Instant, sleep, timeout};

use super::*;
use crate::key::Keyspace;
use crate::layout::Meta;
use crate::listen::conclude;
use crate::policy::Policy;
use crate::session::Session;
use crate::waiters::Waiters;
use crate::{BoxError, Cache, Effects, Loaded, NoJournal, Outcome, WriteOutcome};

fn keyspace() -> Keyspace {
    Keyspace::new("test").unwrap()
}

fn key(id: u64) -> Key {
    keyspace().entry("row", id)
}

fn near_settings(url: &str, bytes: usize) -> Settings {
    Settings::new(url, keyspace())
        .command_timeout(Duration::from_secs(5))
        .near_bytes(bytes)
        .near_ping(Duration::from_millis(20))
        .near_grace(Duration::from_secs(60))
}

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(20), future).await.unwrap_or_else(|_| panic!("never ended: {what}"))
}

async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    soon(what, async {
        while !condition() {
            sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

struct Bed {
    _redis: RedisServer,
    cache: Cache,
    policy: Policy,
    session: Arc<Session>,
    /// Another process.
    writer: Cache,
}

impl Bed {
    async fn new() -> Self {
        let redis = testbed::redis().await;
        let cache = Cache::start(near_settings(&redis.url(), 4 << 20), Arc::new(NoJournal)).unwrap();
        let writer = Cache::start(near_settings(&redis.url(), 0), Arc::new(NoJournal)).unwrap();
        eventually("both are ready", || cache.health().near && writer.health().trusted).await;
        let policy = cache.policy(Policy::named("test", Duration::from_secs(600)).near(true)).unwrap();
        let session = cache.inner.session.load_full().unwrap();
        Self { _redis: redis, cache, policy, session, writer }
    }

    fn near(&self) -> &Near {
        self.session.near.as_ref().unwrap()
    }

    fn is_near(&self, key: &Key) -> bool {
        self.near().store.get(key.name()).is_some()
    }

    async fn read(&self, key: &Key, payload: &[u8]) -> Outcome {
        let payload = Bytes::copy_from_slice(payload);
        let load = move || {
            let loaded = Loaded::new(payload.clone()).version(1);
            async move { Ok::<_, BoxError>(Some(loaded)) }
        };
        self.cache.get_or_load(key, &self.policy, load).await.unwrap().outcome
    }
}

#[tokio::test]
async fn a_reply_that_an_invalidation_overtook_is_answered_and_not_kept() {
    let bed = Bed::new().await;
    let tag = keyspace().tag("all", 1_u64);
    for tagged in [false, true] {
        let key = if tagged { key(1).tagged([tag.clone()]) } else { key(1) };
        bed.read(&key, b"v1").await;
        bed.near().flush(Flushed::Lagged);
        let mut pushes = bed.session.tracker.invalidation_rx();

        // Its reply is received, and the reader does not come to look at it.
        let mut read = std::pin::pin!(bed.near().read(&bed.session.tracker, &key));
        assert!(poll!(read.as_mut()).is_pending());
        // Whatever is asked later on the connection is answered later.
        let _: Option<Bytes> = bed.session.tracker.get("another").await.unwrap();
        let effects = if tagged { Effects::new().tag(&tag) } else { Effects::new().delete(&key) };
        assert_eq!(bed.writer.invalidate(effects).await, WriteOutcome::Applied);
        let changed = if tagged { tag.name() } else { key.name() };
        soon("the push", async {
            while !pushes.recv().await.unwrap().keys.iter().any(|name| name.as_bytes() == changed.as_ref()) {}
        })
        .await;
        // The listener has its own receiver: it is done with this push when it has taken a later one.
        let _: Option<Bytes> = bed.session.tracker.get("probe").await.unwrap();
        let probe = Bytes::from_static(b"probe");
        let mark = bed.near().marks.set(&probe);
        let _: () =
            bed.writer.inner.session.load_full().unwrap().client.set("probe", "1", None, None, false).await.unwrap();
        eventually("the listener has come so far", || !mark.stands()).await;

        let reply = read.await.unwrap();
        assert!(matches!(reply.seen, Seen::Fresh(_)), "it read the old value");
        let now = Instant::now();
        assert!(bed.near().get(&key, now).is_none(), "and keeps it out of near");
        assert_eq!(bed.is_near(&key), tagged, "a tag's push is about the tag alone");
        drop(mark);
        assert_eq!(bed.near().marks.in_flight(), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_channel_that_overflows_empties_everything() {
    let bed = Bed::new().await;
    let stays = key(1);
    eventually_near(&bed, &stays).await;
    // The listener is stuck in one push; those behind it overflow the channel.
    let stuck = Bytes::from_static(b"stuck");
    let client = bed.writer.inner.session.load_full().unwrap().client.clone();
    let counted = bed.session.tracker.invalidation_rx();
    let names: Vec<String> = (0..6_000).map(|n| format!("n{n}")).collect();
    let tracked = names.iter().map(|name| bed.session.tracker.get::<Option<Bytes>, _>(name.as_str()));
    futures_util::future::try_join_all(tracked).await.unwrap();
    let _: Option<Bytes> = bed.session.tracker.get(stuck.clone()).await.unwrap();
    {
        let near = Arc::clone(&bed.session);
        let (locked, is_locked) = std::sync::mpsc::channel();
        let (unlock, unlocked) = std::sync::mpsc::channel::<()>();
        let blocker = std::thread::spawn(move || {
            let _guard = near.near.as_ref().unwrap().marks.block(b"stuck");
            locked.send(()).unwrap();
            let _ = unlocked.recv();
        });
        is_locked.recv().unwrap();
        let _: () = client.set("stuck", "1", None, None, false).await.unwrap();
        let changes = names.iter().map(|name| client.set::<(), _, _>(name.as_str(), "1", None, None, false));
        futures_util::future::try_join_all(changes).await.unwrap();
        eventually("the channel overflows", || counted.len() > 5_000).await;
        assert!(bed.is_near(&stays));
        unlock.send(()).unwrap();
        blocker.join().unwrap();
    }
    eventually("all is dropped", || !bed.is_near(&stays)).await;
    eventually("and the next proof is believed", || bed.cache.health().near).await;
    eventually_near(&bed, &stays).await;
}

async fn eventually_near(bed: &Bed, key: &Key) {
    soon("a near hit", async { while bed.read(key, b"v1").await != Outcome::NearHit {} }).await;
}

#[tokio::test]
async fn a_server_that_is_emptied_before_the_canary_is_back_is_not_believed() {
    let bed = Bed::new().await;
    let near = bed.near();
    eventually_near(&bed, &key(1)).await;
    // As the listener does: lost, SET, and its reply; a READ in between is kept.
    near.flush(Flushed::Canary);
    near.read(&bed.session.tracker, &key(1)).await.unwrap();
    assert!(bed.is_near(&key(1)));
    let mut canary =
        Canary::new(&Plan::of(&bed.cache.inner.settings, &near.metrics).unwrap(), bed.session.tracker.clone());
    let answer = canary.answer().await;
    canary.judge(answer, near);
    assert!(!bed.is_near(&key(1)), "what was read before the canary was set is gone once it is");
    // The first proof follows at once; it needs the canary's own push.
    let answer = canary.answer().await;
    canary.judge(answer, near);
    assert!(!near.is_proved(Instant::now()), "nobody told this canary of its push");
}

#[tokio::test]
async fn a_proof_counts_after_what_was_pushed_before_it() {
    let bed = Bed::new().await;
    eventually_near(&bed, &key(1)).await;
    let tracker = &bed.session.tracker;
    // A second near cache on the same connection, whose pushes nobody takes but this test.
    let plan = Plan::of(&bed.cache.inner.settings, &bed.near().metrics).unwrap();
    let (near, mut canary, waiters) = (Near::new(&plan), Canary::new(&plan, tracker.clone()), Waiters::default());
    let mut pushes = tracker.invalidation_rx();
    let set = canary.answer().await;
    conclude(&waiters, &near, &mut canary, &mut pushes, set);
    near.read(tracker, &key(1)).await.unwrap();
    assert_eq!(bed.writer.invalidate(Effects::new().delete(&key(1))).await, WriteOutcome::Applied);
    let applied = Instant::now();
    let proof = canary.answer().await;
    assert!(near.store.get(key(1).name()).is_some(), "the push has not been taken");
    conclude(&waiters, &near, &mut canary, &mut pushes, proof);
    assert!(near.is_proved(applied + plan.grace), "by a GET that was sent after the write was applied");
    assert!(near.store.get(key(1).name()).is_none());
}

#[tokio::test]
async fn what_is_kept_holds_no_piece_of_the_read_buffer() {
    let bed = Bed::new().await;
    eventually_near(&bed, &key(1)).await;
    let Some(Kept { what: What::Entry(kept), .. }) = bed.near().store.get(key(1).name()) else { panic!("it is near") };
    bed.near().flush(Flushed::Lagged);
    let Stored { payload, token, epochs, .. } = Arc::into_inner(kept).expect("near holds it no longer");
    drop((token, epochs));
    assert!(payload.is_unique(), "a read buffer would still be held by its connection");
}

fn stored(payload: Bytes) -> Kept {
    let meta = Meta { negative: false, version: None, stored_at_ms: 0, fresh_until_ms: u64::MAX, cost: Duration::ZERO };
    let (token, epochs) = (Bytes::new(), Bytes::new());
    Kept {
        asked: Instant::now(),
        what: What::Entry(Arc::new(Stored { payload, meta, softened: false, token, epochs })),
    }
}

#[tokio::test]
async fn bytes_are_bounded_at_every_moment_and_by_all_that_an_entry_holds() {
    let settings = near_settings("redis://127.0.0.1:1", 4 << 20);
    let near = Near::new(&Plan::of(&settings, &NearMetrics::register()).unwrap());
    let mut sum = 0;
    for id in 0..10_000_u64 {
        let payload = Bytes::from(vec![b'x'; 500 + usize::try_from(id % 7).unwrap() * 300]);
        sum += payload.len();
        near.store.insert(key(id).name().clone(), stored(payload));
        assert!(near.store.weight() <= 4 << 20, "{} bytes", near.store.weight());
    }
    assert!(sum > 12 << 20);
    let held: usize = near
        .store
        .iter()
        .map(|(name, kept)| match kept.what {
            What::Entry(stored) => name.len() + stored.payload.len(),
            What::Epoch(_) => unreachable!(),
        })
        .sum();
    assert!(near.store.len() > 1_000 && held > 2 << 20, "{} entries, {held} bytes: it is used", near.store.len());
    near.flush(Flushed::Connection);
    assert_eq!((near.store.len(), near.store.weight()), (0, 0));
}

#[tokio::test]
async fn a_value_that_is_too_large_is_read_and_not_kept() {
    let bed = Bed::new().await;
    eventually_near(&bed, &key(1)).await;
    let large = vec![b'x'; usize::try_from(bed.near().max_weight).unwrap()];
    for _ in 0..3 {
        assert_ne!(bed.read(&key(2), &large).await, Outcome::NearHit);
    }
    assert_eq!(bed.read(&key(2), &large).await, Outcome::Hit);
    assert!(!bed.is_near(&key(2)) && bed.is_near(&key(1)), "nor does it push others out");
}
