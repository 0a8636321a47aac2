//! `X-Cache`, `Cache-Status` and `Age`: how one answer follows another.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;

use testbed::api::{Answer, Request, until};

use crate::stage::Stage;

fn status(answer: &Answer) -> (&str, &str) {
    (answer.header("x-cache"), answer.header("cache-status"))
}

#[track_caller]
fn assert_hit(answer: &Answer) {
    let (cache, status) = status(answer);
    assert_eq!(cache, "HIT", "{answer:?}");
    let ttl = status.strip_prefix("blog-redis; hit; ttl=").unwrap_or_else(|| panic!("{status}"));
    assert!((0..=66).contains(&ttl.parse::<i64>().unwrap()), "{status}");
    assert!(answer.header("age").parse::<u64>().unwrap() < 60);
}

#[tokio::test]
async fn a_miss_is_stored_and_then_a_hit_everywhere_until_a_write() {
    let stage = Stage::set().await;
    let (one, other) = (stage.replica().await, stage.replica().await);
    let path = format!("/posts/{}", one.write("ann", "t", &["x"]).await);
    for path in [&*path, "/posts", "/posts?author=ann&limit=3", "/posts?tag=x", "/authors/ann", "/posts/popular"] {
        let miss = one.get(path).await.expect(200);
        assert_eq!(status(&miss), ("MISS", "blog-redis; fwd=miss; stored"), "{path}");
        assert!(!miss.headers.contains_key("age"), "it was made for this request");
        for replica in [&other, &one] {
            let hit = replica.get(path).await.expect(200);
            assert_hit(&hit);
            assert_eq!((&hit.body, hit.header("etag")), (&miss.body, miss.header("etag")));
        }
    }
    one.put(&path, &json!({"title": "t2", "body": "b", "tags": []})).await.expect(200);
    assert_eq!(other.get(&path).await.expect(200).header("x-cache"), "MISS");
    assert_hit(&one.get(&path).await);
}

#[tokio::test]
async fn what_is_not_there_is_remembered_until_it_is_there() {
    let stage = Stage::set().await;
    let (one, other) = (stage.replica().await, stage.replica().await);
    let next = one.write("ann", "t", &[]).await + 1;
    let path = format!("/posts/{next}");
    let miss = one.get(&path).await.expect(404);
    assert_eq!(status(&miss), ("MISS", "blog-redis; fwd=miss; stored"));
    let negative = other.get(&path).await.expect(404);
    assert_eq!(negative.header("x-cache"), "NEGATIVE");
    assert!(negative.header("cache-status").starts_with("blog-redis; hit; detail=negative; ttl="));
    assert_eq!(negative.header("age"), "0");
    // The id was asked for before it was given out.
    assert_eq!(one.write("bob", "t", &[]).await, next);
    assert_eq!(other.get(&path).await.expect(200).json()["author"]["name"], "bob");
}

#[tokio::test]
async fn the_most_popular_posts_are_not_invalidated() {
    let stage = Stage::set().await;
    let replica = stage.replica().await;
    let id = replica.write("ann", "t", &[]).await;
    let before = replica.get("/posts/popular").await.expect(200);
    replica.put(&format!("/posts/{id}"), &json!({"title": "new", "body": "b", "tags": []})).await.expect(200);
    let after = replica.get("/posts/popular").await.expect(200);
    assert_eq!((after.header("x-cache"), &after.body), ("HIT", &before.body));
}

/// 64 readers of a key that is in no cache, over two replicas, while the database holds the first load up.
#[tokio::test(flavor = "multi_thread")]
async fn many_readers_at_once_cost_one_load() {
    let stage = Stage::set().await;
    let replicas = [stage.replica().await, stage.replica().await];
    let path = format!("/posts/{}", replicas[0].write("ann", "t", &[]).await);
    let pool = stage.pool().await;
    let mut lock = pool.begin().await.unwrap();
    sqlx::query("lock table blog.posts in access exclusive mode").execute(&mut *lock).await.unwrap();
    let waiting = "select count(*) from pg_stat_activity \
        where wait_event_type = 'Lock' and query like '%blog.posts%' and datname = current_database()";

    let readers = tokio::spawn({
        let requests: Vec<_> =
            (0..64).map(|n| replicas[n % 2].request(::http::Method::GET, &path)).map(Request::send).collect();
        join_all(requests)
    });
    until("a load waits for the lock", async || {
        let count: i64 = sqlx::query_scalar(waiting).fetch_one(&pool).await.unwrap();
        (count > 0).then_some(())
    })
    .await;
    // Time for others to come, if any did: more than a load of a post ever waits before it is sent.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let count: i64 = sqlx::query_scalar(waiting).fetch_one(&pool).await.unwrap();
    assert_eq!(count, 1, "loads under way");
    lock.rollback().await.unwrap();

    let mut outcomes: BTreeMap<String, u32> = BTreeMap::new();
    for answer in readers.await.unwrap() {
        let answer = answer.expect(200);
        *outcomes.entry(answer.header("x-cache").to_owned()).or_default() += 1;
        if answer.header("x-cache") == "COALESCED" {
            assert_eq!(answer.header("cache-status"), "blog-redis; fwd=miss; collapsed");
        }
    }
    assert_eq!(outcomes.get("MISS"), Some(&1), "{outcomes:?}");
    assert!(outcomes.get("COALESCED").is_some_and(|&count| count > 30), "{outcomes:?}");
    assert_eq!(outcomes.get("BYPASS"), None, "{outcomes:?}");
}
