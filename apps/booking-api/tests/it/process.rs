//! The real program: its commands, its exit status, its signals.

use std::path::Path;
use std::process::Stdio;

use ::http::Method;
use serde_json::json;
use testbed::api::{Process, output, text, until};
use tokio::process::Command;

use crate::stage::{Stage, contract, sold, until_waiting};

fn booking_api(args: &[&str]) -> Command {
    let mut command = Command::new(Path::new(env!("CARGO_BIN_EXE_booking-api")));
    command.args(args).env_clear().kill_on_drop(true).stdin(Stdio::null());
    command
}

const STORES: [&str; 4] = ["--database-url", "postgres://h/d", "--lock-redis-url", "redis://h"];

/// Runs with wrong settings, and returns the one line that each of `flags` has.
async fn refused(args: &[&str], flags: &[&str]) -> Vec<String> {
    let ended = output(&mut booking_api(args)).await;
    let told = text(&ended.stderr);
    assert_eq!(ended.status.code(), Some(64), "{args:?}: {told}");
    assert!(ended.stdout.is_empty() && !told.contains("secret"), "{told}");
    assert_eq!(told.lines().count(), flags.len(), "{told}");
    let line = |flag: &&str| {
        let lines: Vec<&str> = told.lines().filter(|line| line.contains(&format!("{flag} "))).collect();
        assert_eq!(lines.len(), 1, "{flag}: {told}");
        lines[0].to_owned()
    };
    flags.iter().map(line).collect()
}

#[tokio::test]
async fn every_wrong_setting_is_one_line_and_the_status_is_64() {
    let wrong = [
        ("--listen", "nowhere"),
        ("--database-pool", "0"),
        ("--database-url", "mysql://user:secret@host/db"),
        ("--lock-redis-url", "http://user:secret@host"),
        ("--redlock-redis-urls", "redis://a,nonsense,redis://c"),
        ("--lock-deadline", "0s"),
        ("--lock-lease", "0s"),
        ("--lock-first-lease", "soon"),
        ("--lock-poll", "0"),
        ("--plain-lease", "1"),
        ("--max-hold", "0s"),
        ("--lock-enter", "maybe"),
        ("--idempotency-retention", "0s"),
        ("--cache-redis-url", "http://user:secret@host"),
        ("--reservation-timeout", "1ms"),
    ];
    let args: Vec<&str> = wrong.iter().flat_map(|(flag, value)| [*flag, *value]).collect();
    refused(&args, &wrong.map(|(flag, _)| flag)).await;
    refused(&[], &["--database-url", "--lock-redis-url"]).await;
    refused(&["migrate", "--database-url", "x"], &["--database-url"]).await;
    assert_eq!(output(&mut booking_api(&["nonsense"])).await.status.code(), Some(64));
}

/// What the lock library does not allow, each value by itself being one.
#[tokio::test]
async fn settings_that_do_not_go_together_are_one_line_each() {
    let with = |args: &[&'static str]| [&STORES[..], args].concat();
    let lines = refused(&with(&["--lock-lease", "1s"]), &["--lock-lease"]).await;
    assert!(lines[0].contains("\"1s\"") && lines[0].contains("LOCK_LEASE"), "{lines:?}");
    refused(&with(&["--lock-first-lease", "1s"]), &["--lock-first-lease"]).await;
    refused(&with(&["--lock-poll", "3s"]), &["--lock-first-lease"]).await;
    refused(&with(&["--plain-lease", "1ms"]), &["--plain-lease"]).await;
    refused(&with(&["--redlock-redis-urls", "redis://a,redis://b"]), &["--redlock-redis-urls"]).await;
    refused(&with(&["--cache-redis-url", "redis+unix:///run/redis.sock"]), &["--cache-redis-url"]).await;
    refused(&with(&["--request-timeout", "5s"]), &["--request-timeout"]).await;
    let several = with(&["--plain-lease", "1ms", "--lock-lease", "1s", "--lock-deadline", "60s"]);
    refused(&several, &["--plain-lease", "--lock-lease", "--request-timeout"]).await;
    let tls = ["--database-url", "postgres://h/d", "--lock-redis-url", "rediss://user:secret@h"];
    refused(&tls, &["--lock-redis-url"]).await;
}

#[tokio::test]
async fn help_version_and_document_need_no_settings() {
    let help = output(&mut booking_api(&["serve", "--help"])).await;
    assert!(help.status.success());
    for flag in ["--listen", "--database-url", "--lock-redis-url", "--lock-deadline", "--max-hold", "RUST_LOG"] {
        assert!(text(&help.stdout).contains(flag), "{flag}");
    }
    let version = output(&mut booking_api(&["--version"])).await;
    assert_eq!(text(&version.stdout).trim(), format!("booking-api {}", env!("CARGO_PKG_VERSION")));
    let document = output(&mut booking_api(&["openapi"])).await;
    assert!(document.status.success());
    let document: serde_json::Value = serde_json::from_slice(&document.stdout).unwrap();
    assert_eq!(&document, contract().document());
}

#[tokio::test]
async fn migrating_twice_and_at_once_is_fine() {
    let empty = testbed::database("empty", async |_: &str| Ok::<_, sqlx::Error>(())).await;
    let url = empty.url();
    let migrate = || async { output(booking_api(&["migrate"]).env("DATABASE_URL", &url)).await };
    let (one, two) = tokio::join!(migrate(), migrate());
    for ended in [one, two, migrate().await] {
        assert!(ended.status.success(), "{}", text(&ended.stderr));
    }
    let pool = sqlx::PgPool::connect(&url).await.unwrap();
    let tables: Vec<String> = sqlx::query_scalar("select schemaname || '.' || tablename from pg_tables where schemaname not in ('pg_catalog', 'information_schema') order by 1")
        .fetch_all(&pool)
        .await
        .unwrap();
    let expected = [
        "_sqlx_migrations",
        "bookings",
        "cache_identity",
        "claims",
        "events",
        "idempotency_keys",
        "outbox",
        "outbox_version",
        "units",
    ];
    assert_eq!(tables, expected.map(|table| format!("booking.{table}")));
}

async fn start(stage: &Stage) -> Process {
    let mut command = booking_api(&[]);
    Process::start(command.env("DATABASE_URL", stage.database.url()).env("LOCK_REDIS_URL", stage.redis.url())).await
}

/// What runs when the signal comes is finished, and leaves no lock behind: who comes next need not wait for a lease.
#[tokio::test]
async fn it_finishes_what_runs_when_it_is_told_to_stop() {
    let stage = Stage::set().await;
    let replica = stage.replica_with(&["--lock-deadline", "2s"]).await;
    let pool = stage.pool().await;
    for strategy in ["redis-fenced", "redis", "pg-advisory"] {
        let event = replica.event(strategy, 5).await;
        let process = start(&stage).await;
        let mut table = pool.begin().await.unwrap();
        sqlx::query("lock table booking.bookings in share mode").execute(&mut *table).await.unwrap();
        let path = format!("/events/{event}/bookings");
        let booking = process.request(Method::POST, &path).json(&json!({"seats": 1}));
        let booking = tokio::spawn(booking.send());
        until_waiting(&pool, 1).await;
        process.signal("TERM").await;
        // It accepts no more, and waits for what runs.
        until("it accepts no more", async || process.request(Method::GET, "/noop").try_send().await.err().map(|_| ()))
            .await;
        assert_eq!(sold(&pool, event).await, (0, 0));
        table.rollback().await.unwrap();
        booking.await.unwrap().expect(201);
        assert_eq!(process.ended().await, Some(0));
        assert_eq!(sold(&pool, event).await, (1, 1));
        replica.book(event, 1).await.expect(201);
    }
}

#[tokio::test]
async fn it_serves_its_metrics_and_stops_on_a_signal() {
    let stage = Stage::set().await;
    let event = stage.replica().await.event("redis-fenced", 5).await;
    let process = start(&stage).await;
    let path = format!("/events/{event}/bookings");
    process.request(Method::POST, &path).under(contract()).json(&json!({"seats": 1})).send().await.expect(201);
    let metrics = text(&process.admin("/metrics").try_send().await.unwrap().body);
    for name in [
        "bookings_total{strategy=\"redis-fenced\",outcome=\"booked\"} 1",
        "booking_duration_seconds_bucket",
        "lock_acquire_duration_seconds_bucket",
        "booking_oversold_seats{strategy=\"none\"} 0",
        "db_pool_connections_max{pool=\"postgres-waiting\"}",
        "process_resident_memory_bytes",
    ] {
        assert!(metrics.contains(name), "{name} in {metrics}");
    }
    assert!(metrics.contains("route=\"/events/{id}/bookings\""), "{metrics}");
    for (probe, status) in [("/livez", 200), ("/startupz", 200)] {
        process.admin(probe).try_send().await.unwrap().expect(status);
    }
    assert_eq!(process.terminate().await, Some(0));
}

/// Whether the build has a client of Kubernetes or not: without a cluster it says that it needs one.
#[tokio::test]
async fn without_a_cluster_there_is_no_lease() {
    let stage = Stage::set().await;
    let mut command = booking_api(&[]);
    command.env("DATABASE_URL", stage.database.url()).env("LOCK_REDIS_URL", stage.redis.url());
    let process = Process::start(command.env("KUBECONFIG", "/nonexistent")).await;
    let body = json!({"name": "n", "capacity": 1, "strategy": "k8s-lease"});
    let problem = process.request(Method::POST, "/events").under(contract()).json(&body).send().await.problem(422);
    assert_eq!(problem["errors"][0]["pointer"], "/strategy");
    assert!(problem["errors"][0]["detail"].as_str().unwrap().contains("Kubernetes"), "{problem}");
    // One that another replica has made: it cannot be booked here.
    let event: i64 = sqlx::query_scalar(
        "insert into booking.events (name, capacity, strategy) values ('n', 1, 'k8s-lease') returning id",
    )
    .fetch_one(&stage.pool().await)
    .await
    .unwrap();
    let path = format!("/events/{event}/bookings");
    let answer = process.request(Method::POST, &path).under(contract()).json(&json!({"seats": 1})).send().await;
    assert!(answer.problem(503)["detail"].as_str().unwrap().starts_with("Nothing was changed"));
    assert_eq!(process.terminate().await, Some(0));
}

#[tokio::test]
async fn with_both_stores_dead_it_starts_answers_and_stops() {
    let mut command =
        booking_api(&["--database-url", "postgres://127.0.0.1:1/none", "--lock-redis-url", "redis://127.0.0.1:1"]);
    let process = Process::start(&mut command).await;
    process.request(Method::GET, "/events/1").under(contract()).send().await.problem(503);
    process.admin("/readyz").try_send().await.unwrap().expect(503);
    process.admin("/livez").try_send().await.unwrap().expect(200);
    assert_eq!(process.terminate().await, Some(0));
}
