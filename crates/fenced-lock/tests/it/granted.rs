//! The granted lock: order, exclusion, expiry, loss.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fenced_lock::{LockError, Name};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::bed::{LEASE, LOCK_KEY, PATIENCE, QUEUE_KEY, client, command, fenced, name, number, quick, until, within};

#[tokio::test]
async fn a_free_lock_leaves_no_key_and_each_fence_is_higher() {
    let redis = testbed::redis().await;
    let (lock, observer) = (fenced(&redis.url(), quick()).await, client(&redis.url()).await);
    let mut last = 0;
    for _ in 0..50 {
        let guard = lock.acquire(&name(), within(PATIENCE)).await.unwrap();
        let fence = guard.fence().unwrap();
        assert!(fence > last, "{fence} after {last}");
        last = fence;
        assert_eq!(number(&observer, "DBSIZE").await, 1);
        assert!(number(&observer, &format!("PTTL {LOCK_KEY}")).await > 0);
        assert!(matches!(lock.try_acquire(&name(), within(PATIENCE)).await, Err(LockError::Contended)));
        assert!(!guard.is_lost());
        guard.release().await.unwrap();
        assert_eq!(number(&observer, "DBSIZE").await, 0);
    }
}

#[tokio::test]
async fn a_deadline_is_kept_and_the_place_given_back() {
    let redis = testbed::redis().await;
    let (lock, observer) = (fenced(&redis.url(), quick()).await, client(&redis.url()).await);
    let guard = lock.acquire(&name(), within(PATIENCE)).await.unwrap();
    let began = Instant::now();
    let refused = lock.acquire(&name(), within(Duration::from_millis(230))).await;
    assert!(matches!(refused, Err(LockError::Timeout)), "{refused:?}");
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(230) && took < Duration::from_millis(600), "{took:?}");
    until("the queue is empty", async || number(&observer, &format!("EXISTS {QUEUE_KEY}")).await == 0).await;
    drop(guard);
    until("the lock is free", async || number(&observer, "DBSIZE").await == 0).await;
}

#[tokio::test]
async fn waiters_of_two_processes_are_served_in_the_order_of_their_coming() {
    let redis = testbed::redis().await;
    let processes = [fenced(&redis.url(), quick()).await, fenced(&redis.url(), quick()).await];
    let observer = client(&redis.url()).await;
    let guard = processes[0].acquire(&name(), within(PATIENCE)).await.unwrap();
    let served = Arc::new(Mutex::new(Vec::new()));
    let mut waiters = JoinSet::new();
    for waiter in 0..20_usize {
        let (lock, served) = (processes[waiter % 2].clone(), Arc::clone(&served));
        waiters.spawn(async move {
            let guard = lock.acquire(&name(), within(PATIENCE)).await.unwrap();
            served.lock().unwrap().push((waiter, guard.fence().unwrap()));
            guard.release().await.unwrap();
        });
        let queued = i64::try_from(waiter).unwrap() + 1;
        until("queued", async || number(&observer, &format!("LLEN {QUEUE_KEY}")).await == queued).await;
    }
    guard.release().await.unwrap();
    while let Some(done) = waiters.join_next().await {
        done.unwrap();
    }
    let served = std::mem::take(&mut *served.lock().unwrap());
    assert!(served.iter().map(|(waiter, _)| *waiter).eq(0..20), "{served:?}");
    assert!(served.is_sorted_by(|a, b| a.1 < b.1), "{served:?}");
    assert_eq!(number(&observer, "DBSIZE").await, 0);
}

/// Many waiters in several processes: never two at once, a strictly higher fence for each, two commands each.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_load_nobody_is_inside_twice_and_no_command_is_wasted() {
    const PROCESSES: usize = 3;
    const WAITERS: usize = 8;
    const ROUNDS: usize = 40;
    let redis = testbed::redis().await;
    let observer = client(&redis.url()).await;
    let inside = Arc::new(AtomicU64::new(0));
    let last = Arc::new(AtomicU64::new(0));
    let mut locks = Vec::new();
    for _ in 0..PROCESSES {
        locks.push(fenced(&redis.url(), fenced_lock::Timing::default()).await);
    }
    command(&observer, "CONFIG RESETSTAT").await;
    let mut tasks = JoinSet::new();
    for lock in &locks {
        for _ in 0..WAITERS {
            let (lock, inside, last) = (lock.clone(), Arc::clone(&inside), Arc::clone(&last));
            tasks.spawn(async move {
                for _ in 0..ROUNDS {
                    let guard = lock.acquire(&name(), within(PATIENCE)).await.unwrap();
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two are inside");
                    let fence = guard.fence().unwrap();
                    assert!(last.swap(fence, Ordering::SeqCst) < fence);
                    tokio::task::yield_now().await;
                    inside.fetch_sub(1, Ordering::SeqCst);
                    guard.release().await.unwrap();
                }
            });
        }
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let stats = command(&observer, "INFO commandstats").await.as_string().unwrap();
    let calls = |name: &str| {
        let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{name}:calls="))).unwrap_or("0,");
        line.split(',').next().unwrap().parse::<f64>().unwrap()
    };
    let acquisitions = f64::from(u32::try_from(PROCESSES * WAITERS * ROUNDS).unwrap());
    assert!(calls("evalsha") / acquisitions <= 2.2, "{} for {acquisitions}", calls("evalsha"));
    assert!(calls("spublish") <= acquisitions, "a release wakes one");
    assert_eq!(number(&observer, "DBSIZE").await, 0);
}

#[tokio::test]
async fn a_held_lock_is_kept_alive_until_its_longest_time_is_over() {
    let redis = testbed::redis().await;
    let lock = fenced(&redis.url(), quick()).await;
    let options = within(PATIENCE).max_hold(Duration::from_millis(3_500)).unwrap();
    let guard = lock.acquire(&name(), options).await.unwrap();
    let began = Instant::now();
    // Twice the longest lease, and still held.
    sleep(2 * LEASE).await;
    assert!(!guard.is_lost());
    assert!(matches!(lock.try_acquire(&name(), within(PATIENCE)).await, Err(LockError::Contended)));
    timeout(PATIENCE, guard.lost()).await.unwrap();
    // The longest time, and one lease that was renewed before it.
    assert!(began.elapsed() < Duration::from_millis(3_600) + LEASE, "{:?}", began.elapsed());
    assert!(matches!(guard.run(async { 1 }).await, Err(LockError::Lost)));
    lock.acquire(&name(), within(PATIENCE)).await.unwrap().release().await.unwrap();
    assert!(matches!(guard.release().await, Err(LockError::Lost)));
}

#[tokio::test]
async fn a_redis_that_stops_answering_costs_the_holder_its_lock_by_the_local_clock() {
    let redis = testbed::redis().await;
    let lock = fenced(&redis.url(), quick()).await;
    let guard = lock.acquire(&name(), within(PATIENCE)).await.unwrap();
    redis.pause();
    let began = Instant::now();
    timeout(PATIENCE, guard.lost()).await.unwrap();
    // The longer of the two leases: it may have been renewed once before Redis was stopped.
    assert!(began.elapsed() < LEASE, "not before its lease can have run out at Redis");
    let refused = lock.acquire(&name(), within(Duration::from_millis(300))).await;
    assert!(matches!(refused, Err(LockError::Timeout | LockError::Backend(_))), "{refused:?}");
    redis.resume();
    lock.acquire(&name(), within(PATIENCE)).await.unwrap().release().await.unwrap();
}

#[tokio::test]
async fn an_empty_redis_takes_the_lock_from_its_holder_and_gives_a_higher_fence() {
    let redis = testbed::redis().await;
    let lock = fenced(&redis.url(), quick()).await;
    let guard = lock.acquire(&name(), within(PATIENCE)).await.unwrap();
    let fence = guard.fence().unwrap();
    redis.restart_empty().await.unwrap();
    let next = lock.acquire(&name(), within(PATIENCE)).await.unwrap();
    assert!(next.fence().unwrap() > fence);
    timeout(PATIENCE, guard.lost()).await.unwrap();
    drop(guard);
    // The loser's release does not touch the winner's lock.
    sleep(Duration::from_millis(200)).await;
    assert!(matches!(lock.try_acquire(&name(), within(PATIENCE)).await, Err(LockError::Contended)));
    next.release().await.unwrap();
}

#[tokio::test]
async fn waiters_survive_a_restart_of_redis_with_its_data() {
    let redis =
        testbed::RedisServer::builder().appendonly(true).setting("appendfsync", "always").start().await.unwrap();
    let locks = [fenced(&redis.url(), quick()).await, fenced(&redis.url(), quick()).await];
    let observer = client(&redis.url()).await;
    let guard = locks[0].acquire(&name(), within(PATIENCE)).await.unwrap();
    let mut waiting = JoinSet::new();
    for (waiter, lock) in locks.iter().cloned().enumerate() {
        waiting.spawn(async move {
            let guard = lock.acquire(&name(), within(PATIENCE)).await.unwrap();
            sleep(Duration::from_millis(20)).await;
            guard.release().await.unwrap();
            waiter
        });
        let queued = i64::try_from(waiter).unwrap() + 1;
        until("queued", async || number(&observer, &format!("LLEN {QUEUE_KEY}")).await == queued).await;
    }
    redis.kill().await;
    redis.start_again().await.unwrap();
    // The holder goes on, or finds out that the outage was longer than its lease; then the waiters come, in order.
    drop(guard);
    assert_eq!(waiting.join_next().await.unwrap().unwrap(), 0);
    assert_eq!(waiting.join_next().await.unwrap().unwrap(), 1);
}

#[tokio::test]
async fn a_fence_is_raised_above_what_somebody_has_seen() {
    let redis = testbed::redis().await;
    let lock = fenced(&redis.url(), quick()).await;
    let guard = lock.acquire(&name(), within(PATIENCE)).await.unwrap();
    let future = guard.fence().unwrap() + 3_600_000_000;
    let raised = guard.raise(future).await.unwrap();
    assert!(raised > future);
    assert_eq!(guard.fence(), Some(raised));
    guard.release().await.unwrap();
    redis.restart_empty().await.unwrap();
    let guard = lock.acquire(&name(), within(PATIENCE)).await.unwrap();
    redis.restart_empty().await.unwrap();
    until("the loss is noticed", async || guard.is_lost()).await;
    assert!(matches!(guard.raise(1).await, Err(LockError::Lost)));
}

/// Whoever has it by a hand-over has everything at once, although its task has not been woken for it.
#[tokio::test]
async fn a_lock_that_was_handed_over_can_be_raised_and_given_back_at_once() {
    let redis = testbed::redis().await;
    let locks = [fenced(&redis.url(), quick()).await, fenced(&redis.url(), quick()).await];
    let observer = client(&redis.url()).await;
    for next in [0, 1] {
        let guard = locks[0].acquire(&name(), within(PATIENCE)).await.unwrap();
        let lock = locks[next].clone();
        let waiting = tokio::spawn(async move {
            let guard = lock.acquire(&name(), within(PATIENCE)).await.unwrap();
            let future = guard.fence().unwrap() + 3_600_000_000;
            assert!(guard.raise(future).await.unwrap() > future);
            guard.release().await.unwrap();
            // And without a word to its task in between.
            let first = lock.acquire(&name(), within(PATIENCE)).await.unwrap();
            let second = tokio::spawn(async move {
                let guard = lock.acquire(&name(), within(PATIENCE)).await.unwrap();
                sleep(2 * LEASE).await;
                assert!(!guard.is_lost(), "its lease was not renewed");
            });
            sleep(Duration::from_millis(20)).await;
            drop(first);
            second.await.unwrap();
        });
        until("queued", async || number(&observer, &format!("LLEN {QUEUE_KEY}")).await == 1).await;
        guard.release().await.unwrap();
        waiting.await.unwrap();
        until("the lock is free", async || number(&observer, "DBSIZE").await == 0).await;
    }
}

/// A guard may be dropped where there is no runtime, and in another one.
#[test]
fn a_guard_can_be_dropped_anywhere() {
    let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (own, other) = (runtime(), runtime());
    let (redis, lock) = own.block_on(async {
        let redis = testbed::redis().await;
        let lock = fenced(&redis.url(), quick()).await;
        (redis, lock)
    });
    let acquire = || own.block_on(lock.acquire(&name(), within(PATIENCE))).unwrap();
    drop(acquire());
    let guard = acquire();
    other.block_on(async { drop(guard) });
    let guard = acquire();
    other.block_on(guard.release()).unwrap();
    drop(other);
    acquire();
    let last = acquire();
    drop(redis);
    drop(own);
    drop(last);
}

#[tokio::test]
async fn closing_ends_the_waiters_and_waits_for_the_holders() {
    let redis = testbed::redis().await;
    let (lock, observer) = (fenced(&redis.url(), quick()).await, client(&redis.url()).await);
    let guard = lock.acquire(&name(), within(PATIENCE)).await.unwrap();
    let waiting = tokio::spawn({
        let lock = lock.clone();
        async move { lock.acquire(&name(), within(PATIENCE)).await }
    });
    until("queued", async || number(&observer, &format!("LLEN {QUEUE_KEY}")).await == 1).await;
    let closing = tokio::spawn({
        let lock = lock.clone();
        async move { lock.close().await }
    });
    assert!(matches!(waiting.await.unwrap(), Err(LockError::Backend(_))));
    assert!(matches!(lock.acquire(&name(), within(PATIENCE)).await, Err(LockError::Backend(_))));
    assert!(!closing.is_finished() && !guard.is_lost());
    drop(guard);
    timeout(PATIENCE, closing).await.unwrap().unwrap();
    assert_eq!(number(&observer, "DBSIZE").await, 0);
}

#[tokio::test]
async fn many_locks_do_not_disturb_each_other() {
    let redis = testbed::redis().await;
    let lock = fenced(&redis.url(), quick()).await;
    let mut guards = Vec::new();
    for key in 0..200_i64 {
        let name = Name::new("event", key).unwrap();
        guards.push(lock.acquire(&name, within(PATIENCE)).await.unwrap());
    }
    assert!(guards.iter().all(|guard| !guard.is_lost()));
    for guard in guards {
        guard.release().await.unwrap();
    }
}
