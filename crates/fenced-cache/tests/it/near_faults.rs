//! The near cache where something fails. A strict writer tells when the bound must hold: once its write has ended as
//! `Applied`, no near hit of any process may be older, whatever has become of the pushes.

use std::sync::Arc;
use std::time::Duration;

use fenced_cache::{Cache, Effects, NoJournal, Outcome, Policy, WriteOutcome};
use fred::interfaces::ClientLike;
use testbed::Direction::{ClientToServer, ServerToClient};
use testbed::{FaultProxy, RedisServer};

use crate::near::{near_policy, near_process, near_settings, until_near, until_version};
use crate::support::{Row, bare, eventually, key, process, settings, soon, trusted, version};

const GRACE: Duration = Duration::from_millis(600);

struct Bed {
    redis: RedisServer,
    proxy: FaultProxy,
    /// Behind the proxy.
    cache: Cache,
    policy: Policy,
    /// Beside it.
    strict: Cache,
    row: Arc<Row>,
}

impl Bed {
    /// Version 1 of key 1 is near.
    async fn new() -> Self {
        let redis = testbed::redis().await;
        let proxy = FaultProxy::start(redis.url()).await.unwrap();
        let quick = near_settings(&proxy.redis_url())
            .near_grace(GRACE)
            .command_timeout(Duration::from_millis(500))
            // The session outlives the fault: it is the near cache that has to know.
            .ping(Duration::from_secs(10))
            .breaker(1_000, Duration::from_millis(50));
        let cache = near_process(quick).await;
        let strict = trusted(settings(&redis.url()).near_grace(GRACE).near_strict(true), Arc::new(NoJournal)).await;
        let (policy, row) = (near_policy(&cache), Row::new());
        until_near(&cache, &key(1), &policy, &row).await;
        Self { redis, proxy, cache, policy, strict, row }
    }

    /// Commits, and has it acknowledged by the strict writer; then no reader may see anything older.
    async fn write_and_read(&self) {
        let committed = self.row.commit();
        let outcome = soon("the write", self.strict.invalidate(Effects::new().delete(&key(1)))).await;
        assert_eq!(outcome, WriteOutcome::Applied);
        for _ in 0..3 {
            let (key, load) = (key(1), self.row.load());
            let read = soon("a read", self.cache.get_or_load(&key, &self.policy, load)).await.unwrap();
            assert_eq!(version(&read), committed, "{:?}", read.outcome);
        }
    }

    async fn near_again(&self) {
        eventually("what is near is believed again", || self.cache.health().near).await;
        until_near(&self.cache, &key(1), &self.policy, &self.row).await;
        self.write_and_read().await;
    }
}

#[tokio::test]
async fn pushes_that_get_lost_are_missed() {
    let bed = Bed::new().await;
    let lost = bed.proxy.drop_matching(ServerToClient, |message| message.windows(10).any(|part| part == b"invalidate"));
    bed.write_and_read().await;
    eventually("nothing near is believed", || !bed.cache.health().near).await;
    assert!(lost.count() >= 2, "the entry's push and the canary's");
    lost.disarm();
    bed.near_again().await;
}

#[tokio::test]
async fn one_push_that_gets_lost_alone_costs_the_entrys_life_and_no_more() {
    let redis = testbed::redis().await;
    let proxy = FaultProxy::start(redis.url()).await.unwrap();
    let cache = near_process(near_settings(&proxy.redis_url()).near_ttl(Duration::from_millis(300))).await;
    let writer = process(&redis.url()).await;
    let (policy, row) = (near_policy(&cache), Row::new());
    until_near(&cache, &key(1), &policy, &row).await;
    let name = key(1).name().clone();
    let lost = proxy.drop_matching(ServerToClient, move |message| {
        message.windows(10).any(|part| part == b"invalidate") && message.windows(name.len()).any(|part| part == name)
    });
    let committed = row.commit();
    assert_eq!(writer.invalidate(Effects::new().delete(&key(1))).await, WriteOutcome::Applied);
    until_version(&cache, &key(1), &policy, &row, committed).await;
    // It may have been read again and tracked before the fault; by now the push was due.
    assert!(lost.count() >= 1, "a push was lost indeed");
}

#[tokio::test]
async fn a_flushed_server_is_noticed_though_the_client_library_does_not_tell() {
    let bed = Bed::new().await;
    let redis = bare(&bed.redis.url()).await;
    let _: () = redis.flushall(false).await.unwrap();
    // Nobody is tracked any more, so no push will tell of this write.
    bed.write_and_read().await;
    bed.near_again().await;
}

#[tokio::test]
async fn a_connection_that_is_lost_takes_everything_near_with_it() {
    let bed = Bed::new().await;
    bed.proxy.refuse(true);
    bed.proxy.cut();
    eventually("the loss is noticed", || !bed.cache.health().connected).await;
    assert!(!bed.cache.health().near);
    let committed = bed.row.commit();
    // Not even acknowledged: the memory of a session that has ended is not asked.
    let read = bed.cache.get_or_load(&key(1), &bed.policy, bed.row.load()).await.unwrap();
    assert_eq!((read.outcome, version(&read)), (Outcome::Bypass, committed));
    bed.write_and_read().await;
    bed.proxy.refuse(false);
    eventually("there is a new session", || bed.cache.health().trusted).await;
    let read = bed.cache.get_or_load(&key(1), &bed.policy, bed.row.load()).await.unwrap();
    assert!(matches!(read.outcome, Outcome::Miss | Outcome::Hit), "{:?}: it begins empty", read.outcome);
    bed.near_again().await;
}

#[tokio::test]
async fn a_killed_redis_is_not_outlived_by_what_is_near() {
    let bed = Bed::new().await;
    bed.redis.kill().await;
    eventually("the loss is noticed", || !bed.cache.health().connected).await;
    let committed = bed.row.commit();
    let read = bed.cache.get_or_load(&key(1), &bed.policy, bed.row.load()).await.unwrap();
    assert_eq!((read.outcome, version(&read)), (Outcome::Bypass, committed));
    bed.redis.restart_empty().await.unwrap();
    eventually("the writer has a session", || bed.strict.health().trusted).await;
    bed.near_again().await;
}

#[tokio::test]
async fn a_tracking_connection_that_is_half_open_is_believed_for_the_grace_and_no_longer() {
    let bed = Bed::new().await;
    // From the next reply of the canary on, nothing comes over this connection; the other one lives.
    let held = bed.proxy.hold_when(ServerToClient, b"canary-");
    held.reached().await;
    bed.write_and_read().await;
    assert!(!bed.cache.health().near && bed.cache.health().connected);
    held.release();
    bed.near_again().await;
}

#[tokio::test]
async fn a_canary_that_does_not_reach_redis_proves_nothing() {
    let bed = Bed::new().await;
    let held = bed.proxy.hold_when(ClientToServer, b":fc:canary:");
    held.reached().await;
    bed.write_and_read().await;
    held.release();
    bed.near_again().await;
}

#[tokio::test]
async fn a_network_that_is_gone_without_a_word_is_believed_for_the_grace_and_no_longer() {
    let bed = Bed::new().await;
    bed.proxy.half_open();
    bed.write_and_read().await;
    assert!(!bed.cache.health().near);
    bed.proxy.heal();
    bed.near_again().await;
}
