//! Migrations of several services in one database, run by several processes.

use std::borrow::Cow;

use service::config::DatabaseUrl;
use service::{MigrationError, Migrations};
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, SqlSafeStr as _};

use crate::client::{DEADLINE, eventually};

/// A migration waits at this lock, if the test holds it.
const TURNSTILE: i64 = 4711;

/// The migrations of a service, made as `sqlx::migrate!()` makes them.
fn migrations(schema: &'static str, statements: &[&str]) -> Migrations {
    let migrations = statements.iter().zip(1..).map(|(statement, version)| {
        let no_transaction = statement.contains("concurrently");
        let sql = AssertSqlSafe(statement.replace("SCHEMA", schema)).into_sql_str();
        Migration::new(version, Cow::Borrowed("one"), MigrationType::Simple, sql, no_transaction)
    });
    let migrator = Box::leak(Box::new(Migrator::with_migrations(migrations.collect())));
    Migrations::new(schema, migrator)
}

const POSTS: [&str; 3] = [
    "create table SCHEMA.posts (id bigint primary key, title text)",
    "select pg_advisory_xact_lock_shared(4711)",
    // Waits for every transaction and statement that has a snapshot: also for one that waits for a lock.
    "create index concurrently posts_title on SCHEMA.posts (title)",
];

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.expect("nothing is waited for that does not come")
}

struct Test {
    _database: testbed::Database,
    url: DatabaseUrl,
    connection: PgConnection,
}

impl Test {
    async fn new() -> Self {
        let database = testbed::database("empty", async |_: &str| Ok::<_, sqlx::Error>(())).await;
        let url: DatabaseUrl = database.url().parse().unwrap();
        let connection = PgConnection::connect(url.expose()).await.unwrap();
        Self { _database: database, url, connection }
    }

    async fn one<T>(&mut self, question: &'static str) -> T
    where
        T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres> + Send + Unpin,
    {
        sqlx::query_scalar(question).fetch_one(&mut self.connection).await.unwrap()
    }

    fn run(&self, migrations: Migrations) -> tokio::task::JoinHandle<Result<service::Migrated, MigrationError>> {
        let url = self.url.clone();
        tokio::spawn(async move { migrations.run(&url).await })
    }

    /// Holds up every migration that is at [`TURNSTILE`].
    async fn hold(&mut self) {
        sqlx::query("select pg_advisory_lock($1)").bind(TURNSTILE).execute(&mut self.connection).await.unwrap();
    }

    async fn let_go(&mut self) {
        sqlx::query("select pg_advisory_unlock($1)").bind(TURNSTILE).execute(&mut self.connection).await.unwrap();
    }

    async fn until_one_is_held(&mut self) {
        let waiting = "select count(*) from pg_locks where locktype = 'advisory' and objid = 4711 and not granted \
                       and database = (select oid from pg_database where datname = current_database())";
        eventually("a migration is under way", async || self.one::<i64>(waiting).await == 1).await;
    }
}

#[tokio::test]
async fn a_second_run_finds_nothing_to_do_and_all_is_in_the_schema() {
    let mut test = Test::new().await;
    let first = migrations("blog", &POSTS).run(&test.url).await.unwrap();
    assert_eq!((first.applied, first.already), (3, 0));
    let second = migrations("blog", &POSTS).run(&test.url).await.unwrap();
    assert_eq!((second.applied, second.already), (0, 3));
    assert_eq!(test.one::<i64>("select count(*) from blog._sqlx_migrations where success").await, 3);
    let elsewhere = "select count(*) from pg_tables where schemaname = 'public'";
    assert_eq!(test.one::<i64>(elsewhere).await, 0);
}

#[tokio::test]
async fn two_at_once_are_one_after_the_other() {
    let mut test = Test::new().await;
    test.hold().await;
    let first = test.run(migrations("blog", &POSTS));
    test.until_one_is_held().await;
    let second = test.run(migrations("blog", &POSTS));
    // The second one has asked for the lock, and was refused, at least once.
    let asked = "select count(*) from pg_stat_activity where datname = current_database() \
                 and application_name = 'blog-migrate' and query like '%pg_try_advisory_lock%' and state = 'idle'";
    eventually("the second one waits", async || test.one::<i64>(asked).await == 1).await;
    assert!(!first.is_finished() && !second.is_finished());
    test.let_go().await;
    let (first, second) = (in_time(first).await.unwrap().unwrap(), in_time(second).await.unwrap().unwrap());
    assert_eq!((first.applied, second.applied, second.already), (3, 0, 3));
    assert!(test.one::<bool>("select indisvalid from pg_index where indexrelid = 'blog.posts_title'::regclass").await);
}

#[tokio::test]
async fn services_do_not_wait_for_each_other() {
    let mut test = Test::new().await;
    test.hold().await;
    let blog = test.run(migrations("blog", &POSTS[..2]));
    test.until_one_is_held().await;
    let shop = in_time(migrations("shop", &POSTS[..1]).run(&test.url)).await.unwrap();
    assert_eq!(shop.applied, 1);
    assert!(!blog.is_finished());
    test.let_go().await;
    assert_eq!(in_time(blog).await.unwrap().unwrap().applied, 2);
}

#[tokio::test]
async fn what_fails_says_which_and_can_be_mended() {
    let mut test = Test::new().await;
    let error = migrations("blog", &[POSTS[0], "select nonsense"]).run(&test.url).await.unwrap_err();
    assert!(matches!(error, MigrationError::Migrate { schema: "blog", .. }), "{error:?}");
    assert!(std::error::Error::source(&error).unwrap().to_string().contains('2'), "{error:?}");
    assert_eq!(test.one::<i64>("select count(*) from blog._sqlx_migrations").await, 1, "the first one stays");
    let mended = migrations("blog", &POSTS[..2]).run(&test.url).await.unwrap();
    assert_eq!((mended.applied, mended.already), (1, 1));
    let changed = migrations("blog", &["create table SCHEMA.other (id bigint)"]).run(&test.url).await.unwrap_err();
    assert!(std::error::Error::source(&changed).unwrap().to_string().contains("modified"), "{changed:?}");
}

#[tokio::test]
async fn an_older_version_accepts_a_newer_schema() {
    let test = Test::new().await;
    migrations("blog", &POSTS).run(&test.url).await.unwrap();
    let older = migrations("blog", &POSTS[..1]).run(&test.url).await.unwrap();
    assert_eq!((older.applied, older.already), (0, 3));
}

#[tokio::test]
async fn a_schema_that_is_not_a_plain_name_never_reaches_sql() {
    let test = Test::new().await;
    let error = migrations("blog; drop table x", &POSTS).run(&test.url).await.unwrap_err();
    assert!(matches!(error, MigrationError::Schema(_)), "{error:?}");
}

#[tokio::test]
async fn a_database_that_is_not_there_is_an_error_and_not_a_wait() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url: DatabaseUrl = format!("postgres://u:secret@{closed}/d").parse().unwrap();
    let error = migrations("blog", &POSTS).run(&url).await.unwrap_err();
    assert!(matches!(error, MigrationError::Database(_)) && !format!("{error:?}").contains("secret"), "{error:?}");
}
