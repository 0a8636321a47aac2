//! The near cache where nothing fails: what is kept, who removes it, and how one's own writes are read through it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use fenced_cache::{
    BoxError, Cache, Effects, Key, NoJournal, Outcome, Policy, Put, Read, ReadOptions, Settings, WriteOutcome,
};
use fred::interfaces::KeysInterface;
use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::iter;
use testbed::Direction::{ClientToServer, ServerToClient};
use testbed::FaultProxy;

use crate::support::{
    Hold, PATIENCE, Row, bare, eventually, key, keyspace, minute, process, settings, soon, trusted, version,
};

/// A grace that outlasts every test: what is seen to be removed was not merely disbelieved.
pub(crate) fn near_settings(url: &str) -> Settings {
    settings(url)
        .near_bytes(32 << 20)
        .near_ping(Duration::from_millis(20))
        .near_grace(Duration::from_secs(60))
        .near_ttl(Duration::from_secs(600))
}

/// A process with a near cache that is believed.
pub(crate) async fn near_process(settings: Settings) -> Cache {
    let cache = trusted(settings, Arc::new(NoJournal)).await;
    eventually("what is near is believed", || cache.health().near).await;
    cache
}

pub(crate) fn near_policy(cache: &Cache) -> Policy {
    cache.policy(minute().near(true)).unwrap()
}

/// Reads until the answer comes from near.
pub(crate) async fn until_near(cache: &Cache, key: &Key, policy: &Policy, row: &Arc<Row>) -> Read {
    soon("a near hit", async {
        loop {
            let read = cache.get_or_load(key, policy, row.load()).await.unwrap();
            if read.outcome == Outcome::NearHit {
                return read;
            }
        }
    })
    .await
}

pub(crate) async fn until_version(cache: &Cache, key: &Key, policy: &Policy, row: &Arc<Row>, wanted: u64) {
    let reads = async { while version(&cache.get_or_load(key, policy, row.load()).await.unwrap()) != wanted {} };
    soon("the new version is read", reads).await;
}

#[tokio::test]
async fn a_near_hit_needs_no_redis() {
    let redis = testbed::redis().await;
    let proxy = FaultProxy::start(redis.url()).await.unwrap();
    let cache = near_process(near_settings(&proxy.redis_url())).await;
    let (policy, row) = (near_policy(&cache), Row::new());
    let read = until_near(&cache, &key(1), &policy, &row).await;
    assert!(version(&read) == 1 && read.fresh_for > Duration::from_secs(30) && read.age < PATIENCE);
    proxy.hold(ClientToServer);
    proxy.hold(ServerToClient);
    for _ in 0..100 {
        let read = cache.get_or_load(&key(1), &policy, row.load()).await.unwrap();
        assert_eq!((read.outcome, version(&read), row.loads()), (Outcome::NearHit, 1, 1));
    }
    proxy.heal();
    let json = || async { Ok::<_, BoxError>(Some((7, Some(3)))) };
    let typed = async {
        while cache.get_or_load_json::<i32, _, _, _>(&key(2), &policy, json).await.unwrap().outcome != Outcome::NearHit
        {
        }
        let options = ReadOptions::new().at_least(3);
        cache.get_or_load_json_with::<i32, _, _, _>(&key(2), &policy, options, json).await.unwrap()
    };
    let typed = soon("typed values are near too", typed).await;
    assert_eq!((typed.value, typed.version, typed.outcome), (Some(7), Some(3), Outcome::NearHit));
}

#[tokio::test]
async fn only_policies_that_say_so_take_part() {
    let redis = testbed::redis().await;
    let cache = near_process(near_settings(&redis.url())).await;
    let (near, far, row) = (near_policy(&cache), cache.policy(minute()).unwrap(), Row::new());
    until_near(&cache, &key(1), &near, &row).await;
    for _ in 0..5 {
        assert_eq!(cache.get_or_load(&key(1), &far, row.load()).await.unwrap().outcome, Outcome::Hit);
    }
    let past = cache.get_or_load_with(&key(1), &near, ReadOptions::new().past_near(), row.load()).await.unwrap();
    assert_eq!(past.outcome, Outcome::Hit);
    let without = process(&redis.url()).await;
    assert!(!without.health().near && without.policy(minute().near(true)).is_err());
}

#[tokio::test]
async fn that_there_is_nothing_is_near_too_until_there_is_something() {
    let redis = testbed::redis().await;
    let (cache, writer) = (near_process(near_settings(&redis.url())).await, process(&redis.url()).await);
    let (policy, row) = (cache.policy(minute().negative_ttl(Duration::from_secs(60)).near(true)).unwrap(), Row::new());
    let nothing = || async { Ok::<_, BoxError>(None) };
    let near = async {
        loop {
            let read = cache.get_or_load(&key(1), &policy, nothing).await.unwrap();
            assert_eq!(read.value, None);
            if read.outcome == Outcome::NearHit {
                return;
            }
        }
    };
    soon("a near negative", near).await;
    // A client that has seen the row since is not told that there is none.
    let seen = ReadOptions::new().at_least(1);
    let read = cache.get_or_load_with(&key(1), &policy, seen, row.load()).await.unwrap();
    assert_eq!((read.outcome, version(&read)), (Outcome::Miss, 1));
    soon("a near negative again", async {
        writer.invalidate(Effects::new().delete(&key(1))).await;
        while cache.get_or_load(&key(1), &policy, nothing).await.unwrap().value.is_some() {}
    })
    .await;
    assert_eq!(writer.invalidate(Effects::new().delete(&key(1))).await, WriteOutcome::Applied);
    let created = async { while cache.get_or_load(&key(1), &policy, row.load()).await.unwrap().value.is_none() {} };
    soon("the row is there", created).await;
}

#[tokio::test]
async fn every_way_to_invalidate_reaches_other_processes() {
    let redis = testbed::redis().await;
    let (cache, writer) = (near_process(near_settings(&redis.url())).await, process(&redis.url()).await);
    let soft = cache.policy(minute().serve_softened(true).near(true)).unwrap();
    let (policy, put_policy, row) = (near_policy(&cache), writer.policy(minute()).unwrap(), Row::new());

    until_near(&cache, &key(1), &policy, &row).await;
    let v2 = row.commit();
    assert_eq!(writer.invalidate(Effects::new().delete(&key(1))).await, WriteOutcome::Applied);
    until_version(&cache, &key(1), &policy, &row, v2).await;

    until_near(&cache, &key(1), &policy, &row).await;
    let (v3, epochs) = (row.commit(), writer.capture(&key(1)).await.unwrap());
    let put = Put::new(&key(1), v3, v3.to_string(), &put_policy, epochs);
    assert_eq!(writer.invalidate(Effects::new().put(put)).await, WriteOutcome::Applied);
    until_version(&cache, &key(1), &policy, &row, v3).await;

    until_near(&cache, &key(1), &soft, &row).await;
    let v4 = row.commit();
    assert_eq!(writer.invalidate(Effects::new().soften(&key(1))).await, WriteOutcome::Applied);
    let softened = async {
        loop {
            let read = cache.get_or_load(&key(1), &soft, row.load()).await.unwrap();
            if read.outcome != Outcome::NearHit {
                return read;
            }
        }
    };
    assert_eq!(soon("the near entry goes", softened).await.outcome, Outcome::Stale, "what is soft is not near");
    until_version(&cache, &key(1), &soft, &row, v4).await;
}

#[tokio::test]
async fn a_process_reads_its_own_writes_at_once_whoever_else_reads() {
    let redis = testbed::redis().await;
    let cache = near_process(near_settings(&redis.url())).await;
    let (policy, row) = (near_policy(&cache), Row::new());
    let tagged = || key(1).tagged([keyspace().tag("all", 1_u64)]);
    let stop = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..4)
        .map(|_| {
            let (cache, policy, row, stop) = (cache.clone(), policy.clone(), Arc::clone(&row), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut near = 0_u32;
                while !stop.load(Ordering::SeqCst) {
                    let read = cache.get_or_load(&tagged(), &policy, row.load()).await.unwrap();
                    near += u32::from(read.outcome == Outcome::NearHit);
                    tokio::task::yield_now().await;
                }
                near
            })
        })
        .collect();
    for round in 0..300 {
        until_near(&cache, &tagged(), &policy, &row).await;
        let committed = row.commit();
        let effects = if round % 2 == 0 {
            Effects::new().delete(&tagged())
        } else {
            Effects::new().tag(&keyspace().tag("all", 1_u64))
        };
        assert_eq!(cache.invalidate(effects).await, WriteOutcome::Applied);
        let read = cache.get_or_load(&tagged(), &policy, row.load()).await.unwrap();
        assert_eq!(version(&read), committed, "{:?} in round {round}", read.outcome);
    }
    stop.store(true, Ordering::SeqCst);
    let near: u32 = join_all(readers).await.into_iter().map(Result::unwrap).sum();
    assert!(near > 0, "the readers used it");
}

#[tokio::test]
async fn one_deletion_of_a_tag_removes_all_that_is_filed_under_it() {
    let redis = testbed::redis().await;
    let (cache, writer) = (near_process(near_settings(&redis.url())).await, process(&redis.url()).await);
    let (policy, row, other) = (near_policy(&cache), Row::new(), Row::new());
    let (tag, second) = (keyspace().tag("category", 7_u64), keyspace().tag("category", 8_u64));
    let keys: Vec<Key> = (0..50).map(|id| key(id).tagged([tag.clone(), second.clone()])).collect();
    let beside = key(99).tagged([second.clone()]);
    for key in &keys {
        until_near(&cache, key, &policy, &row).await;
    }
    until_near(&cache, &beside, &policy, &other).await;
    let committed = row.commit();
    assert_eq!(writer.invalidate(Effects::new().tag(&tag)).await, WriteOutcome::Applied);
    until_version(&cache, &keys[0], &policy, &row, committed).await;
    // The tag's push has been taken: so it has for all.
    for key in &keys {
        assert_eq!(version(&cache.get_or_load(key, &policy, row.load()).await.unwrap()), committed);
    }
    assert_eq!(cache.get_or_load(&beside, &policy, other.load()).await.unwrap().outcome, Outcome::NearHit);
    // An entry that was filled before the change and is read after it does not get its epoch back.
    for key in &keys {
        until_near(&cache, key, &policy, &row).await;
    }
    assert_eq!(row.loads(), 100);
}

/// A process that hears of nothing any more, and whose grace has not passed.
async fn deaf(redis: &testbed::RedisServer) -> (FaultProxy, Cache) {
    let proxy = FaultProxy::start(redis.url()).await.unwrap();
    let cache = near_process(near_settings(&proxy.redis_url()).near_ping(Duration::from_secs(10))).await;
    proxy.drop_matching(ServerToClient, |message| message.windows(10).any(|part| part == b"invalidate"));
    (proxy, cache)
}

#[tokio::test]
async fn a_process_reads_its_own_writes_though_no_push_tells_it() {
    let redis = testbed::redis().await;
    let (proxy, cache) = deaf(&redis).await;
    let (policy, row) = (near_policy(&cache), Row::new());
    until_near(&cache, &key(1), &policy, &row).await;
    let write = |cache: Cache| tokio::spawn(async move { cache.invalidate(Effects::new().delete(&key(1))).await });

    // What is near is gone at COMMIT, and a READ before the deletion brings it back.
    let v2 = row.commit();
    let deletion = proxy.hold_when(ClientToServer, b"DEL");
    let writing = write(cache.clone());
    deletion.reached().await;
    assert_eq!(version(&until_near(&cache, &key(1), &policy, &row).await), 1);
    deletion.release();
    assert_eq!(soon("the write", writing).await.unwrap(), WriteOutcome::Applied);
    assert_eq!(version(&cache.get_or_load(&key(1), &policy, row.load()).await.unwrap()), v2);

    // A READ that ran before the deletion, and whose reply comes after it.
    let (v3, reply) = (row.commit(), proxy.hold_when(ServerToClient, b"00000000000000000002"));
    let reading = tokio::spawn({
        let (cache, policy, load) = (cache.clone(), policy.clone(), row.load());
        async move { cache.get_or_load_with(&key(1), &policy, ReadOptions::new().past_near(), load).await.unwrap() }
    });
    reply.reached().await;
    assert_eq!(soon("the write", write(cache.clone())).await.unwrap(), WriteOutcome::Applied);
    reply.release();
    assert_eq!(version(&soon("the read", reading).await.unwrap()), v2, "it began before the write was applied");
    assert_eq!(version(&cache.get_or_load(&key(1), &policy, row.load()).await.unwrap()), v3);
}

#[tokio::test]
async fn who_has_seen_a_version_reads_none_that_is_older() {
    let redis = testbed::redis().await;
    let ((_proxy, cache), writer) = (deaf(&redis).await, process(&redis.url()).await);
    let (policy, row) = (near_policy(&cache), Row::new());
    until_near(&cache, &key(1), &policy, &row).await;
    let v2 = row.commit();
    assert_eq!(writer.invalidate(Effects::new().delete(&key(1))).await, WriteOutcome::Applied);
    let read = cache.get_or_load(&key(1), &policy, row.load()).await.unwrap();
    assert_eq!((read.outcome, version(&read)), (Outcome::NearHit, 1), "within the bound, and old");

    let seen = ReadOptions::new().at_least(v2);
    let read = cache.get_or_load_with(&key(1), &policy, ReadOptions::new().past_near(), row.load()).await.unwrap();
    assert_eq!(version(&read), v2, "applied, so Redis has nothing older");
    let read = cache.get_or_load_with(&key(1), &policy, seen, row.load()).await.unwrap();
    assert_eq!((version(&read), row.loads()), (v2, 2));
    let read = cache.get_or_load_with(&key(1), &policy, seen, row.load()).await.unwrap();
    assert_eq!((read.outcome, version(&read)), (Outcome::NearHit, v2), "near again, at the new version");
}

#[tokio::test]
async fn who_has_seen_a_version_reads_none_that_is_older_though_its_invalidation_is_pending() {
    let redis = testbed::redis().await;
    let cache = near_process(near_settings(&redis.url())).await;
    let (policy, row) = (near_policy(&cache), Row::new());
    until_near(&cache, &key(1), &policy, &row).await;
    // Committed, and Redis has not heard of it.
    let v2 = row.commit();
    let seen = ReadOptions::new().at_least(v2);
    let read = cache.get_or_load_with(&key(1), &policy, seen, row.load()).await.unwrap();
    assert_eq!((read.outcome, version(&read), row.loads()), (Outcome::Miss, v2, 2));
    until_version(&cache, &key(1), &policy, &row, v2).await;
    assert_eq!(row.loads(), 2, "the load has replaced what was old, for everybody");

    // What does not exist yet is loaded, and answered as it is.
    let read = cache.get_or_load_with(&key(1), &policy, ReadOptions::new().at_least(99), row.load()).await.unwrap();
    assert_eq!((read.outcome, version(&read), row.loads()), (Outcome::Miss, v2, 3));

    // A load that began before the commit is no answer to who knows of the commit.
    let hold = Hold::new();
    let first = tokio::spawn({
        let (cache, policy, load) = (cache.clone(), policy.clone(), row.held(&hold));
        async move { cache.get_or_load(&key(2), &policy, load).await.unwrap() }
    });
    hold.reached().await;
    let v3 = row.commit();
    let second = tokio::spawn({
        let (cache, policy, load) = (cache.clone(), policy.clone(), row.load());
        async move { cache.get_or_load_with(&key(2), &policy, ReadOptions::new().at_least(v3), load).await.unwrap() }
    });
    let seen = ReadOptions::new().at_least(v3);
    let third = cache.get_or_load_with(&key(3), &policy, seen, row.load()).await.unwrap();
    assert_eq!(version(&third), v3);
    hold.release();
    assert_eq!(version(&soon("the first", first).await.unwrap()), v2);
    assert_eq!(version(&soon("the second", second).await.unwrap()), v3);
}

#[tokio::test]
async fn many_who_have_seen_a_row_that_is_gone_share_their_loads() {
    let redis = testbed::redis().await;
    let cache = near_process(near_settings(&redis.url())).await;
    let policy = near_policy(&cache);
    let loads = Arc::new(AtomicUsize::new(0));
    let reads = (0..100).map(|_| {
        let loads = Arc::clone(&loads);
        let load = move || {
            loads.fetch_add(1, Ordering::SeqCst);
            async { Ok::<_, BoxError>(None) }
        };
        let (cache, policy) = (&cache, &policy);
        async move { cache.get_or_load_with(&key(1), policy, ReadOptions::new().at_least(5), load).await.unwrap() }
    });
    let reads = soon("all are answered", join_all(reads)).await;
    assert!(reads.iter().all(|read| read.value.is_none()));
    // What nobody can have seen in a cache is loaded; a load that began after the reader did is as good as its own.
    let loads = loads.load(Ordering::SeqCst);
    assert!(loads <= 20, "{loads} loads for 100 readers");
}

#[tokio::test]
async fn ten_thousand_keys_are_all_new_when_a_strict_writer_says_so() {
    const KEYS: u64 = 10_000;
    let redis = testbed::redis().await;
    // More than the default, and far more than what the pushes need: a busy machine costs no near hits here.
    let grace = Duration::from_secs(2);
    let cache = near_process(near_settings(&redis.url()).near_grace(grace)).await;
    let strict = trusted(settings(&redis.url()).near_grace(grace).near_strict(true), Arc::new(NoJournal)).await;
    let (policy, row) = (near_policy(&cache), Row::new());
    let read_all = |cache: Cache, policy: Policy, row: Arc<Row>| async move {
        let read = |id| {
            let (cache, policy, row) = (&cache, &policy, &row);
            async move { cache.get_or_load(&key(id), policy, row.load()).await.unwrap() }
        };
        iter(0..KEYS).map(read).buffer_unordered(256).collect::<Vec<Read>>().await
    };
    let mut near = 0;
    for _ in 0..3 {
        let reads = read_all(cache.clone(), policy.clone(), Arc::clone(&row)).await;
        near = reads.iter().filter(|read| read.outcome == Outcome::NearHit).count();
    }
    assert!(near > 5_000, "only {near} keys are near");
    let committed = row.commit();
    let writes = (0..KEYS).step_by(1_000).map(|from| {
        let effects = (from..from + 1_000).fold(Effects::new(), |effects, id| effects.delete(&key(id)));
        strict.invalidate(effects)
    });
    assert!(join_all(writes).await.into_iter().all(|outcome| outcome == WriteOutcome::Applied));
    let reads = read_all(cache.clone(), policy.clone(), Arc::clone(&row)).await;
    assert!(reads.iter().all(|read| version(read) == committed), "not one is old");
    // No canary of a process that is gone stays for ever.
    let watch = bare(&redis.url()).await;
    let names: Vec<String> = {
        let command = fred::types::CustomCommand::new_static("KEYS", None, false);
        use fred::interfaces::ClientLike;
        watch.custom(command, vec!["test:fc:canary:*"]).await.unwrap()
    };
    assert_eq!(names.len(), 1);
    assert!((1..=60_000).contains(&watch.pttl::<i64, _>(names[0].clone()).await.unwrap()));
}
