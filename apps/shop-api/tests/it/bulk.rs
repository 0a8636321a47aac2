//! New prices for a category with thousands of products.

use std::time::Duration;

use serde_json::json;
use testbed::api::until;

use crate::stage::{Replica, Stage};

/// As many as a large category has.
const MANY: i64 = 3_000;

async fn stocked(stage: &Stage) {
    stage
        .change_past_all(
            "insert into shop.products (category_id, name, price_cents, currency)
             select 1, 'Product ' || n, 1000, 'EUR' from generate_series(1, 3000) n",
        )
        .await;
}

/// What Redis has been told to do since it started, by command.
async fn calls(stage: &Stage, command: &str) -> u64 {
    let mut redis = tokio::process::Command::new("redis-cli");
    let said = redis.args(["-u", &stage.redis.url(), "info", "commandstats"]).output().await.unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    let line = said.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
    line.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap())
}

#[tokio::test]
async fn tags_tell_redis_once_and_names_tell_it_each() {
    let stage = Stage::set().await;
    stocked(&stage).await;
    let (writer, reader) = (stage.replica().await, stage.replica().await);
    for (strategy, few) in [("tags", true), ("combined", true), ("explicit", false)] {
        for id in [1, MANY] {
            reader.get(&format!("/s/{strategy}/products/{id}")).await.expect(200);
        }
        let before = calls(&stage, "del").await;
        let path = format!("/s/{strategy}/categories/1/reprice");
        let done = writer.post(&path, &json!({"percent": 10})).await.expect(200);
        assert_eq!((done.header("x-cache-write"), &done.json()["products"]), ("applied", &json!(MANY)));
        let told = calls(&stage, "del").await - before;
        // The category and the searches; or each product, and the first page.
        if few {
            assert_eq!(told, 2, "{strategy}");
        } else {
            assert!(told > MANY.unsigned_abs(), "{strategy}: {told}");
        }
    }
}

#[tokio::test]
async fn every_strategy_changes_all_rows_and_its_cache_follows() {
    let stage = Stage::set().await;
    stocked(&stage).await;
    let (writer, reader) = (stage.replica().await, stage.replica().await);
    for (done, strategy) in ["write-through", "explicit", "swr", "tags", "combined"].into_iter().enumerate() {
        let version = i64::try_from(done).unwrap() + 2;
        let paths = [1, 1_500, MANY].map(|id| format!("/s/{strategy}/products/{id}"));
        for path in &paths {
            reader.get(path).await.expect(200);
        }
        let answer = writer.post(&format!("/s/{strategy}/categories/1/reprice"), &json!({"percent": 10})).await;
        assert_eq!(answer.expect(200).header("x-cache-write"), "applied", "{strategy}");
        for path in &paths {
            let read = reader.get(path).await.expect(200);
            match strategy {
                "swr" => assert_eq!(read.header("x-cache"), "STALE"),
                // Among thousands, a put may come too late on a busy machine; then the entry is deleted.
                "write-through" => assert_eq!(version_of(&read), version),
                _ => assert_eq!((read.header("x-cache"), version_of(&read)), ("MISS", version), "{strategy}"),
            }
            until("it is new", async || (version_of(&reader.get(path).await) == version).then_some(())).await;
        }
    }
}

fn version_of(answer: &testbed::api::Answer) -> i64 {
    answer.json()["version"].as_i64().unwrap()
}

/// Two at once lock the same rows: one waits for the other, and neither is told to go away.
#[tokio::test(flavor = "multi_thread")]
async fn two_at_once_both_happen() {
    let stage = Stage::set().await;
    stocked(&stage).await;
    let (one, other) = (stage.replica().await, stage.replica().await);
    let reprice = async |replica: &Replica, percent: i64| {
        for _ in 0..3 {
            replica.post("/s/combined/categories/1/reprice", &json!({"percent": percent})).await.expect(200);
        }
    };
    let singles = async {
        for id in 1..=30 {
            other.price("combined", id, 500).await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::join!(reprice(&one, 10), reprice(&other, 20), singles);
    let last = one.get(&format!("/s/combined/products/{MANY}")).await.expect(200);
    assert_eq!(version_of(&last), 7);
}
