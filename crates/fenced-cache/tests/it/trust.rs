//! Section 7: what a process may believe after it lost a connection, or has just started.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fenced_cache::{BreakerState, Cache, Effects, Outcome, WriteOutcome};
use fred::interfaces::KeysInterface;

use crate::support::{Ledger, Row, bare, eventually, key, policy, process, settings, soon, trusted, version};

#[tokio::test]
async fn a_process_that_has_just_started_trusts_nothing_before_the_replay() {
    let redis = testbed::redis().await;
    let row = Row::new();
    {
        // An entry that an acknowledged write should have removed: a failover brought it back.
        let before = process(&redis.url()).await;
        before.get_or_load(&key(1), &policy(&before), row.load()).await.unwrap();
        before.shutdown().await;
    }
    row.commit();
    let ledger = Arc::new(Ledger::default());
    ledger.record(&key(1), true);
    ledger.out_of_reach.store(true, Ordering::SeqCst);
    let fresh = Cache::start(settings(&redis.url()), ledger.clone()).unwrap();
    eventually("it is connected", || fresh.health().connected).await;
    for _ in 0..5 {
        let read = fresh.get_or_load(&key(1), &policy(&fresh), row.load()).await.unwrap();
        assert_eq!((read.outcome, version(&read)), (Outcome::Bypass, 2));
        assert!(!fresh.health().trusted);
    }
    // Its writes reach the primary all the same.
    assert_eq!(fresh.invalidate(Effects::new().delete(&key(2))).await, WriteOutcome::Applied);
    ledger.out_of_reach.store(false, Ordering::SeqCst);
    eventually("the replay is done", || fresh.health().trusted).await;
    let read = fresh.get_or_load(&key(1), &policy(&fresh), row.load()).await.unwrap();
    assert_eq!((read.outcome, version(&read)), (Outcome::Miss, 2));
}

#[tokio::test]
async fn on_the_same_redis_only_what_is_unmarked_is_repeated() {
    let redis = testbed::redis().await;
    let ledger = Arc::new(Ledger::default());
    let first = trusted(settings(&redis.url()).settle(Duration::ZERO), ledger.clone()).await;
    eventually("the last replay is recorded", || ledger.identity.lock().unwrap().is_some()).await;
    let (policy, row) = (policy(&first), Row::new());
    for id in [1, 2] {
        first.get_or_load(&key(id), &policy, row.load()).await.unwrap();
    }
    first.shutdown().await;
    ledger.record(&key(1), true);
    ledger.record(&key(2), false);
    row.commit();
    let second = trusted(settings(&redis.url()), ledger).await;
    let marked = second.get_or_load(&key(1), &policy, row.load()).await.unwrap();
    assert_eq!((marked.outcome, version(&marked)), (Outcome::Hit, 1), "a marked row was confirmed on this very server");
    let unmarked = second.get_or_load(&key(2), &policy, row.load()).await.unwrap();
    assert_eq!((unmarked.outcome, version(&unmarked)), (Outcome::Miss, 2));
}

#[tokio::test]
async fn another_redis_hears_everything_recent_before_it_is_read() {
    let redis = testbed::redis().await;
    let ledger = Arc::new(Ledger::default());
    let cache = trusted(settings(&redis.url()), ledger.clone()).await;
    let (policy, row) = (policy(&cache), Row::new());
    redis.kill().await;
    eventually("the loss is noticed", || !cache.health().connected).await;
    // More than one page of rows, all of them marked.
    row.commit();
    for id in 0..2_500 {
        ledger.record(&key(id), true);
    }
    ledger.out_of_reach.store(true, Ordering::SeqCst);
    redis.restart_empty().await.unwrap();
    // What a promoted replica would hold: entries from before the writes.
    let other = bare(&redis.url()).await;
    for id in [0, 1_300, 2_499] {
        let _: () = other.set(key(id).name().clone(), "old", None, None, false).await.unwrap();
    }
    eventually("it is connected", || cache.health().connected).await;
    ledger.out_of_reach.store(false, Ordering::SeqCst);
    eventually("it is trusted", || cache.health().trusted).await;
    for id in [0, 1_300, 2_499] {
        let left: Option<String> = other.get(key(id).name().clone()).await.unwrap();
        assert_eq!(left, None, "row {id}");
        let read = cache.get_or_load(&key(id), &policy, row.load()).await.unwrap();
        assert_eq!((read.outcome, version(&read)), (Outcome::Miss, 2));
    }
}

#[tokio::test]
async fn the_replay_is_repeated_once_the_deposed_primary_is_silent() {
    let redis = testbed::redis().await;
    let ledger = Arc::new(Ledger::default());
    let cache = trusted(settings(&redis.url()).settle(Duration::from_millis(300)), ledger.clone()).await;
    assert!(
        ledger.identity.lock().unwrap().is_none(),
        "until then this Redis is another one to everybody who connects"
    );
    // Confirmed by the deposed primary after this one was replayed to.
    let (policy, row) = (policy(&cache), Row::new());
    cache.get_or_load(&key(1), &policy, row.load()).await.unwrap();
    row.commit();
    ledger.record(&key(1), true);
    soon("the second replay", async {
        while version(&cache.get_or_load(&key(1), &policy, row.load()).await.unwrap()) != 2 {}
    })
    .await;
    eventually("it is recorded", || ledger.identity.lock().unwrap().is_some()).await;
}

#[tokio::test]
async fn a_replica_is_not_a_primary() {
    let (primary, replica) = (testbed::redis().await, testbed::redis().await);
    let cache = process(&replica.url()).await;
    let other = bare(&replica.url()).await;
    let replicaof = fred::types::CustomCommand::new_static("REPLICAOF", None, false);
    let port = primary.port().to_string();
    let _: () =
        fred::interfaces::ClientLike::custom(&other, replicaof, vec!["127.0.0.1", port.as_str()]).await.unwrap();
    // The deposed primary answers reads still; its first refusal of a write ends the session.
    soon("the session ends", async {
        while cache.health().connected {
            cache.invalidate(Effects::new().delete(&key(1))).await;
        }
    })
    .await;
    assert_eq!(cache.invalidate(Effects::new().delete(&key(1))).await, WriteOutcome::Pending);
}

/// One row of the outbox may name thousands of entries.
#[tokio::test]
async fn a_replay_of_a_bulk_write_does_not_get_in_its_own_way() {
    let redis = testbed::redis().await;
    let ledger = Arc::new(Ledger::default());
    ledger.record(&key(0), false);
    ledger.rows.lock().unwrap()[0].0.keys = (0..100_000).map(|id| key(id).name().clone()).collect();
    let client = bare(&redis.url()).await;
    let (first, last) = (key(0).name().clone(), key(99_999).name().clone());
    for name in [&first, &last] {
        client.set::<(), _, _>(name.clone(), "old", None, None, false).await.unwrap();
    }
    let cache = trusted(settings(&redis.url()).command_timeout(Duration::from_millis(200)), ledger).await;
    assert_eq!(client.exists::<i64, _>(vec![first, last]).await.unwrap(), 0);
    assert_eq!(cache.health().breaker, BreakerState::Closed);
}
