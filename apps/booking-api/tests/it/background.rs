//! What runs beside the requests.

use serde_json::Value;
use testbed::api::until;

use crate::stage::Stage;

#[tokio::test]
async fn keys_are_pruned_and_then_stand_for_nothing() {
    let stage = Stage::set().await;
    let replica = stage.replica_with(&["--idempotency-retention", "1s"]).await;
    let keeper = stage.replica().await;
    let pool = stage.pool().await;
    let event = replica.event("pg-conditional", 9).await;
    let book = async || {
        let answer = replica.booking(event, 1).header("idempotency-key", "k").send().await.expect(201);
        (answer.json()["id"].clone(), answer.header("idempotent-replayed") == "true")
    };
    let (first, replayed) = book().await;
    assert!(!replayed);
    until("the key is pruned", async || {
        let keys: i64 =
            sqlx::query_scalar("select count(*) from booking.idempotency_keys").fetch_one(&pool).await.unwrap();
        (keys == 0).then_some(())
    })
    .await;
    let (second, replayed) = book().await;
    assert!(!replayed && second != first);
    assert!(replica.metric("idempotency_keys_pruned_total", &[]).await >= 1.0);
    // The booking itself stays, with the key that it had.
    let kept: Vec<Option<String>> =
        sqlx::query_scalar("select idempotency_key from booking.bookings order by id").fetch_all(&pool).await.unwrap();
    assert_eq!(kept, [Some("k".to_owned()), Some("k".to_owned())]);
    drop(keeper);
}

#[tokio::test]
async fn metrics_say_how_orders_end() {
    let stage = Stage::set().await;
    let replica = stage.replica().await;
    let of = |outcome: &'static str| {
        let replica = &replica;
        async move {
            let label = format!("outcome=\"{outcome}\"");
            replica.metric("bookings_total", &["strategy=\"pg-row\"", &label]).await
        }
    };
    let outcomes = ["booked", "replayed", "sold_out", "key_reused", "cancelled"];
    let mut before = Vec::new();
    for outcome in outcomes {
        before.push(of(outcome).await);
    }
    let event = replica.event("pg-row", 2).await;
    let book = async |seats: i32| replica.booking(event, seats).header("idempotency-key", "k").send().await;
    let booking: Value = book(1).await.expect(201).json();
    book(1).await.expect(201);
    book(2).await.problem(422);
    replica.book(event, 2).await.problem(409);
    replica.cancel(booking["id"].as_i64().unwrap()).await.expect(204);
    for (outcome, before) in outcomes.into_iter().zip(before) {
        // Other tests of this process count as well.
        assert!(of(outcome).await > before, "{outcome}");
    }
    let durations = replica.metric("booking_duration_seconds_count", &["strategy=\"pg-row\""]).await;
    assert!(durations >= 4.0, "{durations}");
    // What must stay 0 is there to be seen as 0.
    assert_eq!(replica.metric("booking_schema_refusals_total", &["strategy=\"pg-row\""]).await, 0.0);
}
