//! What writers have not applied, the relay does.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use fenced_cache::{BoxFuture, Effects, Invalidate, Journal, RecordId, Unconfirmed};
use outbox::Outbox;
use tokio_util::sync::CancellationToken;

use crate::support::{FakeCache, Mode, Process, database, entry, pool, quick, until};

const REFUSED: &str = "outbox_relay_errors_total{reason=\"invalidation\"}";
const DATABASE: &str = "outbox_relay_errors_total{reason=\"database\"}";
const STANDBY: &str = "outbox_relay_standby_total";
const HOLDER: &str = "select pid from pg_locks where locktype = 'advisory' and granted and database = \
                      (select oid from pg_database where datname = current_database())";

#[tokio::test]
async fn a_row_is_applied_once_and_marked() {
    let database = database().await;
    let process = Process::new(&database.url());
    let first = process.write(1).await;
    let cache = FakeCache::new(Mode::Confirm);
    let background = process.start(quick(), &cache);
    until("the row is marked", async || process.marked(first).await).await;
    let second = process.write(2).await;
    until("the next row is marked", async || process.marked(second).await).await;
    process.until_metric("outbox_relayed_total", 2.0).await;
    process.stop(background).await;
    let mut names = cache.confirmed();
    names.sort();
    let list = |id: i64| crate::support::keyspace().tag("list", id).name().clone();
    let mut expected = [entry(1), entry(2), list(1), list(2)];
    expected.sort();
    assert_eq!(names, expected);
}

#[tokio::test]
async fn many_changes_of_one_name_are_one_deletion_per_batch() {
    let database = database().await;
    let process = Process::new(&database.url());
    process.run("insert into blog.outbox (keys, tags) select '{k, k}', '{t, k}' from generate_series(1, 1200)").await;
    let cache = FakeCache::new(Mode::Confirm);
    let background = process.start(quick().batch(500), &cache);
    process.until_metric("outbox_relayed_total", 1_200.0).await;
    process.stop(background).await;
    assert_eq!((cache.calls(), cache.confirmed().len()), (3, 6));
}

/// Ids are drawn before COMMIT, so the order in which rows become visible is another.
#[tokio::test]
async fn a_lower_id_that_is_committed_later_is_not_skipped() {
    let database = database().await;
    let process = Process::new(&database.url());
    let cache = FakeCache::new(Mode::Confirm);
    let background = process.start(quick(), &cache);
    let mut slow = process.outbox.begin().await.unwrap();
    let keys = [entry(1)];
    let first = process.outbox.record(slow.connection(), &keys, &[]).await.unwrap().id;
    let second = process.write(2).await;
    assert!(first < second);
    until("the higher id is applied", async || process.marked(second).await).await;
    assert!(!cache.has(&entry(1)));
    let _ = slow.commit((), Effects::deferred()).await.unwrap();
    until("the lower id is applied", async || process.marked(first).await).await;
    assert!(cache.has(&entry(1)));
    process.stop(background).await;
}

#[tokio::test]
async fn the_writer_is_given_its_time_and_what_it_marks_is_left_alone() {
    let database = database().await;
    let process = Process::new(&database.url());
    let (young, marked, old) = (process.write(1).await, process.write(2).await, process.write(3).await);
    process
        .run(&format!(
            "update blog.outbox set created_at = created_at - interval '2 hours' where id > {}; \
             update blog.outbox set applied_at = now() where id = {}",
            young.0, marked.0
        ))
        .await;
    let cache = FakeCache::new(Mode::Confirm);
    let background = process.start(quick().relay_after(Duration::from_secs(3_600)), &cache);
    until("the old row is marked", async || process.marked(old).await).await;
    process.stop(background).await;
    assert_eq!((cache.has(&entry(1)), cache.has(&entry(2)), cache.has(&entry(3))), (false, false, true));
    assert!(!process.marked(young).await);
}

#[tokio::test]
async fn what_can_not_be_invalidated_stays_unmarked_and_is_applied_later() {
    let database = database().await;
    let process = Process::new(&database.url());
    let mut ids = Vec::new();
    for id in 0..20 {
        ids.push(process.write(id).await);
    }
    let cache = FakeCache::new(Mode::Refuse);
    let background = process.start(quick(), &cache);
    for mode in [Mode::Refuse, Mode::Panic, Mode::Refuse] {
        let before = process.metric(REFUSED);
        cache.set(mode);
        until("two more tries have failed", async || process.metric(REFUSED) >= before + 2.0).await;
    }
    assert_eq!(process.outbox.unapplied(RecordId(0), 100).await.unwrap().len(), 20);
    assert!(cache.confirmed().is_empty());
    cache.set(Mode::Confirm);
    until("all rows are marked", async || process.outbox.unapplied(RecordId(0), 100).await.unwrap().is_empty()).await;
    process.until_metric("outbox_relayed_total", 20.0).await;
    process.stop(background).await;
    assert!((0..20).all(|id| cache.has(&entry(id))));
    assert_eq!(process.metric(DATABASE), 0.0);
}

/// One node of a Redis Cluster is down, say.
#[tokio::test]
async fn a_name_that_fails_does_not_hold_up_the_others() {
    let database = database().await;
    let process = Process::new(&database.url());
    let mut ids = Vec::new();
    for id in 0..20 {
        ids.push(process.write(id).await);
    }
    let cache = FakeCache::new(Mode::RefuseName(entry(3)));
    let background = process.start(quick(), &cache);
    until("one row is left", async || process.outbox.unapplied(RecordId(0), 100).await.unwrap().len() == 1).await;
    assert!(!process.marked(ids[3]).await);
    // Those that are written later are not held up either.
    let later = process.write(21).await;
    until("a later row is marked", async || process.marked(later).await).await;
    cache.set(Mode::Confirm);
    until("the last row is marked", async || process.marked(ids[3]).await).await;
    process.stop(background).await;
}

#[tokio::test]
async fn a_cache_that_hangs_does_not_keep_the_transaction_open() {
    let database = database().await;
    let process = Process::new(&database.url());
    let id = process.write(1).await;
    let cache = FakeCache::new(Mode::Hang);
    let background = process.start(quick().invalidate_within(Duration::from_millis(20)), &cache);
    until("a try has been given up", async || process.metric(REFUSED) >= 1.0).await;
    // Between two tries nothing is held.
    until("no lock is held", async || sqlx::query(HOLDER).fetch_optional(&process.pool).await.unwrap().is_none()).await;
    assert!(!process.marked(id).await);
    cache.set(Mode::Confirm);
    until("the row is marked", async || process.marked(id).await).await;
    process.stop(background).await;
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_a_cache_that_hangs() {
    let database = database().await;
    let process = Process::new(&database.url());
    let id = process.write(1).await;
    let cache = FakeCache::new(Mode::Hang);
    let background = process.start(quick().invalidate_within(Duration::from_secs(60)), &cache);
    until("the cache is asked", async || cache.calls() == 1).await;
    process.stop(background).await;
    assert!(!process.marked(id).await);
    // The connection is rolled back and given back: nothing holds up the end of the pool.
    tokio::time::timeout(Duration::from_secs(10), process.pool.close()).await.unwrap();
}

#[tokio::test]
async fn one_relay_works_and_another_takes_over_when_its_connection_dies() {
    let database = database().await;
    let (first, second) = (Process::new(&database.url()), Process::new(&database.url()));
    let id = first.write(1).await;
    let (hanging, working) = (FakeCache::new(Mode::Hang), FakeCache::new(Mode::Confirm));
    let patient = quick().invalidate_within(Duration::from_secs(60));
    let first_background = first.start(patient.clone(), &hanging);
    until("the first one works", async || hanging.calls() == 1).await;
    let second_background = second.start(patient, &working);
    until("the second one has stood by", async || second.metric(STANDBY) >= 5.0).await;
    assert_eq!(working.calls(), 0);
    let holder: i32 = sqlx::query_scalar(HOLDER).fetch_one(&first.pool).await.unwrap();
    sqlx::query("select pg_terminate_backend($1)").bind(holder).execute(&first.pool).await.unwrap();
    until("the second one has marked the row", async || second.marked(id).await).await;
    assert!(working.has(&entry(1)));
    first.stop(first_background).await;
    second.stop(second_background).await;
}

/// A relay whose process is stopped while it holds the lock holds it for a bounded time.
#[tokio::test]
async fn the_server_ends_the_transaction_of_a_relay_that_is_stopped() {
    let database = database().await;
    let process = Process::new(&database.url());
    let id = process.write(1).await;
    let (sender, stopped) = std::sync::mpsc::channel::<()>();
    let cache = Arc::new(StopsItsThread { entered: AtomicBool::new(false), stopped: Mutex::new(stopped) });
    // On a runtime of its own, whose only thread stops: nothing in it runs any more, timers included.
    let thread = {
        let (url, cache) = (database.url(), Arc::clone(&cache));
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let limit = Duration::from_millis(200);
                let outbox = Outbox::with_deadline(pool(&url, 1), "blog", limit).unwrap();
                let shutdown = CancellationToken::new();
                let background =
                    outbox.start(quick().invalidate_within(limit), Arc::clone(&cache) as _, shutdown.clone()).unwrap();
                until("this thread was stopped", async || cache.entered.load(Ordering::SeqCst)).await;
                shutdown.cancel();
                background.stopped().await;
            });
        })
    };
    until("the other one holds the lock", async || cache.entered.load(Ordering::SeqCst)).await;
    let confirming = FakeCache::new(Mode::Confirm);
    let background = process.start(quick(), &confirming);
    until("this one has marked the row", async || process.marked(id).await).await;
    assert!(process.metric(STANDBY) >= 1.0);
    drop(sender);
    thread.join().unwrap();
    process.stop(background).await;
}

struct StopsItsThread {
    entered: AtomicBool,
    stopped: Mutex<std::sync::mpsc::Receiver<()>>,
}

impl Invalidate for StopsItsThread {
    fn invalidate_names(&self, _: Vec<Bytes>) -> BoxFuture<'_, Result<(), Unconfirmed>> {
        self.entered.store(true, Ordering::SeqCst);
        self.stopped.lock().unwrap().recv().unwrap_err();
        Box::pin(async { Err(Unconfirmed(1)) })
    }
}
