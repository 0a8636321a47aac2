//! Redis away: killed, stopped, restarted, not there at the start.

use testbed::api::{Answer, until};

use crate::stage::{EXACT, Replica, Stage, product, replacement, settings};

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
    let mut paths = Vec::new();
    for strategy in EXACT {
        let path = format!("/s/{strategy}/products/{}", one.add(strategy, 1, "Oak table").await);
        one.get(&path).await.expect(200);
        paths.push((path, format!("/s/{strategy}/categories/1/products")));
    }
    stage.redis.kill().await;
    for (path, page) in &paths {
        for replica in [&one, &other] {
            let read = replica.get(path).await.expect(200);
            assert_eq!((read.header("x-cache"), read.header("cache-status")), ("BYPASS", "shop-redis; fwd=bypass"));
            assert_eq!(replica.get(page).await.expect(200).header("x-cache"), "BYPASS");
        }
        let put = one.put(path, &replacement("Oak desk")).await.expect(200);
        assert_eq!(put.header("x-cache-write"), "pending", "{path}");
        // Whoever reads past the cache sees it at once.
        assert_eq!(other.get(path).await.expect(200).json()["name"], "Oak desk");
    }
    one.until_check("redis", "fail").await;
    assert_eq!(one.readiness().await.status, 200, "a replica does its work without Redis");
    // A strategy that does not talk to Redis has nothing that could be pending.
    for strategy in ["ttl", "event"] {
        let added = one.post(&format!("/s/{strategy}/products"), &product(1, "x")).await.expect(201);
        assert_eq!(added.header("x-cache-write"), "deferred");
    }

    stage.redis.start_again().await.unwrap();
    for replica in [&one, &other] {
        replica.until_check("replay", "pass").await;
        for (path, _) in &paths {
            assert_eq!(until_hit(replica, path).await.json()["name"], "Oak desk");
        }
    }
    for (path, _) in &paths {
        assert_eq!(one.put(path, &replacement("Oak door")).await.header("x-cache-write"), "applied");
        assert_eq!(other.get(path).await.json()["name"], "Oak door");
    }
}

/// What was cached before is still there afterwards, and older than a write that could not tell it.
#[tokio::test]
async fn a_stopped_redis_is_told_what_it_missed() {
    let stage = Stage::set().await;
    let (one, other) = (stage.replica().await, stage.replica().await);
    let mut paths = Vec::new();
    for strategy in EXACT.into_iter().chain(["swr"]) {
        let path = format!("/s/{strategy}/products/{}", one.add(strategy, 1, "Oak table").await);
        one.get(&path).await.expect(200);
        assert_eq!(other.get(&path).await.header("x-cache"), "HIT");
        paths.push(path);
    }
    stage.redis.pause();
    for path in &paths {
        let put = one.put(path, &replacement("Oak desk")).await.expect(200);
        assert_eq!(put.header("x-cache-write"), "pending", "{path}");
    }
    stage.redis.resume();
    for path in &paths {
        for replica in [&one, &other] {
            until("what was missed is made up for", async || {
                let read = replica.get(path).await.expect(200);
                (read.header("x-cache") == "HIT" && read.json()["name"] == "Oak desk").then_some(())
            })
            .await;
        }
    }
}

#[tokio::test]
async fn a_start_without_redis_serves_from_the_database() {
    let stage = Stage::set().await;
    stage.redis.kill().await;
    let replica = Replica::start_anyway(settings(&stage.database.url(), &stage.redis.url())).await;
    replica.until_check("postgres", "pass").await;
    replica.until_check("migrations", "pass").await;
    assert_eq!(replica.readiness().await.status, 200);
    let added = replica.post("/s/combined/products", &product(1, "Oak table")).await.expect(201);
    assert_eq!(added.header("x-cache-write"), "pending");
    let path = added.header("location");
    assert_eq!(replica.get(path).await.expect(200).header("x-cache"), "BYPASS");
    replica.until_check("redis", "fail").await;

    stage.redis.start_again().await.unwrap();
    until_hit(&replica, path).await;
    assert_eq!(replica.put(path, &replacement("Oak desk")).await.header("x-cache-write"), "applied");
}
