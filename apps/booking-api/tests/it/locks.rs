//! Locks that are not had, and locks that are lost.

use metrics::set_default_local_recorder;
use serde_json::json;
use sqlx::PgPool;
use testbed::RedisServer;
use testbed::api::Answer;
use tokio::time::Instant;

use crate::orders::Counted;
use crate::stage::{LONG, Stage, sold, until_entered};

#[track_caller]
fn assert_locked(answer: Answer) {
    assert!(answer.header("retry-after").parse::<u64>().is_ok_and(|seconds| seconds >= 1), "{answer:?}");
    let problem = answer.problem(423);
    assert!(problem["detail"].as_str().unwrap().contains("nothing was changed"), "{problem}");
}

#[tokio::test]
async fn a_lock_that_is_not_had_in_time_is_423() {
    let stage = Stage::set().await;
    let replica = stage.replica().await;
    let hasty = stage.replica_with(&["--lock-deadline", "200ms"]).await;
    let pool = stage.pool().await;
    for strategy in ["redis", "redis-fenced", "pg-advisory", "pg-row"] {
        let event = replica.event(strategy, 5).await;
        let booking = replica.book(event, 1).await.expect(201).json()["id"].as_i64().unwrap();
        // A booking is answered before its lock is back.
        until_held(&stage, &pool, strategy, event, false).await;
        // Whoever pays for so long holds the lock; the other one only comes when it is held.
        let holder = tokio::spawn(replica.booking_with(event, 1, "?work_ms=3000").send());
        until_held(&stage, &pool, strategy, event, true).await;
        assert_locked(hasty.book(event, 1).await);
        assert_locked(hasty.cancel(booking).await);
        assert_eq!(sold(&pool, event).await, (1, 1), "{strategy}");
        holder.await.unwrap().expect(201);
        hasty.book(event, 1).await.expect(201);
    }
}

/// Waits until somebody holds the event's lock (and pays), or nobody does.
async fn until_held(stage: &Stage, pool: &PgPool, strategy: &str, event: i64, held: bool) {
    testbed::api::until(&format!("held: {held}"), async || {
        let is_held = match strategy {
            "redis" => redis_has(&stage.redis, &format!("booking:fl:event:{event}")).await,
            "redis-fenced" => redis_has(&stage.redis, &format!("booking:fl:{{0}}:l:event:{event}")).await,
            _ => sqlx::query_scalar(
                "select exists (select from pg_stat_activity where datname = current_database()
                 and state = 'idle in transaction' and query like 'select booked%')",
            )
            .fetch_one(pool)
            .await
            .unwrap(),
        };
        (is_held == held).then_some(())
    })
    .await;
}

async fn client(redis: &RedisServer) -> fred::clients::Client {
    use fred::interfaces::ClientLike as _;
    let config = fred::types::config::Config::from_url(&redis.url()).unwrap();
    let client = fred::types::Builder::from_config(config).build().unwrap();
    client.init().await.unwrap();
    client
}

async fn redis_has(redis: &RedisServer, key: &str) -> bool {
    use fred::interfaces::{ClientLike as _, KeysInterface as _};
    let client = client(redis).await;
    let found: i64 = client.exists(key).await.unwrap();
    client.quit().await.unwrap();
    found == 1
}

async fn flush(redis: &RedisServer) {
    use fred::interfaces::ClientLike as _;
    let client = client(redis).await;
    client.flushall::<()>(false).await.unwrap();
    client.quit().await.unwrap();
}

/// Redis forgets the lock during the payment: the section stops, writes nothing, and is begun again from its start.
#[tokio::test]
async fn a_lost_lock_is_had_again_and_the_section_begun_anew() {
    let stage = Stage::set().await;
    let replica = stage.replica_with(&["--lock-deadline", "8s"]).await;
    let pool = stage.pool().await;
    let counted = Counted::default();
    let _counting = set_default_local_recorder(&counted);
    let event = replica.event("redis-fenced", 1).await;
    let began = Instant::now();
    let lose = async {
        let fence = until_entered(&pool, event).await;
        flush(&stage.redis).await;
        fence
    };
    let (answer, lost) = tokio::join!(replica.booking_with(event, 1, "?work_ms=4000").send(), lose);
    let booking = answer.expect(201).json();
    assert!(booking["fence"].as_i64().unwrap() > lost, "{booking}: not the fence that was lost ({lost})");
    // It was told at its next renewal, and did not pay to the end for nothing.
    assert!(began.elapsed() < LONG, "{:?}", began.elapsed());
    assert_eq!(counted.of(booking_api::metrics::RESTARTS), 1);
    assert_eq!(sold(&pool, event).await, (1, 1));
}

#[tokio::test]
async fn a_lost_lock_that_is_not_had_again_in_time_is_423() {
    let stage = Stage::set().await;
    let replica = stage.replica_with(&["--lock-deadline", "300ms"]).await;
    let pool = stage.pool().await;
    let event = replica.event("redis-fenced", 1).await;
    let lose = async {
        until_entered(&pool, event).await;
        flush(&stage.redis).await;
    };
    let (answer, ()) = tokio::join!(replica.booking_with(event, 1, "?work_ms=4000").send(), lose);
    assert_locked(answer);
    assert_eq!(sold(&pool, event).await, (0, 0));
    replica.book(event, 1).await.expect(201);
}

/// Somebody newer has entered, and nobody has told this holder: PostgreSQL refuses its write.
#[tokio::test]
async fn a_write_that_is_not_entitled_any_more_is_refused_by_the_database() {
    for enter in ["relaxed", "durable"] {
        let stage = Stage::set().await;
        let pool = stage.pool().await;
        let replica = stage.replica_with(&["--lock-deadline", "8s", "--lock-enter", enter]).await;
        let counted = Counted::default();
        let _counting = set_default_local_recorder(&counted);
        let event = replica.event("redis-fenced", 2).await;
        let newer = async {
            until_read(&pool).await;
            sqlx::query_scalar::<_, i64>(
                "update booking.events set fence = fence + 1000000000, booked = 1 where id = $1 returning fence",
            )
            .bind(event)
            .fetch_one(&pool)
            .await
            .unwrap()
        };
        let (answer, fence) = tokio::join!(replica.booking_with(event, 2, "?work_ms=1000").send(), newer);
        // It has read again: now there is room for one only.
        assert_eq!(answer.problem(409)["remaining"], 1, "{enter}");
        assert_eq!(counted.of(booking_api::metrics::RESTARTS), 1, "{enter}");
        let booking = replica.book(event, 1).await.expect(201).json();
        assert!(booking["fence"].as_i64().unwrap() > fence, "{booking}");
    }
}

/// Waits until a section has read what is left, and pays.
async fn until_read(pool: &PgPool) {
    testbed::api::until("a section has read", async || {
        let read: bool = sqlx::query_scalar(
            "select exists (select from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()
             and state = 'idle' and query like 'select booked%')",
        )
        .fetch_one(pool)
        .await
        .unwrap();
        read.then_some(())
    })
    .await;
}

/// The order of fences is checked, not assumed.
#[tokio::test]
async fn the_audit_finds_what_is_wrong() {
    let stage = Stage::set().await;
    let replica = stage.replica().await;
    let pool = stage.pool().await;
    let event = replica.event("redis-fenced", 9).await;
    for _ in 0..4 {
        replica.book(event, 1).await.expect(201);
    }
    sqlx::query(
        "update booking.bookings b set fence = (select min(fence) from booking.bookings), idempotency_key = 'same',
                seat_numbers = '{7}'
         where id > (select min(id) + 1 from booking.bookings)",
    )
    .execute(&pool)
    .await
    .unwrap();
    sqlx::query("update booking.events set booked = 2").execute(&pool).await.unwrap();
    let audit = replica.audit(event).await;
    // The second fence is higher than the first; the third lower than the second, the fourth the same as the third.
    assert_eq!(audit["fences"], json!({"checked": 4, "out_of_order": 2}));
    assert_eq!(
        (&audit["duplicate_keys"], &audit["duplicate_seats"], &audit["drift"]),
        (&json!(1), &json!(1), &json!(-2)),
        "{audit}"
    );
}
