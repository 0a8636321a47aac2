//! Messages that are lost, doubled, late or early.

use fenced_cache::{Cache, Loaded, NoJournal, Outcome, Policy, Settings};
use outbox::events::Message;
use shop_events::{Names, encode};
use sqlx::{Connection as _, PgConnection};
use std::sync::Arc;
use std::time::Duration;
use testbed::api::until;
use testbed::{Direction, FaultProxy};

use crate::stage::{Stage, Worker};

const NOTICED: &str = "shop_worker_gaps_noticed_total";
const REPAIRED: &str = "shop_worker_gaps_repaired_total";

/// A worker whose subscription goes through a proxy.
async fn behind(stage: &Stage, proxy: &FaultProxy, args: &[&str]) -> Worker {
    let worker = stage.worker_on(&stage.database.url(), &proxy.url(), args).await;
    worker.until_leads().await;
    worker
}

fn by(metric: &str, how: &str) -> String {
    format!("{metric}{{how=\"{how}\"}}")
}

/// The whole way: a reader of the strategy's cache has the old value until the worker has heard of the change.
#[tokio::test]
async fn an_event_makes_readers_load_again() {
    let stage = Stage::set().await;
    let worker = stage.worker().await;
    worker.until_leads().await;
    let names = Names::of_events().unwrap();
    let settings = Settings::new(stage.redis.url(), names.keyspace().clone());
    let cache = Cache::start(settings, Arc::new(NoJournal)).unwrap();
    let policy = cache.policy(Policy::named("product", Duration::from_secs(600))).unwrap();
    let read = async |value: &'static str| {
        let load = move || async move { Ok::<_, fenced_cache::BoxError>(Some(Loaded::new(value).version(1))) };
        cache.get_or_load(&names.product(42), &policy, load).await.unwrap()
    };
    until("the cache is used", async || {
        read("old").await;
        (read("unused").await.outcome == Outcome::Hit).then_some(())
    })
    .await;
    assert_eq!(read("new").await.value.unwrap(), "old");
    stage.change([42]).await;
    worker.until_at(1).await;
    assert_eq!(read("new").await.value.unwrap(), "new");
    let metrics = [
        ("shop_worker_events_applied_total", 1.0),
        ("shop_worker_event_delay_seconds_count", 1.0),
        ("shop_worker_names_deleted_total", 4.0),
        ("shop_worker_leader", 1.0),
        ("shop_worker_position", 1.0),
        ("shop_worker_lag_events", 0.0),
        ("shop_worker_lag_seconds", 0.0),
    ];
    for (name, value) in metrics {
        assert_eq!(worker.metric(name).await, value, "{name}");
    }
    until("the position is recorded", async || (stage.position().await == 1).then_some(())).await;
}

#[tokio::test]
async fn a_lost_message_is_noticed_by_the_next_one_and_repaired() {
    let stage = Stage::set().await;
    let proxy = FaultProxy::start(stage.redis.url()).await.unwrap();
    let worker = behind(&stage, &proxy, &[]).await;
    for id in 1..=5 {
        stage.cached(id).await;
    }
    // Neither the third message nor any heartbeat before the fourth can tell of it.
    let lost = proxy.drop_matching(Direction::ServerToClient, |message| {
        contains(message, "\"number\":3,") || contains(message, "heartbeat")
    });
    stage.change(1..=5).await;
    worker.until_at(5).await;
    for id in 1..=5 {
        stage.until_gone(id).await;
    }
    assert!(lost.count() >= 1);
    assert_eq!(worker.metric(&by(NOTICED, "number")).await, 1.0);
    assert_eq!(worker.metric(&by(REPAIRED, "number")).await, 1.0);
    assert!(worker.metric("shop_worker_events_repaired_total").await >= 2.0);
    assert_eq!(worker.metric("shop_worker_events_applied_total").await, 5.0, "none twice");
}

#[tokio::test]
async fn a_lost_last_message_is_noticed_by_the_heartbeat_and_repaired() {
    let stage = Stage::set().await;
    let proxy = FaultProxy::start(stage.redis.url()).await.unwrap();
    let worker = behind(&stage, &proxy, &[]).await;
    stage.cached(1).await;
    let lost = proxy.drop_next(Direction::ServerToClient, "\"kind\":\"event\"");
    stage.change([1]).await;
    lost.reached().await;
    stage.until_gone(1).await;
    worker.until_at(1).await;
    assert_eq!(worker.metric(&by(NOTICED, "heartbeat")).await, 1.0);
    worker.until_metric(&by(REPAIRED, "heartbeat"), 1.0).await;
    assert_eq!(worker.metric("shop_worker_events_repaired_total").await, 1.0);
}

/// The control: what the two tests above show is the repair's doing.
#[tokio::test]
async fn without_repair_a_lost_message_leaves_its_entry_stale() {
    let stage = Stage::set().await;
    let proxy = FaultProxy::start(stage.redis.url()).await.unwrap();
    let worker = behind(&stage, &proxy, &["--gap-repair=false"]).await;
    for id in 1..=6 {
        stage.cached(id).await;
    }
    let lost = proxy.drop_matching(Direction::ServerToClient, |message| {
        contains(message, "\"number\":3,\"recorded") || contains(message, "\"number\":6,\"recorded")
    });
    stage.change(1..=6).await;
    // The heartbeat has told of the last one, and it was passed over like the other.
    worker.until_at(6).await;
    // A heartbeat that comes between the two messages tells of the first one as well.
    let noticed = worker.metric(&by(NOTICED, "number")).await + worker.metric(&by(NOTICED, "heartbeat")).await;
    assert!((2.0..=3.0).contains(&noticed), "{noticed}");
    let skipped = "shop_worker_events_skipped_total";
    worker.until_metric(skipped, 2.0).await;
    for id in [1, 2, 4, 5] {
        stage.until_gone(id).await;
    }
    assert_eq!((stage.is_cached(3).await, stage.is_cached(6).await), (true, true));
    assert_eq!((lost.count(), worker.metric(skipped).await), (2, 2.0));
    assert_eq!(worker.status().await["gap_repair"], false);
    // A new connection, too, repairs nothing.
    lost.disarm();
    proxy.cut();
    stage.cached(7).await;
    worker.until("it is subscribed again", |status| status["subscribed"] == true).await;
    until("it hears again", async || {
        stage.change([7]).await;
        (!stage.is_cached(7).await).then_some(())
    })
    .await;
    assert_eq!((stage.is_cached(3).await, stage.is_cached(6).await), (true, true));
    for how in ["number", "heartbeat", "connection", "silence"] {
        assert_eq!(worker.metric(&by(REPAIRED, how)).await, 0.0, "{how}");
    }
}

#[tokio::test]
async fn what_comes_twice_or_late_is_skipped_and_what_comes_early_is_waited_for() {
    let mut stage = Stage::set().await;
    let worker = stage.worker().await;
    worker.until_leads().await;
    stage.change(1..=3).await;
    worker.until_at(3).await;
    let mut connection = PgConnection::connect(&stage.database.url()).await.unwrap();
    let events = stage.outbox.events_after(&mut connection, 0, 10).await.unwrap().events;
    stage.cached(2).await;
    for event in &events {
        stage.shout(encode(&Message::Event(event.clone())).unwrap()).await;
    }
    worker.until_metric("shop_worker_duplicates_total", 3.0).await;
    assert!(stage.is_cached(2).await, "it was not applied again");
    // Numbered and committed, and not said: the relay died in between. Its successor's first word is the last number.
    stage.stop_relay().await;
    stage.cached(4).await;
    stage.change([4]).await;
    stage
        .run(
            "with taken as (delete from shop.outbox_event_pending returning payload, recorded_at) \
             insert into shop.outbox_event (number, payload, recorded_at) select 4, payload, recorded_at from taken; \
             update shop.outbox_event_counter set last = 4",
        )
        .await;
    stage.start_relay();
    stage.until_gone(4).await;
    // Said, and not in the table: nobody's. It must not move the worker past what is to come.
    let mut forged = events[0].clone();
    forged.number = 1_000;
    stage.shout(encode(&Message::Event(forged)).unwrap()).await;
    stage.shout(encode(&Message::Heartbeat { last: 2_000 }).unwrap()).await;
    stage.cached(5).await;
    stage.change([5]).await;
    stage.until_gone(5).await;
    worker.until_at(5).await;
    worker.until_metric("shop_worker_kept_aside_total{what=\"message\",reason=\"number\"}", 2.0).await;
}

#[tokio::test]
async fn where_nothing_is_heard_the_table_is_asked() {
    let stage = Stage::set().await;
    let proxy = FaultProxy::start(stage.redis.url()).await.unwrap();
    let worker = behind(&stage, &proxy, &["--heartbeat", "50ms"]).await;
    let deaf = proxy.drop_matching(Direction::ServerToClient, |message| contains(message, "shop:events"));
    stage.cached(1).await;
    stage.change([1]).await;
    stage.until_gone(1).await;
    worker.until_metric(&by(NOTICED, "silence"), 1.0).await;
    worker.until_metric("shop_worker_heartbeats_missed_total", 5.0).await;
    deaf.disarm();
    stage.cached(2).await;
    stage.change([2]).await;
    stage.until_gone(2).await;
}

fn contains(message: &[u8], needle: &str) -> bool {
    message.windows(needle.len()).any(|window| window == needle.as_bytes())
}
