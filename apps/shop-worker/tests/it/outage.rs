//! Stores that go away and come back.

use testbed::FaultProxy;
use testbed::api::until;

use crate::stage::Stage;

#[tokio::test]
async fn events_written_while_redis_is_away_are_applied_when_it_is_back() {
    let mut stage = Stage::set().await;
    let worker = stage.worker().await;
    worker.until_leads().await;
    stage.change([1]).await;
    worker.until_at(1).await;
    stage.redis.kill().await;
    stage.change(2..=4).await;
    worker.until("it knows that it is behind", |status| status["subscribed"] == false).await;
    stage.redis.start_again().await.unwrap();
    stage.reconnect().await;
    // Filled before the worker is back: by a reader that the commit was not visible to, say.
    for id in 2..=5 {
        stage.cached(id).await;
    }
    stage.change([5]).await;
    worker.until_at(5).await;
    stage.until_gone(5).await;
    worker.until("it hears again", |status| status["subscribed"] == true).await;
    stage.cached(6).await;
    stage.change([6]).await;
    stage.until_gone(6).await;
    worker.until_at(6).await;
}

/// A server that is stopped answers nothing and breaks no connection.
#[tokio::test]
async fn a_redis_that_hangs_is_waited_for() {
    let stage = Stage::set().await;
    let worker = stage.worker().await;
    worker.until_leads().await;
    stage.cached(1).await;
    stage.redis.pause();
    stage.change([1]).await;
    // The table tells of it; the deletion cannot be confirmed.
    worker.until_metric("shop_worker_unconfirmed_total", 1.0).await;
    assert_eq!(worker.status().await["leader"], true);
    worker.until("it is behind", |status| status["lag"] == 1).await;
    assert!(worker.metric("shop_worker_lag_seconds").await > 0.0);
    assert_eq!(stage.position().await, 0, "nothing is applied before it is confirmed");
    stage.redis.resume();
    stage.until_gone(1).await;
    worker.until_at(1).await;
}

#[tokio::test]
async fn a_session_that_is_ended_costs_the_seat_and_no_event() {
    let stage = Stage::set().await;
    let worker = stage.worker().await;
    worker.until_leads().await;
    for round in 1..=3 {
        let ended = "select count(pg_terminate_backend(pid)) from pg_stat_activity \
                     where datname = current_database() and application_name like 'shop-worker%'";
        // The leader of the round before may just be about to come back.
        until("a session is ended", async || (stage.count(ended).await >= 1).then_some(())).await;
        stage.cached(round).await;
        stage.change([round]).await;
        stage.until_gone(round).await;
    }
    worker.until_at(3).await;
}

/// What a promoted primary may have missed: deletions that were confirmed by the one before.
#[tokio::test]
async fn another_redis_is_told_again() {
    let mut stage = Stage::set().await;
    let proxy = FaultProxy::start(stage.redis.url()).await.unwrap();
    let worker = stage.worker_on(&stage.database.url(), &proxy.url(), &[]).await;
    worker.until_leads().await;
    stage.change([1]).await;
    worker.until_at(1).await;
    // Another identity, with an old value in it before the worker is back.
    proxy.refuse(true);
    stage.redis.kill().await;
    stage.redis.start_again().await.unwrap();
    stage.reconnect().await;
    stage.cached(1).await;
    proxy.refuse(false);
    stage.until_gone(1).await;
    assert_eq!(worker.metric("shop_worker_events_applied_total").await, 1.0, "not the worker's doing but its replay's");
}
