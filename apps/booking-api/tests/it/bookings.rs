//! Bookings: made, read, cancelled; and what is not one.

use ::http::Method;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::stage::{Stage, USUAL, sold};

#[tokio::test]
async fn a_booking_is_made_read_and_cancelled_once() {
    let stage = Stage::set().await;
    let (replica, other) = (stage.replica().await, stage.replica().await);
    let pool = stage.pool().await;
    for strategy in USUAL {
        let event = replica.event(strategy, 5).await;
        let path = format!("/events/{event}/bookings?strategy={strategy}&work_ms=1");
        let made = replica.post(&path, &json!({"seats": 3, "buyer": "Ada"})).await.expect(201);
        assert!(!made.headers.contains_key("idempotent-replayed"));
        let booking = made.json();
        let path = made.header("location");
        assert_eq!(path, format!("/bookings/{}", booking["id"]));
        assert_eq!(
            (&booking["event_id"], &booking["seats"], &booking["buyer"], &booking["cancelled_at"]),
            (&json!(event), &json!(3), &json!("Ada"), &Value::Null)
        );
        assert_eq!(booking["fence"].is_i64(), strategy == "redis-fenced", "{booking}");
        let numbered = matches!(strategy, "pg-units" | "redis-reserve");
        assert_eq!(booking["seat_numbers"].as_array().map(Vec::len), numbered.then_some(3), "{booking}");
        let read = other.get(path).await.expect(200);
        assert_eq!((read.json(), read.header("etag")), (booking.clone(), "\"1\""));
        other.request(Method::GET, path).header("if-none-match", "\"1\"").send().await.expect(304);
        assert_eq!(sold(&pool, event).await, (1, 3));

        // Three are gone: two fit, three do not.
        let problem = other.book(event, 3).await.problem(409);
        assert_eq!((&problem["type"], &problem["remaining"]), (&json!("urn:problem:sold-out"), &json!(2)), "{problem}");
        assert_eq!(other.book(event, 2).await.expect(201).json()["buyer"], Value::Null);
        assert_eq!(replica.book(event, 1).await.problem(409)["remaining"], 0);

        let delete = |tag: &'static str| replica.request(Method::DELETE, path).header("if-match", tag).send();
        delete("1").await.problem(400);
        for stale in ["\"2\"", "W/\"1\"", "\"9\""] {
            let refused = delete(stale).await;
            assert_eq!(refused.header("etag"), "\"1\"");
            refused.problem(412);
        }
        delete("\"7\", \"1\"").await.expect(204);
        let problem = other.cancel(booking["id"].as_i64().unwrap()).await.problem(409);
        assert_eq!(problem["type"], "urn:problem:already-cancelled");
        delete("\"1\"").await.problem(412);
        delete("\"2\"").await.problem(409);
        let read = replica.get(path).await.expect(200);
        assert!(read.json()["cancelled_at"].is_string());
        assert_eq!((read.header("etag"), &read.json()["seat_numbers"]), ("\"2\"", &booking["seat_numbers"]));

        // Its seats are free again, once.
        assert_eq!(replica.get(&format!("/events/{event}")).await.json()["remaining"], 3, "{strategy}");
        other.book(event, 3).await.expect(201);
        assert_eq!(replica.book(event, 1).await.problem(409)["remaining"], 0, "{strategy}");
        let audit = replica.audit(event).await;
        let fences = if strategy == "redis-fenced" { 3 } else { 0 };
        assert_eq!(
            audit,
            json!({
                "event_id": event, "strategy": strategy, "capacity": 5, "bookings": 3, "cancelled": 1, "seats_sold": 5,
                "oversold": 0, "booked": 5, "drift": 0, "duplicate_keys": 0, "duplicate_seats": 0,
                "fences": {"checked": fences, "out_of_order": 0},
            })
        );
    }
}

#[tokio::test]
async fn of_many_who_cancel_one_gives_the_seats_back() {
    let stage = Stage::set().await;
    let (one, other) = (stage.replica().await, stage.replica().await);
    for strategy in USUAL {
        let event = one.event(strategy, 4).await;
        let booking = one.book(event, 3).await.expect(201).json()["id"].as_i64().unwrap();
        let answers =
            join_all((0..8).map(|n| if n % 2 == 0 { one.cancel(booking) } else { other.cancel(booking) })).await;
        let cancelled = answers.iter().filter(|answer| answer.status == 204).count();
        assert_eq!(cancelled, 1, "{strategy}: {answers:?}");
        answers.into_iter().filter(|answer| answer.status != 204).for_each(|answer| drop(answer.problem(409)));
        let page = one.get(&format!("/events/{event}")).await.json();
        assert_eq!((&page["booked"], &page["remaining"]), (&json!(0), &json!(4)), "{strategy}");
    }
}

#[tokio::test]
async fn all_that_is_wrong_with_a_booking_is_told() {
    let stage = Stage::set().await;
    let replica = stage.replica().await;
    let event = replica.event("pg-conditional", 100).await;
    let path = format!("/events/{event}/bookings");
    let wrong: [(Value, &[&str]); 11] = [
        (json!({"seats": 0}), &["/seats"]),
        (json!({"seats": -1}), &["/seats"]),
        (json!({"seats": 11}), &["/seats"]),
        (json!({"seats": 4_294_967_297_i64}), &["/seats"]),
        (json!({"seats": 1.5}), &["/seats"]),
        (json!({"seats": "1"}), &["/seats"]),
        (json!({"seats": null}), &["/seats"]),
        (json!({"seats": 1, "buyer": ""}), &["/buyer"]),
        (json!({"seats": 1, "buyer": "x".repeat(101)}), &["/buyer"]),
        (json!({"seats": 1, "row": 3}), &["/row"]),
        (json!({"seats": 0, "buyer": "a\nb"}), &["/seats", "/buyer"]),
    ];
    for (body, pointers) in wrong {
        replica.post(&path, &body).await.wrong_fields(422, pointers);
    }
    replica.post(&path, &json!({})).await.problem(422);
    let json = |body: &'static str| {
        replica.request(Method::POST, &path).header("content-type", "application/json").body(body).send()
    };
    json("{\"seats\": 1").await.problem(400);
    json("").await.problem(400);
    replica.request(Method::POST, &path).body("{\"seats\":1}").send().await.problem(415);
    for odd in ["work_ms=10001", "work_ms=-1", "work_ms=x", "work_ms=", "strategy=hope", "strategy=", "seats=1"] {
        replica.booking_with(event, 1, &format!("?{odd}")).send().await.problem(400);
    }
    let problem = replica.booking_with(event, 1, "?strategy=redis-fenced").send().await.problem(409);
    assert_eq!(problem["type"], "urn:problem:other-strategy");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("pg-conditional") && detail.contains("redis-fenced"), "{detail}");
    assert_eq!(sold(&stage.pool().await, event).await, (0, 0));
    replica.post(&path, &json!({"seats": 10, "buyer": "\u{1f980}".repeat(100)})).await.expect(201);
}
