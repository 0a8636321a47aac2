//! How long an answer stands: negative and soft lifetimes, early refresh, and what may be served when it is old.

use std::time::Duration;

use fenced_cache::{BoxError, Effects, Loaded, Outcome, Policy, ReadError, WriteOutcome};
use fred::interfaces::KeysInterface;

use crate::support::{Hold, Row, bare, key, minute, policy, process, soon, version};

#[tokio::test]
async fn not_found_is_remembered_for_its_own_time() {
    let redis = testbed::redis().await;
    let cache = process(&redis.url()).await;
    let policy = cache.policy(minute().negative_ttl(Duration::from_secs(5))).unwrap();
    let nothing = || async { Ok::<_, BoxError>(None) };
    let miss = cache.get_or_load(&key(1), &policy, nothing).await.unwrap();
    assert_eq!((miss.outcome, miss.value), (Outcome::Miss, None));
    let hit = cache.get_or_load(&key(1), &policy, nothing).await.unwrap();
    assert_eq!((hit.outcome, hit.value), (Outcome::Negative, None));
    let ttl: i64 = bare(&redis.url()).await.pttl(key(1).name().clone()).await.unwrap();
    assert!((1..=5_000).contains(&ttl), "{ttl} ms");
}

#[tokio::test]
async fn a_stale_entry_is_answered_at_once_and_refreshed_once_in_the_background() {
    let redis = testbed::redis().await;
    let cache = process(&redis.url()).await;
    let row = Row::new();
    let short = Policy::named("swr", Duration::from_millis(1)).early_refresh(0.0);
    let stale = cache.policy(short.stale_while_revalidate(Duration::from_secs(600))).unwrap();
    cache.get_or_load(&key(1), &stale, row.load()).await.unwrap();
    row.commit();
    let hold = Hold::new();
    let mut reads = Vec::new();
    soon("stale reads do not wait", async {
        while reads.len() < 10 {
            let read = cache.get_or_load(&key(1), &stale, row.held(&hold)).await.unwrap();
            if read.outcome != Outcome::Hit {
                reads.push(read);
            }
        }
    })
    .await;
    assert!(reads.iter().all(|read| read.outcome == Outcome::Stale && version(read) == 1));
    assert!(reads.iter().all(|read| read.fresh_for.is_zero()));
    hold.reached().await;
    assert_eq!(row.loads(), 2, "one refresh for all of them");
    hold.release();
    soon("the refresh is stored", async {
        while version(&cache.get_or_load(&key(1), &stale, row.load()).await.unwrap()) != 2 {}
    })
    .await;
}

#[tokio::test]
async fn what_was_invalidated_is_not_served_stale() {
    let redis = testbed::redis().await;
    let cache = process(&redis.url()).await;
    let row = Row::new();
    let lenient = minute().stale_while_revalidate(Duration::from_secs(60)).stale_if_error(Duration::from_secs(60));
    let policy = cache.policy(lenient).unwrap();
    let fails = || async { Err::<Option<Loaded>, _>(BoxError::from("the database is down")) };
    cache.get_or_load(&key(1), &policy, row.load()).await.unwrap();
    assert_eq!(cache.invalidate(Effects::new().soften(&key(1))).await, WriteOutcome::Applied);
    let failed = cache.get_or_load(&key(1), &policy, fails).await;
    assert!(matches!(failed, Err(ReadError::Load(_))), "{failed:?}");
    row.commit();
    let read = cache.get_or_load(&key(1), &policy, row.load()).await.unwrap();
    assert_eq!((read.outcome, version(&read)), (Outcome::Miss, 2));
    // By the policy of strategy swr, it is.
    let soft = cache.policy(minute().serve_softened(true)).unwrap();
    assert_eq!(cache.invalidate(Effects::new().soften(&key(1))).await, WriteOutcome::Applied);
    let read = cache.get_or_load(&key(1), &soft, row.load()).await.unwrap();
    assert_eq!((read.outcome, version(&read)), (Outcome::Stale, 2));
}

#[tokio::test]
async fn an_old_entry_is_answered_when_the_database_fails_and_only_then() {
    let redis = testbed::redis().await;
    let cache = process(&redis.url()).await;
    let row = Row::new();
    let short = || Policy::named("fail-safe", Duration::from_millis(1)).early_refresh(0.0);
    let policy = cache.policy(short().stale_if_error(Duration::from_secs(600))).unwrap();
    cache.get_or_load(&key(1), &policy, row.load()).await.unwrap();
    let fails = || async { Err::<Option<Loaded>, _>(BoxError::from("the database is down")) };
    soon("it goes stale", async {
        loop {
            let read = cache.get_or_load(&key(1), &policy, fails).await.unwrap();
            if read.outcome == Outcome::Stale {
                assert_eq!(version(&read), 1);
                break;
            }
        }
    })
    .await;
    let panics = || async { panic!("the loader panics") as Result<Option<Loaded>, BoxError> };
    assert_eq!(cache.get_or_load(&key(1), &policy, panics).await.unwrap().outcome, Outcome::Stale);
    row.commit();
    let read = cache.get_or_load(&key(1), &policy, row.load()).await.unwrap();
    assert_eq!((read.outcome, version(&read)), (Outcome::Miss, 2));
    // Without the allowance the error is the answer.
    let strict = cache.policy(short()).unwrap();
    assert!(matches!(cache.get_or_load(&key(2), &strict, fails).await, Err(ReadError::Load(_))));
}

#[tokio::test]
async fn an_early_refresh_happens_before_expiry_and_never_without_beta() {
    let redis = testbed::redis().await;
    let cache = process(&redis.url()).await;
    let row = Row::new();
    // The load costs so much, and beta is so large, that most hits of an entry that is fresh for long are early.
    let eager = cache.policy(Policy::named("eager", Duration::from_secs(20)).early_refresh(100.0)).unwrap();
    let slow = {
        let load = row.load();
        move || {
            let load = load();
            async move {
                tokio::time::sleep(Duration::from_millis(300)).await;
                load.await
            }
        }
    };
    cache.get_or_load(&key(1), &eager, slow.clone()).await.unwrap();
    soon("a hit starts a refresh", async {
        while row.loads() < 2 {
            let hit = cache.get_or_load(&key(1), &eager, slow.clone()).await.unwrap();
            assert_eq!(hit.outcome, Outcome::Hit);
        }
    })
    .await;
    let never = policy(&cache);
    let row = Row::new();
    cache.get_or_load(&key(2), &never, row.load()).await.unwrap();
    for _ in 0..100 {
        cache.get_or_load(&key(2), &never, row.load()).await.unwrap();
    }
    assert_eq!(row.loads(), 1);
}
