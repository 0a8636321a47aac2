//! A database for each test.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sqlx::{Connection, PgConnection, PgPool};
use testbed::{Database, TestbedError, database, try_database};
use tokio::time::{Instant, sleep};

async fn connect(database: &Database) -> PgConnection {
    PgConnection::connect(&database.url()).await.unwrap()
}

async fn migrate(url: &str) -> Result<(), sqlx::Error> {
    let mut connection = PgConnection::connect(url).await?;
    sqlx::raw_sql("create table items (id int primary key); insert into items values (1)")
        .execute(&mut connection)
        .await?;
    connection.close().await
}

async fn items(connection: &mut PgConnection) -> i64 {
    sqlx::query_scalar("select count(*) from items").fetch_one(connection).await.unwrap()
}

#[tokio::test]
async fn a_template_is_made_once_and_its_copies_are_apart() {
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    let counted = async |url: &str| {
        RUNS.fetch_add(1, Ordering::SeqCst);
        migrate(url).await
    };
    let (one, two, three) =
        tokio::join!(database("counted", counted), database("counted", counted), database("counted", counted));
    assert_eq!(RUNS.load(Ordering::SeqCst), 1);

    let mut first = connect(&one).await;
    sqlx::raw_sql("insert into items values (2), (3)").execute(&mut first).await.unwrap();
    assert_eq!(items(&mut first).await, 3);
    for other in [&two, &three] {
        assert_ne!(other.name(), one.name());
        assert_eq!(items(&mut connect(other).await).await, 1);
    }
    let later = database("counted", counted).await;
    assert_eq!(items(&mut connect(&later).await).await, 1);
    assert_eq!(RUNS.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn another_key_has_another_template() {
    let with = database("with items", migrate).await;
    let without = database("without items", async |_: &str| Ok::<_, sqlx::Error>(())).await;
    assert_eq!(items(&mut connect(&with).await).await, 1);
    let missing: Option<String> =
        sqlx::query_scalar("select to_regclass('items')::text").fetch_one(&mut connect(&without).await).await.unwrap();
    assert_eq!(missing, None);
}

#[tokio::test]
async fn connections_that_a_migration_leaves_open_do_no_harm() {
    let mut left_open = None;
    let database = database("careless", async |url: &str| {
        let pool = PgPool::connect(url).await?;
        sqlx::raw_sql("create table items (id int)").execute(&pool).await?;
        left_open = Some(pool);
        Ok::<_, sqlx::Error>(())
    })
    .await;
    assert_eq!(items(&mut connect(&database).await).await, 0);
}

#[tokio::test]
async fn a_migration_that_fails_is_reported_and_can_be_tried_again() {
    let failed = try_database("fragile", async |_: &str| Err("no such column")).await;
    match failed {
        Err(error @ TestbedError::Migration { .. }) => {
            assert_eq!(error.to_string(), "the migration fragile failed: no such column");
        }
        other => panic!("{other:?}"),
    }
    let database = try_database("fragile", migrate).await.unwrap();
    assert_eq!(items(&mut connect(&database).await).await, 1);
}

#[tokio::test]
async fn a_dropped_database_goes_away_with_its_connections() {
    let kept = database("dropped", migrate).await;
    let gone = database("dropped", migrate).await;
    let mut connected = connect(&gone).await;
    assert_eq!(items(&mut connected).await, 1);
    let name = gone.name().to_owned();
    drop(gone);

    let mut witness = connect(&kept).await;
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let there: bool = sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
            .bind(&name)
            .fetch_one(&mut witness)
            .await
            .unwrap();
        if !there {
            break;
        }
        assert!(Instant::now() < deadline, "{name} is still there");
        sleep(Duration::from_millis(20)).await;
    }
    assert!(sqlx::query("select 1").execute(&mut connected).await.is_err());
    assert_eq!(items(&mut witness).await, 1);
}
