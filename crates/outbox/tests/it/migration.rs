//! Making the tables.

use futures_util::future::join_all;
use outbox::Outbox;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::support::{Process, entry, pool};

async fn empty() -> testbed::Database {
    testbed::database("empty", async |_: &str| Ok::<_, sqlx::Error>(())).await
}

#[tokio::test]
async fn any_number_may_migrate_at_once_and_again() {
    let database = empty().await;
    let url = database.url();
    let outbox = Outbox::new(pool(&url, 1), "blog").unwrap();
    let mut connection = PgConnection::connect(&url).await.unwrap();
    assert!(!outbox.installed(&mut connection).await.unwrap());
    join_all((0..8).map(async |_| {
        let mut connection = PgConnection::connect(&url).await.unwrap();
        outbox.migrate(&mut connection).await.unwrap();
    }))
    .await;
    assert!(outbox.installed(&mut connection).await.unwrap());
    let versions: Vec<i32> =
        sqlx::query_scalar("select version from blog.outbox_version").fetch_all(&mut connection).await.unwrap();
    assert_eq!(versions, [1]);
    outbox.record(&mut connection, &[entry(1)], &[]).await.unwrap();

    // A newer release's database is left alone, and counts as migrated.
    sqlx::query("insert into blog.outbox_version values (1000)").execute(&mut connection).await.unwrap();
    outbox.migrate(&mut connection).await.unwrap();
    assert!(outbox.installed(&mut connection).await.unwrap());
}

/// A start beside running replicas waits for nobody.
#[tokio::test]
async fn an_installed_version_takes_no_table_lock() {
    let database = crate::support::database().await;
    let process = Process::new(&database.url());
    let mut open = process.outbox.begin().await.unwrap();
    process.outbox.record(open.connection(), &[entry(1)], &[]).await.unwrap();
    let mut connection = PgConnection::connect(&database.url()).await.unwrap();
    sqlx::query("set lock_timeout = '1ms'").execute(&mut connection).await.unwrap();
    process.outbox.migrate(&mut connection).await.unwrap();
    open.rollback().await.unwrap();
}

#[tokio::test]
async fn the_text_does_the_same_and_may_be_run_again() {
    let database = empty().await;
    let mut connection = PgConnection::connect(&database.url()).await.unwrap();
    sqlx::raw_sql("create schema shop").execute(&mut connection).await.unwrap();
    let text = Outbox::ddl("shop").unwrap();
    for _ in 0..2 {
        sqlx::raw_sql(AssertSqlSafe(text.clone())).execute(&mut connection).await.unwrap();
    }
    let outbox = Outbox::new(pool(&database.url(), 1), "shop").unwrap();
    assert!(outbox.installed(&mut connection).await.unwrap());
    outbox.migrate(&mut connection).await.unwrap();
    outbox.record(&mut connection, &[entry(1)], &[]).await.unwrap();
    assert!(Outbox::ddl("shop; drop schema shop").is_err());
}

/// A service's account often may not create schemas, only use its own.
#[tokio::test]
async fn an_account_with_rights_in_the_schema_alone_can_migrate() {
    let database = empty().await;
    let mut connection = PgConnection::connect(&database.url()).await.unwrap();
    let role = format!("service_of_{}", database.name());
    let sql = format!("create role {role}; create schema blog authorization {role}; set role {role}");
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
    let outbox = Outbox::new(pool(&database.url(), 1), "blog").unwrap();
    outbox.migrate(&mut connection).await.unwrap();
    outbox.record(&mut connection, &[entry(1)], &[]).await.unwrap();
}
