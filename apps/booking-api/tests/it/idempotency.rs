//! `Idempotency-Key`: a request that is sent again books once.

use ::http::Method;
use futures_util::future::join_all;
use serde_json::{Value, json};
use testbed::api::{Answer, Request, until};

use crate::stage::{Replica, Stage, USUAL, sold, until_waiting};

fn keyed(replica: &Replica, event: i64, seats: i32, key: &str) -> Request {
    replica.booking(event, seats).header("idempotency-key", key)
}

fn is_replay(answer: &Answer) -> bool {
    answer.header("idempotent-replayed") == "true"
}

#[tokio::test]
async fn a_repetition_is_answered_like_the_first_time_and_books_nothing() {
    let stage = Stage::set().await;
    let (one, other) = (stage.replica().await, stage.replica().await);
    let pool = stage.pool().await;
    for strategy in USUAL {
        let event = one.event(strategy, 3).await;
        let key = format!("first-{strategy}");
        let first = keyed(&one, event, 2, &key).send().await.expect(201);
        assert!(!is_replay(&first));
        let again = async |replica: &Replica, query: &str| {
            let answer = replica.booking_with(event, 2, query).header("idempotency-key", &key).send().await.expect(201);
            assert!(is_replay(&answer), "{strategy}: {answer:?}");
            assert_eq!(
                (answer.json(), answer.header("location")),
                (first.json(), first.header("location")),
                "{strategy}"
            );
        };
        again(&one, "").await;
        again(&other, "").await;
        // A payment is not made again, and is no part of what was asked for.
        again(&other, "?work_ms=1").await;
        // When the last seats are gone, to this very booking or another one.
        other.book(event, 1).await.expect(201);
        again(&one, "").await;
        again(&one, "?work_ms=1").await;
        assert_eq!(sold(&pool, event).await, (2, 3), "{strategy}");
        // Once it is cancelled, what was answered then still is what was answered.
        one.cancel(first.json()["id"].as_i64().unwrap()).await.expect(204);
        again(&other, "").await;
        assert_eq!(sold(&pool, event).await, (1, 1), "{strategy}");
    }
}

#[tokio::test]
async fn a_key_stands_for_one_request() {
    let stage = Stage::set().await;
    let replica = stage.replica().await;
    let pool = stage.pool().await;
    for strategy in USUAL {
        let (event, another) = (replica.event(strategy, 9).await, replica.event(strategy, 9).await);
        let key = format!("one-{strategy}");
        let post = |event: i64, body: Value| {
            let path = format!("/events/{event}/bookings");
            replica.request(Method::POST, &path).header("idempotency-key", &key).json(&body).send()
        };
        post(event, json!({"seats": 2, "buyer": "Ada"})).await.expect(201);
        for (event, body) in [
            (event, json!({"seats": 1, "buyer": "Ada"})),
            (event, json!({"seats": 2, "buyer": "Bob"})),
            (event, json!({"seats": 2})),
            (another, json!({"seats": 2, "buyer": "Ada"})),
        ] {
            let problem = post(event, body.clone()).await.problem(422);
            assert_eq!(problem["type"], "urn:problem:key-reused", "{strategy} {body}");
        }
        assert!(is_replay(&post(event, json!({"buyer": "Ada", "seats": 2})).await.expect(201)));
        assert_eq!((sold(&pool, event).await, sold(&pool, another).await), ((1, 2), (0, 0)), "{strategy}");
    }
}

#[tokio::test]
async fn of_many_at_once_under_one_key_one_books() {
    let stage = Stage::set().await;
    let (one, other) = (stage.replica().await, stage.replica().await);
    let pool = stage.pool().await;
    for strategy in USUAL {
        let event = one.event(strategy, 100).await;
        for round in 0..4 {
            let key = format!("many-{strategy}-{round}");
            let answers = join_all((0..8).map(|n| {
                let replica = if n % 2 == 0 { &one } else { &other };
                let query = if round % 2 == 0 { "" } else { "?work_ms=3" };
                replica.booking_with(event, 1, query).header("idempotency-key", &key).send()
            }))
            .await;
            let answers: Vec<Answer> = answers.into_iter().map(|answer| answer.expect(201)).collect();
            assert_eq!(answers.iter().filter(|answer| !is_replay(answer)).count(), 1, "{strategy}");
            assert!(answers.iter().all(|answer| answer.json() == answers[0].json()), "{strategy}");
        }
        assert_eq!(sold(&pool, event).await, (4, 4), "{strategy}");
        let page = one.get(&format!("/events/{event}")).await.json();
        assert_eq!(page["booked"], 4, "{strategy}: what was rolled back is not counted");
    }
}

#[tokio::test]
async fn of_many_requests_at_once_under_one_key_one_is_meant() {
    let stage = Stage::set().await;
    let (one, other) = (stage.replica().await, stage.replica().await);
    let pool = stage.pool().await;
    for strategy in USUAL {
        let events = [one.event(strategy, 9).await, one.event(strategy, 9).await];
        let key = format!("mixed-{strategy}");
        let answers = join_all((0..8).map(|n| {
            let replica = if n % 2 == 0 { &one } else { &other };
            keyed(replica, events[n / 4], 1, &key).send()
        }))
        .await;
        let booked = answers.iter().filter(|answer| answer.status == 201).count();
        assert_eq!(booked, 4, "{strategy}: {answers:?}");
        answers.into_iter().filter(|answer| answer.status != 201).for_each(|answer| drop(answer.problem(422)));
        let (first, second) = (sold(&pool, events[0]).await, sold(&pool, events[1]).await);
        assert_eq!(first.0 + second.0, 1, "{strategy}");
    }
}

#[tokio::test]
async fn a_malformed_key_is_400_and_books_nothing() {
    let stage = Stage::set().await;
    let replica = stage.replica().await;
    let event = replica.event("pg-conditional", 9).await;
    let long = "x".repeat(300);
    for malformed in ["", "a b", "\"abc", "\"\"", "\"a\"b", "a\tb", "\"a\\x\"", &long, &"x".repeat(256)] {
        let problem = keyed(&replica, event, 1, malformed).send().await.problem(400);
        assert!(problem["detail"].as_str().unwrap().contains("idempotency-key"), "{problem}");
    }
    let twice = keyed(&replica, event, 1, "a").header("idempotency-key", "a");
    twice.send().await.problem(400);
    assert_eq!(sold(&stage.pool().await, event).await, (0, 0));
    keyed(&replica, event, 1, &"x".repeat(255)).send().await.expect(201);
    // With and without quotes it is the same key.
    keyed(&replica, event, 1, "\"abc\"").send().await.expect(201);
    assert!(is_replay(&keyed(&replica, event, 1, "abc").send().await.expect(201)));
}

/// A client that hangs up does not cut its booking in half, and can ask for it under its key.
#[tokio::test]
async fn a_booking_outlives_its_client() {
    let stage = Stage::set().await;
    let replica = stage.replica().await;
    let pool = stage.pool().await;
    for strategy in ["none", "redis-fenced", "pg-conditional", "pg-advisory", "pg-row"] {
        let event = replica.event(strategy, 5).await;
        let key = format!("gone-{strategy}");
        let mut lock = pool.begin().await.unwrap();
        sqlx::query("select from booking.events where id = $1 for update")
            .bind(event)
            .execute(&mut *lock)
            .await
            .unwrap();
        let gone_before = gone(&replica).await;
        let booking = tokio::spawn(keyed(&replica, event, 2, &key).send());
        until_waiting(&pool, 1).await;
        booking.abort();
        assert!(booking.await.unwrap_err().is_cancelled());
        // The server has seen it: nobody waits for an answer any more.
        until("the request is gone", async || (gone(&replica).await > gone_before).then_some(())).await;
        assert_eq!(sold(&pool, event).await, (0, 0));
        lock.rollback().await.unwrap();
        until("it is booked", async || (sold(&pool, event).await == (1, 2)).then_some(())).await;
        let again = keyed(&replica, event, 2, &key).send().await.expect(201);
        assert!(is_replay(&again), "{strategy}");
        assert_eq!(sold(&pool, event).await, (1, 2));
    }
}

/// How many bookings lost their client so far, in all of this process.
async fn gone(replica: &Replica) -> u64 {
    let metrics = Request::new(replica.admin, Method::GET, "/metrics").try_send().await.unwrap();
    let metrics = String::from_utf8(metrics.body.to_vec()).unwrap();
    let of_posts = metrics.lines().filter(|line| line.contains("status=\"499\"") && line.contains("\"POST\""));
    of_posts.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}
