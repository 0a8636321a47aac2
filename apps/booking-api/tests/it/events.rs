//! Events: made, listed, read; and what is not one.

use ::http::Method;
use serde_json::{Value, json};

use crate::stage::{Stage, USUAL};

#[tokio::test]
async fn an_event_is_made_and_read() {
    let stage = Stage::set().await;
    let (replica, other) = (stage.replica().await, stage.replica().await);
    for strategy in USUAL {
        let body = json!({"name": "Redis, live \u{1f3b8}", "capacity": 7, "strategy": strategy});
        let made = replica.post("/events", &body).await.expect(201);
        let event = made.json();
        let path = made.header("location");
        assert_eq!(path, format!("/events/{}", event["id"]));
        for (member, value) in [
            ("name", json!("Redis, live \u{1f3b8}")),
            ("capacity", json!(7)),
            ("strategy", json!(strategy)),
            ("booked", json!(0)),
            ("remaining", json!(7)),
        ] {
            assert_eq!(event[member], value, "{event}");
        }
        let read = other.get(path).await.expect(200);
        assert_eq!(read.json(), event);
        assert_eq!(read.header("etag"), made.header("etag"));

        other.book(event["id"].as_i64().unwrap(), 3).await.expect(201);
        let booked = replica.get(path).await.expect(200);
        assert_eq!((&booked.json()["booked"], &booked.json()["remaining"]), (&json!(3), &json!(4)), "{strategy}");
        assert_ne!(booked.header("etag"), made.header("etag"));
        let known = |tag: &str| replica.request(Method::GET, path).header("if-none-match", tag).send();
        known(booked.header("etag")).await.expect(304);
        known(made.header("etag")).await.expect(200);
    }
}

#[tokio::test]
async fn all_that_is_wrong_with_an_event_is_told_at_once() {
    let stage = Stage::set().await;
    let replica = stage.replica().await;
    let fine = json!({"name": "n", "capacity": 1, "strategy": "pg-row"});
    let with = |member: &str, value: Value| {
        let mut body = fine.clone();
        body[member] = value;
        body
    };
    let wrong: [(Value, &[&str]); 15] = [
        (with("capacity", json!(0)), &["/capacity"]),
        (with("capacity", json!(-1)), &["/capacity"]),
        (with("capacity", json!(100_001)), &["/capacity"]),
        (with("capacity", json!(4_294_967_297_i64)), &["/capacity"]),
        (with("capacity", json!(1.5)), &["/capacity"]),
        (with("capacity", json!("1")), &["/capacity"]),
        (with("name", json!("")), &["/name"]),
        (with("name", json!(" ")), &["/name"]),
        (with("name", json!("x".repeat(201))), &["/name"]),
        (with("name", json!("a\u{0}b")), &["/name"]),
        (with("strategy", json!("hope")), &["/strategy"]),
        (with("strategy", json!("PG-ROW")), &["/strategy"]),
        // There are no servers for it.
        (with("strategy", json!("redlock")), &["/strategy"]),
        (with("color", json!("red")), &["/color"]),
        (json!({"name": "", "capacity": 0, "strategy": ""}), &["/name", "/capacity", "/strategy"]),
    ];
    for (body, pointers) in wrong {
        replica.post("/events", &body).await.wrong_fields(422, pointers);
    }
    let detail = async |strategy: &str| {
        let problem = replica.post("/events", &with("strategy", json!(strategy))).await.problem(422);
        problem["errors"][0]["detail"].as_str().unwrap().to_owned()
    };
    let unknown = detail("hope").await;
    assert!(USUAL.iter().chain(&["redlock", "k8s-lease"]).all(|strategy| unknown.contains(strategy)), "{unknown}");
    assert!(detail("redlock").await.contains("REDLOCK_REDIS_URLS"));
    replica.post("/events", &fine).await.expect(201);
    replica.post("/events", &with("name", json!("\u{1f980}".repeat(200)))).await.expect(201);
    let largest = with("capacity", json!(100_000));
    assert_eq!(replica.post("/events", &largest).await.expect(201).json()["remaining"], 100_000);
}

#[tokio::test]
async fn the_list_is_walked_page_by_page() {
    let stage = Stage::set().await;
    let replica = stage.replica().await;
    let empty = replica.get("/events").await.expect(200).json();
    assert_eq!(empty, json!({"events": [], "next": null}));
    let mut made = Vec::new();
    for strategy in &USUAL[..7] {
        made.push(replica.event(strategy, 5).await);
    }
    // Each event's own count, whatever it is counted from.
    for (event, seats) in made.iter().zip(1..) {
        replica.book(*event, seats.min(5)).await.expect(201);
    }
    let mut seen = Vec::new();
    let mut next = Some("/events?limit=3".to_owned());
    let mut pages = 0;
    while let Some(path) = next {
        let page = replica.get(&path).await.expect(200);
        let tag = page.header("etag").to_owned();
        replica.request(Method::GET, &path).header("if-none-match", &tag).send().await.expect(304);
        let page = page.json();
        for event in page["events"].as_array().unwrap() {
            seen.push((event["id"].as_i64().unwrap(), event["booked"].as_i64().unwrap()));
        }
        next = page["next"].as_str().map(ToOwned::to_owned);
        pages += 1;
    }
    let expected: Vec<(i64, i64)> = made.iter().copied().zip([1, 2, 3, 4, 5, 5, 5]).collect();
    assert_eq!((seen, pages), (expected, 3));
    // A page that is full and the last one has no next one.
    assert_eq!(replica.get("/events?limit=7").await.json()["next"], Value::Null);
    let after = replica.get(&format!("/events?after={}", made[5])).await.expect(200).json();
    assert_eq!(after["events"].as_array().unwrap().len(), 1);
    assert_eq!(replica.get("/events?after=9223372036854775807").await.expect(200).json()["events"], json!([]));
    for odd in ["limit=0", "limit=101", "limit=x", "after=0", "after=-1", "after=x", "page=2"] {
        replica.get(&format!("/events?{odd}")).await.problem(400);
    }
}

#[tokio::test]
async fn what_is_no_event_is_404_and_what_is_no_id_400() {
    let stage = Stage::set().await;
    let replica = stage.replica().await;
    for path in ["/events/1", "/events/1/audit", "/bookings/1", "/events/9223372036854775807"] {
        replica.get(path).await.problem(404);
    }
    replica.book(1, 1).await.problem(404);
    replica.cancel(1).await.problem(404);
    for id in ["0", "-1", "01", "x", "1.0", "9223372036854775808", "%00", "1'%20or%20'1"] {
        replica.get(&format!("/events/{id}")).await.problem(400);
        replica.get(&format!("/events/{id}/audit")).await.problem(400);
        replica.get(&format!("/bookings/{id}")).await.problem(400);
        replica.request(Method::DELETE, &format!("/bookings/{id}")).send().await.problem(400);
        replica.post(&format!("/events/{id}/bookings"), &json!({"seats": 1})).await.problem(400);
    }
    for (method, path) in [
        (Method::PUT, "/events"),
        (Method::DELETE, "/events/1"),
        (Method::GET, "/events/1/bookings"),
        (Method::POST, "/bookings/1"),
    ] {
        replica.request(method, path).send().await.problem(405);
    }
}
