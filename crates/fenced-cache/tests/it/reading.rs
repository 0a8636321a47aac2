//! The reader of section 3: outcomes, sharing, cancellation, limits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use fenced_cache::{BoxError, Effects, Loaded, Outcome, ReadError, WriteOutcome};
use fred::interfaces::KeysInterface;
use futures_util::future::join_all;

use crate::support::{Hold, PATIENCE, Row, bare, calls, key, keyspace, minute, policy, process, soon, version};

#[tokio::test]
async fn a_miss_stores_and_a_hit_answers_with_what_was_stored() {
    let redis = testbed::redis().await;
    let cache = process(&redis.url()).await;
    let (policy, row) = (policy(&cache), Row::new());
    let miss = cache.get_or_load(&key(1), &policy, row.load()).await.unwrap();
    assert_eq!((miss.outcome, version(&miss)), (Outcome::Miss, 1));
    let hit = cache.get_or_load(&key(1), &policy, row.load()).await.unwrap();
    assert_eq!((hit.outcome, version(&hit), row.loads()), (Outcome::Hit, 1, 1));
    assert!(hit.fresh_for > Duration::from_secs(50) && hit.age < PATIENCE);
    let other = process(&redis.url()).await;
    let hit = other.get_or_load(&key(1), &policy, row.load()).await.unwrap();
    assert_eq!((hit.outcome, row.loads()), (Outcome::Hit, 1));
}

#[tokio::test]
async fn all_readers_in_all_processes_share_one_load() {
    let redis = testbed::redis().await;
    let url = redis.url();
    let processes = join_all((0..3).map(|_| process(&url))).await;
    let (row, hold) = (Row::new(), Hold::new());
    let readers: Vec<_> = (0..63)
        .map(|reader| {
            let (cache, load) = (processes[reader % 3].clone(), row.held(&hold));
            tokio::spawn(async move { cache.get_or_load(&key(1), &policy(&cache), load).await })
        })
        .collect();
    hold.reached().await;
    hold.release();
    let reads = soon("all readers are answered", join_all(readers)).await;
    let mut outcomes = [0, 0, 0];
    for read in reads {
        let read = read.unwrap().unwrap();
        assert_eq!(version(&read), 1);
        match read.outcome {
            Outcome::Miss => outcomes[0] += 1,
            Outcome::Coalesced => outcomes[1] += 1,
            Outcome::Hit => outcomes[2] += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(row.loads(), 1, "one load per key per cluster");
    assert_eq!(outcomes[0], 1, "miss, coalesced, hit: {outcomes:?}");
}

#[tokio::test]
async fn a_fill_that_an_invalidation_overtook_is_refused() {
    let redis = testbed::redis().await;
    let (reader, writer) = (process(&redis.url()).await, process(&redis.url()).await);
    let (row, hold) = (Row::new(), Hold::new());
    let policy = policy(&reader);
    let begun = tokio::spawn({
        let (reader, policy, load) = (reader.clone(), policy.clone(), row.held(&hold));
        async move { reader.get_or_load(&key(1), &policy, load).await }
    });
    hold.reached().await;
    // The load has its snapshot of version 1. Version 2 is committed and acknowledged.
    row.commit();
    assert_eq!(writer.invalidate(Effects::new().delete(&key(1))).await, WriteOutcome::Applied);
    // Readers who begin now join the flight that is under way, and must not be given what it loaded.
    let watch = bare(&redis.url()).await;
    let before = calls(&watch, "get").await;
    let joined: Vec<_> = (0..8)
        .map(|_| {
            let (reader, policy, load) = (reader.clone(), policy.clone(), row.load());
            tokio::spawn(async move { reader.get_or_load(&key(1), &policy, load).await.unwrap() })
        })
        .collect();
    soon("the later readers have read", async { while calls(&watch, "get").await < before + 8 {} }).await;
    hold.release();
    let first = soon("the first read", begun).await.unwrap().unwrap();
    assert_eq!((first.outcome, version(&first)), (Outcome::Miss, 1), "it began before the write: it may");
    for joined in soon("the later readers", join_all(joined)).await {
        assert_eq!(version(&joined.unwrap()), 2);
    }
    let after = reader.get_or_load(&key(1), &policy, row.load()).await.unwrap();
    assert_eq!(version(&after), 2, "nothing stale was stored");
}

#[tokio::test]
async fn a_tag_invalidated_during_the_load_is_noticed_after_the_fill() {
    let redis = testbed::redis().await;
    let (reader, writer) = (process(&redis.url()).await, process(&redis.url()).await);
    let (row, hold) = (Row::new(), Hold::new());
    let policy = policy(&reader);
    let tag = keyspace().tag("author", "ann");
    let page = key(1).tagged([tag.clone(), keyspace().tag("author", "bob")]);
    let begun = tokio::spawn({
        let (reader, policy, page, load) = (reader.clone(), policy.clone(), page.clone(), row.held(&hold));
        async move { reader.get_or_load(&page, &policy, load).await }
    });
    hold.reached().await;
    row.commit();
    assert_eq!(writer.invalidate(Effects::new().tag(&tag)).await, WriteOutcome::Applied);
    let watch = bare(&redis.url()).await;
    let before = calls(&watch, "get").await;
    let joined: Vec<_> = (0..8)
        .map(|_| {
            let (reader, policy, page, load) = (reader.clone(), policy.clone(), page.clone(), row.load());
            tokio::spawn(async move { reader.get_or_load(&page, &policy, load).await.unwrap() })
        })
        .collect();
    // Each has read the entry and its two epochs.
    soon("the later readers have read", async { while calls(&watch, "get").await < before + 8 * 3 {} }).await;
    hold.release();
    assert_eq!(version(&soon("the first read", begun).await.unwrap().unwrap()), 1);
    for joined in soon("the later readers", join_all(joined)).await {
        assert_eq!(version(&joined.unwrap()), 2);
    }
    let after = reader.get_or_load(&page, &policy, row.load()).await.unwrap();
    assert_eq!(version(&after), 2, "the entry was stored, and its epoch is not the current one");
    let hit = writer.get_or_load(&page, &policy, row.load()).await.unwrap();
    assert_eq!((hit.outcome, version(&hit)), (Outcome::Hit, 2));
}

#[tokio::test]
async fn a_lost_epoch_invalidates_and_never_revives() {
    let redis = testbed::redis().await;
    let cache = process(&redis.url()).await;
    let (policy, row) = (policy(&cache), Row::new());
    let tag = keyspace().tag("t", 1_u64);
    let page = key(1).tagged([tag.clone()]);
    cache.get_or_load(&page, &policy, row.load()).await.unwrap();
    // Evicted, or expired.
    let _: i64 = bare(&redis.url()).await.del(tag.name().clone()).await.unwrap();
    row.commit();
    let read = cache.get_or_load(&page, &policy, row.load()).await.unwrap();
    assert_eq!((read.outcome, version(&read)), (Outcome::Miss, 2));
    assert_eq!(cache.get_or_load(&page, &policy, row.load()).await.unwrap().outcome, Outcome::Hit);
}

#[tokio::test]
async fn a_load_that_fails_panics_or_hangs_gives_its_lease_back() {
    let redis = testbed::redis().await;
    let (cache, other) = (process(&redis.url()).await, process(&redis.url()).await);
    let row = Row::new();
    let policy = cache.policy(minute().load_deadline(Duration::from_millis(50))).unwrap();
    let load = |kind: u8| {
        move || async move {
            match kind {
                0 => Err(BoxError::from("no")),
                1 => panic!("the loader panics"),
                _ => std::future::pending::<Result<Option<Loaded>, BoxError>>().await,
            }
        }
    };
    for kind in 0..3_u8 {
        let error = cache.get_or_load(&key(kind.into()), &policy, load(kind)).await.unwrap_err();
        match kind {
            0 => assert!(matches!(error, ReadError::Load(_)), "{error:?}"),
            1 => assert!(matches!(error, ReadError::LoadPanicked), "{error:?}"),
            _ => assert!(matches!(error, ReadError::LoadTimeout), "{error:?}"),
        }
        let read = other.get_or_load(&key(kind.into()), &policy, row.load()).await.unwrap();
        assert!(matches!(read.outcome, Outcome::Miss | Outcome::Coalesced), "{read:?}");
        assert_eq!(other.get_or_load(&key(kind.into()), &policy, row.load()).await.unwrap().outcome, Outcome::Hit);
    }
    assert_eq!(row.loads(), 3);
}

#[tokio::test]
async fn no_caller_that_goes_away_kills_the_load() {
    let redis = testbed::redis().await;
    let cache = process(&redis.url()).await;
    let (policy, row, hold) = (policy(&cache), Row::new(), Hold::new());
    let leader = tokio::spawn({
        let (cache, policy, load) = (cache.clone(), policy.clone(), row.held(&hold));
        async move { cache.get_or_load(&key(1), &policy, load).await }
    });
    hold.reached().await;
    let follower = tokio::spawn({
        let (cache, policy, load) = (cache.clone(), policy.clone(), row.load());
        async move { cache.get_or_load(&key(1), &policy, load).await }
    });
    leader.abort();
    assert!(leader.await.unwrap_err().is_cancelled());
    hold.release();
    let read = soon("the follower", follower).await.unwrap().unwrap();
    assert_eq!((version(&read), row.loads()), (1, 1));
    assert_eq!(cache.get_or_load(&key(1), &policy, row.load()).await.unwrap().outcome, Outcome::Hit);
}

#[tokio::test]
async fn a_read_may_be_dropped_at_every_await() {
    let redis = testbed::redis().await;
    let cache = process(&redis.url()).await;
    let (policy, row) = (policy(&cache), Row::new());
    // One poll more in each round: every await of a miss is the one at which somebody goes away.
    for polls in 0..40 {
        let page = key(polls).tagged([keyspace().tag("t", polls)]);
        let mut read = Box::pin(cache.get_or_load(&page, &policy, row.load()));
        for _ in 0..polls {
            if futures_util::poll!(read.as_mut()).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(read);
        let read = soon("the next reader", cache.get_or_load(&page, &policy, row.load())).await.unwrap();
        assert_eq!(version(&read), 1);
    }
}

#[tokio::test]
async fn a_value_too_large_is_served_and_shared_and_not_stored() {
    let redis = testbed::redis().await;
    let cache = process(&redis.url()).await;
    let policy = cache.policy(minute().max_value_bytes(10)).unwrap();
    let loads = Arc::new(AtomicUsize::new(0));
    let hold = Hold::new();
    let large = {
        let (loads, hold, row) = (Arc::clone(&loads), Arc::clone(&hold), Row::new());
        let held = row.held(&hold);
        move || {
            loads.fetch_add(1, Ordering::SeqCst);
            let held = held();
            async move {
                held.await?;
                Ok::<_, BoxError>(Some(Loaded::new("more than ten bytes")))
            }
        }
    };
    let readers: Vec<_> = (0..4)
        .map(|_| {
            let (cache, policy, large) = (cache.clone(), policy.clone(), large.clone());
            tokio::spawn(async move { cache.get_or_load(&key(1), &policy, large).await.unwrap() })
        })
        .collect();
    hold.reached().await;
    hold.release();
    for read in soon("the readers", join_all(readers)).await {
        assert_eq!(read.unwrap().value.unwrap(), "more than ten bytes");
    }
    assert_eq!(loads.load(Ordering::SeqCst), 1, "the lease that was still there proved it current");
    let left: Option<String> = bare(&redis.url()).await.get(key(1).name().clone()).await.unwrap();
    assert_eq!(left, None, "neither value nor lease");
}

#[tokio::test]
async fn keys_are_any_bytes() {
    let redis = testbed::redis().await;
    let cache = process(&redis.url()).await;
    let (policy, row) = (policy(&cache), Row::new());
    for id in [&b"\0"[..], b"}{", b"\r\n$3\r\n", b"\xff\xfe", &[b'x'; 4_000], b""] {
        let key = keyspace().entry("bytes", id);
        assert_eq!(cache.get_or_load(&key, &policy, row.load()).await.unwrap().outcome, Outcome::Miss);
        assert_eq!(cache.get_or_load(&key, &policy, row.load()).await.unwrap().outcome, Outcome::Hit);
        assert_eq!(cache.invalidate(Effects::new().delete(&key)).await, WriteOutcome::Applied);
        assert_eq!(cache.get_or_load(&key, &policy, row.load()).await.unwrap().outcome, Outcome::Miss);
    }
}

#[tokio::test]
async fn a_full_redis_costs_loads_and_no_answer() {
    let redis = testbed::RedisServer::builder().setting("maxmemory-policy", "noeviction").start().await.unwrap();
    let cache = process(&redis.url()).await;
    let (policy, row) = (policy(&cache), Row::new());
    cache.get_or_load(&key(1), &policy, row.load()).await.unwrap();
    let client = bare(&redis.url()).await;
    crate::support::config_set(&client, "maxmemory", "1").await;
    let read = cache.get_or_load(&key(2), &policy, row.load()).await.unwrap();
    assert_eq!((read.outcome, version(&read)), (Outcome::Bypass, 1));
    assert_eq!(cache.get_or_load(&key(1), &policy, row.load()).await.unwrap().outcome, Outcome::Hit);
    row.commit();
    assert_eq!(cache.invalidate(Effects::new().delete(&key(1)).soften(&key(2))).await, WriteOutcome::Applied);
    assert_eq!(version(&cache.get_or_load(&key(1), &policy, row.load()).await.unwrap()), 2);
    assert!(cache.health().trusted, "a refusal is an answer: it opens no breaker and ends no session");
}

#[tokio::test]
async fn a_reader_that_waits_too_long_for_another_process_asks_the_database() {
    let redis = testbed::redis().await;
    let (slow, other) = (process(&redis.url()).await, process(&redis.url()).await);
    let (row, hold, done) = (Row::new(), Hold::new(), Arc::new(AtomicBool::new(false)));
    // The lease outlives the waiter's patience by far.
    let patient = slow.policy(minute().load_deadline(Duration::from_secs(15))).unwrap();
    let hasty =
        other.policy(minute().load_deadline(Duration::from_millis(20)).wait_max(Duration::from_millis(2_100))).unwrap();
    let holder = tokio::spawn({
        let (load, done) = (row.held(&hold), Arc::clone(&done));
        async move {
            let read = slow.get_or_load(&key(1), &patient, load).await;
            done.store(true, Ordering::SeqCst);
            read
        }
    });
    hold.reached().await;
    let read = soon("the waiter", other.get_or_load(&key(1), &hasty, row.load())).await.unwrap();
    assert_eq!((read.outcome, done.load(Ordering::SeqCst)), (Outcome::Bypass, false));
    hold.release();
    soon("the holder", holder).await.unwrap().unwrap();
}
