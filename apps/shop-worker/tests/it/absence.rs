//! A worker that was away for long.

use testbed::api::until;

use crate::stage::Stage;

/// An hour of events, most of them about few products.
#[tokio::test]
async fn an_hour_away_is_caught_up_in_pages_without_a_flood() {
    let stage = Stage::set().await;
    let worker = stage.worker().await;
    worker.until_leads().await;
    stage.change([1]).await;
    worker.until_at(1).await;
    assert_eq!(worker.0.terminate().await, Some(0));
    stage
        .run(
            "insert into shop.outbox_event_pending (payload, recorded_at) \
             select convert_to(format('{\"v\":1,\"type\":\"product_changed\",\"product_id\":%s,\"category_id\":1,\"version\":1}', n % 50 + 1), 'utf8'), \
             now() - interval '1 hour' from generate_series(1, 20000) as n",
        )
        .await;
    until("the relay has numbered them", async || {
        (stage.count("select last from shop.outbox_event_counter").await == 20_001).then_some(())
    })
    .await;
    for id in 1..=50 {
        stage.cached(id).await;
    }
    let worker = stage.worker_on(&stage.database.url(), &stage.redis.url(), &["--page", "4000"]).await;
    worker.until_at(20_001).await;
    for id in 1..=50 {
        assert!(!stage.is_cached(id).await, "{id}");
    }
    assert_eq!(worker.metric("shop_worker_events_applied_total").await, 20_000.0);
    // Five pages, each with two names per product and two tags. Not 80,000.
    assert_eq!(worker.metric("shop_worker_names_deleted_total").await, 5.0 * 102.0);
    until("the position is recorded", async || (stage.position().await == 20_001).then_some(())).await;
    assert_eq!(worker.metric("shop_worker_event_delay_seconds_count").await, 0.0, "an absence is no delay");
    // And it hears the next.
    stage.cached(7).await;
    stage.change([7]).await;
    stage.until_gone(7).await;
}

/// Longer than anybody waits for it: what was pruned is told, and the rest applied.
#[tokio::test]
async fn what_was_pruned_meanwhile_is_counted_as_lost() {
    let stage = Stage::set().await;
    stage.run("insert into shop.outbox_event_reader (reader, number) values ('worker', 0)").await;
    for id in 1..=10 {
        stage.cached(id).await;
    }
    stage.change(1..=10).await;
    until("they are numbered", async || {
        (stage.count("select last from shop.outbox_event_counter").await == 10).then_some(())
    })
    .await;
    stage.run("delete from shop.outbox_event where number <= 6").await;
    let worker = stage.worker().await;
    worker.until_at(10).await;
    assert_eq!(worker.metric("shop_worker_events_lost_total").await, 6.0);
    assert_eq!(worker.metric("shop_worker_events_applied_total").await, 4.0);
    assert_eq!((stage.is_cached(6).await, stage.is_cached(7).await), (true, false));
}
