//! Each row of the protocol's section 2, on a real Redis: the scripts alone, as the library sends them.

use bytes::Bytes;
use fred::clients::Client;
use fred::interfaces::{ClientLike, KeysInterface, LuaInterface};
use fred::types::{CustomCommand, Expiration, Value};
use testbed::RedisServer;

use crate::support::{bare, config_set, soon};

const ACQUIRE: &str = include_str!("../../src/scripts/acquire.lua");
const FILL: &str = include_str!("../../src/scripts/fill.lua");
const PUT: &str = include_str!("../../src/scripts/put.lua");
const SOFTEN: &str = include_str!("../../src/scripts/soften.lua");
const ABANDON: &str = include_str!("../../src/scripts/abandon.lua");

const A: &[u8; 16] = b"aaaaaaaaaaaaaaaa";
const B: &[u8; 16] = b"bbbbbbbbbbbbbbbb";
const NO_LEASE: &[u8] = b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x000000000000000";

/// An entry as the library encodes it: positive, versioned unless `version` is none, stored by `token`.
fn entry(token: &[u8; 16], version: Option<u64>, payload: &str) -> Vec<u8> {
    let mut bytes = vec![1, if version.is_some() { 2 } else { 0 }];
    bytes.extend_from_slice(NO_LEASE);
    bytes.extend_from_slice(token);
    bytes.extend_from_slice(format!("{:020}", version.unwrap_or(0)).as_bytes());
    bytes.extend_from_slice(&[0; 21]);
    bytes.extend_from_slice(payload.as_bytes());
    bytes
}

fn command(name: &'static str) -> CustomCommand {
    CustomCommand::new_static(name, None, false)
}

struct Bed {
    _server: RedisServer,
    redis: Client,
}

impl Bed {
    async fn new() -> Self {
        let server = testbed::redis().await;
        let redis = bare(&server.url()).await;
        Self { _server: server, redis }
    }

    async fn eval(&self, script: &str, args: &[&[u8]]) -> Result<i64, fred::error::Error> {
        let args: Vec<Value> = args.iter().map(|arg| Value::Bytes(Bytes::copy_from_slice(arg))).collect();
        self.redis.eval(script, "k", args).await
    }

    async fn acquire(&self, token: &[u8], lease_ms: &str, seen: &[u8], drop: &str) -> i64 {
        self.eval(ACQUIRE, &[token, lease_ms.as_bytes(), seen, drop.as_bytes()]).await.unwrap()
    }

    async fn fill(&self, token: &[u8], entry: &[u8]) -> i64 {
        self.eval(FILL, &[token, entry, b"60000"]).await.unwrap()
    }

    async fn put(&self, version: u64, entry: &[u8]) -> i64 {
        self.eval(PUT, &[format!("{version:020}").as_bytes(), entry, b"60000"]).await.unwrap()
    }

    async fn get(&self) -> Option<Bytes> {
        self.redis.get("k").await.unwrap()
    }

    async fn set(&self, entry: &[u8]) {
        let _: () = self.redis.set("k", entry, None, None, false).await.unwrap();
    }

    async fn ttl(&self) -> i64 {
        self.redis.pttl("k").await.unwrap()
    }

    /// The value part alone: what a reader would see, whatever lease is in it.
    async fn value(&self) -> Option<Vec<u8>> {
        let entry = self.get().await?;
        (entry.len() > 31).then(|| entry[31..].to_vec())
    }

    /// Waits until the lease is over by Redis' own clock.
    async fn lapsed(&self) {
        soon("the lease lapses", async {
            let end: i64 = std::str::from_utf8(&self.get().await.unwrap()[18..31]).unwrap().parse().unwrap();
            loop {
                let time: Vec<i64> = self.redis.custom(command("TIME"), Vec::<String>::new()).await.unwrap();
                if time[0] * 1_000 + time[1] / 1_000 >= end {
                    break;
                }
            }
        })
        .await;
    }

    async fn leased_by(&self) -> Option<Vec<u8>> {
        let entry = self.get().await?;
        (entry[2..18] != [0; 16]).then(|| entry[2..18].to_vec())
    }
}

#[tokio::test]
async fn a_lease_is_granted_once_and_the_same_call_may_be_repeated() {
    let bed = Bed::new().await;
    assert_eq!(bed.acquire(A, "60000", b"", "").await, 0);
    assert_eq!(bed.acquire(A, "60000", b"", "").await, 0, "an unknown outcome is repeated");
    let rest = bed.acquire(B, "60000", b"", "").await;
    assert!((1..=60_000).contains(&rest), "held for {rest} ms");
    assert!((1..=60_000).contains(&bed.ttl().await), "a lease alone expires with itself");
    assert_eq!(bed.get().await.unwrap().len(), 31);
}

#[tokio::test]
async fn a_lapsed_lease_is_anybodys_and_until_then_may_still_fill() {
    let bed = Bed::new().await;
    let value = entry(A, Some(1), "v1");
    bed.set(&value).await;
    // A lease in a stored value does not expire with the key: it lapses by its own end.
    assert_eq!(bed.acquire(A, "1", A, "").await, 0);
    bed.lapsed().await;
    assert_eq!(bed.acquire(B, "60000", A, "").await, 0);
    assert_eq!(bed.fill(A, &entry(A, Some(2), "late")).await, 0, "claimed by another: refused");
    assert_eq!(bed.fill(B, &entry(B, Some(2), "v2")).await, 1);

    assert_eq!(bed.acquire(A, "1", B, "").await, 0);
    bed.lapsed().await;
    assert_eq!(bed.fill(A, &entry(A, Some(3), "v3")).await, 1, "equality alone decides");
}

#[tokio::test]
async fn an_acquire_for_a_value_that_has_changed_is_told_so() {
    let bed = Bed::new().await;
    bed.set(&entry(A, Some(1), "v1")).await;
    assert_eq!(bed.acquire(B, "60000", b"", "").await, -1, "it saw nothing, and there is something");
    assert_eq!(bed.acquire(B, "60000", B, "").await, -1, "it judged another value");
    assert_eq!(bed.leased_by().await, None);
    assert_eq!(bed.acquire(B, "60000", A, "").await, 0);
    assert_eq!(bed.value().await.unwrap(), entry(A, Some(1), "v1")[31..], "a refresh leaves the value to readers");
}

#[tokio::test]
async fn a_refresh_keeps_the_expiry_and_a_drop_removes_what_was_judged_invalid() {
    let bed = Bed::new().await;
    let _: () = bed
        .redis
        .set("k", entry(A, Some(1), "v1").as_slice(), Some(Expiration::PX(500_000)), None, false)
        .await
        .unwrap();
    assert_eq!(bed.acquire(B, "60000", A, "").await, 0);
    assert!(bed.ttl().await > 60_000, "the value keeps its own expiry");
    let _: i64 = bed.redis.del("k").await.unwrap();
    bed.set(&entry(A, Some(1), "v1")).await;
    assert_eq!(bed.acquire(B, "60000", A, "1").await, 0);
    assert_eq!(bed.value().await, None);
    assert_eq!(bed.leased_by().await.unwrap(), B);
    assert!((1..=60_000).contains(&bed.ttl().await));
}

#[tokio::test]
async fn no_invalidation_leaves_a_lease_that_could_fill() {
    let bed = Bed::new().await;
    let late = entry(A, Some(1), "v1");
    // DELETE, of a lease alone and of a value under refresh.
    bed.acquire(A, "60000", b"", "").await;
    let _: i64 = bed.redis.del("k").await.unwrap();
    assert_eq!(bed.fill(A, &late).await, 0);
    bed.set(&entry(B, Some(1), "v1")).await;
    bed.acquire(A, "60000", B, "").await;
    let _: i64 = bed.redis.del("k").await.unwrap();
    assert_eq!(bed.fill(A, &late).await, 0);
    // SOFTEN, likewise; and it leaves the value, marked.
    bed.acquire(A, "60000", b"", "").await;
    assert_eq!(bed.eval(SOFTEN, &[]).await.unwrap(), 0);
    assert_eq!(bed.fill(A, &late).await, 0);
    bed.set(&entry(B, Some(1), "v1")).await;
    bed.acquire(A, "60000", B, "").await;
    assert_eq!(bed.eval(SOFTEN, &[]).await.unwrap(), 1);
    assert_eq!(bed.fill(A, &late).await, 0);
    assert_eq!(bed.get().await.unwrap()[1], 2 | 4);
    assert_eq!(bed.value().await.unwrap(), entry(B, Some(1), "v1")[31..]);
    // PUT over a refresh.
    bed.set(&entry(B, Some(1), "v1")).await;
    bed.acquire(A, "60000", B, "").await;
    assert_eq!(bed.put(2, &entry(B, Some(2), "v2")).await, 1);
    assert_eq!(bed.fill(A, &late).await, 0);
    assert_eq!(bed.value().await.unwrap(), entry(B, Some(2), "v2")[31..]);
}

#[tokio::test]
async fn a_put_stores_only_over_an_older_version_that_is_there() {
    let bed = Bed::new().await;
    let new = entry(B, Some(10), "v10");
    assert_eq!(bed.put(10, &new).await, 2, "onto nothing");
    assert_eq!(bed.get().await, None);
    bed.acquire(A, "60000", b"", "").await;
    assert_eq!(bed.put(10, &new).await, 2, "onto a lease");
    assert_eq!(bed.get().await, None, "and the lease is killed");
    bed.set(&entry(A, None, "list")).await;
    assert_eq!(bed.put(10, &new).await, 2, "onto an unversioned entry");
    let mut negative = entry(A, None, "");
    negative[1] = 1;
    bed.set(&negative).await;
    assert_eq!(bed.put(10, &new).await, 2, "onto a negative entry");
    assert_eq!(bed.get().await, None);
    // W1 commits 2 and is slow to put; W2 commits 3 and softens 1; the put of 2 would pass for the newest.
    bed.set(&entry(A, Some(1), "v1")).await;
    assert_eq!(bed.eval(SOFTEN, &[]).await.unwrap(), 1);
    assert_eq!(bed.put(2, &entry(B, Some(2), "v2")).await, 2, "onto a softly invalidated entry");
    assert_eq!(bed.get().await, None);
    // Versions compare as numbers, above what Lua's numbers hold as well.
    for (there, given, reply) in
        [(9, 10, 1), (10, 10, 0), (11, 10, 0), (u64::MAX - 1, u64::MAX, 1), (u64::MAX, u64::MAX - 1, 0)]
    {
        bed.set(&entry(A, Some(there), "old")).await;
        assert_eq!(bed.put(given, &entry(B, Some(given), "new")).await, reply, "{given} over {there}");
        let kept = if reply == 1 { entry(B, Some(given), "new") } else { entry(A, Some(there), "old") };
        assert_eq!(bed.get().await.unwrap(), kept);
    }
    bed.set(&entry(A, Some(1), "v1")).await;
    assert_eq!(bed.put(2, &entry(B, Some(2), "v2")).await, 1);
    assert!((1..=60_000).contains(&bed.ttl().await));
}

#[tokio::test]
async fn an_abandoned_lease_is_free_at_once_and_never_somebody_elses() {
    let bed = Bed::new().await;
    bed.acquire(A, "60000", b"", "").await;
    assert_eq!(bed.eval(ABANDON, &[B]).await.unwrap(), 0);
    assert_eq!(bed.leased_by().await.unwrap(), A);
    assert_eq!(bed.eval(ABANDON, &[A]).await.unwrap(), 1);
    assert_eq!(bed.get().await, None);
    bed.set(&entry(B, Some(1), "v1")).await;
    bed.acquire(A, "60000", B, "").await;
    assert_eq!(bed.eval(ABANDON, &[A]).await.unwrap(), 1);
    assert_eq!(bed.get().await.unwrap(), entry(B, Some(1), "v1"), "the value stays");
}

#[tokio::test]
async fn what_is_no_entry_at_all_is_replaced() {
    let bed = Bed::new().await;
    bed.set(b"garbage").await;
    assert_eq!(bed.acquire(A, "60000", b"", "1").await, 0);
    assert_eq!(bed.leased_by().await.unwrap(), A);
    bed.set(&[0xff; 200]).await;
    assert_eq!(bed.acquire(B, "60000", &[0xff; 16], "1").await, 0);
    assert_eq!(bed.leased_by().await.unwrap(), B);
}

#[tokio::test]
async fn on_a_full_redis_what_must_not_fail_does_not() {
    let bed = Bed::new().await;
    bed.set(&entry(B, Some(1), "v1")).await;
    bed.acquire(A, "60000", B, "").await;
    config_set(&bed.redis, "maxmemory-policy", "noeviction").await;
    config_set(&bed.redis, "maxmemory", "1").await;
    let refused = bed.eval(ACQUIRE, &[B, b"60000", B, b""]).await;
    // Held is answered before anything is written, so it is no error; a new lease is one.
    assert!(refused.unwrap() > 0);
    assert_eq!(bed.fill(A, &entry(A, Some(2), "v2")).await, 1, "deletes first, so it runs to its end");
    let refused = bed.eval(ACQUIRE, &[B, b"60000", A, b""]).await.unwrap_err();
    assert!(refused.details().contains("OOM"), "{refused}");
    assert_eq!(bed.put(3, &entry(B, Some(3), "v3")).await, 1);
    assert!(bed.eval(SOFTEN, &[]).await.is_err(), "then the writer deletes");
    let deleted: i64 = bed.redis.del("k").await.unwrap();
    assert_eq!(deleted, 1, "a deletion always runs");
}
