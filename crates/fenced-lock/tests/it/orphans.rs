//! Acquisitions that are dropped at every point of their lives leave nothing behind.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::bed::{FIRST_LEASE, LOCK_KEY, PATIENCE, client, command, fenced, name, number, quick, until, within};

/// Each of them is dropped after a random time from none to some round trips: before it was sent, in flight, queued,
/// granted and not told, held.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_random_cancellations_leave_neither_a_lock_nor_a_waiter() {
    const ROUNDS: usize = 625;
    let redis = testbed::redis().await;
    let observer = client(&redis.url()).await;
    let processes = [fenced(&redis.url(), quick()).await, fenced(&redis.url(), quick()).await];
    let mut tasks = JoinSet::new();
    for task in 0..16 {
        let lock = processes[task % 2].clone();
        tasks.spawn(async move {
            let mut acquired = 0;
            for _ in 0..ROUNDS {
                let limit = Duration::from_micros(fastrand::u64(0..4_000));
                let attempt = async {
                    let guard = lock.acquire(&name(), within(PATIENCE)).await.unwrap();
                    if fastrand::bool() {
                        guard.release().await.unwrap();
                    }
                };
                if timeout(limit, attempt).await.is_ok() {
                    acquired += 1;
                }
            }
            acquired
        });
    }
    let mut acquired = 0;
    while let Some(done) = tasks.join_next().await {
        acquired += done.unwrap();
    }
    assert!(acquired > 0 && acquired < 16 * ROUNDS, "{acquired} of {} were not cancelled", 16 * ROUNDS);
    // Nothing waits for a lease to run out: what was cancelled is given back, not forgotten.
    let began = tokio::time::Instant::now();
    until("all keys are gone", async || number(&observer, "DBSIZE").await == 0).await;
    assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
    for lock in &processes {
        lock.close().await;
    }
}

/// A connection that breaks in the middle may leave an ACQUIRE behind that nobody waits for; it ends with the first
/// lease.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancellations_while_the_connection_breaks_leave_nothing_for_longer_than_a_first_lease() {
    let redis = testbed::redis().await;
    let observer = client(&redis.url()).await;
    let lock = fenced(&redis.url(), quick()).await;
    let mut tasks = JoinSet::new();
    for _ in 0..16 {
        let lock = lock.clone();
        tasks.spawn(async move {
            for _ in 0..60 {
                let limit = Duration::from_micros(fastrand::u64(0..20_000));
                let _ = timeout(limit, lock.acquire(&name(), within(PATIENCE))).await;
            }
        });
    }
    let breaking = async {
        for _ in 0..10 {
            sleep(Duration::from_millis(30)).await;
            command(&observer, "CLIENT KILL TYPE normal SKIPME yes").await;
        }
    };
    breaking.await;
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    sleep(FIRST_LEASE).await;
    // Whoever asks now gets it at once: neither an owner nor a waiter is left.
    timeout(Duration::from_secs(2), lock.acquire(&name(), within(PATIENCE))).await.unwrap().unwrap();
    until("all keys are gone", async || number(&observer, &format!("EXISTS {LOCK_KEY}")).await == 0).await;
}
