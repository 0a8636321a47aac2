//! The outbox under the real cache, on a real Redis.

use std::sync::Arc;
use std::time::Duration;

use fenced_cache::{Cache, Settings, WriteOutcome};

use crate::support::{Process, database, effects, insert, keyspace, until};

#[tokio::test]
async fn the_writer_applies_and_marks_and_the_relay_does_what_it_could_not() {
    let database = database().await;
    let redis = testbed::redis().await;
    let process = Process::new(&database.url());
    let settings = Settings::new(redis.url(), keyspace()).apply_deadline(Duration::from_millis(300));
    let cache = Cache::start(settings, Arc::new(process.outbox.clone())).unwrap();
    let background = process.start_with(outbox::RelaySettings::default(), Arc::new(cache.clone()));
    let write = async |id: i64| {
        let outbox = process.outbox.clone();
        let written = cache.write(async move {
            let mut transaction = outbox.begin().await?;
            insert(transaction.connection(), id, &id.to_string()).await?;
            transaction.commit((), effects(id)).await
        });
        written.await.unwrap().outcome
    };

    until("the cache is connected", async || cache.health().trusted).await;
    assert_eq!(write(1).await, WriteOutcome::Applied);
    let open = "select count(*) from blog.outbox where applied_at is null";
    until("the row is marked", async || process.count(open).await == 0).await;
    process.until_metric("outbox_marked_total", 1.0).await;
    assert_eq!(process.metric("outbox_relayed_total"), 0.0);

    redis.kill().await;
    assert_eq!(write(2).await, WriteOutcome::Pending);
    assert_eq!(process.count(open).await, 1);
    redis.start_again().await.unwrap();
    until("the row is relayed", async || process.count(open).await == 0).await;
    process.until_metric("outbox_relayed_total", 1.0).await;
    assert_eq!(process.metric("outbox_marked_total"), 1.0);
    cache.shutdown().await;
    process.stop(background).await;
}
