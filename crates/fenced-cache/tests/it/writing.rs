//! The writer of section 4: how each write ends, and that it ends without its caller.

use std::sync::Arc;
use std::time::Duration;

use fenced_cache::{
    BreakerState, Cache, Commit, CommitState, Effects, Outcome, Put, RecordId, Settled, TransactionId, WriteError,
    WriteOutcome,
};
use fred::interfaces::KeysInterface;

use crate::support::{
    Hold, Ledger, PATIENCE, Row, bare, key, keyspace, policy, process, settings, soon, trusted, version,
};

fn committed(effects: Effects) -> Commit<()> {
    Commit { value: (), effects, record: Some(RecordId(7)), state: CommitState::Committed }
}

/// A new version of the row, put.
async fn put(cache: &Cache, row: &Row) -> WriteOutcome {
    let policy = policy(cache);
    let epochs = cache.capture(&key(1)).await.unwrap();
    let version = row.commit();
    cache.invalidate(Effects::new().put(Put::new(&key(1), version, version.to_string(), &policy, epochs))).await
}

#[tokio::test]
async fn an_applied_write_is_seen_by_every_process_and_marked() {
    let redis = testbed::redis().await;
    let ledger = Arc::new(Ledger::default());
    let writer = trusted(settings(&redis.url()), ledger.clone()).await;
    let reader = process(&redis.url()).await;
    let (policy, row) = (policy(&reader), Row::new());
    let page = key(2).tagged([keyspace().tag("author", "ann")]);
    reader.get_or_load(&key(1), &policy, row.load()).await.unwrap();
    reader.get_or_load(&page, &policy, row.load()).await.unwrap();
    let written = writer
        .write({
            let row = Arc::clone(&row);
            async move {
                row.commit();
                let effects = Effects::new().delete(&key(1)).tag(&keyspace().tag("author", "ann"));
                Ok::<_, std::io::Error>(committed(effects))
            }
        })
        .await
        .unwrap();
    assert_eq!(written.outcome, WriteOutcome::Applied);
    assert_eq!(*ledger.marked.lock().unwrap(), [RecordId(7)]);
    for key in [key(1), page] {
        let read = reader.get_or_load(&key, &policy, row.load()).await.unwrap();
        assert_eq!((read.outcome, version(&read)), (Outcome::Miss, 2));
    }
}

#[tokio::test]
async fn a_put_replaces_an_older_value_and_the_next_read_hits() {
    let redis = testbed::redis().await;
    let cache = process(&redis.url()).await;
    let (policy, row) = (policy(&cache), Row::new());
    cache.get_or_load(&key(1), &policy, row.load()).await.unwrap();
    assert_eq!(put(&cache, &row).await, WriteOutcome::Applied);
    let read = cache.get_or_load(&key(1), &policy, row.load()).await.unwrap();
    assert_eq!((read.outcome, version(&read), row.loads()), (Outcome::Hit, 2, 1));
}

#[tokio::test]
async fn a_late_put_never_replaces_a_newer_value_nor_brings_one_back() {
    let redis = testbed::redis().await;
    let cache = process(&redis.url()).await;
    let (policy, row) = (policy(&cache), Row::new());
    cache.get_or_load(&key(1), &policy, row.load()).await.unwrap();
    let epochs = cache.capture(&key(1)).await.unwrap();
    let late = Effects::new().put(Put::new(&key(1), row.commit(), "2", &policy, epochs));
    // The next write overtakes it.
    assert_eq!(put(&cache, &row).await, WriteOutcome::Applied);
    assert_eq!(cache.invalidate(late.clone()).await, WriteOutcome::Applied);
    assert_eq!(version(&cache.get_or_load(&key(1), &policy, row.load()).await.unwrap()), 3);
    // Or the newer value has been evicted meanwhile.
    let _: i64 = bare(&redis.url()).await.del(key(1).name().clone()).await.unwrap();
    assert_eq!(cache.invalidate(late).await, WriteOutcome::Applied);
    let read = cache.get_or_load(&key(1), &policy, row.load()).await.unwrap();
    assert_eq!((read.outcome, version(&read)), (Outcome::Miss, 3));
}

#[tokio::test]
async fn a_put_kills_a_refresh_that_read_the_older_row() {
    let redis = testbed::redis().await;
    let cache = process(&redis.url()).await;
    let (row, hold) = (Row::new(), Hold::new());
    let policy = cache
        .policy(fenced_cache::Policy::named("early", std::time::Duration::from_secs(60)).early_refresh(100.0))
        .unwrap();
    let slow = {
        let load = row.load();
        move || {
            let load = load();
            async move {
                tokio::time::sleep(std::time::Duration::from_millis(700)).await;
                load.await
            }
        }
    };
    // So costly that the next hits refresh early, with a chance of more than a half each.
    cache.get_or_load(&key(1), &policy, slow).await.unwrap();
    soon("an early refresh", async {
        while row.loads() < 2 {
            cache.get_or_load(&key(1), &policy, row.held(&hold)).await.unwrap();
        }
    })
    .await;
    hold.reached().await;
    assert_eq!(put(&cache, &row).await, WriteOutcome::Applied);
    hold.release();
    cache.shutdown().await;
    let after = process(&redis.url()).await;
    let read = after.get_or_load(&key(1), &crate::support::policy(&after), row.load()).await.unwrap();
    assert_eq!((read.outcome, version(&read)), (Outcome::Hit, 2), "the refresh of version 1 was refused");
}

#[tokio::test]
async fn a_caller_that_goes_away_does_not_part_commit_and_invalidation() {
    let redis = testbed::redis().await;
    let cache = process(&redis.url()).await;
    let (policy, row) = (policy(&cache), Row::new());
    cache.get_or_load(&key(1), &policy, row.load()).await.unwrap();
    let (begun, go) = (Arc::new(tokio::sync::Notify::new()), Arc::new(tokio::sync::Notify::new()));
    let caller = tokio::spawn({
        let (cache, row, begun, go) = (cache.clone(), Arc::clone(&row), Arc::clone(&begun), Arc::clone(&go));
        async move {
            cache
                .write(async move {
                    begun.notify_one();
                    go.notified().await;
                    row.commit();
                    Ok::<_, std::io::Error>(committed(Effects::new().delete(&key(1))))
                })
                .await
        }
    });
    begun.notified().await;
    caller.abort();
    assert!(caller.await.unwrap_err().is_cancelled());
    go.notify_one();
    soon("the write is applied", async {
        while version(&cache.get_or_load(&key(1), &policy, row.load()).await.unwrap()) != 2 {}
    })
    .await;
}

#[tokio::test]
async fn a_failed_transaction_invalidates_nothing() {
    let redis = testbed::redis().await;
    let cache = process(&redis.url()).await;
    let (policy, row) = (policy(&cache), Row::new());
    cache.get_or_load(&key(1), &policy, row.load()).await.unwrap();
    let failed = cache.write(async { Err::<Commit<()>, _>("constraint") }).await;
    assert!(matches!(failed, Err(WriteError::Failed("constraint"))));
    let panicked = cache.write(async { panic!("in the transaction") as Result<Commit<()>, &str> }).await;
    assert!(matches!(panicked, Err(WriteError::Panicked)));
    assert_eq!(cache.get_or_load(&key(1), &policy, row.load()).await.unwrap().outcome, Outcome::Hit);
    let deferred = cache.write(async { Ok::<_, &str>(committed(Effects::deferred())) }).await.unwrap();
    assert_eq!(deferred.outcome, WriteOutcome::Deferred);
    assert_eq!(cache.get_or_load(&key(1), &policy, row.load()).await.unwrap().outcome, Outcome::Hit);
}

#[tokio::test]
async fn a_commit_in_doubt_is_settled_before_anything_is_invalidated() {
    let redis = testbed::redis().await;
    let ledger = Arc::new(Ledger::default());
    let quick = settings(&redis.url()).apply_deadline(std::time::Duration::from_millis(200));
    let cache = trusted(quick, ledger.clone()).await;
    let (policy, row) = (policy(&cache), Row::new());
    let write = || {
        let cache = cache.clone();
        async move {
            let commit = Commit {
                value: (),
                effects: Effects::new().delete(&key(1)),
                record: Some(RecordId(9)),
                state: CommitState::InDoubt(TransactionId(1)),
            };
            cache.write(async move { Ok::<_, std::io::Error>(commit) }).await
        }
    };
    cache.get_or_load(&key(1), &policy, row.load()).await.unwrap();
    // Still in progress at the deadline: nothing is deleted, nothing marked; the relay acts once it is visible.
    assert_eq!(write().await.unwrap().outcome, WriteOutcome::Unknown);
    assert_eq!(cache.get_or_load(&key(1), &policy, row.load()).await.unwrap().outcome, Outcome::Hit);
    *ledger.settled.lock().unwrap() = Some(Settled::RolledBack);
    assert!(matches!(write().await, Err(WriteError::RolledBack)));
    assert_eq!(cache.get_or_load(&key(1), &policy, row.load()).await.unwrap().outcome, Outcome::Hit);
    assert!(ledger.marked.lock().unwrap().is_empty());
    *ledger.settled.lock().unwrap() = Some(Settled::Committed);
    row.commit();
    assert_eq!(write().await.unwrap().outcome, WriteOutcome::Applied);
    assert_eq!(version(&cache.get_or_load(&key(1), &policy, row.load()).await.unwrap()), 2);
    assert_eq!(*ledger.marked.lock().unwrap(), [RecordId(9)]);
}

#[tokio::test]
async fn shutting_down_lets_a_write_in_progress_finish() {
    let redis = testbed::redis().await;
    let (cache, other) = (process(&redis.url()).await, process(&redis.url()).await);
    let (policy, row, go) = (policy(&other), Row::new(), Arc::new(tokio::sync::Notify::new()));
    other.get_or_load(&key(1), &policy, row.load()).await.unwrap();
    let write = tokio::spawn({
        let (cache, row, go) = (cache.clone(), Arc::clone(&row), Arc::clone(&go));
        async move {
            cache
                .write(async move {
                    go.notified().await;
                    row.commit();
                    Ok::<_, std::io::Error>(committed(Effects::new().delete(&key(1))))
                })
                .await
        }
    });
    let closing = tokio::spawn(async move { cache.shutdown().await });
    go.notify_one();
    assert_eq!(soon("the write", write).await.unwrap().unwrap().outcome, WriteOutcome::Applied);
    soon("the shutdown", closing).await.unwrap();
    assert_eq!(version(&other.get_or_load(&key(1), &policy, row.load()).await.unwrap()), 2);
}

/// More than Redis answers within one command's time: sent all together, the last of them would time out in their own queue.
#[tokio::test]
async fn a_bulk_write_does_not_get_in_its_own_way() {
    let redis = testbed::redis().await;
    let settings = settings(&redis.url()).command_timeout(Duration::from_millis(200)).apply_deadline(PATIENCE);
    let cache = trusted(settings, Arc::new(Ledger::default())).await;
    let deleted = (0..100_000).fold(Effects::new(), |effects, id| effects.delete(&key(id)));
    assert_eq!(cache.invalidate(deleted).await, WriteOutcome::Applied);
    assert_eq!(cache.health().breaker, BreakerState::Closed);
}
