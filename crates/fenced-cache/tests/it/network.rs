//! Messages that come late, twice, or never, forced by the fault proxy: the interleavings in which a network could make
//! the stores differ from the model.

use std::sync::Arc;
use std::time::Duration;

use fenced_cache::{BoxError, Effects, Loaded, NoJournal, Outcome, Put, Settings, WriteOutcome};
use fred::interfaces::KeysInterface;
use testbed::Direction::{ClientToServer, ServerToClient};
use testbed::{Cut, FaultProxy, RedisServer};

use crate::support::{
    Hold, Row, bare, calls, eventually, key, keyspace, minute, policy, process, settings, soon, trusted, version,
};

struct Bed {
    redis: RedisServer,
    proxy: FaultProxy,
}

impl Bed {
    async fn new() -> Self {
        let redis = testbed::redis().await;
        let proxy = FaultProxy::start(redis.url()).await.unwrap();
        Self { redis, proxy }
    }

    /// A process behind the proxy, with an unknown outcome after this long.
    async fn distant(&self, command_timeout: Duration) -> fenced_cache::Cache {
        let patient = Settings::new(self.proxy.redis_url(), keyspace())
            .command_timeout(command_timeout)
            // No breaker and no lost session before the fault has done what it is for.
            .breaker(1_000, Duration::from_millis(50))
            .ping(Duration::from_secs(10));
        trusted(patient, Arc::new(NoJournal)).await
    }
}

fn text(text: &'static str) -> impl Fn() -> std::future::Ready<Result<Option<Loaded>, BoxError>> + Clone + Send + Sync {
    move || std::future::ready(Ok(Some(Loaded::new(text).version(1))))
}

#[tokio::test]
async fn a_fill_on_the_wire_loses_against_an_invalidation_that_arrives_first() {
    let bed = Bed::new().await;
    let slow = bed.distant(Duration::from_secs(5)).await;
    let near = process(&bed.redis.url()).await;
    let (policy, row) = (policy(&slow), Row::new());
    let fill = bed.proxy.hold_when(ClientToServer, b"loaded-before-the-write");
    let read = tokio::spawn({
        let (slow, policy) = (slow.clone(), policy.clone());
        async move { slow.get_or_load(&key(1), &policy, text("loaded-before-the-write")).await.unwrap() }
    });
    fill.reached().await;
    row.commit();
    assert_eq!(near.invalidate(Effects::new().delete(&key(1))).await, WriteOutcome::Applied);
    fill.release();
    assert_eq!(soon("the slow read", read).await.unwrap().outcome, Outcome::Miss);
    let left: Option<String> = bare(&bed.redis.url()).await.get(key(1).name().clone()).await.unwrap();
    assert_eq!(left, None, "the late fill was refused");
    assert_eq!(version(&near.get_or_load(&key(1), &policy, row.load()).await.unwrap()), 2);
}

#[tokio::test]
async fn a_fill_that_was_given_up_and_arrives_all_the_same_stores_nothing_stale() {
    let bed = Bed::new().await;
    let slow = bed.distant(Duration::from_millis(100)).await;
    let near = process(&bed.redis.url()).await;
    let (policy, row) = (policy(&slow), Row::new());
    let fill = bed.proxy.hold_when(ClientToServer, b"given-up");
    let read = slow.get_or_load(&key(1), &policy, text("given-up")).await.unwrap();
    assert_eq!(read.outcome, Outcome::Miss, "the reader has its own load, stored or not");
    row.commit();
    assert_eq!(near.invalidate(Effects::new().delete(&key(1))).await, WriteOutcome::Applied);
    // Another lease of another process is there when the fill comes.
    let hold = Hold::new();
    let loading = tokio::spawn({
        let (near, policy, load) = (near.clone(), policy.clone(), row.held(&hold));
        async move { near.get_or_load(&key(1), &policy, load).await.unwrap() }
    });
    hold.reached().await;
    let watch = bare(&bed.redis.url()).await;
    let before = calls(&watch, "evalsha").await;
    fill.release();
    // FILL, and the ABANDON that followed it.
    soon("both have run", async { while calls(&watch, "evalsha").await < before + 2 {} }).await;
    hold.release();
    let loaded = soon("the load", loading).await.unwrap();
    assert_eq!((loaded.outcome, version(&loaded)), (Outcome::Miss, 2));
    let hit = near.get_or_load(&key(1), &policy, row.load()).await.unwrap();
    assert_eq!((hit.outcome, version(&hit)), (Outcome::Hit, 2), "and the lease of the other was left alone");
}

#[tokio::test]
async fn a_late_put_loses_against_a_newer_one() {
    let bed = Bed::new().await;
    let slow = bed.distant(Duration::from_secs(5)).await;
    let near = process(&bed.redis.url()).await;
    let (policy, row) = (policy(&slow), Row::new());
    near.get_or_load(&key(1), &policy, row.load()).await.unwrap();
    let epochs = slow.capture(&key(1)).await.unwrap();
    let (second, third) = (row.commit(), row.commit());
    let held = bed.proxy.hold_when(ClientToServer, b"second-version");
    let late = tokio::spawn({
        let put = Put::new(&key(1), second, "second-version", &policy, epochs.clone());
        async move { slow.invalidate(Effects::new().put(put)).await }
    });
    held.reached().await;
    let put = Put::new(&key(1), third, third.to_string(), &policy, epochs);
    assert_eq!(near.invalidate(Effects::new().put(put)).await, WriteOutcome::Applied);
    held.release();
    assert_eq!(soon("the late put", late).await.unwrap(), WriteOutcome::Applied);
    let hit = near.get_or_load(&key(1), &policy, row.load()).await.unwrap();
    assert_eq!((hit.outcome, version(&hit)), (Outcome::Hit, 3));
}

#[tokio::test]
async fn an_acquire_whose_reply_is_lost_does_not_keep_the_key() {
    let bed = Bed::new().await;
    let far = bed.distant(Duration::from_secs(5)).await;
    let near = process(&bed.redis.url()).await;
    let (policy, row) = (policy(&near), Row::new());
    // Redis grants the lease; the connection dies before the reply.
    let granted = bed.proxy.cut_when(ClientToServer, b"EVALSHA", Cut::After);
    let read = soon("the read", far.get_or_load(&key(1), &policy, row.load())).await.unwrap();
    granted.reached().await;
    assert_eq!((read.outcome, version(&read)), (Outcome::Bypass, 1));
    // No ABANDON can follow on a dead connection: the others wait for the lease's own end, and no longer.
    let read = soon("another process", near.get_or_load(&key(1), &policy, row.load())).await.unwrap();
    assert!(matches!(read.outcome, Outcome::Miss | Outcome::Bypass), "{read:?}");
    eventually("the process has a session again", || far.health().trusted).await;
}

#[tokio::test]
async fn a_deletion_whose_reply_is_lost_is_repeated_or_reported() {
    let bed = Bed::new().await;
    let far = bed.distant(Duration::from_secs(5)).await;
    let near = process(&bed.redis.url()).await;
    let (policy, row) = (policy(&near), Row::new());
    near.get_or_load(&key(1), &policy, row.load()).await.unwrap();
    let sent = bed.proxy.cut_when(ClientToServer, b"DEL", Cut::Before);
    row.commit();
    let outcome = soon("the write", far.invalidate(Effects::new().delete(&key(1)))).await;
    sent.reached().await;
    // It never ran. If the new session was there in time it was sent again; else the writer says that it is not sure.
    let read = near.get_or_load(&key(1), &policy, row.load()).await.unwrap();
    match outcome {
        WriteOutcome::Applied => assert_eq!(version(&read), 2),
        other => assert_eq!((other, version(&read)), (WriteOutcome::Pending, 1)),
    }
}

#[tokio::test]
async fn a_lost_push_costs_the_rest_of_the_lease_and_no_more() {
    let bed = Bed::new().await;
    let holder = process(&bed.redis.url()).await;
    let waiter = bed.distant(Duration::from_secs(5)).await;
    let (row, hold) = (Row::new(), Hold::new());
    // A lease of a second, and a waiter with all the time in the world.
    let lease = minute()
        .load_deadline(Duration::from_millis(100))
        .lease_ttl(Duration::from_millis(4_300))
        .wait_max(Duration::from_secs(60));
    let short = holder.policy(lease.clone().load_deadline(Duration::from_millis(200))).unwrap();
    let patient = waiter.policy(lease.lease_ttl(Duration::from_secs(11))).unwrap();
    // The holder's load hangs until its deadline and is then abandoned; nobody hears of it.
    let lost = bed.proxy.drop_matching(ServerToClient, |message| message.windows(10).any(|part| part == b"invalidate"));
    let holding = tokio::spawn({
        let load = row.held(&hold);
        async move { holder.get_or_load(&key(1), &short, load).await }
    });
    hold.reached().await;
    let waiting = tokio::spawn({
        let load = row.load();
        async move { waiter.get_or_load(&key(1), &patient, load).await.unwrap() }
    });
    assert!(soon("the holder gives up", holding).await.unwrap().is_err());
    let read = soon("the waiter looks again", waiting).await.unwrap();
    assert_eq!((read.outcome, row.loads()), (Outcome::Miss, 2));
    assert!(lost.count() >= 1, "a push was lost indeed");
}

#[tokio::test]
async fn a_connection_that_is_dead_and_looks_alive_is_found_out() {
    let bed = Bed::new().await;
    let quick = settings(&bed.proxy.redis_url())
        .command_timeout(Duration::from_millis(100))
        .ping(Duration::from_millis(50))
        .apply_deadline(Duration::from_millis(300));
    let cache = trusted(quick, Arc::new(NoJournal)).await;
    let (policy, row) = (policy(&cache), Row::new());
    cache.get_or_load(&key(1), &policy, row.load()).await.unwrap();
    bed.proxy.half_open();
    eventually("the session ends without any traffic", || !cache.health().connected).await;
    let read = soon("a read", cache.get_or_load(&key(1), &policy, row.load())).await.unwrap();
    assert_eq!(read.outcome, Outcome::Bypass);
    assert_eq!(soon("a write", cache.invalidate(Effects::new().delete(&key(1)))).await, WriteOutcome::Pending);
    bed.proxy.heal();
    eventually("it is trusted again", || cache.health().trusted).await;
    assert_eq!(cache.get_or_load(&key(1), &policy, row.load()).await.unwrap().outcome, Outcome::Hit);
}

#[tokio::test]
async fn commands_queued_for_a_dead_connection_never_reach_the_next_one() {
    let bed = Bed::new().await;
    let far = bed.distant(Duration::from_secs(2)).await;
    let (policy, row) = (policy(&far), Row::new());
    let fill = bed.proxy.hold_when(ClientToServer, b"queued");
    let read = tokio::spawn({
        let (far, policy) = (far.clone(), policy.clone());
        async move { far.get_or_load(&key(1), &policy, text("queued")).await.unwrap() }
    });
    fill.reached().await;
    fill.cut();
    assert_eq!(soon("the read", read).await.unwrap().outcome, Outcome::Miss);
    eventually("there is a new session", || far.health().trusted).await;
    // By the time that this one is answered on the new connection, anything queued before it would have run.
    far.get_or_load(&key(2), &policy, row.load()).await.unwrap();
    let left: Option<Vec<u8>> = bare(&bed.redis.url()).await.get(key(1).name().clone()).await.unwrap();
    assert!(left.is_none_or(|entry| entry.len() == 31), "the fill was not replayed; at most its lease is left");
}

#[tokio::test]
async fn a_lease_that_ends_before_redis_knows_who_waits_for_it_is_not_waited_for() {
    let bed = Bed::new().await;
    let holder = process(&bed.redis.url()).await;
    let waiter = bed.distant(Duration::from_secs(10)).await;
    let (row, hold) = (Row::new(), Hold::new());
    // Leases and patience that outlast the test: who is answered did not wait for a clock.
    let long = || minute().load_deadline(Duration::from_secs(300)).wait_max(Duration::from_secs(400));
    let (long_here, long_there) = (holder.policy(long()).unwrap(), waiter.policy(long()).unwrap());
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
    let holding = tokio::spawn(async move { holder.get_or_load(&key(1), &long_here, fails).await });
    hold.reached().await;
    let acquire = bed.proxy.hold_when(ClientToServer, b"EVALSHA");
    let waiting = tokio::spawn({
        let load = row.load();
        async move { waiter.get_or_load(&key(1), &long_there, load).await.unwrap() }
    });
    acquire.reached().await;
    // It will be told that the lease is held; its second READ, over the tracking connection, is on its way when the
    // holder gives up. Nobody is told, because nobody has asked yet.
    let tracked = bed.proxy.hold_when(ClientToServer, key(1).name());
    acquire.release();
    tracked.reached().await;
    hold.release();
    assert!(soon("the holder", holding).await.unwrap().is_err());
    let redis = bare(&bed.redis.url()).await;
    soon("the lease is given back", async {
        while redis.get::<Option<Vec<u8>>, _>(key(1).name().clone()).await.unwrap().is_some() {}
    })
    .await;
    tracked.release();
    assert_eq!(soon("the waiter", waiting).await.unwrap().outcome, Outcome::Miss);
}
