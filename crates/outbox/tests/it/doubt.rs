//! COMMITs whose answer is lost.

use std::time::Duration;

use fenced_cache::{Commit, CommitState, Effects, Journal, RecordId, Settled, TransactionId};
use sqlx::{Connection, PgConnection};
use testbed::Direction::ClientToServer;
use testbed::{Cut, FaultProxy, PostgresServer};
use tokio::task::JoinHandle;

use crate::support::{Process, database, effects, insert, install, pool, until};

const ITEMS: &str = "select count(*) from blog.items";
const ROWS: &str = "select count(*) from blog.outbox";
/// Any number: the barrier's advisory lock.
const BARRIER: &str = "select pg_advisory_lock(4711)";

/// From now on a COMMIT that inserted an item waits on the server while anybody holds the barrier.
async fn build_barrier(process: &Process) {
    process
        .run(
            "create function blog.wait() returns trigger language plpgsql as \
             'begin perform pg_advisory_xact_lock_shared(4711); return null; end'; \
             create constraint trigger wait after insert on blog.items deferrable initially deferred \
             for each row execute function blog.wait()",
        )
        .await;
}

async fn raise(url: &str) -> PgConnection {
    let mut connection = PgConnection::connect(url).await.unwrap();
    sqlx::query(BARRIER).execute(&mut connection).await.unwrap();
    connection
}

/// Commits item 1 in the background; returns once its COMMIT waits on the server, with the process id there.
async fn commit_up_to_the_barrier(process: &Process) -> (JoinHandle<Result<Commit<()>, sqlx::Error>>, i32) {
    let mut transaction = process.outbox.begin().await.unwrap();
    insert(transaction.connection(), 1, "one").await.unwrap();
    let pid: i32 = sqlx::query_scalar("select pg_backend_pid()").fetch_one(transaction.connection()).await.unwrap();
    let task = tokio::spawn(transaction.commit((), effects(1)));
    until("COMMIT waits", async || {
        let sql =
            "select count(*) from pg_stat_activity where pid = $1 and wait_event = 'advisory' and query = 'COMMIT'";
        sqlx::query_scalar::<_, i64>(sql).bind(pid).fetch_one(&process.pool).await.unwrap() == 1
    })
    .await;
    (task, pid)
}

async fn in_doubt(task: JoinHandle<Result<Commit<()>, sqlx::Error>>) -> TransactionId {
    let commit = task.await.unwrap().unwrap();
    assert!(commit.record.is_some());
    let CommitState::InDoubt(transaction) = commit.state else { panic!("{:?}", commit.state) };
    transaction
}

async fn settled(process: &Process, transaction: TransactionId) -> Settled {
    process.outbox.settle(transaction).await.unwrap()
}

#[tokio::test]
async fn a_commit_without_an_answer_in_time_is_in_doubt_and_settles_as_committed() {
    let database = database().await;
    let process = Process::with(pool(&database.url(), 2), Duration::from_secs(1));
    build_barrier(&process).await;
    let barrier = raise(&database.url()).await;
    let (task, _) = commit_up_to_the_barrier(&process).await;
    let transaction = in_doubt(task).await;
    assert_eq!(settled(&process, transaction).await, Settled::InProgress);
    assert_eq!((process.count(ITEMS).await, process.count(ROWS).await), (0, 0));
    barrier.close().await.unwrap();
    until("it is committed", async || settled(&process, transaction).await == Settled::Committed).await;
    assert_eq!((process.count(ITEMS).await, process.count(ROWS).await), (1, 1));
    assert_eq!(process.metric("outbox_commits_in_doubt_total"), 1.0);
}

#[tokio::test]
async fn a_backend_that_is_terminated_in_commit_leaves_a_doubt_that_settles_as_rolled_back() {
    let database = database().await;
    let process = Process::new(&database.url());
    build_barrier(&process).await;
    let _barrier = raise(&database.url()).await;
    let (task, pid) = commit_up_to_the_barrier(&process).await;
    sqlx::query("select pg_terminate_backend($1)").bind(pid).execute(&process.pool).await.unwrap();
    let transaction = in_doubt(task).await;
    until("it is rolled back", async || settled(&process, transaction).await == Settled::RolledBack).await;
    assert_eq!((process.count(ITEMS).await, process.count(ROWS).await), (0, 0));
}

/// A statement timeout in COMMIT is an answer: the server lives, and has rolled back.
#[tokio::test]
async fn a_commit_that_is_cancelled_on_the_server_has_failed() {
    let database = database().await;
    let process = Process::new(&database.url());
    build_barrier(&process).await;
    let _barrier = raise(&database.url()).await;
    let (task, pid) = commit_up_to_the_barrier(&process).await;
    sqlx::query("select pg_cancel_backend($1)").bind(pid).execute(&process.pool).await.unwrap();
    let error = task.await.unwrap().unwrap_err();
    assert_eq!(error.as_database_error().unwrap().code().unwrap(), "57014");
    assert_eq!((process.count(ITEMS).await, process.count(ROWS).await), (0, 0));
}

/// The trap of asking by the id alone: a crash takes back ids that were not flushed, and gives them to others.
#[tokio::test]
async fn an_id_that_a_crash_gave_to_another_transaction_is_not_taken_for_ours() {
    // Nothing is flushed behind our back.
    let server = PostgresServer::builder()
        .durable(true)
        .setting("wal_writer_delay", "10s")
        .setting("autovacuum", "off")
        .start()
        .await
        .unwrap();
    let url = server.url("postgres");
    install(&url).await.unwrap();
    let process = Process::new(&url);
    build_barrier(&process).await;
    let barrier = raise(&url).await;
    let (task, _) = commit_up_to_the_barrier(&process).await;
    server.kill().await;
    let transaction = in_doubt(task).await;
    server.start_again().await.unwrap();
    drop(barrier);
    assert_eq!(settled(&process, transaction).await, Settled::RolledBack);

    // Somebody else's transaction, with our id, and even our row's.
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let mut other = connection.begin().await.unwrap();
    insert(&mut other, 2, "two").await.unwrap();
    let recorded = process.outbox.record(&mut other, &[], &[]).await.unwrap();
    assert_eq!(recorded.transaction, transaction, "the crash did not take the id back: this proves nothing");
    assert_eq!(settled(&process, transaction).await, Settled::InProgress);
    other.commit().await.unwrap();
    assert_eq!(settled(&process, transaction).await, Settled::RolledBack);
    // Without the row to go by it would be taken for committed.
    assert_eq!(settled(&Process::new(&url), transaction).await, Settled::Committed);
}

/// The connection breaks in COMMIT, after the server has run it or before it has heard of it; the client can not know.
#[tokio::test]
async fn a_connection_cut_in_commit() {
    let database = database().await;
    let proxy = FaultProxy::start(database.url()).await.unwrap();
    let process = Process::new(&proxy.url());
    let mut expected_items = 0;
    for (id, cut, effects, rows) in [
        (1, Cut::After, effects(1), 1),
        (2, Cut::Before, effects(2), 1),
        // Without a row to go by.
        (3, Cut::After, Effects::deferred(), 1),
        (4, Cut::Before, Effects::deferred(), 1),
    ] {
        let mut transaction = process.outbox.begin().await.unwrap();
        insert(transaction.connection(), id, &id.to_string()).await.unwrap();
        let armed = proxy.cut_when(ClientToServer, "COMMIT", cut);
        let commit = transaction.commit((), effects.clone()).await.unwrap();
        armed.reached().await;
        let CommitState::InDoubt(transaction) = commit.state else { panic!("{:?}", commit.state) };
        assert_eq!(commit.record.is_some(), !effects.is_empty());
        until("it is settled", async || settled(&process, transaction).await != Settled::InProgress).await;
        let expected = match cut {
            Cut::After => Settled::Committed,
            Cut::Before => Settled::RolledBack,
        };
        assert_eq!(settled(&process, transaction).await, expected, "item {id}");
        expected_items += i64::from(expected == Settled::Committed);
        assert_eq!((process.count(ITEMS).await, process.count(ROWS).await), (expected_items, rows), "item {id}");
    }
    assert_eq!(process.metric("outbox_commits_in_doubt_total"), 4.0);
}

/// A transaction that has changed nothing can not be in doubt.
#[tokio::test]
async fn a_connection_cut_in_the_commit_of_nothing() {
    let database = database().await;
    let proxy = FaultProxy::start(database.url()).await.unwrap();
    let process = Process::new(&proxy.url());
    let transaction = process.outbox.begin().await.unwrap();
    let armed = proxy.cut_when(ClientToServer, "COMMIT", Cut::Before);
    let commit = transaction.commit((), Effects::new()).await.unwrap();
    armed.reached().await;
    assert_eq!((commit.record, commit.state), (None, CommitState::Committed));
}

/// A server that does not answer costs a caller the deadline, and the pool nothing.
#[tokio::test]
async fn a_server_that_is_silent_hangs_nobody_and_keeps_no_place_of_the_pool() {
    let database = database().await;
    let proxy = FaultProxy::start(database.url()).await.unwrap();
    // One place.
    let process = Process::with(pool(&proxy.url(), 1), Duration::from_secs(1));
    let works = async || process.outbox.unapplied(RecordId(0), 1).await.unwrap();

    let mut transaction = process.outbox.begin().await.unwrap();
    insert(transaction.connection(), 1, "one").await.unwrap();
    let held = proxy.hold_when(ClientToServer, "COMMIT");
    let commit = transaction.commit((), effects(1)).await.unwrap();
    held.reached().await;
    let CommitState::InDoubt(transaction) = commit.state else { panic!("{:?}", commit.state) };
    // The server has not heard of the end of this connection: the transaction is open there.
    assert_eq!(settled(&process, transaction).await, Settled::InProgress);

    // A statement that is not answered.
    let silent = proxy.hold_when(ClientToServer, "make_interval");
    process.outbox.younger_than(Duration::from_secs(1), RecordId(0), 1).await.unwrap_err();
    silent.reached().await;
    works().await;

    // A caller that goes away meanwhile.
    let silent = proxy.hold_when(ClientToServer, "cache_identity");
    tokio::select! {
        identity = process.outbox.identity("t") => panic!("{identity:?}"),
        () = silent.reached() => {}
    }
    works().await;

    // A transaction that is dropped in a statement of its user: its rollback is tried until the deadline.
    let mut transaction = process.outbox.begin().await.unwrap();
    let silent = proxy.hold_when(ClientToServer, "blog.items");
    tokio::select! {
        inserted = insert(transaction.connection(), 2, "two") => panic!("{inserted:?}"),
        () = silent.reached() => {}
    }
    drop(transaction);
    until("the place is free again", async || process.outbox.unapplied(RecordId(0), 1).await.is_ok()).await;
}
