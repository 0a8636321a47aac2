//! What is deleted, and what never is.

use std::time::Duration;

use outbox::Outbox;
use tokio_util::sync::CancellationToken;

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

/// A service without a cache writes rows for those replicas that have one, and nobody else deletes them.
#[tokio::test]
async fn without_a_cache_old_rows_are_deleted_whether_applied_or_not() {
    let database = database().await;
    let process = Process::new(&database.url());
    // More than one statement deletes, and some are left beyond what one looks at.
    process
        .run(
            "insert into blog.outbox (keys, created_at, applied_at) \
             select array['old'::bytea], now() - interval '3 hours', case when n % 2 = 0 then now() end \
             from generate_series(1, 4500) n; \
             insert into blog.outbox (keys, created_at) \
             select array['young'::bytea], now() - interval '50 minutes' from generate_series(1, 3000)",
        )
        .await;
    let shutdown = CancellationToken::new();
    let outbox = Outbox::new(process.pool.clone(), "blog").unwrap();
    let hour = Duration::from_secs(3_600);
    let background = [
        outbox.start_without_cache(hour, shutdown.clone()).unwrap(),
        outbox.start_without_cache(hour, shutdown.clone()).unwrap(),
    ];
    let left = async || -> Vec<(String, i64)> {
        sqlx::query_as("select convert_from(keys[1], 'UTF8') as name, count(*) from blog.outbox group by name")
            .fetch_all(&process.pool)
            .await
            .unwrap()
    };
    until("the old ones are gone", async || left().await == [("young".to_owned(), 3_000)]).await;
    shutdown.cancel();
    for background in background {
        background.stopped().await;
    }
    assert_eq!(left().await, [("young".to_owned(), 3_000)]);
    let too_short = outbox.start_without_cache(Duration::from_secs(60), shutdown).unwrap_err();
    assert_eq!(too_short.setting, "keep");
}
