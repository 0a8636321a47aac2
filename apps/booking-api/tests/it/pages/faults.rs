//! The cache's Redis away; invalidations that are lost; commits in doubt.

use testbed::Cut;

use super::*;

#[tokio::test]
async fn without_the_caches_redis_bookings_go_on_and_pages_are_right() {
    let (_stage, cache, one, other) = two_replicas().await;
    let mut events = Vec::new();
    for strategy in USUAL {
        let event = one.event(strategy, 20).await;
        one.book(event, 1).await.expect(201);
        one.get(&path(event)).await.expect(200);
        events.push(event);
    }
    cache.kill().await;
    one.until_check("redis", "fail").await;
    assert_eq!(one.readiness().await.status, 200, "a replica does its work without it");
    for event in &events {
        let booking = one.book(*event, 2).await.expect(201);
        assert_told(&booking, "pending");
        assert_eq!(booked(&page(&other, *event, "BYPASS").await), 3);
        assert_told(&other.cancel(booking.json()["id"].as_i64().unwrap()).await.expect(204), "pending");
        assert_eq!(booked(&page(&one, *event, "BYPASS").await), 1);
        assert_told(&one.book(*event, 3).await.expect(201), "pending");
    }
    cache.start_again().await.unwrap();
    for event in &events {
        for replica in [&one, &other] {
            until_cached(replica, *event, 4).await;
        }
        assert_told(&one.book(*event, 1).await.expect(201), "applied");
        assert_eq!(booked(&other.get(&path(*event)).await), 5);
    }
}

/// What was cached before is still there afterwards, and older than a booking that could not tell it.
#[tokio::test]
async fn a_stopped_redis_is_told_what_it_missed() {
    let (_stage, cache, one, other) = two_replicas().await;
    let event = one.event("redis-fenced", 20).await;
    one.get(&path(event)).await.expect(200);
    page(&other, event, "HIT").await;
    cache.pause();
    assert_told(&one.book(event, 2).await.expect(201), "pending");
    assert_eq!(booked(&one.get(&path(event)).await.expect(200)), 2);
    cache.resume();
    for replica in [&one, &other] {
        until_cached(replica, event, 2).await;
    }
}

/// The booking is committed, and its replica cannot say so: the relay of any other one does.
#[tokio::test]
async fn a_lost_invalidation_is_made_up_for_by_the_outbox() {
    let (stage, cache) = tokio::join!(Stage::set(), testbed::redis());
    let proxy = FaultProxy::start(cache.url()).await.unwrap();
    let reader = stage.cached_replica(&cache.url()).await;
    let writer = stage.cached_replica(&proxy.redis_url()).await;
    let pool = stage.pool().await;
    for strategy in USUAL {
        let event = reader.event(strategy, 9).await;
        reader.get(&path(event)).await.expect(200);
        proxy.refuse(true);
        proxy.cut();
        writer.until_check("redis", "fail").await;
        assert_told(&writer.book(event, 2).await.expect(201), "pending");
        // Nobody has been told yet, if the relay was not that fast; then it is.
        until_cached(&reader, event, 2).await;
        proxy.heal();
        writer.until_check("replay", "pass").await;
        let open = async || {
            let open: i64 = sqlx::query_scalar("select count(*) from booking.outbox where applied_at is null")
                .fetch_one(&pool)
                .await
                .unwrap();
            (open == 0).then_some(())
        };
        until("every row is applied", open).await;
    }
}

/// Beside replicas that have a cache there may be some that have none: while one is being rolled out.
#[tokio::test]
async fn replicas_with_a_cache_learn_of_what_those_without_do() {
    let (stage, _cache, one, other) = two_replicas().await;
    let without = stage.replica().await;
    for strategy in USUAL {
        let event = one.event(strategy, 9).await;
        one.get(&path(event)).await.expect(200);
        page(&other, event, "HIT").await;
        assert_told(&without.book(event, 5).await.expect(201), "deferred");
        for replica in [&one, &other] {
            until_cached(replica, event, 5).await;
        }
    }
}

/// The connection dies in COMMIT. Where the database says what became of it, the answer is a booking and its page is right; where
/// it does not, the outbox's row tells of it.
#[tokio::test]
async fn a_commit_in_doubt_reaches_the_page() {
    let (stage, cache) = tokio::join!(Stage::set(), testbed::redis());
    let proxy = FaultProxy::start(stage.database.url()).await.unwrap();
    let reader = stage.cached_replica(&cache.url()).await;
    let args = ["--cache-redis-url", &cache.url()];
    let writer = Replica::start(&proxy.url(), &stage.redis.url(), &args).await;
    writer.until_check("replay", "pass").await;
    for strategy in ["redis-fenced", "pg-row", "pg-units", "redis-reserve"] {
        let event = reader.event(strategy, 9).await;
        reader.get(&path(event)).await.expect(200);
        proxy.cut_when(Direction::ClientToServer, "COMMIT", Cut::After);
        assert_told(&writer.book(event, 2).await.expect(201), "applied");
        assert_eq!(booked(&reader.get(&path(event)).await), 2, "{strategy}");

        let committing = proxy.wait_for(Direction::ClientToServer, "COMMIT");
        proxy.cut_when(Direction::ClientToServer, "COMMIT", Cut::After);
        let cut_off = async {
            committing.await;
            proxy.refuse(true);
            proxy.cut();
        };
        let (answer, ()) = tokio::join!(writer.book(event, 1), cut_off);
        answer.problem(503);
        proxy.heal();
        writer.until_check("postgres", "pass").await;
        // It was sent, and so it was made.
        until_cached(&reader, event, 3).await;
    }
}
