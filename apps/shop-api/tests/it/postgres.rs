//! PostgreSQL away: killed, not there at the start, cut off in a COMMIT.

use testbed::api::{Answer, until};
use testbed::{Cut, Direction, FaultProxy, PostgresServer, RedisServer};

use crate::stage::{Replica, Stage, fill, price, product, replacement, settings};

/// A server of the test's own, to be ill-treated.
async fn own_server() -> (PostgresServer, RedisServer) {
    let postgres = PostgresServer::builder().durable(true).start().await.unwrap();
    fill(&postgres.url("postgres")).await.unwrap();
    (postgres, testbed::redis().await)
}

#[track_caller]
fn assert_unavailable(answer: Answer) {
    assert!(answer.header("retry-after").parse::<u64>().is_ok_and(|seconds| seconds >= 1), "{answer:?}");
    let text = answer.problem(503).to_string();
    for secret in ["sqlx", "127.0.0.1", "Connection refused", "os error", "postgres"] {
        assert!(!text.contains(secret), "{text}");
    }
}

#[tokio::test]
async fn a_killed_database_is_503_except_for_what_is_cached() {
    let (postgres, redis) = own_server().await;
    let replica = Replica::start(settings(&postgres.url("postgres"), &redis.url())).await;
    let mut cached = Vec::new();
    for strategy in ["explicit", "tags", "combined", "event", "swr"] {
        let path = format!("/s/{strategy}/products/{}", replica.add(strategy, 1, "Oak table").await);
        for path in [&path, &format!("/s/{strategy}/categories/1/products")] {
            replica.get(path).await.expect(200);
            cached.push(path.clone());
        }
    }
    postgres.kill().await;
    for path in &cached {
        assert_eq!(replica.get(path).await.expect(200).header("x-cache"), "HIT", "{path}");
    }
    let path = &cached[0];
    for uncached in ["/s/tags/products/77", "/s/explicit/products/search?q=oak", "/s/ttl/categories/2/products"] {
        assert_unavailable(replica.get(uncached).await);
    }
    assert_unavailable(replica.put(path, &replacement("x")).await);
    assert_unavailable(replica.patch(&format!("{path}/price"), &price(1)).await);
    assert_unavailable(replica.delete(path).await);
    assert_unavailable(replica.post("/s/event/products", &product(1, "x")).await);
    assert_unavailable(replica.post("/s/tags/categories/1/reprice", &serde_json::json!({"percent": 1})).await);
    // What needs no database goes on.
    replica.get("/strategies").await.expect(200);
    replica.get("/s/tags/products/x").await.problem(400);
    replica.until_check("postgres", "fail").await;

    postgres.start_again().await.unwrap();
    replica.until_check("postgres", "pass").await;
    until("writes are answered", async || (replica.put(path, &replacement("x")).await.status == 200).then_some(()))
        .await;
    assert_eq!(replica.get(path).await.expect(200).json()["name"], "x");
}

#[tokio::test]
async fn a_start_without_the_database_answers_503_and_recovers() {
    let (postgres, redis) = own_server().await;
    postgres.kill().await;
    let replica = Replica::start_anyway(settings(&postgres.url("postgres"), &redis.url())).await;
    assert_unavailable(replica.get("/s/combined/products/1").await);
    assert_unavailable(replica.post("/s/combined/products", &product(1, "x")).await);
    postgres.start_again().await.unwrap();
    for check in ["postgres", "migrations", "replay"] {
        replica.until_check(check, "pass").await;
    }
    replica.add("combined", 1, "Oak table").await;
}

/// The connection dies in COMMIT: what became of it is found out, and the cache is told if it happened.
#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_settled() {
    let stage = Stage::set().await;
    let proxy = FaultProxy::start(stage.database.url()).await.unwrap();
    let writer = Replica::start(settings(&proxy.url(), &stage.redis.url())).await;
    let reader = stage.replica().await;
    for (n, strategy) in ["explicit", "write-through", "tags", "combined"].into_iter().enumerate() {
        let id = reader.add(strategy, 1, "Oak table").await;
        let path = format!("/s/{strategy}/products/{id}");
        reader.get(&path).await.expect(200);
        let cut = proxy.cut_when(Direction::ClientToServer, "COMMIT", Cut::After);
        let written = writer.price(strategy, id, 900).await;
        cut.reached().await;
        assert_eq!(written.header("x-cache-write"), "applied", "{n} {strategy}");
        assert_eq!(reader.get(&path).await.expect(200).json()["price"]["amount"], 900, "{strategy}");
    }
}
