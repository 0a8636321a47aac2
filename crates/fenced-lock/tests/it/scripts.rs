//! The three scripts by themselves: what section 2 of the protocol says of each line.

use std::time::{SystemTime, UNIX_EPOCH};

use fred::clients::Client;
use fred::interfaces::LuaInterface;
use fred::types::Value;

use crate::bed::{LOCK_KEY, QUEUE_KEY, client, command, number};

const ACQUIRE: &str = include_str!("../../src/redis/fenced/scripts/acquire.lua");
const EXTEND: &str = include_str!("../../src/redis/fenced/scripts/extend.lua");
const RELEASE: &str = include_str!("../../src/redis/fenced/scripts/release.lua");
const FIRST_LEASE_US: &str = "600000";
const LEASE_US: &str = "1200000";
const KEEP_MS: &str = "60000";
const CHANNELS: &str = "test:fl:{0}:p:";

struct Scripts(Client);

fn token(process: char, number: u32) -> String {
    format!("{}:{number}", process.to_string().repeat(16))
}

fn numbers(reply: Value) -> Vec<u64> {
    reply.into_array().into_iter().map(|value| value.as_u64().unwrap()).collect()
}

fn now_us() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros()).unwrap()
}

impl Scripts {
    async fn run(&self, body: &str, args: Vec<String>) -> Value {
        self.0.eval(body, vec![LOCK_KEY, QUEUE_KEY], args).await.unwrap()
    }

    async fn acquire(&self, token: &str, ticket: &str, wait: bool) -> Vec<u64> {
        let wait = if wait { "1" } else { "0" };
        let args = [token, ticket, wait, FIRST_LEASE_US, KEEP_MS, CHANNELS].map(str::to_owned);
        numbers(self.run(ACQUIRE, args.to_vec()).await)
    }

    async fn extend(&self, token: &str, floor: u64) -> Vec<u64> {
        let args = [token, &floor.to_string(), LEASE_US, KEEP_MS].map(str::to_owned);
        numbers(self.run(EXTEND, args.to_vec()).await)
    }

    async fn release(&self, token: &str, ticket: &str) -> Vec<Value> {
        let args = [token, ticket, FIRST_LEASE_US, KEEP_MS, CHANNELS].map(str::to_owned);
        self.run(RELEASE, args.to_vec()).await.into_array()
    }

    async fn owner(&self) -> String {
        command(&self.0, &format!("HGET {LOCK_KEY} o")).await.as_string().unwrap_or_default()
    }

    async fn queue(&self) -> Vec<String> {
        let entries = command(&self.0, &format!("LRANGE {QUEUE_KEY} 0 -1")).await.into_array();
        entries.into_iter().map(|entry| entry.as_string().unwrap()[17..].to_owned()).collect()
    }

    /// Ends the owner's lease.
    async fn expire(&self) {
        command(&self.0, &format!("HSET {LOCK_KEY} x 1")).await;
    }
}

async fn scripts() -> (testbed::RedisServer, Scripts) {
    let redis = testbed::redis().await;
    let scripts = Scripts(client(&redis.url()).await);
    (redis, scripts)
}

/// A process that hears its grants.
async fn hears(redis: &testbed::RedisServer, process: char) -> Client {
    let ear = client(&redis.url()).await;
    let channel = format!("{CHANNELS}{}", process.to_string().repeat(16));
    fred::interfaces::PubsubInterface::ssubscribe(&ear, channel.as_str()).await.unwrap();
    let observer = client(&redis.url()).await;
    crate::bed::until("subscribed", async || {
        command(&observer, &format!("PUBSUB SHARDNUMSUB {channel}")).await.into_array()[1].as_i64() == Some(1)
    })
    .await;
    ear
}

#[tokio::test]
async fn acquire_is_idempotent_for_its_token() {
    let (_redis, scripts) = scripts().await;
    let a = token('a', 1);
    let first = scripts.acquire(&a, "0", true).await;
    assert_eq!((first[0], first[2]), (1, 600_000));
    assert!(first[1].abs_diff(now_us()) < 5_000_000, "a fence is Redis' time in microseconds");
    let again = scripts.acquire(&a, "1", true).await;
    assert_eq!((again[0], again[1]), (1, first[1]));
    assert!(again[2] <= 600_000);
    let b = token('b', 1);
    let waiting = scripts.acquire(&b, "0", true).await;
    assert_eq!((waiting.len(), waiting[0]), (4, 0));
    assert!(waiting[2] >= first[1], "grants up to the present owner's are old");
    // The reply was lost: the retry finds the place that it has, and makes no second.
    let retried = scripts.acquire(&b, "1", true).await;
    assert_eq!(retried[1], waiting[1]);
    let polled = scripts.acquire(&b, &waiting[1].to_string(), true).await;
    assert_eq!(polled[1], waiting[1]);
    assert_eq!(scripts.queue().await, std::slice::from_ref(&b));
    assert_eq!(scripts.acquire(&token('c', 1), "0", false).await, [0]);
    assert_eq!(scripts.queue().await, [b]);
}

#[tokio::test]
async fn a_return_keeps_its_place_by_its_ticket() {
    let (_redis, scripts) = scripts().await;
    scripts.acquire(&token('a', 1), "0", true).await;
    let mut tickets = Vec::new();
    for process in ['b', 'c', 'd'] {
        tickets.push(scripts.acquire(&token(process, 1), "0", true).await[1].to_string());
    }
    command(&scripts.0, &format!("DEL {QUEUE_KEY}")).await;
    for (process, ticket) in [('d', &tickets[2]), ('b', &tickets[0]), ('c', &tickets[1])] {
        scripts.acquire(&token(process, 1), ticket, true).await;
    }
    assert_eq!(scripts.queue().await, ['b', 'c', 'd'].map(|process| token(process, 1)));
}

#[tokio::test]
async fn a_release_passes_over_the_dead_and_grants_to_who_is_connected() {
    let (redis, scripts) = scripts().await;
    let _d = hears(&redis, 'd').await;
    let a = scripts.acquire(&token('a', 1), "0", true).await;
    for process in ['b', 'c', 'd', 'e'] {
        scripts.acquire(&token(process, 1), "0", true).await;
    }
    assert_eq!(scripts.release(&token('a', 1), "0").await, [Value::Integer(1)]);
    assert_eq!(scripts.owner().await, token('d', 1));
    assert_eq!(scripts.queue().await, [token('e', 1)]);
    let d = scripts.acquire(&token('d', 1), "1", true).await;
    assert!(d[0] == 1 && d[1] > a[1]);
    // Nobody who lives is left: the lock is free, and leaves nothing.
    scripts.release(&token('d', 1), "0").await;
    assert_eq!(number(&scripts.0, "DBSIZE").await, 0);
}

#[tokio::test]
async fn a_release_hands_over_to_its_own_process_by_its_reply() {
    let (_redis, scripts) = scripts().await;
    let first = scripts.acquire(&token('a', 1), "0", true).await;
    scripts.acquire(&token('a', 2), "0", true).await;
    let handed = scripts.release(&token('a', 1), "0").await;
    assert_eq!(handed[0], Value::Integer(1));
    assert_eq!(handed[1].as_string().unwrap(), token('a', 2));
    assert!(handed[2].as_u64().unwrap() > first[1]);
    assert_eq!(scripts.owner().await, token('a', 2));
}

#[tokio::test]
async fn a_silent_process_is_passed_over_although_it_is_connected() {
    let (redis, scripts) = scripts().await;
    let _ears = (hears(&redis, 'b').await, hears(&redis, 'c').await);
    scripts.acquire(&token('a', 1), "0", true).await;
    // Both have queued long ago; only c has been heard of since.
    let old = now_us() - 5_000_000;
    scripts.acquire(&token('b', 1), &format!("{old:016}"), true).await;
    scripts.acquire(&token('c', 1), &format!("{:016}", old + 1), true).await;
    command(&scripts.0, &format!("HSET {LOCK_KEY} {} 1", "b".repeat(16))).await;
    scripts.release(&token('a', 1), "0").await;
    assert_eq!(scripts.owner().await, token('c', 1));
}

#[tokio::test]
async fn a_free_lock_goes_to_the_head_whoever_asks() {
    let (redis, scripts) = scripts().await;
    let _b = hears(&redis, 'b').await;
    scripts.acquire(&token('a', 1), "0", true).await;
    scripts.acquire(&token('b', 1), "0", true).await;
    scripts.expire().await;
    let c = scripts.acquire(&token('c', 1), "0", true).await;
    assert_eq!(c[0], 0);
    assert_eq!(scripts.owner().await, token('b', 1));
    assert_eq!(scripts.queue().await, [token('c', 1)]);
    // Nobody else lives: who does not want to wait gets it, and who waits does too.
    scripts.expire().await;
    assert_eq!(scripts.acquire(&token('d', 1), "0", false).await[0], 1);
    assert_eq!(number(&scripts.0, &format!("EXISTS {QUEUE_KEY}")).await, 0);
}

#[tokio::test]
async fn an_extension_is_the_owners_even_past_the_lease_and_mends_a_fence() {
    let (_redis, scripts) = scripts().await;
    let a = scripts.acquire(&token('a', 1), "0", true).await;
    scripts.expire().await;
    let extended = scripts.extend(&token('a', 1), 0).await;
    assert_eq!(extended, [1, a[1], 1_200_000]);
    let floor = a[1] + 1_000_000_000_000;
    assert_eq!(scripts.extend(&token('a', 1), floor).await, [1, floor + 1, 1_200_000]);
    assert!(scripts.extend(&token('a', 1), 7).await[1] > floor + 1);
    assert_eq!(scripts.extend(&token('b', 1), 0).await, [0]);
    scripts.expire().await;
    let b = scripts.acquire(&token('b', 1), "0", true).await;
    assert!(b[0] == 1 && b[1] > floor, "a fence never goes back while Redis remembers it");
    assert_eq!(scripts.extend(&token('a', 1), 0).await, [0]);
}

#[tokio::test]
async fn a_late_release_touches_nobody_elses_lock() {
    let (_redis, scripts) = scripts().await;
    scripts.acquire(&token('a', 1), "0", true).await;
    scripts.expire().await;
    scripts.acquire(&token('b', 1), "0", true).await;
    assert_eq!(scripts.release(&token('a', 1), "0").await, [Value::Integer(0)]);
    assert_eq!(scripts.owner().await, token('b', 1));
}

#[tokio::test]
async fn a_cancellation_leaves_the_queue_with_and_without_a_ticket() {
    let (_redis, scripts) = scripts().await;
    scripts.acquire(&token('a', 1), "0", true).await;
    let b = scripts.acquire(&token('b', 1), "0", true).await;
    scripts.acquire(&token('c', 1), "0", true).await;
    scripts.release(&token('b', 1), &b[1].to_string()).await;
    assert_eq!(scripts.queue().await, [token('c', 1)]);
    scripts.release(&token('c', 1), "0").await;
    assert!(scripts.queue().await.is_empty());
    assert_eq!(scripts.owner().await, token('a', 1));
}

/// Hand-offs that go on for longer than KEEP without a single poll renew the keys' own life.
#[tokio::test]
async fn hand_offs_keep_the_keys_alive() {
    let (_redis, scripts) = scripts().await;
    scripts.acquire(&token('a', 1), "0", true).await;
    for number in 2..5 {
        scripts.acquire(&token('a', number), "0", true).await;
    }
    for holder in 1..4 {
        // As after half of KEEP.
        for key in [LOCK_KEY, QUEUE_KEY] {
            command(&scripts.0, &format!("PEXPIRE {key} 29000")).await;
        }
        command(&scripts.0, &format!("HSET {LOCK_KEY} k 1")).await;
        scripts.release(&token('a', holder), "0").await;
        assert!(number(&scripts.0, &format!("PTTL {LOCK_KEY}")).await > 50_000);
        if holder < 3 {
            assert!(number(&scripts.0, &format!("PTTL {QUEUE_KEY}")).await > 50_000);
        }
    }
}
