//! The OpenAPI document against the real answers. Every answer of every test here is held against it; this asks for each
//! documented one at least once, and compares the document with the router.

use ::http::Method;
use serde_json::json;

use crate::stage::{Stage, contract, settings};

#[tokio::test]
async fn every_documented_answer_is_really_given() {
    let stage = Stage::set().await;
    let replica = stage.replica_with(&["--lock-deadline", "200ms"]).await;
    let fine = json!({"name": "n", "capacity": 2, "strategy": "pg-row"});
    let made = replica.post("/events", &fine).await.expect(201);
    let (event, id) = (made.header("location"), made.json()["id"].as_i64().unwrap());
    let bookings = format!("{event}/bookings");
    let made = replica.post(&bookings, &json!({"seats": 2})).await.expect(201);
    let booking = made.header("location");
    let audit = format!("{event}/audit");

    for path in [event, "/events", booking, &audit, "/noop", "/openapi.json"] {
        replica.get(path).await.expect(200);
    }
    for path in [event, "/events", booking] {
        replica.request(Method::GET, path).header("if-none-match", "*").send().await.expect(304);
    }
    for path in ["/events/x", "/events?limit=x", "/bookings/x", "/events/x/audit", "/noop?bytes=x"] {
        replica.get(path).await.problem(400);
    }
    for path in ["/events/99", "/bookings/99", "/events/99/audit"] {
        replica.get(path).await.problem(404);
    }
    replica.book(99, 1).await.problem(404);
    replica.cancel(99).await.problem(404);
    replica.request(Method::DELETE, "/bookings/x").send().await.problem(400);
    for path in ["/events", &*bookings] {
        let json = |body: String| {
            replica.request(Method::POST, path).header("content-type", "application/json").body(body).send()
        };
        json("{".into()).await.problem(400);
        json("{}".into()).await.problem(422);
        json(format!("\"{}\"", "x".repeat(1 << 20))).await.problem(413);
        replica.request(Method::POST, path).send().await.problem(415);
    }
    replica.book(id, 1).await.problem(409);
    {
        let pool = stage.pool().await;
        let mut row = pool.begin().await.unwrap();
        sqlx::query("select from booking.events where id = $1 for update").bind(id).execute(&mut *row).await.unwrap();
        for answer in [replica.book(id, 1).await, replica.request(Method::DELETE, booking).send().await] {
            assert_eq!(answer.header("retry-after"), "1");
            answer.problem(423);
        }
        row.rollback().await.unwrap();
    }
    replica.request(Method::DELETE, booking).header("if-match", "\"0\"").send().await.problem(412);
    replica.request(Method::DELETE, booking).send().await.expect(204);
    replica.request(Method::DELETE, booking).send().await.problem(409);
    // Failures have tests of their own.
    let missing: Vec<String> = contract().unseen().into_iter().filter(|answer| !answer.contains(" 50")).collect();
    assert!(missing.is_empty(), "documented and never given: {missing:?}");
}

#[tokio::test]
async fn the_router_and_the_document_have_the_same_paths() {
    let settings = settings("postgres://127.0.0.1:1/none", "redis://127.0.0.1:1", &[]);
    let telemetry = booking_api::telemetry(&settings.log).unwrap();
    let app = format!("{:?}", booking_api::build(&settings, &telemetry).await.unwrap());
    contract().has_the_paths_of(&app);
}

#[test]
fn the_document_describes_itself_rightly() {
    contract().describes_itself(env!("CARGO_PKG_VERSION"));
}
