//! Marking many rows at a time.

use std::time::Duration;

use fenced_cache::{Journal, RecordId};
use outbox::RelaySettings;

use crate::support::{FakeCache, Mode, Process, database, quick, until};

const QUEUE: i64 = 8_192;
const OPEN: &str = "select count(*) from blog.outbox where applied_at is null";

/// `rows` open rows with the ids 1 to `rows`, and `blog.statements(rows)`: one row per statement that marks.
async fn fill(process: &Process, rows: i64) {
    process
        .run(&format!(
            "insert into blog.outbox (keys) select array[i::text::bytea] from generate_series(1, {rows}) i; \
             create table blog.statements (rows bigint); \
             create function blog.count_rows() returns trigger language plpgsql as \
             'begin insert into blog.statements select count(*) from marked; return null; end'; \
             create trigger count_rows after update on blog.outbox referencing new table as marked \
             for each statement execute function blog.count_rows()"
        ))
        .await;
}

/// Settings with which the relay does nothing.
fn no_relay() -> RelaySettings {
    RelaySettings::default().relay_after(Duration::from_secs(3_600))
}

#[tokio::test]
async fn marks_are_written_in_batches() {
    let database = database().await;
    let process = Process::new(&database.url());
    fill(&process, 2_001).await;
    (1..=2_001).for_each(|id| process.outbox.applied(RecordId(id)));
    let cache = FakeCache::new(Mode::Confirm);
    let background = process.start(no_relay(), &cache);
    until("all rows are marked", async || process.count(OPEN).await == 0).await;
    process.until_metric("outbox_marked_total", 2_001.0).await;
    process.stop(background).await;
    assert_eq!(process.count("select count(*) from blog.statements where rows = 500").await, 4);
    assert_eq!(process.count("select count(*) from blog.statements where rows > 0").await, 5);
    assert_eq!((cache.calls(), process.metric("outbox_mark_dropped_total")), (0, 0.0));
}

#[tokio::test]
async fn marks_that_do_not_fit_are_counted_and_their_rows_repeated() {
    let database = database().await;
    let process = Process::new(&database.url());
    fill(&process, QUEUE + 100).await;
    (1..=QUEUE + 100).for_each(|id| process.outbox.applied(RecordId(id)));
    assert_eq!(process.metric("outbox_mark_dropped_total"), 100.0);
    let cache = FakeCache::new(Mode::Refuse);
    let background = process.start(quick(), &cache);
    until("the queue is written", async || process.count(OPEN).await == 100).await;
    cache.set(Mode::Confirm);
    until("the rest is relayed", async || process.count(OPEN).await == 0).await;
    process.until_metric("outbox_marked_total", 8_192.0).await;
    process.until_metric("outbox_relayed_total", 100.0).await;
    process.stop(background).await;
    assert!(cache.has(&(QUEUE + 100).to_string().into()));
}

/// A mark waits for company, but not through a shutdown.
#[tokio::test]
async fn a_shutdown_writes_the_queued_marks() {
    let database = database().await;
    let process = Process::new(&database.url());
    fill(&process, 600).await;
    (1..=600).for_each(|id| process.outbox.applied(RecordId(id)));
    let background = process.start(no_relay().mark_every(Duration::from_secs(10)), &FakeCache::new(Mode::Confirm));
    until("the full batch is written", async || process.count(OPEN).await == 100).await;
    let begun = std::time::Instant::now();
    process.stop(background).await;
    assert!(begun.elapsed() < Duration::from_secs(9), "{:?}", begun.elapsed());
    assert_eq!(process.count(OPEN).await, 0);
}

#[tokio::test]
async fn a_mark_never_waits_for_a_row_that_somebody_holds() {
    let database = database().await;
    let process = Process::new(&database.url());
    fill(&process, 2).await;
    let mut holder = process.pool.begin().await.unwrap();
    sqlx::query("select from blog.outbox where id = 1 for update").execute(&mut *holder).await.unwrap();
    let background = process.start(no_relay(), &FakeCache::new(Mode::Confirm));
    process.outbox.applied(RecordId(1));
    process.outbox.applied(RecordId(2));
    until("the other row is marked", async || process.marked(RecordId(2)).await).await;
    assert!(!process.marked(RecordId(1)).await);
    holder.rollback().await.unwrap();
    process.stop(background).await;
}
