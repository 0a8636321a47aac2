//! `--cache naive` and `--cache off`: the same API, other promises.

use blog_api::config::CacheMode;
use serde_json::json;
use testbed::{Direction, FaultProxy};

use testbed::api::until;

use crate::stage::{Replica, Stage};

#[tokio::test]
async fn off_reads_the_database_each_time() {
    let stage = Stage::set().await;
    let replica = stage.replica_with(CacheMode::Off).await;
    let written =
        replica.post("/posts", &json!({"author": "ann", "title": "t", "body": "b", "tags": []})).await.expect(201);
    assert_eq!(written.header("x-cache-write"), "deferred");
    for path in [written.header("location"), "/posts", "/authors/ann", "/posts/popular"] {
        for _ in 0..2 {
            let read = replica.get(path).await.expect(200);
            assert_eq!((read.header("x-cache"), read.header("cache-status")), ("BYPASS", "blog-redis; fwd=bypass"));
            assert!(!read.headers.contains_key("age"));
        }
    }
    assert_eq!(replica.get("/posts/99").await.expect(404).header("x-cache"), "BYPASS");
}

#[tokio::test]
async fn naive_caches_for_a_minute_and_deletes_after_the_commit() {
    let stage = Stage::set().await;
    let replica = stage.replica_with(CacheMode::Naive).await;
    let path = format!("/posts/{}", replica.write("ann", "t", &["x"]).await);
    for path in [&*path, "/posts?tag=x", "/authors/ann", "/posts/popular"] {
        let miss = replica.get(path).await.expect(200);
        assert_eq!(miss.header("x-cache"), "MISS");
        let hit = replica.get(path).await.expect(200);
        assert_eq!((hit.header("x-cache"), &hit.body, hit.header("etag")), ("HIT", &miss.body, miss.header("etag")));
        assert!(hit.header("cache-status").starts_with("blog-redis; hit; ttl="));
    }
    let put = replica.put(&path, &json!({"title": "new", "body": "b", "tags": ["x"]})).await.expect(200);
    assert_eq!(put.header("x-cache-write"), "applied");
    assert_eq!(replica.get(&path).await.json()["title"], "new");
    assert_eq!(replica.get("/authors/ann").await.header("x-cache"), "MISS");
    // It does not know which pages of lists there are.
    let list = replica.get("/posts?tag=x").await;
    assert_eq!((list.header("x-cache"), &list.json()["items"][0]["title"]), ("HIT", &json!("t")));
    assert_eq!(replica.get("/posts/99").await.expect(404).header("x-cache"), "MISS");
    assert_eq!(
        replica.get("/posts/99").await.expect(404).header("x-cache"),
        "MISS",
        "it remembers nothing that is not there"
    );
}

/// The positive control: the interleaving that leaves a stale row behind, forced. It does no harm to `fenced`.
#[tokio::test]
async fn a_slow_fill_leaves_naive_stale_and_fenced_not() {
    let stage = Stage::set().await;
    for (mode, expected) in [(CacheMode::Naive, "the old title"), (CacheMode::Fenced, "the new title")] {
        let proxy = FaultProxy::start(stage.database.url()).await.unwrap();
        let reader = Replica::start(&proxy.url(), &stage.redis.url(), mode).await;
        let writer = stage.replica_with(mode).await;
        let path = format!("/posts/{}", writer.write("ann", "the old title", &[]).await);

        // The reader's row is on its way when the writer changes it.
        let held = proxy.hold_when(Direction::ServerToClient, "the old title");
        let read = tokio::spawn(reader.request(::http::Method::GET, &path).send());
        held.reached().await;
        let put = writer.put(&path, &json!({"title": "the new title", "body": "b", "tags": []})).await.expect(200);
        assert_eq!(put.header("x-cache-write"), "applied");
        held.release();
        assert_eq!(read.await.unwrap().expect(200).json()["title"], "the old title", "it began before the write");

        assert_eq!(writer.get(&path).await.expect(200).json()["title"], expected, "{mode:?}");
    }
}

#[tokio::test]
async fn replicas_without_this_cache_tell_those_with_it_by_the_outbox() {
    let stage = Stage::set().await;
    let fenced = stage.replica().await;
    let path = format!("/posts/{}", fenced.write("ann", "t", &["x"]).await);
    for mode in [CacheMode::Off, CacheMode::Naive] {
        let other = stage.replica_with(mode).await;
        fenced.get(&path).await.expect(200);
        let title = format!("{mode:?}");
        other.put(&path, &json!({"title": title, "body": "b", "tags": ["x"]})).await.expect(200);
        until("the relay has told the cache", async || {
            let (post, list) = (fenced.get(&path).await.json(), fenced.get("/posts?tag=x").await.json());
            (post["title"] == title.as_str() && list["items"][0]["title"] == title.as_str()).then_some(())
        })
        .await;
    }
}
