//! The near cache of `combined`.

use std::time::Duration;

use ::http::Method;
use testbed::api::{Answer, until};
use testbed::{Direction, FaultProxy};

use crate::stage::{Replica, Stage, settings};

/// A grace that outlasts every test: what is seen to be removed was not merely disbelieved.
const LONG: Duration = Duration::from_secs(60);

async fn near(stage: &Stage) -> Replica {
    stage
        .replica_with(|cache| {
            cache.near_cache = 32 << 20;
            cache.near_grace = LONG;
        })
        .await
}

async fn until_near(replica: &Replica, path: &str) -> Answer {
    until("it is near", async || {
        Some(replica.get(path).await.expect(200)).filter(|read| read.header("x-cache") == "NEAR_HIT")
    })
    .await
}

#[tokio::test]
async fn hot_products_pages_and_searches_come_from_near_until_a_write() {
    let stage = Stage::set().await;
    let (one, other) = (near(&stage).await, near(&stage).await);
    let id = one.add("combined", 1, "Oak table").await;
    let paths = [
        format!("/s/combined/products/{id}"),
        "/s/combined/categories/1/products".into(),
        "/s/combined/products/search?q=oak".into(),
    ];
    for path in &paths {
        let hit = until_near(&other, path).await;
        assert!(hit.header("cache-status").starts_with("shop-near; hit; ttl="), "{hit:?}");
        until_near(&one, path).await;
    }
    let written = one.price("combined", id, 900).await;
    assert_eq!(written.header("x-cache-write"), "applied");
    for path in &paths {
        let shown = |read: &Answer| {
            let json = read.json();
            json["price"]["amount"].as_i64().or_else(|| json["items"][0]["price"]["amount"].as_i64())
        };
        // The process that writes is not behind itself; another one is, by a push.
        assert_eq!(shown(&one.get(path).await.expect(200)), Some(900), "{path}");
        until("the push has come", async || (shown(&other.get(path).await) == Some(900)).then_some(())).await;
        assert_eq!(shown(&until_near(&other, path).await), Some(900));
    }
}

#[tokio::test]
async fn other_strategies_have_no_near_cache() {
    let stage = Stage::set().await;
    let replica = near(&stage).await;
    let id = replica.add("tags", 1, "Oak table").await;
    until_near(&replica, &format!("/s/combined/products/{id}")).await;
    for strategy in ["ttl", "explicit", "write-through", "event", "swr", "tags"] {
        let path = format!("/s/{strategy}/products/{id}");
        replica.get(&path).await.expect(200);
        for _ in 0..3 {
            assert_eq!(replica.get(&path).await.header("x-cache"), "HIT", "{strategy}");
        }
    }
}

#[tokio::test]
async fn a_seen_version_passes_over_what_is_near_and_old() {
    let stage = Stage::set().await;
    // Nothing that Redis sends reaches the reader any more: no push tells it of the write.
    let proxy = FaultProxy::start(stage.redis.url()).await.unwrap();
    let mut deaf = settings(&stage.database.url(), &proxy.redis_url());
    deaf.cache.near_cache = 32 << 20;
    deaf.cache.near_grace = LONG;
    let (reader, writer) = (Replica::start(deaf).await, stage.replica().await);
    let id = writer.add("combined", 1, "Oak table").await;
    let path = format!("/s/combined/products/{id}");
    until_near(&reader, &path).await;
    proxy.hold(Direction::ServerToClient);
    let written = writer.price("combined", id, 900).await;
    let old = reader.get(&path).await.expect(200);
    assert_eq!((old.header("x-cache"), old.header("etag")), ("NEAR_HIT", "\"1\""));
    let seen = reader.request(Method::GET, &path).header("x-seen-version", written.header("x-seen-version"));
    assert_eq!(seen.send().await.expect(200).header("etag"), "\"2\"");
    proxy.heal();
}

#[tokio::test]
async fn strict_writers_wait_until_nobody_believes_what_is_near() {
    let stage = Stage::set().await;
    let grace = Duration::from_millis(700);
    let strict = |cache: &mut shop_api::config::CacheArgs| {
        cache.near_cache = 32 << 20;
        cache.near_grace = grace;
        cache.near_strict = true;
    };
    let proxy = FaultProxy::start(stage.redis.url()).await.unwrap();
    let mut deaf = settings(&stage.database.url(), &proxy.redis_url());
    strict(&mut deaf.cache);
    let (reader, writer) = (Replica::start(deaf).await, stage.replica_with(strict).await);
    let id = writer.add("combined", 1, "Oak table").await;
    let path = format!("/s/combined/products/{id}");
    until_near(&reader, &path).await;
    proxy.hold(Direction::ServerToClient);
    let began = std::time::Instant::now();
    assert_eq!(writer.price("combined", id, 900).await.header("x-cache-write"), "applied");
    assert!(began.elapsed() >= grace);
    let read = reader.get(&path).await.expect(200);
    assert_eq!(read.header("etag"), "\"2\"", "{read:?}");
    let words = writer.get("/strategies").await.json()["items"][6]["cost"].to_string();
    assert!(words.contains("waits"), "{words}");
}
