//! The locks' Redis away: what needs it says so, what does not goes on.

use testbed::api::{Answer, until};

use crate::stage::{Replica, Stage, sold};

#[track_caller]
fn assert_unavailable(answer: Answer) {
    assert!(answer.header("retry-after").parse::<u64>().is_ok_and(|seconds| seconds >= 1), "{answer:?}");
    let problem = answer.problem(503);
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.starts_with("Nothing was changed"), "{detail}");
    for secret in ["127.0.0.1", "refused", "os error", "fred"] {
        assert!(!detail.contains(secret), "{detail}");
    }
}

const WITHOUT_REDIS: [&str; 5] = ["none", "pg-advisory", "pg-row", "pg-conditional", "pg-units"];
const WITH_REDIS: [&str; 3] = ["redis", "redis-fenced", "redis-reserve"];

#[tokio::test]
async fn a_killed_redis_stops_its_own_strategies_only() {
    let stage = Stage::set().await;
    let replica = stage.replica_with(&["--lock-deadline", "600ms"]).await;
    let pool = stage.pool().await;
    let mut events = Vec::new();
    for strategy in WITHOUT_REDIS.iter().chain(&WITH_REDIS) {
        let event = replica.event(strategy, 5).await;
        let booking = replica.book(event, 1).await.expect(201).json()["id"].as_i64().unwrap();
        events.push((*strategy, event, booking));
    }
    stage.redis.kill().await;
    for (strategy, event, _) in &events {
        let answer = replica.book(*event, 2).await;
        if WITH_REDIS.contains(strategy) {
            assert_unavailable(answer);
            assert_eq!(sold(&pool, *event).await, (1, 1), "{strategy}");
        } else {
            answer.expect(201);
            assert_eq!(sold(&pool, *event).await, (2, 3), "{strategy}");
        }
        // Pages are read as ever.
        replica.get(&format!("/events/{event}")).await.expect(200);
        replica.audit(*event).await;
    }
    for (strategy, _, booking) in &events {
        if matches!(*strategy, "redis" | "redis-fenced") {
            assert_unavailable(replica.cancel(*booking).await);
        } else if *strategy != "redis-reserve" {
            replica.cancel(*booking).await.expect(204);
        }
    }
    // Taken out of service, it would not serve the others either.
    replica.until_check("lock-redis", "fail").await;
    assert_eq!(replica.readiness().await.status, 200);

    stage.redis.restart_empty().await.unwrap();
    replica.until_check("lock-redis", "pass").await;
    for (strategy, event, _) in &events {
        until(&format!("{strategy} books again"), async || (replica.book(*event, 1).await.status == 201).then_some(()))
            .await;
        let audit = replica.audit(*event).await;
        assert_eq!((&audit["oversold"], &audit["drift"]), (&0.into(), &0.into()), "{strategy}: {audit}");
    }
}

#[tokio::test]
async fn a_start_without_redis_serves_what_needs_none() {
    let stage = Stage::set().await;
    stage.redis.kill().await;
    let args = ["--lock-deadline", "600ms"];
    let replica = Replica::start_anyway(&stage.database.url(), &stage.redis.url(), &args).await;
    replica.until_check("postgres", "pass").await;
    replica.until_check("migrations", "pass").await;
    assert_eq!(replica.readiness().await.status, 200);
    for strategy in WITHOUT_REDIS {
        let event = replica.event(strategy, 5).await;
        replica.book(event, 1).await.expect(201);
    }
    let event = replica.event("redis-fenced", 5).await;
    assert_unavailable(replica.book(event, 1).await);
    stage.redis.start_again().await.unwrap();
    until("it books", async || (replica.book(event, 1).await.status == 201).then_some(())).await;
}
