//! What nobody understands.

use serde_json::json;
use testbed::api::until;

use crate::stage::Stage;

#[tokio::test]
async fn garbage_on_the_channel_is_kept_counted_and_stops_nothing() {
    let stage = Stage::set().await;
    let worker = stage.worker().await;
    worker.until_leads().await;
    let long = "x".repeat(100_000);
    for garbage in
        ["", "x", "{\"v\":7,\"kind\":\"event\",\"number\":1}", "{\"v\":1,\"kind\":\"song\",\"number\":1}", &long]
    {
        stage.shout(garbage.to_owned()).await;
    }
    stage.shout(vec![0, 255, 0]).await;
    stage.cached(1).await;
    stage.change([1]).await;
    stage.until_gone(1).await;
    for (reason, count) in [("malformed", 3.0), ("version", 1.0), ("kind", 1.0), ("too_long", 1.0)] {
        let metric = format!("shop_worker_kept_aside_total{{what=\"message\",reason=\"{reason}\"}}");
        // What came with an event is put aside when the event is applied.
        worker.until_metric(&metric, count).await;
        assert_eq!(worker.metric(&metric).await, count, "{reason}");
    }
    let kept = "select count(*) from shop.outbox_event_aside where number is null and length(payload) <= 4096";
    until("all of them are kept", async || (stage.count(kept).await == 6).then_some(())).await;
    let text = "select count(*) from shop.outbox_event_aside where payload = '\\x00ff00' and reason like 'malformed%'";
    assert_eq!(stage.count(text).await, 1);
    assert_eq!(worker.status().await["leader"], true);
}

#[tokio::test]
async fn an_event_of_a_later_release_is_kept_until_a_release_understands_it() {
    let stage = Stage::set().await;
    let worker = stage.worker().await;
    worker.until_leads().await;
    stage.cached(1).await;
    for odd in [
        json!({"v": 2, "type": "product_changed", "sku": "1"}).to_string(),
        json!({"v": 1, "type": "product_painted", "product_id": 1}).to_string(),
        "no JSON".to_owned(),
    ] {
        let mut transaction = stage.outbox.begin().await.unwrap();
        transaction.event(odd).await.unwrap();
        let _ = transaction.commit((), fenced_cache::Effects::deferred()).await.unwrap();
    }
    stage.cached(2).await;
    stage.change([2]).await;
    stage.until_gone(2).await;
    worker.until_at(4).await;
    let aside = "select count(*) from shop.outbox_event_aside where number is not null and reader = 'worker'";
    assert_eq!(stage.count(aside).await, 3);
    let as_written =
        "select count(*) from shop.outbox_event_aside where number = 3 and payload = convert_to('no JSON', 'utf8')";
    assert_eq!(stage.count(as_written).await, 1);
    for (reason, count) in [("version", 1.0), ("kind", 1.0), ("malformed", 1.0)] {
        let metric = format!("shop_worker_kept_aside_total{{what=\"event\",reason=\"{reason}\"}}");
        assert_eq!(worker.metric(&metric).await, count, "{reason}");
    }
    assert!(stage.is_cached(1).await);
    assert_eq!(worker.0.terminate().await, Some(0));
    // To a release that understands it, the first one is this.
    let understood = json!({"v": 1, "type": "product_changed", "product_id": 1, "category_id": 1, "version": 1});
    let sql =
        format!("update shop.outbox_event_aside set payload = convert_to('{understood}', 'utf8') where number = 1");
    stage.run(&sql).await;
    let worker = stage.worker().await;
    stage.until_gone(1).await;
    until("it is aside no more", async || (stage.count(aside).await == 2).then_some(())).await;
    worker.until_at(4).await;
}
