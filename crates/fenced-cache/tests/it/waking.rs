//! Section 6's wake-ups: readers that wait for another process are woken by client tracking, not by a clock.

use std::sync::Arc;
use std::time::Duration;

use fenced_cache::{BoxError, Cache, Effects, Loaded, Outcome, Policy, Read};
use fred::interfaces::KeysInterface;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::support::{Hold, Row, bare, calls, key, minute, process, soon, version};

/// A policy whose lease and whose waiters outlast every test here: who is answered was woken.
fn patient(cache: &Cache) -> Policy {
    cache.policy(minute().load_deadline(Duration::from_secs(60)).wait_max(Duration::from_secs(120))).unwrap()
}

struct Bed {
    redis: testbed::RedisServer,
    row: Arc<Row>,
    hold: Arc<Hold>,
    holder: JoinHandle<Read>,
    waiter: JoinHandle<Read>,
    began: Instant,
}

impl Bed {
    /// One process loads, another sleeps on the entry's push.
    async fn new() -> Self {
        let redis = testbed::redis().await;
        let (first, second) = (process(&redis.url()).await, process(&redis.url()).await);
        let (row, hold) = (Row::new(), Hold::new());
        let holder = tokio::spawn({
            let load = row.held(&hold);
            async move { first.get_or_load(&key(1), &patient(&first), load).await.unwrap() }
        });
        hold.reached().await;
        let watch = bare(&redis.url()).await;
        let before = calls(&watch, "get").await;
        let began = Instant::now();
        let waiter = tokio::spawn({
            let load = row.load();
            async move { second.get_or_load(&key(1), &patient(&second), load).await.unwrap() }
        });
        // Its READ, and the second one over the tracking connection.
        soon("the waiter waits", async { while calls(&watch, "get").await < before + 2 {} }).await;
        Self { redis, row, hold, holder, waiter, began }
    }

    async fn woken(self) -> Read {
        let read = soon("the waiter is woken", self.waiter).await.unwrap();
        assert!(self.began.elapsed() < Duration::from_secs(50), "woken, not timed out");
        read
    }
}

#[tokio::test]
async fn by_the_fill() {
    let bed = Bed::new().await;
    bed.hold.release();
    let row = Arc::clone(&bed.row);
    let read = bed.woken().await;
    assert_eq!((read.outcome, version(&read), row.loads()), (Outcome::Coalesced, 1, 1));
}

#[tokio::test]
async fn by_an_invalidation() {
    let bed = Bed::new().await;
    let writer = process(&bed.redis.url()).await;
    bed.row.commit();
    writer.invalidate(Effects::new().delete(&key(1))).await;
    let (row, hold) = (Arc::clone(&bed.row), Arc::clone(&bed.hold));
    let read = bed.woken().await;
    assert_eq!(
        (read.outcome, version(&read), row.loads()),
        (Outcome::Miss, 2, 2),
        "the lease is gone: it loads itself"
    );
    hold.release();
}

#[tokio::test]
async fn by_a_lease_that_expires() {
    let bed = Bed::new().await;
    let expired: i64 = bare(&bed.redis.url()).await.pexpire(key(1).name().clone(), 1, None).await.unwrap();
    assert_eq!(expired, 1);
    let row = Arc::clone(&bed.row);
    assert_eq!((bed.woken().await.outcome, row.loads()), (Outcome::Miss, 2));
}

#[tokio::test]
async fn by_a_load_that_fails() {
    let redis = testbed::redis().await;
    let (first, second) = (process(&redis.url()).await, process(&redis.url()).await);
    let (row, hold) = (Row::new(), Hold::new());
    let fails = {
        let held = row.held(&hold);
        move || {
            let held = held();
            async move {
                held.await?;
                Err::<Option<Loaded>, BoxError>("no".into())
            }
        }
    };
    let holder = tokio::spawn(async move { first.get_or_load(&key(1), &patient(&first), fails).await });
    hold.reached().await;
    let watch = bare(&redis.url()).await;
    let before = calls(&watch, "get").await;
    let waiter = tokio::spawn({
        let load = row.load();
        async move { second.get_or_load(&key(1), &patient(&second), load).await.unwrap() }
    });
    soon("the waiter waits", async { while calls(&watch, "get").await < before + 2 {} }).await;
    hold.release();
    assert!(soon("the holder", holder).await.unwrap().is_err());
    assert_eq!(soon("the waiter is woken", waiter).await.unwrap().outcome, Outcome::Miss);
}

#[tokio::test]
async fn by_the_loss_of_the_connection() {
    let bed = Bed::new().await;
    bed.redis.kill().await;
    let hold = Arc::clone(&bed.hold);
    let read = bed.woken().await;
    assert_eq!(read.outcome, Outcome::Bypass);
    hold.release();
}

#[tokio::test]
async fn the_holder_is_answered_too() {
    let bed = Bed::new().await;
    bed.hold.release();
    assert_eq!(soon("the holder", bed.holder).await.unwrap().outcome, Outcome::Miss);
}
