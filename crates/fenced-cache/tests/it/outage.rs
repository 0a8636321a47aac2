//! Redis away: killed, stopped, never there. Reads go on through the gate, writes say so, nothing hangs.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fenced_cache::{
    BoxError, BreakerState, Cache, Effects, Loaded, NoJournal, Outcome, ReadError, Settings, WriteOutcome,
};
use futures_util::future::join_all;
use tokio::time::Instant;

use crate::support::{Hold, Row, eventually, key, keyspace, minute, policy, process, settings, soon, trusted, version};

/// A loopback address that nobody listens on.
fn nowhere() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("redis://{}", listener.local_addr().unwrap())
}

#[tokio::test]
async fn everything_works_with_redis_dead_from_the_first_second() {
    let cache = Cache::start(settings(&nowhere()), Arc::new(NoJournal)).unwrap();
    let (policy, row) = (policy(&cache), Row::new());
    for _ in 0..3 {
        let read = soon("a read", cache.get_or_load(&key(1), &policy, row.load())).await.unwrap();
        assert_eq!((read.outcome, version(&read)), (Outcome::Bypass, 1));
    }
    assert_eq!(row.loads(), 3, "nothing is stored, and nothing is shared between reads that do not overlap");
    assert_eq!(soon("a write", cache.invalidate(Effects::new().delete(&key(1)))).await, WriteOutcome::Pending);
    assert!(cache.capture(&key(1)).await.is_err());
    assert!(!cache.health().connected);
    soon("the shutdown", cache.shutdown()).await;
}

#[tokio::test]
async fn a_killed_redis_costs_loads_and_a_new_one_is_used_again() {
    let redis = testbed::redis().await;
    let cache = process(&redis.url()).await;
    let (policy, row) = (policy(&cache), Row::new());
    cache.get_or_load(&key(1), &policy, row.load()).await.unwrap();
    redis.kill().await;
    eventually("the loss is noticed", || !cache.health().connected).await;
    let read = soon("a read", cache.get_or_load(&key(1), &policy, row.load())).await.unwrap();
    assert_eq!(read.outcome, Outcome::Bypass);
    redis.restart_empty().await.unwrap();
    eventually("the new one is trusted", || cache.health().trusted).await;
    for outcome in [Outcome::Miss, Outcome::Hit] {
        assert_eq!(cache.get_or_load(&key(1), &policy, row.load()).await.unwrap().outcome, outcome);
    }
}

#[tokio::test]
async fn readers_in_the_middle_of_a_kill_are_all_answered() {
    let redis = testbed::redis().await;
    let cache = process(&redis.url()).await;
    let (policy, row) = (policy(&cache), Row::new());
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let readers: Vec<_> = (0..16_u64)
        .map(|reader| {
            let (cache, policy, row, stop) = (cache.clone(), policy.clone(), Arc::clone(&row), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut turn = 0;
                while !stop.load(Ordering::SeqCst) {
                    turn += 1;
                    let read = cache.get_or_load(&key(reader * 7 + turn % 5), &policy, row.load()).await.unwrap();
                    assert_eq!(version(&read), 1);
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    for _ in 0..2 {
        eventually("trusted", || cache.health().trusted).await;
        redis.kill().await;
        eventually("lost", || !cache.health().connected).await;
        redis.restart_empty().await.unwrap();
    }
    eventually("trusted", || cache.health().trusted).await;
    stop.store(true, Ordering::SeqCst);
    for reader in soon("the readers", join_all(readers)).await {
        reader.unwrap();
    }
}

#[tokio::test]
async fn a_stopped_redis_opens_the_breaker_and_is_off_the_hot_path() {
    let redis = testbed::redis().await;
    let quick = Settings::new(redis.url(), keyspace())
        .command_timeout(Duration::from_millis(300))
        .breaker(2, Duration::from_millis(20));
    let cache = trusted(quick, Arc::new(NoJournal)).await;
    let (policy, row) = (policy(&cache), Row::new());
    cache.get_or_load(&key(1), &policy, row.load()).await.unwrap();
    redis.pause();
    eventually_read(&cache, Outcome::Bypass, &row).await;
    eventually("the breaker opens or the session ends", || {
        cache.health().breaker != BreakerState::Closed || !cache.health().connected
    })
    .await;
    // Not one of these waits for a timeout.
    let began = Instant::now();
    for _ in 0..50 {
        let read = cache.get_or_load(&key(1), &policy, row.load()).await.unwrap();
        assert_eq!(read.outcome, Outcome::Bypass);
    }
    assert!(began.elapsed() < 50 * Duration::from_millis(300), "{:?}", began.elapsed());
    assert_eq!(cache.invalidate(Effects::new().delete(&key(1))).await, WriteOutcome::Pending);
    redis.resume();
    eventually("it is trusted again", || cache.health().trusted && cache.health().breaker == BreakerState::Closed)
        .await;
    eventually_read(&cache, Outcome::Hit, &row).await;
}

async fn eventually_read(cache: &Cache, outcome: Outcome, row: &Arc<Row>) {
    let policy = policy(cache);
    soon("a read with that outcome", async {
        while cache.get_or_load(&key(1), &policy, row.load()).await.unwrap().outcome != outcome {}
    })
    .await;
}

#[tokio::test]
async fn the_gate_bounds_the_database_and_says_when_it_is_full() {
    let narrow = settings(&nowhere()).gate(3, 2, Duration::from_secs(20));
    let cache = Cache::start(narrow, Arc::new(NoJournal)).unwrap();
    let policy = policy(&cache);
    let (row, hold) = (Row::new(), Hold::new());
    let (busy, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let load = {
        let (held, busy, most) = (row.held(&hold), Arc::clone(&busy), Arc::clone(&most));
        move || {
            let loading = held();
            let (busy, most) = (Arc::clone(&busy), Arc::clone(&most));
            async move {
                most.fetch_max(busy.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                let loaded = loading.await;
                busy.fetch_sub(1, Ordering::SeqCst);
                loaded
            }
        }
    };
    let read = |id: u64| {
        let (cache, policy, load) = (cache.clone(), policy.clone(), load.clone());
        tokio::spawn(async move { cache.get_or_load(&key(id), &policy, load).await })
    };
    let loading: Vec<_> = (0..3).map(read).collect();
    for _ in 0..3 {
        hold.reached().await;
    }
    // Two more keys may queue, with as many readers each as there are; a third key may not.
    let mut queued: Vec<_> = (0..10).map(|reader| read(10 + reader % 2)).collect();
    let refused = soon("a refusal", async {
        let mut id = 100;
        loop {
            id += 1;
            let attempt = read(id);
            match tokio::time::timeout(Duration::from_millis(50), attempt).await {
                Ok(answer) => break answer.unwrap(),
                Err(_) => queued.clear(),
            }
        }
    })
    .await;
    assert!(matches!(refused, Err(ReadError::Overloaded { retry_after }) if retry_after >= Duration::from_secs(1)));
    for _ in 0..20 {
        hold.release();
    }
    for answer in soon("those who were let in", join_all(loading.into_iter().chain(queued))).await {
        assert_eq!(version(&answer.unwrap().unwrap()), 1);
    }
    assert_eq!(most.load(Ordering::SeqCst), 3, "never more loads at once than the gate lets in");
}

#[tokio::test]
async fn a_bypass_is_shared_only_by_those_who_began_before_its_query() {
    let cache = Cache::start(settings(&nowhere()).gate(1, 8, Duration::from_secs(20)), Arc::new(NoJournal)).unwrap();
    let policy = policy(&cache);
    let (row, hold) = (Row::new(), Hold::new());
    let read = || {
        let (cache, policy, load) = (cache.clone(), policy.clone(), row.held(&hold));
        tokio::spawn(async move { cache.get_or_load(&key(1), &policy, load).await.unwrap() })
    };
    let first = read();
    hold.reached().await;
    // Its query has its snapshot. A write is acknowledged; who begins now must not be given that snapshot.
    row.commit();
    let later: Vec<_> = (0..5).map(|_| read()).collect();
    hold.release();
    assert_eq!(version(&soon("the first", first).await.unwrap()), 1);
    hold.reached().await;
    for _ in 0..5 {
        hold.release();
    }
    for read in soon("the later ones", join_all(later)).await {
        assert_eq!(version(&read.unwrap()), 2);
    }
    assert!(row.loads() < 6, "those who queued together shared: {} loads", row.loads());
}

#[tokio::test]
async fn an_outage_never_serves_what_nobody_can_vouch_for() {
    let redis = testbed::redis().await;
    let cache = process(&redis.url()).await;
    let policy = cache.policy(minute().stale_if_error(Duration::from_secs(60))).unwrap();
    let row = Row::new();
    cache.get_or_load(&key(1), &policy, row.load()).await.unwrap();
    redis.kill().await;
    eventually("the loss is noticed", || !cache.health().connected).await;
    let fails = || async { Err::<Option<Loaded>, _>(BoxError::from("down as well")) };
    let error = cache.get_or_load(&key(1), &policy, fails).await.unwrap_err();
    assert!(matches!(&error, ReadError::Load(cause) if cause.to_string() == "down as well"), "{error:?}");
}
