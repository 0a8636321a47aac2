//! What is deleted, and what never is.

use std::time::Duration;

use crate::support::{FakeCache, Mode, Process, database, quick, until};

#[tokio::test]
async fn only_rows_that_were_applied_long_ago_are_deleted() {
    let database = database().await;
    let process = Process::new(&database.url());
    // More than one statement deletes.
    process
        .run(
            "insert into blog.outbox (keys, created_at, applied_at) \
             select array['old'::bytea], now() - interval '3 hours', now() - interval '2 hours' \
             from generate_series(1, 4500); \
             insert into blog.outbox (keys, created_at, applied_at) values \
             (array['young'::bytea], now() - interval '50 minutes', now() - interval '50 minutes'), \
             (array['applied late'::bytea], now() - interval '3 hours', now() - interval '50 minutes'), \
             (array['never applied'::bytea], now() - interval '3 hours', null)",
        )
        .await;
    let hour = Duration::from_secs(3_600);
    let background =
        process.start(quick().keep(hour).prune_every(Duration::from_millis(5)), &FakeCache::new(Mode::Refuse));
    process.until_metric("outbox_pruned_total", 4_500.0).await;
    until("the relay has tried", async || process.metric("outbox_relay_errors_total{reason=\"invalidation\"}") >= 3.0)
        .await;
    process.stop(background).await;
    let left: Vec<String> = sqlx::query_scalar("select convert_from(keys[1], 'UTF8') from blog.outbox order by id")
        .fetch_all(&process.pool)
        .await
        .unwrap();
    assert_eq!(left, ["young", "applied late", "never applied"]);
    assert_eq!(process.metric("outbox_pruned_total"), 4_500.0);
}
