//! What the cache asks of the outbox.

use std::time::Duration;

use fenced_cache::{Identity, Journal, RecordId, Settled, TransactionId};
use sqlx::{Connection, PgConnection};

use crate::support::{FakeCache, Mode, Process, database, effects, entry, insert, quick, until};

const FIRST: RecordId = RecordId(i64::MIN);

#[tokio::test]
async fn settle_by_the_id_alone() {
    let database = database().await;
    let process = Process::new(&database.url());
    let mut connection = PgConnection::connect(&database.url()).await.unwrap();
    for (end, expected) in [("commit", Settled::Committed), ("rollback", Settled::RolledBack)] {
        let mut transaction = connection.begin().await.unwrap();
        let recorded = process.outbox.record(&mut transaction, &[entry(1)], &[]).await.unwrap();
        // As another process would ask: nobody here remembers the row.
        assert_eq!(process.outbox.settle(recorded.transaction).await.unwrap(), Settled::InProgress);
        match end {
            "commit" => transaction.commit().await.unwrap(),
            _ => transaction.rollback().await.unwrap(),
        }
        assert_eq!(process.outbox.settle(recorded.transaction).await.unwrap(), expected);
    }
    // An id that this server has not handed out: a crash took it back.
    assert_eq!(process.outbox.settle(TransactionId((1 << 40) + 5)).await.unwrap(), Settled::RolledBack);
    // An id that the server has nothing to say of, as of one that it has forgotten: never a guess.
    process.outbox.settle(TransactionId(1 << 40)).await.unwrap_err();
}

#[tokio::test]
async fn unapplied_rows_in_pages() {
    let database = database().await;
    let process = Process::new(&database.url());
    let mut ids = Vec::new();
    for id in 0..7 {
        ids.push(process.write(id).await);
    }
    process.run(&format!("update blog.outbox set applied_at = now() where id = {}", ids.remove(3).0)).await;
    let mut seen = Vec::new();
    let mut after = FIRST;
    loop {
        let page = process.outbox.unapplied(after, 4).await.unwrap();
        let Some(last) = page.last() else { break };
        assert!(page.len() <= 4);
        after = last.id;
        seen.extend(page);
    }
    assert_eq!(seen.iter().map(|record| record.id).collect::<Vec<_>>(), ids);
    assert_eq!(seen[0].keys, [entry(0)]);
    assert_eq!(seen[0].tags, [crate::support::keyspace().tag("list", 0).name().clone()]);
    assert!(process.outbox.unapplied(FIRST, 0).await.unwrap().is_empty());
}

#[tokio::test]
async fn the_replay_sees_what_was_applied_lately_or_never() {
    let database = database().await;
    let process = Process::new(&database.url());
    let (old, late, never, new) =
        (process.write(1).await, process.write(2).await, process.write(3).await, process.write(4).await);
    process
        .run(&format!(
            "update blog.outbox set created_at = now() - interval '1 hour' where id <= {2}; \
             update blog.outbox set applied_at = now() - interval '11 minutes' where id = {0}; \
             update blog.outbox set applied_at = now() - interval '9 minutes' where id = {1}; \
             update blog.outbox set applied_at = now() where id = {3}",
            old.0, late.0, never.0, new.0
        ))
        .await;
    let window = Duration::from_secs(600);
    let ids = async |after, limit| {
        let page = process.outbox.younger_than(window, after, limit).await.unwrap();
        page.into_iter().map(|record| record.id).collect::<Vec<_>>()
    };
    assert_eq!(ids(FIRST, 100).await, [late, never, new]);
    assert_eq!(ids(FIRST, 2).await, [late, never]);
    assert_eq!(ids(never, 2).await, [new]);
    assert_eq!(process.outbox.younger_than(Duration::from_secs(3_600), FIRST, 100).await.unwrap().len(), 4);
}

#[tokio::test]
async fn the_identity_of_the_last_replay() {
    let database = database().await;
    let process = Process::new(&database.url());
    let identity = |run_id: &str| Identity { run_id: run_id.into(), replication_id: "r".into() };
    assert_eq!(process.outbox.identity("t/primary").await.unwrap(), None);
    for run_id in ["a", "b"] {
        process.outbox.remember("t/primary", &identity(run_id)).await.unwrap();
        let other = Process::new(&database.url());
        assert_eq!(other.outbox.identity("t/primary").await.unwrap(), Some(identity(run_id)));
    }
    assert_eq!(process.outbox.identity("t/other").await.unwrap(), None);
}

/// Neither polling nor pruning nor a replay reads the rows that do not matter to it.
#[tokio::test]
async fn no_question_reads_the_whole_table() {
    let database = database().await;
    let process = Process::new(&database.url());
    process
        .run(
            "insert into blog.outbox (keys, applied_at) \
             select array['k'::bytea], now() - interval '5 minutes' from generate_series(1, 20000); \
             analyze blog.outbox",
        )
        .await;
    let cache = FakeCache::new(Mode::Confirm);
    let id = process.write(1).await;
    let background = process.start(quick().prune_every(Duration::from_millis(5)), &cache);
    until("the row is relayed", async || process.marked(id).await).await;
    process.stop(background).await;
    process.outbox.unapplied(FIRST, 100).await.unwrap();
    process.outbox.younger_than(Duration::from_secs(60), FIRST, 100).await.unwrap();
    // Nor does a page of a long backlog read all of that.
    process
        .run("insert into blog.outbox (keys) select '{k}' from generate_series(1, 20000); analyze blog.outbox")
        .await;
    assert_eq!(process.outbox.unapplied(FIRST, 100).await.unwrap().len(), 100);
    // A session publishes its counts when it ends, at the latest.
    process.pool.close().await;
    let mut connection = PgConnection::connect(&database.url()).await.unwrap();
    let sql = "select (seq_tup_read + (select sum(idx_tup_read) from pg_stat_user_indexes i where i.relid = t.relid))::bigint \
               from pg_stat_user_tables t where relid = 'blog.outbox'::regclass";
    let read: i64 = sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap();
    assert!((1..10_000).contains(&read), "{read} rows and index entries were read");
}

#[tokio::test]
async fn a_row_is_only_asked_for_once_it_is_committed() {
    let database = database().await;
    let process = Process::new(&database.url());
    let mut transaction = process.outbox.begin().await.unwrap();
    insert(transaction.connection(), 1, "one").await.unwrap();
    assert!(process.outbox.unapplied(FIRST, 10).await.unwrap().is_empty());
    let _ = transaction.commit((), effects(1)).await.unwrap();
    assert_eq!(process.outbox.unapplied(FIRST, 10).await.unwrap().len(), 1);
}
