//! PostgreSQL away: killed, not migrated, cut off in a COMMIT.

use ::http::Method;
use serde_json::json;
use testbed::api::{Answer, until};
use testbed::{Cut, Direction, FaultProxy, PostgresServer};

use crate::stage::{Replica, Stage, USUAL, migrate, sold};

#[track_caller]
fn assert_unavailable(answer: Answer) {
    assert!(answer.header("retry-after").parse::<u64>().is_ok_and(|seconds| seconds >= 1), "{answer:?}");
    let text = answer.problem(503).to_string();
    for secret in ["sqlx", "127.0.0.1", "Connection refused", "os error", "postgres"] {
        assert!(!text.contains(secret), "{text}");
    }
}

#[tokio::test]
async fn a_killed_database_is_503_and_nothing_is_lost() {
    let server = PostgresServer::builder().durable(true).start().await.unwrap();
    migrate(&server.url("postgres")).await.unwrap();
    let redis = testbed::redis().await;
    let replica = Replica::start(&server.url("postgres"), &redis.url(), &["--lock-deadline", "2s"]).await;
    let mut events = Vec::new();
    for strategy in USUAL {
        let event = replica.event(strategy, 100).await;
        let booking = replica.book(event, 1).await.expect(201).json()["id"].as_i64().unwrap();
        events.push((strategy, event, booking));
    }
    server.kill().await;
    for (_, event, booking) in &events {
        assert_unavailable(replica.book(*event, 1).await);
        assert_unavailable(replica.cancel(*booking).await);
    }
    for path in ["/events", "/events/1", "/events/1/audit", "/bookings/1"] {
        assert_unavailable(replica.get(path).await);
    }
    assert_unavailable(replica.post("/events", &json!({"name": "n", "capacity": 1, "strategy": "pg-row"})).await);
    replica.get("/noop").await.expect(200);
    replica.get("/events/x").await.problem(400);
    replica.until_check("postgres", "fail").await;
    assert_eq!(replica.readiness().await.status, 503);

    server.start_again().await.unwrap();
    replica.until_check("postgres", "pass").await;
    let pool = sqlx::PgPool::connect(&server.url("postgres")).await.unwrap();
    for (strategy, event, booking) in &events {
        assert_eq!(sold(&pool, *event).await, (1, 1), "{strategy}: what was answered with 503 was not booked");
        until(&format!("{strategy} books again"), async || (replica.book(*event, 1).await.status == 201).then_some(()))
            .await;
        replica.cancel(*booking).await.expect(204);
        let audit = replica.audit(*event).await;
        assert_eq!((&audit["drift"], &audit["oversold"]), (&json!(0), &json!(0)), "{strategy}: {audit}");
    }
}

#[tokio::test]
async fn a_database_that_is_not_migrated_says_what_to_do() {
    let empty = testbed::database("empty", async |_: &str| Ok::<_, sqlx::Error>(())).await;
    let redis = testbed::redis().await;
    let replica = Replica::start_anyway(&empty.url(), &redis.url(), &[]).await;
    replica.until_check("postgres", "pass").await;
    replica.until_check("migrations", "fail").await;
    let readiness = replica.readiness().await;
    assert_eq!(readiness.status, 503);
    assert!(readiness.json()["checks"]["migrations"]["detail"].as_str().unwrap().contains("run `booking-api migrate`"));
    assert_unavailable(replica.get("/events/1").await);
    assert_unavailable(replica.book(1, 1).await);
    migrate(&empty.url()).await.unwrap();
    replica.until_check("migrations", "pass").await;
    let event = replica.event("redis-fenced", 1).await;
    replica.book(event, 1).await.expect(201);
}

/// The connection dies in COMMIT: before it, nothing happened and the booking is made anew; after it, it happened, and the
/// answer says so. Nobody is booked twice.
#[tokio::test]
async fn a_commit_in_doubt_is_found_out() {
    let stage = Stage::set().await;
    let reader = stage.replica().await;
    let pool = stage.pool().await;
    let proxy = FaultProxy::start(stage.database.url()).await.unwrap();
    let replica = Replica::start(&proxy.url(), &stage.redis.url(), &[]).await;
    for strategy in ["none", "redis", "redis-fenced", "pg-advisory", "pg-row"] {
        let event = reader.event(strategy, 9).await;
        for (cut, number) in [(Cut::Before, 1), (Cut::After, 2)] {
            proxy.cut_when(Direction::ClientToServer, "COMMIT", cut);
            let booking = replica.book(event, 1).await.expect(201).json();
            assert_eq!(sold(&pool, event).await, (number, number), "{strategy}");
            reader.get(&format!("/bookings/{}", booking["id"])).await.expect(200);
        }
        let booking = replica.book(event, 1).await.expect(201).json()["id"].as_i64().unwrap();
        proxy.cut_when(Direction::ClientToServer, "COMMIT", Cut::After);
        replica.cancel(booking).await.expect(204);
        reader.cancel(booking).await.problem(409);
        let audit = reader.audit(event).await;
        assert_eq!((&audit["seats_sold"], &audit["drift"]), (&json!(2), &json!(0)), "{strategy}: {audit}");
    }
}

/// Nobody can be asked what became of the commit: the answer says so, and whether it is safe to ask again.
#[tokio::test]
async fn a_commit_that_stays_in_doubt_is_said_to_be() {
    let stage = Stage::set().await;
    let reader = stage.replica().await;
    let pool = stage.pool().await;
    let proxy = FaultProxy::start(stage.database.url()).await.unwrap();
    let replica = Replica::start(&proxy.url(), &stage.redis.url(), &[]).await;
    // A statement that is prepared already is known by its parameters.
    for (strategy, marker) in [("redis-fenced", "COMMIT"), ("pg-conditional", "Buyer-in-doubt")] {
        for key in [Some(format!("doubt-{strategy}")), None] {
            let event = reader.event(strategy, 9).await;
            // Warm: what is cut is the statement's execution, not its preparation.
            replica.book(event, 1).await.expect(201);
            let committing = proxy.wait_for(Direction::ClientToServer, marker);
            proxy.cut_when(Direction::ClientToServer, marker, Cut::After);
            let refuse = async {
                committing.await;
                proxy.refuse(true);
                proxy.cut();
            };
            let path = format!("/events/{event}/bookings");
            let body = json!({"seats": 2, "buyer": "Buyer-in-doubt"});
            let request = replica.request(Method::POST, &path).json(&body);
            let request = match &key {
                Some(key) => request.header("idempotency-key", key),
                None => request,
            };
            let (answer, ()) = tokio::join!(request.send(), refuse);
            let problem = answer.clone().problem(503);
            let detail = problem["detail"].as_str().unwrap();
            assert!(detail.contains("it is not known whether"), "{strategy}: {detail}");
            assert_eq!(detail.contains("safe"), key.is_some(), "{strategy}: {detail}");
            assert_unavailable(answer);
            proxy.heal();
            replica.until_check("postgres", "pass").await;
            if let Some(key) = &key {
                until("it is asked again", async || {
                    let again = replica.request(Method::POST, &path).header("idempotency-key", key);
                    (again.json(&body).send().await.status == 201).then_some(())
                })
                .await;
                assert_eq!(sold(&pool, event).await, (2, 3), "{strategy}: once");
            }
            let audit = reader.audit(event).await;
            assert_eq!(audit["drift"], 0, "{strategy}: {audit}");
        }
    }
}
