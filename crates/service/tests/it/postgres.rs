//! The pool, the readiness check and the errors, with a database that comes and goes.

use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use service::config::{DatabaseArgs, DatabaseUrl, ServerArgs};
use service::{Migrations, Problem};
use sqlx::PgPool;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use testbed::PostgresServer;

use crate::client::eventually;
use crate::server::TestServer;

fn args(url: &str) -> DatabaseArgs {
    let url: DatabaseUrl = url.parse().unwrap();
    DatabaseArgs { database_pool: 3, database_wait: Duration::from_millis(300), ..DatabaseArgs::new(url) }
}

/// A route that asks the database, and one that keeps all of its connections.
fn routes(pool: PgPool) -> Router {
    async fn one(State(pool): State<PgPool>) -> Result<String, Problem> {
        let one: i32 = sqlx::query_scalar("select 1").fetch_one(&pool).await?;
        Ok(one.to_string())
    }
    Router::new().route("/one", get(one)).with_state(pool)
}

async fn empty_database() -> testbed::Database {
    testbed::database("empty", async |_: &str| Ok::<_, sqlx::Error>(())).await
}

#[tokio::test]
async fn a_service_starts_without_its_database_and_follows_it() {
    let postgres = PostgresServer::builder().start().await.unwrap();
    postgres.kill().await;
    let url = postgres.url("postgres");
    let server = TestServer::start_with(ServerArgs::default(), |server| {
        routes(service::postgres::connect(server, &args(&url), "it"))
    })
    .await;
    let ready = async || server.ask_admin("/readyz").await;
    eventually("the check has failed", async || ready().await.json()["checks"]["postgres"]["status"] == "fail").await;
    assert_eq!(ready().await.status, 503);
    assert_eq!(server.ask_admin("/livez").await.status, 200);
    let answer = server.get("/one").await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, "1"));

    postgres.start_again().await.unwrap();
    eventually("ready", async || ready().await.status == 200).await;
    assert_eq!(server.get("/one").await.text(), "1");

    postgres.kill().await;
    eventually("not ready", async || ready().await.status == 503).await;
    postgres.start_again().await.unwrap();
    eventually("ready again", async || ready().await.status == 200).await;
    // Connections of before the crash are found to be broken, one at most per request.
    eventually("answered again", async || server.get("/one").await.status == 200).await;
    server.stopped().await;
    postgres.stop().await;
}

#[tokio::test]
async fn a_pool_that_is_used_up_is_503_and_not_a_database_that_is_gone() {
    let database = empty_database().await;
    let mut pool = None;
    let server = TestServer::start_with(ServerArgs::default(), |server| {
        let made = service::postgres::connect(server, &args(&database.url()), "it");
        pool = Some(made.clone());
        routes(made)
    })
    .await;
    let pool = pool.unwrap();
    eventually("ready", async || server.ask_admin("/readyz").await.status == 200).await;
    let held = [pool.acquire().await.unwrap(), pool.acquire().await.unwrap(), pool.acquire().await.unwrap()];
    let answer = server.get("/one").await;
    assert_eq!((answer.status, answer.header("content-type")), (503, "application/problem+json"));
    assert_eq!(server.ask_admin("/readyz").await.status, 200);
    drop(held);
    eventually("answered", async || server.get("/one").await.status == 200).await;
    let text = server.ask_admin("/metrics").await.text().to_owned();
    assert!(text.contains(r#"db_pool_connections_max{pool="postgres"} 3"#), "{text}");
    assert!(text.contains(r#"db_pool_connections{pool="postgres",state="idle"}"#), "{text}");
    server.stopped().await;
    assert!(pool.is_closed(), "by the hook");
}

#[tokio::test]
async fn what_a_session_is_set_to() {
    let database = empty_database().await;
    let args = DatabaseArgs { database_statement_timeout: Duration::from_millis(100), ..args(&database.url()) };
    let pool = service::postgres::pool(&args, "blog-api");
    let show = async |name: &str| -> String {
        sqlx::query_scalar("select current_setting($1)").bind(name).fetch_one(&pool).await.unwrap()
    };
    assert_eq!(show("application_name").await, "blog-api");
    assert_eq!(show("statement_timeout").await, "100ms");
    assert_eq!(show("idle_in_transaction_session_timeout").await, "200ms");

    let status = async |statement: &'static str| {
        let error = sqlx::query(statement).execute(&pool).await.unwrap_err();
        Problem::from(error).status().as_u16()
    };
    assert_eq!(status("select pg_sleep(60)").await, 503, "over the statement timeout");
    assert_eq!(status("select nonsense").await, 500);
    assert_eq!(status("select pg_terminate_backend(pg_backend_pid())").await, 503, "connection lost");
    let null = sqlx::query("select $1::text").bind("a\0b").execute(&pool).await.unwrap_err();
    assert_eq!(Problem::from(null).status(), 422, "a character that PostgreSQL cannot store");
}

#[tokio::test]
async fn missing_migrations_show_in_readiness_with_what_to_do() {
    let database = empty_database().await;
    let url: DatabaseUrl = database.url().parse().unwrap();
    let sql = sqlx::SqlSafeStr::into_sql_str("create table blog.posts (id bigint)");
    let migration = Migration::new(1, "posts".into(), MigrationType::Simple, sql, false);
    let migrator = Box::leak(Box::new(Migrator::with_migrations(vec![migration])));
    let migrations = Migrations::new("blog", migrator);
    let server = TestServer::start_with(ServerArgs::default(), |server| {
        migrations.require(server, &url, "blog-api migrate");
        Router::new()
    })
    .await;
    let check = async || server.ask_admin("/readyz").await.json()["checks"]["migrations"].clone();
    eventually("the check has failed", async || check().await["status"] == "fail").await;
    assert_eq!(check().await["detail"], "1 migrations have not been run: run `blog-api migrate`");
    migrations.run(&url).await.unwrap();
    eventually("ready", async || server.ask_admin("/readyz").await.status == 200).await;
    server.stopped().await;
}
