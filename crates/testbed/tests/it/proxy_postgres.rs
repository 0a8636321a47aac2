//! The proxy in front of a real PostgreSQL.

use std::time::Duration;

use sqlx::postgres::{PgConnection, PgPool, PgPoolOptions};
use sqlx::{Connection, Executor};
use testbed::Direction::{ClientToServer, ServerToClient};
use testbed::{Cut, Database, FaultProxy, database};
use tokio::time::timeout;

struct Setup {
    database: Database,
    proxy: FaultProxy,
    /// Through the proxy.
    pool: PgPool,
}

async fn setup() -> Setup {
    let database = database("notes", async |url: &str| {
        let mut connection = PgConnection::connect(url).await?;
        connection.execute("create table notes (body text)").await?;
        connection.close().await
    })
    .await;
    let proxy = FaultProxy::start(database.url()).await.unwrap();
    let pool = PgPoolOptions::new().max_connections(2).connect(&proxy.url()).await.unwrap();
    Setup { database, proxy, pool }
}

async fn notes(database: &Database) -> Vec<String> {
    let mut direct = PgConnection::connect(&database.url()).await.unwrap();
    sqlx::query_scalar("select body from notes order by body").fetch_all(&mut direct).await.unwrap()
}

async fn insert_and_commit(pool: &PgPool, body: &str) -> Result<(), sqlx::Error> {
    let mut transaction = pool.begin().await?;
    sqlx::query("insert into notes values ($1)").bind(body).execute(&mut *transaction).await?;
    transaction.commit().await
}

#[tokio::test]
async fn without_faults_it_only_passes_on() {
    let Setup { database, proxy, pool } = setup().await;
    insert_and_commit(&pool, "a note").await.unwrap();
    let long: String = sqlx::query_scalar("select repeat('x', 2000000)").fetch_one(&pool).await.unwrap();
    assert_eq!(long.len(), 2_000_000);
    assert!(proxy.bytes(ServerToClient) > 2_000_000);
    assert_eq!(notes(&database).await, ["a note"]);
    pool.close().await;
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_has_happened() {
    let Setup { database, proxy, pool } = setup().await;
    for round in 1..=10 {
        let cut = proxy.cut_when(ClientToServer, "COMMIT", Cut::After);
        let error = insert_and_commit(&pool, "in doubt").await.unwrap_err();
        assert!(matches!(error, sqlx::Error::Io(_)), "{error:?}");
        assert_eq!(cut.count(), 1);
        assert_eq!(notes(&database).await.len(), round, "at the client's error the commit is over");
    }
}

#[tokio::test]
async fn a_commit_that_is_lost_has_not_happened() {
    let Setup { database, proxy, pool } = setup().await;
    let cut = proxy.cut_when(ClientToServer, "COMMIT", Cut::Before);
    let error = insert_and_commit(&pool, "lost").await.unwrap_err();
    assert!(matches!(error, sqlx::Error::Io(_)), "{error:?}");
    assert_eq!(cut.count(), 1);
    // The server rolls back when it notices; a commit could not come later than that.
    insert_and_commit(&pool, "next").await.unwrap();
    assert_eq!(notes(&database).await, ["next"]);
}

#[tokio::test]
async fn the_answer_itself_can_be_the_needle() {
    let Setup { database, proxy, pool } = setup().await;
    proxy.cut_when(ServerToClient, "COMMIT", Cut::Before);
    insert_and_commit(&pool, "in doubt").await.unwrap_err();
    assert_eq!(notes(&database).await, ["in doubt"]);
}

#[tokio::test]
async fn a_cut_after_a_bound_parameter_lets_the_statement_run() {
    let Setup { database, proxy, pool } = setup().await;
    // The needle is in the Bind message; the server acts on the Execute and Sync that follow it.
    proxy.cut_when(ClientToServer, "bound value", Cut::After);
    sqlx::query("insert into notes values ($1)").bind("bound value").execute(&pool).await.unwrap_err();
    assert_eq!(notes(&database).await, ["bound value"]);
}

#[tokio::test]
async fn a_commit_can_be_held_while_others_read() {
    let Setup { database, proxy, pool } = setup().await;
    let held = proxy.hold_when(ClientToServer, "COMMIT");
    let writer = tokio::spawn({
        let pool = pool.clone();
        async move { insert_and_commit(&pool, "late").await }
    });
    held.reached().await;
    let through: i64 = sqlx::query_scalar("select count(*) from notes").fetch_one(&pool).await.unwrap();
    assert_eq!((through, notes(&database).await.len()), (0, 0));
    held.release();
    writer.await.unwrap().unwrap();
    assert_eq!(notes(&database).await, ["late"]);
}

#[tokio::test]
async fn a_half_open_connection_does_not_answer() {
    let Setup { database, proxy, pool } = setup().await;
    let mut connection = pool.acquire().await.unwrap();
    proxy.half_open();
    let write = connection.execute("insert into notes values ('lost')");
    assert!(timeout(Duration::from_millis(100), write).await.is_err());
    proxy.heal();
    assert!(connection.execute("select 1").await.is_err());
    drop(connection);
    insert_and_commit(&pool, "next").await.unwrap();
    assert_eq!(notes(&database).await, ["next"]);
}
