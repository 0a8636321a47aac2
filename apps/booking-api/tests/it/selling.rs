//! What the API is for: an event is sold out exactly, whoever buys at once; and the controls that must fail.

use futures_util::future::join_all;
use metrics::set_default_local_recorder;
use serde_json::{Value, json};
use testbed::api::{Answer, until};

use crate::orders::Counted;
use crate::stage::{Replica, Stage, sold, until_waiting};

/// Buys one seat after the other over both replicas until they are sold out; how many were answered with 201.
async fn sell_out(replicas: [&Replica; 2], event: i64, buyers: usize, query: &str) -> i64 {
    let bought = join_all((0..buyers).map(async |buyer| {
        let mut bought = 0;
        loop {
            let answer = replicas[buyer % 2].booking_with(event, 1, query).send().await;
            match answer.status.as_u16() {
                201 => bought += 1,
                // Not had in time: again.
                423 => {}
                _ => {
                    assert_eq!(answer.problem(409)["remaining"], 0);
                    return bought;
                }
            }
        }
    }))
    .await;
    bought.into_iter().sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_buyers_sell_out_exactly() {
    let stage = Stage::set().await;
    let redlock = [testbed::redis().await, testbed::redis().await, testbed::redis().await];
    let urls = redlock.each_ref().map(testbed::RedisServer::url).join(",");
    // Of servers that have not been up for a lease, redlock asks nothing.
    let args = ["--redlock-redis-urls", &urls, "--plain-lease", "2s"];
    let (one, other) = (stage.replica_with(&args).await, stage.replica_with(&args).await);
    let pool = stage.pool().await;
    // Nothing pauses here, so those that oversell only then must not either.
    let strategies =
        ["redis", "redis-fenced", "pg-advisory", "pg-row", "pg-conditional", "pg-units", "redis-reserve", "redlock"];
    for strategy in strategies {
        let event = one.event(strategy, 40).await;
        for (query, capacity) in [("", 40), ("?work_ms=1", 20)] {
            let event = if capacity == 40 { event } else { other.event(strategy, capacity).await };
            let bought = sell_out([&one, &other], event, 12, query).await;
            assert_eq!((bought, sold(&pool, event).await.1), (capacity.into(), capacity.into()), "{strategy}{query}");
            let audit = one.audit(event).await;
            for (member, expected) in [
                ("bookings", json!(capacity)),
                ("oversold", json!(0)),
                ("drift", json!(0)),
                ("duplicate_seats", json!(0)),
                ("duplicate_keys", json!(0)),
            ] {
                assert_eq!(audit[member], expected, "{strategy}: {audit}");
            }
            // Not the schema's doing: no test counts one here (the one that provokes it counts for itself).
            let label = format!("strategy=\"{strategy}\"");
            assert_eq!(one.metric("booking_schema_refusals_total", &[&label]).await, 0.0, "{strategy}");
            let fences = if strategy == "redis-fenced" { capacity } else { 0 };
            assert_eq!(audit["fences"], json!({"checked": fences, "out_of_order": 0}), "{strategy}");
        }
    }
}

/// All buyers read before any of them writes: the row is kept from being written until each of them wants to.
#[tokio::test]
async fn without_a_lock_an_event_is_oversold() {
    let stage = Stage::set().await;
    let (one, other) = (stage.replica().await, stage.replica().await);
    let pool = stage.pool().await;
    let event = one.event("none", 3).await;
    let mut row = pool.begin().await.unwrap();
    sqlx::query("select from booking.events where id = $1 for update").bind(event).execute(&mut *row).await.unwrap();
    let buyers = join_all((0..8).map(|n| if n % 2 == 0 { one.book(event, 1) } else { other.book(event, 1) }));
    let all_have_read = async {
        until_waiting(&pool, 8).await;
        row.rollback().await.unwrap();
    };
    let (answers, ()) = tokio::join!(buyers, all_have_read);
    answers.into_iter().for_each(|answer| drop(answer.expect(201)));
    assert_eq!(sold(&pool, event).await, (8, 8));
    let audit = one.audit(event).await;
    assert_eq!((&audit["oversold"], &audit["drift"], &audit["booked"]), (&json!(5), &json!(0), &json!(8)), "{audit}");
    let page = other.get(&format!("/events/{event}")).await.expect(200).json();
    assert_eq!((&page["booked"], &page["remaining"]), (&json!(8), &json!(0)));
    assert_eq!(one.book(event, 1).await.problem(409)["remaining"], 0);
    // Other tests of this process show their own database on the same gauge; this one is as high only for a moment.
    until("the gauge shows it", async || {
        (one.metric("booking_oversold_seats", &["strategy=\"none\""]).await >= 5.0).then_some(())
    })
    .await;
}

/// The payment lasts longer than the lease: somebody else is let in, and both write.
#[tokio::test]
async fn a_plain_lock_oversells_when_its_holder_is_late() {
    let stage = Stage::set().await;
    let args = ["--plain-lease", "1100ms"];
    let (one, other) = (stage.replica_with(&args).await, stage.replica_with(&args).await);
    let event = one.event("redis", 1).await;
    let late = one.booking_with(event, 1, "?work_ms=4000").send();
    let in_between = async {
        until("the lock is held", async || {
            let held: i64 = redis_keys(&stage).await;
            (held > 0).then_some(())
        })
        .await;
        other.book(event, 1).await
    };
    let (late, in_between) = tokio::join!(late, in_between);
    assert_eq!((late.status.as_u16(), in_between.status.as_u16()), (201, 201), "{late:?} {in_between:?}");
    assert_eq!(one.audit(event).await["oversold"], 1);
}

/// How many keys the lock's Redis has.
async fn redis_keys(stage: &Stage) -> i64 {
    use fred::interfaces::{ClientLike as _, ServerInterface as _};
    let config = fred::types::config::Config::from_url(&stage.redis.url()).unwrap();
    let client = fred::types::Builder::from_config(config).build().unwrap();
    client.init().await.unwrap();
    let keys = client.dbsize::<i64>().await.unwrap();
    client.quit().await.unwrap();
    keys
}

/// A writer who takes no lock brings a locked booking to the edge: the schema refuses it, and that is counted.
#[tokio::test]
async fn what_only_the_schema_refuses_is_counted() {
    let stage = Stage::set().await;
    let replica = stage.replica().await;
    let pool = stage.pool().await;
    let counted = Counted::default();
    let _counting = set_default_local_recorder(&counted);
    let event = replica.event("pg-advisory", 2).await;
    let answer = oversell_behind_its_back(&replica, &pool, event).await;
    let problem = answer.problem(409);
    assert_eq!((&problem["type"], &problem["remaining"]), (&json!("urn:problem:sold-out"), &json!(0)));
    assert_eq!(counted.of(booking_api::metrics::SCHEMA_REFUSALS), 1);
    assert_eq!(sold(&pool, event).await, (0, 0));

    // Where the schema stands aside, the same is an oversell and no refusal.
    let event = replica.event("none", 2).await;
    oversell_behind_its_back(&replica, &pool, event).await.expect(201);
    assert_eq!(counted.of(booking_api::metrics::SCHEMA_REFUSALS), 1);
    let page: Value = replica.get(&format!("/events/{event}")).await.json();
    assert_eq!(page["booked"], 3);
}

/// Sells all seats by hand when a booking has read and not yet written.
async fn oversell_behind_its_back(replica: &Replica, pool: &sqlx::PgPool, event: i64) -> Answer {
    let mut row = pool.begin().await.unwrap();
    sqlx::query("update booking.events set booked = capacity where id = $1")
        .bind(event)
        .execute(&mut *row)
        .await
        .unwrap();
    let book = replica.book(event, 1);
    let sell = async {
        until_waiting(pool, 1).await;
        row.commit().await.unwrap();
    };
    tokio::join!(book, sell).0
}
