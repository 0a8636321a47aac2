//! The granted lock on a network that delays, loses and cuts.

use std::time::Duration;

use fenced_lock::LockError;
use testbed::{Cut, Direction, FaultProxy};
use tokio::time::{Instant, sleep, timeout};

use crate::bed::{
    FIRST_LEASE, LEASE, LOCK_KEY, PATIENCE, QUEUE_KEY, client, command, fenced, name, number, quick, until, within,
};

/// A grant that was on the way for longer than its lease, while somebody else had the lock: neither the time of its
/// arrival counts, nor is it taken for the answer to a later wait.
#[tokio::test]
async fn a_grant_that_comes_too_late_is_not_believed() {
    let redis = testbed::redis().await;
    let proxy = FaultProxy::start(redis.url()).await.unwrap();
    let (first, late, third) =
        (fenced(&redis.url(), quick()).await, fenced(&proxy.url(), quick()).await, fenced(&redis.url(), quick()).await);
    let observer = client(&redis.url()).await;
    let guard = first.acquire(&name(), within(PATIENCE)).await.unwrap();
    let waiting = tokio::spawn(async move { late.acquire(&name(), within(PATIENCE)).await });
    until("queued", async || number(&observer, &format!("LLEN {QUEUE_KEY}")).await == 1).await;
    // Both directions of time: what it is told is kept, and what it asks is not answered.
    proxy.hold(Direction::ServerToClient);
    guard.release().await.unwrap();
    let owner = command(&observer, &format!("HGET {LOCK_KEY} o")).await.as_string().unwrap();
    assert!(!owner.is_empty(), "the grant was made");
    let guard = third.acquire(&name(), within(PATIENCE)).await.unwrap();
    assert_ne!(command(&observer, &format!("HGET {LOCK_KEY} o")).await.as_string().unwrap(), owner);
    proxy.release(Direction::ServerToClient);
    for _ in 0..40 {
        sleep(Duration::from_millis(5)).await;
        assert!(!waiting.is_finished(), "two hold it");
    }
    assert!(!guard.is_lost());
    let fence = guard.fence();
    guard.release().await.unwrap();
    let late = waiting.await.unwrap().unwrap();
    assert!(late.fence() > fence);
}

#[tokio::test]
async fn a_lost_reply_costs_a_second_question_and_nothing_else() {
    let redis = testbed::redis().await;
    let proxy = FaultProxy::start(redis.url()).await.unwrap();
    let (lock, observer) = (fenced(&proxy.url(), quick()).await, client(&redis.url()).await);
    // Somebody else has it: so the lost reply is the one with the ticket.
    let holder = fenced(&redis.url(), quick()).await;
    let guard = holder.acquire(&name(), within(PATIENCE)).await.unwrap();
    let cut = proxy.cut_when(Direction::ClientToServer, b"EVALSHA", Cut::After);
    let waiting = tokio::spawn(async move { (lock.acquire(&name(), within(PATIENCE)).await, lock) });
    cut.reached().await;
    until("queued once", async || number(&observer, &format!("LLEN {QUEUE_KEY}")).await == 1).await;
    guard.release().await.unwrap();
    let (guard, lock) = waiting.await.unwrap();
    let guard = guard.unwrap();
    // And the reply to a release.
    let cut = proxy.cut_when(Direction::ClientToServer, b"EVALSHA", Cut::After);
    let released = guard.release().await;
    assert!(matches!(released, Ok(()) | Err(LockError::Lost)), "{released:?}");
    assert_eq!(cut.count(), 1);
    until("all keys are gone", async || number(&observer, "DBSIZE").await == 0).await;
    // And the reply that would have said 'yours'.
    let cut = proxy.cut_when(Direction::ClientToServer, b"EVALSHA", Cut::After);
    let guard = lock.acquire(&name(), within(PATIENCE)).await.unwrap();
    assert_eq!(cut.count(), 1);
    assert!(!guard.is_lost());
    guard.release().await.unwrap();
    assert_eq!(number(&observer, "DBSIZE").await, 0);
}

#[tokio::test]
async fn a_waiter_that_was_away_comes_back_to_its_place() {
    let redis = testbed::redis().await;
    let proxy = FaultProxy::start(redis.url()).await.unwrap();
    let away = fenced(&proxy.url(), quick()).await;
    let (holder, second, third) =
        (fenced(&redis.url(), quick()).await, fenced(&redis.url(), quick()).await, fenced(&redis.url(), quick()).await);
    let observer = client(&redis.url()).await;
    let queued = async |waiting| {
        until("queued", async || number(&observer, &format!("LLEN {QUEUE_KEY}")).await == waiting).await;
    };
    let guard = holder.acquire(&name(), within(PATIENCE)).await.unwrap();
    let first = tokio::spawn(async move { away.acquire(&name(), within(PATIENCE)).await.unwrap() });
    queued(1).await;
    let next = tokio::spawn(async move { second.acquire(&name(), within(PATIENCE)).await.unwrap() });
    queued(2).await;
    let last = tokio::spawn(async move { third.acquire(&name(), within(PATIENCE)).await.unwrap() });
    queued(3).await;
    proxy.refuse(true);
    proxy.cut();
    // Until Redis has seen it go: then a release passes it over.
    until("gone", async || {
        let channels = command(&observer, "PUBSUB SHARDCHANNELS").await.into_array();
        channels.len() == 3
    })
    .await;
    guard.release().await.unwrap();
    let guard = next.await.unwrap();
    assert!(!first.is_finished() && !last.is_finished());
    proxy.refuse(false);
    // Back again, before the one that came later.
    queued(2).await;
    guard.release().await.unwrap();
    let guard = first.await.unwrap();
    assert!(!last.is_finished());
    guard.release().await.unwrap();
    last.await.unwrap().release().await.unwrap();
}

#[tokio::test]
async fn a_holder_survives_an_outage_that_is_shorter_than_its_lease() {
    let redis = testbed::redis().await;
    let proxy = FaultProxy::start(redis.url()).await.unwrap();
    let lock = fenced(&proxy.url(), quick()).await;
    let guard = lock.acquire(&name(), within(PATIENCE)).await.unwrap();
    // The first renewal makes the lease a long one.
    sleep(FIRST_LEASE).await;
    proxy.cut();
    proxy.refuse(true);
    sleep(LEASE / 3).await;
    proxy.refuse(false);
    sleep(LEASE).await;
    assert!(!guard.is_lost());
    guard.release().await.unwrap();
}

#[tokio::test]
async fn a_lease_is_counted_from_when_it_was_asked_for() {
    let redis = testbed::redis().await;
    let proxy = FaultProxy::start(redis.url()).await.unwrap();
    let lock = fenced(&proxy.url(), quick()).await;
    lock.acquire(&name(), within(PATIENCE)).await.unwrap().release().await.unwrap();
    // Its renewals do not arrive, and its first reply comes late.
    let delay = Duration::from_millis(120);
    proxy.delay(Direction::ServerToClient, delay);
    let asked = Instant::now();
    let guard = lock.acquire(&name(), within(PATIENCE)).await.unwrap();
    assert!(asked.elapsed() >= delay);
    proxy.hold(Direction::ClientToServer);
    timeout(PATIENCE, guard.lost()).await.unwrap();
    assert!(asked.elapsed() < FIRST_LEASE, "{:?}: Redis' lease was over before", asked.elapsed());
}
