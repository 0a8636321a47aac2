//! The change and its row: both or neither.

use bytes::Bytes;
use fenced_cache::{CommitState, Effects};
use sqlx::{Connection, PgConnection};

use crate::support::{Process, database, effects, insert, keyspace, until};

const ITEMS: &str = "select count(*) from blog.items";
const ROWS: &str = "select count(*) from blog.outbox";

#[tokio::test]
async fn the_row_is_committed_with_the_change() {
    let database = database().await;
    let process = Process::new(&database.url());
    // Names of any bytes.
    let key = keyspace().entry("item", &b"\0\xff{}:'\\"[..]);
    let tag = keyspace().tag("list", "ä");
    let mut transaction = process.outbox.begin().await.unwrap();
    insert(transaction.connection(), 1, "one").await.unwrap();
    let other = Process::new(&database.url());
    assert_eq!((other.count(ITEMS).await, other.count(ROWS).await), (0, 0));
    let commit = transaction.commit("value", Effects::new().delete(&key).tag(&tag)).await.unwrap();
    assert_eq!((commit.value, commit.state), ("value", CommitState::Committed));
    assert_eq!((other.count(ITEMS).await, other.count(ROWS).await), (1, 1));

    let sql = "select keys, tags, applied_at is null, created_at <= clock_timestamp() from blog.outbox where id = $1";
    let row: (Vec<Vec<u8>>, Vec<Vec<u8>>, bool, bool) =
        sqlx::query_as(sql).bind(commit.record.unwrap().0).fetch_one(&process.pool).await.unwrap();
    assert_eq!(row, (vec![key.name().to_vec()], vec![tag.name().to_vec()], true, true));
}

#[tokio::test]
async fn a_rolled_back_and_a_dropped_transaction_leave_neither() {
    let database = database().await;
    // One connection: it must come back each time.
    let process = Process::with(crate::support::pool(&database.url(), 1), std::time::Duration::from_secs(5));
    for id in 0..3 {
        let mut transaction = process.outbox.begin().await.unwrap();
        insert(transaction.connection(), id, "t").await.unwrap();
        transaction.rollback().await.unwrap();
        let mut transaction = process.outbox.begin().await.unwrap();
        insert(transaction.connection(), id, "t").await.unwrap();
        drop(transaction);
        // Dropped inside of a statement.
        let mut transaction = process.outbox.begin().await.unwrap();
        insert(transaction.connection(), id, "t").await.unwrap();
        let statement = sqlx::query("select pg_sleep(0.05)").execute(transaction.connection());
        assert!(tokio::time::timeout(std::time::Duration::from_millis(5), statement).await.is_err());
        drop(transaction);
    }
    assert_eq!((process.count(ITEMS).await, process.count(ROWS).await), (0, 0));
}

#[tokio::test]
async fn a_refused_commit_leaves_neither_and_is_an_error() {
    let database = database().await;
    let process = Process::new(&database.url());
    process.write(1).await;
    let mut transaction = process.outbox.begin().await.unwrap();
    // The constraint is checked at COMMIT.
    insert(transaction.connection(), 2, "1").await.unwrap();
    let error = transaction.commit((), effects(2)).await.unwrap_err();
    assert_eq!(error.as_database_error().unwrap().code().unwrap(), "23505");
    assert_eq!((process.count(ITEMS).await, process.count(ROWS).await), (1, 1));
    assert_eq!(process.metric("outbox_commits_in_doubt_total"), 0.0);
}

#[tokio::test]
async fn an_error_before_that_the_caller_ignored_is_no_commit() {
    let database = database().await;
    let process = Process::new(&database.url());
    // PostgreSQL answers this COMMIT with a ROLLBACK, which is not an error.
    for effects in [effects(1), Effects::deferred(), Effects::new()] {
        let mut transaction = process.outbox.begin().await.unwrap();
        insert(transaction.connection(), 1, "1").await.unwrap();
        insert(transaction.connection(), 1, "again").await.unwrap_err();
        let error = transaction.commit((), effects).await.unwrap_err();
        assert_eq!(error.as_database_error().unwrap().code().unwrap(), "25P02");
        assert_eq!((process.count(ITEMS).await, process.count(ROWS).await), (0, 0));
    }
}

#[tokio::test]
async fn nothing_to_invalidate_is_no_row() {
    let database = database().await;
    let process = Process::new(&database.url());
    let mut transaction = process.outbox.begin().await.unwrap();
    insert(transaction.connection(), 1, "one").await.unwrap();
    let commit = transaction.commit((), Effects::deferred()).await.unwrap();
    assert_eq!((commit.record, commit.state), (None, CommitState::Committed));
    let commit = process.outbox.begin().await.unwrap().commit((), Effects::new()).await.unwrap();
    assert_eq!((commit.record, commit.state), (None, CommitState::Committed));
    assert_eq!((process.count(ITEMS).await, process.count(ROWS).await), (1, 0));
}

#[tokio::test]
async fn a_savepoint_rolls_back_alone() {
    let database = database().await;
    let process = Process::new(&database.url());
    let mut transaction = process.outbox.begin().await.unwrap();
    insert(transaction.connection(), 1, "one").await.unwrap();
    let mut savepoint = transaction.connection().begin().await.unwrap();
    insert(&mut savepoint, 2, "two").await.unwrap();
    savepoint.rollback().await.unwrap();
    assert_eq!(transaction.commit((), effects(1)).await.unwrap().state, CommitState::Committed);
    assert_eq!((process.count(ITEMS).await, process.count(ROWS).await), (1, 1));
}

#[tokio::test]
async fn a_row_in_a_transaction_of_ones_own() {
    let database = database().await;
    let process = Process::new(&database.url());
    let mut connection = PgConnection::connect(&database.url()).await.unwrap();
    let mut transaction = connection.begin().await.unwrap();
    let keys = [Bytes::from_static(b"k1"), Bytes::from_static(b"k2")];
    let recorded = process.outbox.record(&mut transaction, &keys, &[]).await.unwrap();
    let id: String =
        sqlx::query_scalar("select pg_current_xact_id()::text").fetch_one(&mut *transaction).await.unwrap();
    assert_eq!(recorded.transaction.0.to_string(), id);
    transaction.rollback().await.unwrap();
    assert_eq!(process.count(ROWS).await, 0);
    let mut transaction = connection.begin().await.unwrap();
    let recorded = process.outbox.record(&mut transaction, &keys, &[]).await.unwrap();
    transaction.commit().await.unwrap();
    let count = sqlx::query_scalar::<_, i64>("select count(*) from blog.outbox where id = $1 and keys = $2")
        .bind(recorded.id.0)
        .bind(keys.iter().map(|key| key.to_vec()).collect::<Vec<_>>());
    assert_eq!(count.fetch_one(&mut connection).await.unwrap(), 1);
}

#[tokio::test]
async fn a_connection_that_breaks_before_commit_is_a_failure_and_no_doubt() {
    let database = database().await;
    let process = Process::new(&database.url());
    let mut transaction = process.outbox.begin().await.unwrap();
    insert(transaction.connection(), 1, "one").await.unwrap();
    let pid: i32 = sqlx::query_scalar("select pg_backend_pid()").fetch_one(transaction.connection()).await.unwrap();
    sqlx::query("select pg_terminate_backend($1)").bind(pid).execute(&process.pool).await.unwrap();
    until("the backend is gone", async || {
        let gone = sqlx::query_scalar("select not exists (select from pg_stat_activity where pid = $1)").bind(pid);
        gone.fetch_one(&process.pool).await.unwrap()
    })
    .await;
    transaction.commit((), effects(1)).await.unwrap_err();
    assert_eq!((process.count(ITEMS).await, process.count(ROWS).await), (0, 0));
    assert_eq!(process.metric("outbox_commits_in_doubt_total"), 0.0);
}
