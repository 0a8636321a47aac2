//! Redis away: killed, stopped, restarted, not there at the start.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use blog_api::config::CacheMode;
use serde_json::json;

use testbed::api::{Answer, until};

use crate::stage::{Replica, Stage};

fn body(title: &str) -> serde_json::Value {
    json!({"title": title, "body": "b", "tags": ["x"]})
}

/// Until reads come from Redis again.
async fn until_hit(replica: &Replica, path: &str) -> Answer {
    until("reads come from the cache", async || {
        Some(replica.get(path).await).filter(|read| read.header("x-cache") == "HIT")
    })
    .await
}

#[tokio::test]
async fn a_killed_redis_costs_hits_and_no_answers() {
    let stage = Stage::set().await;
    let (one, other) = (stage.replica().await, stage.replica().await);
    let path = format!("/posts/{}", one.write("ann", "t1", &["x"]).await);
    one.get(&path).await.expect(200);
    one.get("/posts?tag=x").await.expect(200);

    stage.redis.kill().await;
    for replica in [&one, &other] {
        let read = replica.get(&path).await.expect(200);
        assert_eq!((read.header("x-cache"), read.header("cache-status")), ("BYPASS", "blog-redis; fwd=bypass"));
        assert_eq!(replica.get("/posts/99").await.expect(404).header("x-cache"), "BYPASS");
    }
    let put = one.put(&path, &body("t2")).await.expect(200);
    assert_eq!(put.header("x-cache-write"), "pending");
    let post =
        one.post("/posts", &json!({"author": "bob", "title": "t", "body": "b", "tags": ["x"]})).await.expect(201);
    assert_eq!(post.header("x-cache-write"), "pending");
    // Whoever reads past the cache sees it at once.
    assert_eq!(other.get(&path).await.expect(200).json()["title"], "t2");
    one.until_check("redis", "fail").await;
    assert_eq!(one.readiness().await.status, 200, "a replica does its work without Redis");

    stage.redis.start_again().await.unwrap();
    for replica in [&one, &other] {
        replica.until_check("replay", "pass").await;
        assert_eq!(until_hit(replica, &path).await.json()["title"], "t2");
        assert_eq!(replica.get("/posts?tag=x").await.json()["items"].as_array().unwrap().len(), 2);
    }
    assert_eq!(one.put(&path, &body("t3")).await.header("x-cache-write"), "applied");
    assert_eq!(other.get(&path).await.json()["title"], "t3");
}

/// What was cached before is still there afterwards, and older than a write that could not tell it.
#[tokio::test]
async fn a_stopped_redis_is_told_what_it_missed() {
    let stage = Stage::set().await;
    let (one, other) = (stage.replica().await, stage.replica().await);
    let path = format!("/posts/{}", one.write("ann", "t1", &["x"]).await);
    for page in [&*path, "/posts?tag=x", "/authors/ann"] {
        one.get(page).await.expect(200);
        until_hit(&other, page).await;
    }

    stage.redis.pause();
    let read = one.get(&path).await.expect(200);
    assert_eq!((read.header("x-cache"), &read.json()["title"]), ("BYPASS", &json!("t1")));
    let put = one.put(&path, &body("t2")).await.expect(200);
    assert_eq!(put.header("x-cache-write"), "pending");
    assert_eq!(one.get(&path).await.expect(200).json()["title"], "t2");

    stage.redis.resume();
    for page in [&*path, "/posts?tag=x", "/authors/ann"] {
        for replica in [&one, &other] {
            until("what was missed is made up for", async || {
                let read = replica.get(page).await.expect(200);
                let shown = read.json();
                let titles = [&shown["title"], &shown["items"][0]["title"], &shown["latest"][0]["title"]];
                (read.header("x-cache") == "HIT" && titles.contains(&&json!("t2"))).then_some(())
            })
            .await;
        }
    }
}

#[tokio::test]
async fn a_start_without_redis_serves_from_the_database() {
    let stage = Stage::set().await;
    stage.redis.kill().await;
    let replica = Replica::start_anyway(&stage.database.url(), &stage.redis.url(), CacheMode::Fenced).await;
    replica.until_check("postgres", "pass").await;
    replica.until_check("migrations", "pass").await;
    assert_eq!(replica.readiness().await.status, 200);
    let written =
        replica.post("/posts", &json!({"author": "ann", "title": "t", "body": "b", "tags": []})).await.expect(201);
    assert_eq!(written.header("x-cache-write"), "pending");
    let path = written.header("location");
    assert_eq!(replica.get(path).await.expect(200).header("x-cache"), "BYPASS");
    assert_eq!(replica.get("/posts/popular").await.expect(200).header("x-cache"), "BYPASS");
    replica.until_check("redis", "fail").await;

    stage.redis.start_again().await.unwrap();
    until_hit(&replica, path).await;
    assert_eq!(replica.put(path, &body("t2")).await.header("x-cache-write"), "applied");
}

#[tokio::test]
async fn naive_without_redis_reads_the_database() {
    let stage = Stage::set().await;
    let replica = stage.replica_with(CacheMode::Naive).await;
    let path = format!("/posts/{}", replica.write("ann", "t", &[]).await);
    replica.get(&path).await.expect(200);
    stage.redis.kill().await;
    assert_eq!(replica.get(&path).await.expect(200).header("x-cache"), "BYPASS");
    assert_eq!(replica.put(&path, &body("t2")).await.expect(200).header("x-cache-write"), "pending");
    stage.redis.start_again().await.unwrap();
    until_hit(&replica, &path).await;
}

/// What readers and writers keep doing while the stores are being ill-treated.
struct Load {
    path: String,
    /// The newest version that a write was acknowledged with.
    acknowledged: AtomicU64,
    stop: AtomicBool,
    reads: AtomicU64,
    applied: AtomicU64,
}

impl Load {
    async fn write(&self, replica: &Replica) {
        while !self.stop.load(Ordering::SeqCst) {
            let put = replica.put(&self.path, &body("t")).await.expect(200);
            if put.header("x-cache-write") == "applied" {
                let version = put.json()["version"].as_u64().unwrap();
                self.acknowledged.fetch_max(version, Ordering::SeqCst);
                self.applied.fetch_add(1, Ordering::SeqCst);
            }
        }
    }

    async fn read(&self, replica: &Replica) {
        while !self.stop.load(Ordering::SeqCst) {
            let acknowledged = self.acknowledged.load(Ordering::SeqCst);
            let read = replica.get(&self.path).await.expect(200);
            let version = read.json()["version"].as_u64().unwrap();
            assert!(version >= acknowledged, "version {version} after {acknowledged} was acknowledged: {read:?}");
            self.reads.fetch_add(1, Ordering::SeqCst);
        }
    }

    async fn ill_treat(&self, stage: &Stage, replica: &Replica) {
        for _ in 0..2 {
            self.some_more().await;
            stage.redis.kill().await;
            replica.until_check("redis", "fail").await;
            self.some_more_reads().await;
            stage.redis.restart_empty().await.unwrap();
            replica.until_check("replay", "pass").await;
        }
        self.some_more().await;
        self.stop.store(true, Ordering::SeqCst);
    }

    async fn some_more(&self) {
        let before = self.applied.load(Ordering::SeqCst);
        self.some_more_reads().await;
        until("writes are applied", async || (self.applied.load(Ordering::SeqCst) > before + 50).then_some(())).await;
    }

    async fn some_more_reads(&self) {
        let before = self.reads.load(Ordering::SeqCst);
        until("reads are answered", async || (self.reads.load(Ordering::SeqCst) > before + 100).then_some(())).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_read_is_older_than_an_acknowledged_write_while_redis_is_killed() {
    let stage = Stage::set().await;
    let (one, other) = (stage.replica().await, stage.replica().await);
    let load = Load {
        path: format!("/posts/{}", one.write("ann", "t", &["x"]).await),
        acknowledged: AtomicU64::new(1),
        stop: AtomicBool::new(false),
        reads: AtomicU64::new(0),
        applied: AtomicU64::new(0),
    };
    let started = Instant::now();
    tokio::join!(
        load.write(&one),
        load.write(&other),
        load.read(&one),
        load.read(&one),
        load.read(&other),
        load.read(&other),
        load.ill_treat(&stage, &one),
    );
    assert!(started.elapsed() < Duration::from_secs(60), "it stood still");
}
