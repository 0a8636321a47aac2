//! Events' pages, read through a cache: what a replica shows after another one has booked or cancelled.

mod crowd;
mod faults;

use ::http::Method;
use fred::clients::Client;
use fred::interfaces::{ClientLike, KeysInterface};
use fred::types::Builder;
use fred::types::config::Config;
use serde_json::json;
use sqlx::PgPool;
use testbed::api::{Answer, until};
use testbed::{Direction, FaultProxy, RedisServer};

use crate::stage::{Replica, Stage, USUAL};

/// A stage, the cache's Redis, and two replicas that read pages through it.
async fn two_replicas() -> (Stage, RedisServer, Replica, Replica) {
    let (stage, cache) = tokio::join!(Stage::set(), testbed::redis());
    let (one, other) = (stage.cached_replica(&cache.url()).await, stage.cached_replica(&cache.url()).await);
    (stage, cache, one, other)
}

fn path(event: i64) -> String {
    format!("/events/{event}")
}

/// The page, and that it said how it was answered. On a machine that is busy enough, a fill may come too late to be kept: a hit is
/// waited for.
async fn page(replica: &Replica, event: i64, how: &str) -> Answer {
    if how == "HIT" {
        let hit = async || {
            let page = replica.get(&path(event)).await.expect(200);
            (page.header("x-cache") == how).then_some(page)
        };
        return until("a page comes from the cache", hit).await;
    }
    let page = replica.get(&path(event)).await.expect(200);
    assert_eq!(page.header("x-cache"), how, "{page:?}");
    page
}

fn booked(page: &Answer) -> i64 {
    let json = page.json();
    let (booked, capacity) = (json["booked"].as_i64().unwrap(), json["capacity"].as_i64().unwrap());
    assert_eq!(json["remaining"], json!((capacity - booked).max(0)), "{json}");
    booked
}

#[track_caller]
fn assert_told(answer: &Answer, how: &str) {
    assert_eq!(answer.header("x-cache-write"), how, "{answer:?}");
}

/// Changes what the page counts, and tells nobody: no row of the outbox either. Shows that a page is a cached one.
async fn change_secretly(pool: &PgPool, event: i64) {
    let changed = "update booking.events set booked = booked + 1 where id = $1";
    sqlx::query(changed).bind(event).execute(pool).await.unwrap();
}

/// Every strategy that does not need Kubernetes, whose lease goes the way of the other locks.
#[tokio::test]
async fn after_each_booking_and_cancellation_the_other_replica_shows_what_is_left() {
    let stage = Stage::set().await;
    let (cache, redlock) =
        (testbed::redis().await, [testbed::redis().await, testbed::redis().await, testbed::redis().await]);
    let urls = redlock.each_ref().map(RedisServer::url).join(",");
    let args = ["--redlock-redis-urls", &urls, "--plain-lease", "2s"];
    let one = stage.cached_replica_with(&cache.url(), &args).await;
    let other = stage.cached_replica_with(&cache.url(), &args).await;
    for strategy in USUAL.into_iter().chain(["redlock"]) {
        let event = one.event(strategy, 30).await;
        let mut sold = 0;
        for (round, seats) in (0..12).zip([1, 2, 3].into_iter().cycle()) {
            let (writer, reader) = if round % 2 == 0 { (&one, &other) } else { (&other, &one) };
            // Both have it, and from the cache.
            let before = reader.get(&path(event)).await.expect(200);
            let same = page(writer, event, "HIT").await;
            assert_eq!((booked(&before), before.header("etag")), (sold, same.header("etag")), "{strategy}");
            let tag = same.header("etag").to_owned();
            let known = |replica: &Replica| replica.request(Method::GET, &path(event)).header("if-none-match", &tag);
            assert_eq!(known(reader).send().await.expect(304).header("x-cache"), "HIT");

            let made = writer.book(event, seats).await.expect(201);
            assert_told(&made, "applied");
            sold += i64::from(seats);
            let after = known(reader).send().await.expect(200);
            assert_eq!(booked(&after), sold, "{strategy}, round {round}");
            if round % 3 == 1 {
                assert_eq!(booked(&page(writer, event, "HIT").await), sold);
                let id = made.json()["id"].as_i64().unwrap();
                assert_told(&writer.cancel(id).await.expect(204), "applied");
                sold -= i64::from(seats);
                assert_eq!(booked(&reader.get(&path(event)).await.expect(200)), sold, "{strategy}, round {round}");
                writer.cancel(id).await.problem(409);
            }
        }
    }
}

/// The control of every other test here: without being told the cache would not know.
#[tokio::test]
async fn a_change_that_tells_nobody_is_not_seen() {
    let (stage, _cache, one, other) = two_replicas().await;
    let event = one.event("pg-row", 9).await;
    one.book(event, 1).await.expect(201);
    assert_eq!(booked(&page(&one, event, "MISS").await), 1);
    change_secretly(&stage.pool().await, event).await;
    for replica in [&one, &other] {
        assert_eq!(booked(&page(replica, event, "HIT").await), 1);
    }
    one.book(event, 1).await.expect(201);
    assert_eq!(booked(&other.get(&path(event)).await), 3);
}

/// A page that was read while a booking was being committed is from before it, and stays in the cache only until it is committed. An
/// invalidation that comes before the commit, or none, leaves it there.
#[tokio::test]
async fn a_page_that_was_read_during_the_commit_does_not_outlive_it() {
    let (stage, cache) = tokio::join!(Stage::set(), testbed::redis());
    let proxy = FaultProxy::start(stage.database.url()).await.unwrap();
    let args = ["--cache-redis-url", &cache.url()];
    let writer = Replica::start(&proxy.url(), &stage.redis.url(), &args).await;
    let reader = stage.cached_replica(&cache.url()).await;
    writer.until_check("replay", "pass").await;
    for strategy in ["none", "redis-fenced", "pg-row", "pg-units", "redis-reserve"] {
        let event = reader.event(strategy, 9).await;
        let committing = proxy.hold_when(Direction::ClientToServer, "COMMIT");
        let booking = tokio::spawn(writer.booking(event, 2).send());
        committing.reached().await;
        assert_eq!(booked(&reader.get(&path(event)).await), 0);
        assert_eq!(booked(&page(&reader, event, "HIT").await), 0, "{strategy}");
        committing.release();
        let made = booking.await.unwrap().expect(201);
        assert_told(&made, "applied");
        assert_eq!(booked(&reader.get(&path(event)).await), 2, "{strategy}");

        let id = made.json()["id"].as_i64().unwrap();
        let committing = proxy.hold_when(Direction::ClientToServer, "COMMIT");
        let cancellation = tokio::spawn(writer.request(Method::DELETE, &format!("/bookings/{id}")).send());
        committing.reached().await;
        assert_eq!(booked(&page(&reader, event, "HIT").await), 2, "{strategy}");
        committing.release();
        assert_told(&cancellation.await.unwrap().expect(204), "applied");
        assert_eq!(booked(&reader.get(&path(event)).await), 0, "{strategy}");
    }
}

/// The other way round: what was read before a booking arrives at the cache after it.
#[tokio::test]
async fn a_page_that_was_read_before_a_booking_is_not_stored_after_it() {
    let (stage, cache) = tokio::join!(Stage::set(), testbed::redis());
    let proxy = FaultProxy::start(stage.database.url()).await.unwrap();
    let args = ["--cache-redis-url", &cache.url()];
    let slow = Replica::start(&proxy.url(), &stage.redis.url(), &args).await;
    let writer = stage.cached_replica(&cache.url()).await;
    slow.until_check("replay", "pass").await;
    let event = writer.event("pg-conditional", 9).await;
    // The row that the page is made of, on its way to the reader.
    let row = proxy.hold_when(Direction::ServerToClient, "Concert");
    let reading = tokio::spawn(slow.request(Method::GET, &path(event)).send());
    row.reached().await;
    assert_told(&writer.book(event, 4).await.expect(201), "applied");
    row.release();
    let overtaken = reading.await.unwrap().expect(200);
    assert_eq!((booked(&overtaken), overtaken.header("x-cache")), (0, "MISS"), "it began before the booking");
    for replica in [&slow, &writer] {
        assert_eq!(booked(&replica.get(&path(event)).await), 4);
    }
}

#[tokio::test]
async fn an_event_that_was_asked_for_before_it_was_made_is_there_at_once() {
    let (_stage, _cache, one, other) = two_replicas().await;
    let next = one.event("pg-row", 1).await + 1;
    for replica in [&one, &other] {
        replica.get(&path(next)).await.problem(404);
    }
    assert_eq!(other.get(&path(next)).await.header("x-cache"), "NEGATIVE");
    let made = one.post("/events", &json!({"name": "n", "capacity": 5, "strategy": "pg-units"})).await.expect(201);
    assert_told(&made, "applied");
    assert_eq!(made.header("location"), path(next));
    let read = other.get(&path(next)).await.expect(200);
    assert_eq!((read.json(), read.header("etag")), (made.json(), made.header("etag")));
}

/// Who repeats a request is promised what the first one was: also when the first one's replica did not live to tell the cache.
#[tokio::test]
async fn a_repetition_tells_the_cache_again() {
    let (stage, _cache, one, other) = two_replicas().await;
    // It has no cache, so it tells nobody, as if it had died after the commit.
    let silent = stage.replica().await;
    let event = one.event("redis-fenced", 9).await;
    one.get(&path(event)).await.expect(200);
    let keyed = |replica: &Replica| replica.booking(event, 3).header("idempotency-key", "once").send();
    assert_told(&keyed(&silent).await.expect(201), "deferred");
    let again = keyed(&one).await.expect(201);
    assert_eq!(again.header("idempotent-replayed"), "true");
    assert_told(&again, "applied");
    assert_eq!(booked(&other.get(&path(event)).await), 3);
}

#[tokio::test]
async fn without_a_cache_pages_come_from_the_database() {
    let stage = Stage::set().await;
    let (one, other) = (stage.replica().await, stage.replica().await);
    let pool = stage.pool().await;
    for strategy in USUAL {
        let made = one.post("/events", &json!({"name": "n", "capacity": 9, "strategy": strategy})).await.expect(201);
        assert_told(&made, "deferred");
        let event = made.json()["id"].as_i64().unwrap();
        let booking = one.book(event, 2).await.expect(201);
        assert_told(&booking, "deferred");
        let read = page(&other, event, "BYPASS").await;
        assert_eq!((booked(&read), read.header("cache-status")), (2, "booking-redis; fwd=bypass"), "{strategy}");
        assert_told(&other.cancel(booking.json()["id"].as_i64().unwrap()).await.expect(204), "deferred");
        assert_eq!(booked(&page(&one, event, "BYPASS").await), 0);
        assert_eq!(other.get("/events/99").await.expect(404).header("x-cache"), "BYPASS");
        // For replicas that have one.
        let name = format!("booking:fc:{{event:{event}}}");
        let rows: i64 = sqlx::query_scalar(
            "select count(*) from booking.outbox where keys = array[$1::bytea] and applied_at is null",
        )
        .bind(name.as_bytes())
        .fetch_one(&pool)
        .await
        .unwrap();
        assert_eq!(rows, 3, "{strategy}: made, booked, cancelled");
    }
}

/// What needs a user in the cache's Redis: the entries, all with one prefix.
#[tokio::test]
async fn the_cache_has_no_keys_but_those_with_the_services_prefix() {
    let (_stage, cache, one, other) = two_replicas().await;
    let event = one.event("pg-row", 2).await;
    other.get(&path(event)).await.expect(200);
    let client = client(&cache).await;
    let pages: i64 = client.exists(format!("booking:fc:{{event:{event}}}")).await.unwrap();
    assert_eq!(pages, 1);
    let keys: Vec<String> =
        client.custom(fred::types::CustomCommand::new("KEYS", None::<u16>, false), vec!["*"]).await.unwrap();
    assert!(keys.iter().all(|key| key.starts_with("booking:fc:")), "{keys:?}");
    client.quit().await.unwrap();
}

async fn client(redis: &RedisServer) -> Client {
    let client = Builder::from_config(Config::from_url(&redis.url()).unwrap()).build().unwrap();
    client.init().await.unwrap();
    client
}

/// Until the page comes from the cache, and with so many seats booked.
async fn until_cached(replica: &Replica, event: i64, seats: i64) {
    until("the page comes from the cache", async || {
        let read = replica.get(&path(event)).await.expect(200);
        (read.header("x-cache") == "HIT" && booked(&read) == seats).then_some(())
    })
    .await;
}
