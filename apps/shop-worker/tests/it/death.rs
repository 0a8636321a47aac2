//! Workers that are killed or stopped at any point, and those that follow.

use testbed::api::until;
use testbed::{Direction, FaultProxy};

use crate::stage::Stage;

/// It has heard of the event, and dies before Redis has.
#[tokio::test]
async fn killed_before_the_deletion() {
    let stage = Stage::set().await;
    let proxy = FaultProxy::start(stage.redis.url()).await.unwrap();
    let first = stage.worker_on(&stage.database.url(), &proxy.url(), &[]).await;
    first.until_leads().await;
    let second = stage.worker().await;
    stage.cached(1).await;
    let held = proxy.hold_when(Direction::ClientToServer, "{product:1}");
    stage.change([1]).await;
    held.reached().await;
    first.kill().await;
    held.cut();
    stage.until_gone(1).await;
    second.until_at(1).await;
    assert_eq!(second.metric("shop_worker_events_applied_total").await, 1.0);
}

/// Redis has deleted it, and the worker dies before its position is recorded: the event is applied again.
#[tokio::test]
async fn killed_between_the_deletion_and_the_position() {
    let stage = Stage::set().await;
    let proxy = FaultProxy::start(stage.database.url()).await.unwrap();
    let first = stage.worker_on(&proxy.url(), &stage.redis.url(), &[]).await;
    first.until_leads().await;
    stage.change([1]).await;
    until("the position is recorded", async || (stage.position().await == 1).then_some(())).await;
    stage.cached(2).await;
    proxy.hold(Direction::ClientToServer);
    stage.change([2]).await;
    stage.until_gone(2).await;
    first.kill().await;
    proxy.cut();
    assert_eq!(stage.position().await, 1, "it did not get so far");
    stage.cached(2).await;
    let second = stage.worker().await;
    stage.until_gone(2).await;
    second.until_at(2).await;
    until("the position is recorded", async || (stage.position().await == 2).then_some(())).await;
}

/// Killed again and again, wherever it may be, while events come: none is missed.
#[tokio::test]
async fn killed_anywhere() {
    let stage = Stage::set().await;
    for id in 1..=120 {
        stage.cached(id).await;
    }
    let mut worker = stage.worker().await;
    for round in 0..6_i64 {
        let first = 20 * round + 1;
        stage.change(first..first + 10).await;
        // Somewhere in the middle of these, or before, or behind.
        worker.kill().await;
        stage.change(first + 10..first + 20).await;
        worker = stage.worker().await;
    }
    worker.until_at(120).await;
    for id in 1..=120 {
        assert!(!stage.is_cached(id).await, "{id}");
    }
}

#[tokio::test]
async fn one_leads_and_the_other_follows_when_it_stops_in_order() {
    let stage = Stage::set().await;
    let first = stage.worker().await;
    first.until_leads().await;
    let second = stage.worker().await;
    stage.change(1..=20).await;
    first.until_at(20).await;
    assert_eq!(second.status().await["leader"], false);
    assert_eq!(second.metric("shop_worker_events_applied_total").await, 0.0);
    assert_eq!(first.0.terminate().await, Some(0));
    assert_eq!(stage.position().await, 20, "it leaves nothing to be done again");
    stage.cached(21).await;
    stage.change([21]).await;
    stage.until_gone(21).await;
    second.until_at(21).await;
    assert_eq!(second.metric("shop_worker_events_applied_total").await, 1.0);
}

/// It keeps its connections and says nothing: PostgreSQL ends its session.
#[tokio::test]
async fn a_leader_that_is_stopped_is_followed_and_stands_by_when_it_goes_on() {
    let stage = Stage::set().await;
    let first = stage.worker().await;
    first.until_leads().await;
    let second = stage.worker().await;
    first.0.signal("STOP").await;
    stage.cached(1).await;
    stage.change([1]).await;
    stage.until_gone(1).await;
    second.until_leads().await;
    first.0.signal("CONT").await;
    first.until("it stands by", |status| status["leader"] == false).await;
    stage.cached(2).await;
    stage.change([2]).await;
    stage.until_gone(2).await;
    second.until_at(2).await;
    assert_eq!(second.metric("shop_worker_leader").await, 1.0);
}
