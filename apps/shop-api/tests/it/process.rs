//! The real program: its commands, its exit status, its signals.

use std::path::Path;
use std::process::Stdio;

use ::http::Method;
use testbed::api::{Answer, Process, output, text};
use tokio::process::Command;

use crate::stage::{Stage, contract};

fn shop_command(args: &[&str]) -> Command {
    let mut command = Command::new(Path::new(env!("CARGO_BIN_EXE_shop-api")));
    command.args(args).env_clear().kill_on_drop(true).stdin(Stdio::null());
    command
}

#[tokio::test]
async fn every_wrong_setting_is_one_line_and_the_status_is_64() {
    let wrong = [
        "--listen",
        "nowhere",
        "--admin-listen",
        "127.0.0.1:99999",
        "--database-pool",
        "0",
        "--near-cache",
        "some",
        "--ttl",
        "soon",
        "--cache-redis-url",
        "http://user:secret@host",
        "--drain",
        "soon",
        "--log-format",
        "xml",
        "--database-url",
        "mysql://user:secret@host/db",
        "--database-statement-timeout",
        "0s",
    ];
    let ended = output(&mut shop_command(&wrong)).await;
    let told = text(&ended.stderr);
    assert_eq!(ended.status.code(), Some(64), "{told}");
    assert!(ended.stdout.is_empty() && !told.contains("secret"), "{told}");
    for flag in wrong.iter().filter(|arg| arg.starts_with("--")) {
        assert_eq!(told.lines().filter(|line| line.contains(&format!("{flag} "))).count(), 1, "{flag}: {told}");
    }
    assert_eq!(told.lines().count(), 10, "{told}");

    // By environment, and what is missing.
    let ended = output(shop_command(&[]).env("LISTEN", "x").env("NEAR_GRACE", "y")).await;
    let told = text(&ended.stderr);
    assert_eq!(ended.status.code(), Some(64), "{told}");
    assert!(["LISTEN", "NEAR_GRACE", "--database-url"].iter().all(|name| told.contains(name)), "{told}");
    let ended = output(&mut shop_command(&["--database-url", "postgres://h/d"])).await;
    assert_eq!(ended.status.code(), Some(64));
    assert!(text(&ended.stderr).contains("--cache-redis-url"), "{}", text(&ended.stderr));
    let ended = output(&mut shop_command(&["migrate", "--database-url", "x"])).await;
    assert_eq!(ended.status.code(), Some(64));
    assert_eq!(output(&mut shop_command(&["nonsense"])).await.status.code(), Some(64));
}

#[tokio::test]
async fn help_version_and_document_need_no_settings() {
    let help = output(&mut shop_command(&["serve", "--help"])).await;
    assert!(help.status.success());
    for flag in [
        "--listen",
        "--admin-listen",
        "--database-url",
        "--database-pool",
        "--cache-redis-url",
        "--ttl",
        "--near-cache",
        "--drain",
        "RUST_LOG",
    ] {
        assert!(text(&help.stdout).contains(flag), "{flag}");
    }
    let version = output(&mut shop_command(&["--version"])).await;
    assert_eq!(text(&version.stdout).trim(), format!("shop-api {}", env!("CARGO_PKG_VERSION")));
    let document = output(&mut shop_command(&["openapi"])).await;
    assert!(document.status.success());
    let document: serde_json::Value = serde_json::from_slice(&document.stdout).unwrap();
    assert_eq!(&document, contract().document());
}

#[tokio::test]
async fn migrating_twice_and_at_once_is_fine() {
    let empty = testbed::database("empty", async |_: &str| Ok::<_, sqlx::Error>(())).await;
    let url = empty.url();
    let migrate = || async { output(shop_command(&["migrate"]).env("DATABASE_URL", &url)).await };
    let (one, two, three) = tokio::join!(migrate(), migrate(), migrate());
    for ended in [one, two, three, migrate().await] {
        assert!(ended.status.success(), "{}", text(&ended.stderr));
    }
    let pool = sqlx::PgPool::connect(&url).await.unwrap();
    let tables: Vec<String> = sqlx::query_scalar("select schemaname || '.' || tablename from pg_tables where schemaname not in ('pg_catalog', 'information_schema') order by 1")
        .fetch_all(&pool)
        .await
        .unwrap();
    for table in ["_sqlx_migrations", "categories", "products", "secrets", "outbox", "outbox_event"] {
        assert!(tables.contains(&format!("shop.{table}")), "{tables:?}");
    }
    assert!(tables.iter().all(|table| table.starts_with("shop.")), "{tables:?}");
    let run: i64 = sqlx::query_scalar("select count(*) from shop._sqlx_migrations").fetch_one(&pool).await.unwrap();
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").read_dir().unwrap().count();
    assert_eq!(usize::try_from(run).unwrap(), files);
}

#[tokio::test]
async fn a_database_that_cannot_be_migrated_is_one_line() {
    let ended = output(&mut shop_command(&["migrate", "--database-url", "postgres://u:secret@127.0.0.1:1/d"])).await;
    let told = text(&ended.stderr);
    assert_eq!((ended.status.code(), told.lines().count()), (Some(69), 1), "{told}");
    assert!(told.starts_with("error: ") && !told.contains("secret"), "{told}");
}

async fn start(database_url: &str, redis_url: &str) -> Process {
    Process::start(shop_command(&[]).env("DATABASE_URL", database_url).env("CACHE_REDIS_URL", redis_url)).await
}

async fn get(process: &Process, path: &str) -> Answer {
    process.request(Method::GET, path).under(contract()).send().await
}

#[tokio::test]
async fn it_serves_and_stops_on_a_signal() {
    let stage = Stage::set().await;
    let id = stage.replica().await.add("combined", 1, "Oak table").await;
    let process = start(&stage.database.url(), &stage.redis.url()).await;
    get(&process, &format!("/s/combined/products/{id}")).await.expect(200);
    let metrics = process.admin("/metrics").try_send().await.unwrap();
    let metrics = text(&metrics.body);
    for name in [
        "cache_reads_total",
        "shop_writes_total",
        "policy=\"combined-product\"",
        "outbox_unapplied",
        "http_requests_total",
        "db_pool_connections",
        "process_resident_memory_bytes",
    ] {
        assert!(metrics.contains(name), "{name} in {metrics}");
    }
    assert!(metrics.contains("route=\"/s/{strategy}/products/{id}\""), "{metrics}");
    for (probe, status) in [("/livez", 200), ("/startupz", 200)] {
        process.admin(probe).try_send().await.unwrap().expect(status);
    }
    assert_eq!(process.terminate().await, Some(0));
}

#[tokio::test]
async fn with_both_stores_dead_it_starts_answers_and_stops() {
    let process = start("postgres://127.0.0.1:1/none", "redis://127.0.0.1:1").await;
    assert_eq!(get(&process, "/noop").await.expect(200).body.len(), 1_600);
    get(&process, "/s/combined/products/1").await.problem(503);
    process.admin("/readyz").try_send().await.unwrap().expect(503);
    process.admin("/livez").try_send().await.unwrap().expect(200);
    assert_eq!(process.terminate().await, Some(0));
}

#[tokio::test]
async fn a_port_that_is_taken_is_one_line() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut command = shop_command(&[
        "--listen",
        &address,
        "--admin-listen",
        "127.0.0.1:0",
        "--cache-redis-url",
        "redis://h",
        "--database-url",
        "postgres://h/d",
    ]);
    let ended = output(command.env("RUST_LOG", "error")).await;
    let told = text(&ended.stderr);
    assert_eq!((ended.status.code(), told.lines().count()), (Some(69), 1), "{told}");
    assert!(told.contains(&address) && told.contains("--listen"), "{told}");
}
