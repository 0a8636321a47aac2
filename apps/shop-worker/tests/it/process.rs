//! The real program: its settings, its exit status, its probes.

use ::http::Method;
use testbed::api::{Process, output, text};

use crate::stage::{Stage, shop_worker};

#[tokio::test]
async fn every_wrong_setting_is_one_line_and_the_status_is_64() {
    let wrong = [
        "--listen",
        "nowhere",
        "--database-url",
        "mysql://user:secret@host/db",
        "--cache-redis-url",
        "http://user:secret@host",
        "--heartbeat",
        "0s",
        "--gap-repair",
        "perhaps",
        "--page",
        "0",
        "--leader-timeout",
        "1ms",
    ];
    let ended = output(&mut shop_worker(&wrong)).await;
    let told = text(&ended.stderr);
    assert_eq!((ended.status.code(), told.lines().count()), (Some(64), 7), "{told}");
    assert!(ended.stdout.is_empty() && !told.contains("secret"), "{told}");
    for flag in wrong.iter().filter(|arg| arg.starts_with("--")) {
        assert_eq!(told.lines().filter(|line| line.contains(&format!("{flag} "))).count(), 1, "{flag}: {told}");
    }
    let ended = output(shop_worker(&[]).env("GAP_REPAIR", "x")).await;
    let told = text(&ended.stderr);
    assert_eq!(ended.status.code(), Some(64), "{told}");
    assert!(["GAP_REPAIR", "--database-url", "--cache-redis-url"].iter().all(|name| told.contains(name)), "{told}");
    assert_eq!(output(&mut shop_worker(&["nonsense"])).await.status.code(), Some(64));
}

#[tokio::test]
async fn with_both_stores_dead_it_starts_says_so_and_stops() {
    let mut command = shop_worker(&[]);
    command.env("DATABASE_URL", "postgres://127.0.0.1:1/none").env("CACHE_REDIS_URL", "redis://127.0.0.1:1");
    let process = Process::start(&mut command).await;
    process.request(Method::GET, "/status").try_send().await.unwrap().expect(200);
    process.request(Method::GET, "/nothing").try_send().await.unwrap().expect(404);
    process.admin("/readyz").try_send().await.unwrap().expect(503);
    process.admin("/livez").try_send().await.unwrap().expect(200);
    assert_eq!(process.terminate().await, Some(0));
}

/// Started before the shop's API has migrated.
#[tokio::test]
async fn without_its_tables_it_is_not_ready_and_waits_for_them() {
    let stage = Stage::set().await;
    stage.run("alter schema shop rename to elsewhere").await;
    let mut command = shop_worker(&["--heartbeat", "50ms"]);
    command.env("DATABASE_URL", stage.database.url()).env("CACHE_REDIS_URL", stage.redis.url());
    let worker = crate::stage::Worker(Process::start(&mut command).await);
    let readiness = async |status: &str| {
        testbed::api::until(&format!("the tables are {status}"), async || {
            let answer = worker.0.admin("/readyz").try_send().await.unwrap();
            let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
            (body["checks"]["tables"]["status"] == status).then_some(answer)
        })
        .await
    };
    readiness("fail").await.expect(503);
    stage.run("alter schema elsewhere rename to shop").await;
    readiness("pass").await;
    stage.cached(1).await;
    stage.change([1]).await;
    stage.until_gone(1).await;
    worker.until_at(1).await;
    assert_eq!(worker.0.terminate().await, Some(0));
}
