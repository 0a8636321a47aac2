//! PostgreSQL away: killed, restarted, not there at the start, not migrated, cut off in a COMMIT, busy.

use std::time::Duration;

use ::http::Method;
use blog_api::config::CacheMode;
use serde_json::{Value, json};
use testbed::{Cut, Direction, FaultProxy, PostgresServer, RedisServer};

use testbed::api::{Answer, Request, until};

use crate::stage::{Replica, Stage, fill};

fn body(title: &str) -> Value {
    json!({"title": title, "body": "b", "tags": []})
}

/// A server of the test's own, to be ill-treated.
async fn own_server() -> (PostgresServer, RedisServer) {
    let postgres = PostgresServer::builder().durable(true).start().await.unwrap();
    fill(&postgres.url("postgres")).await.unwrap();
    (postgres, testbed::redis().await)
}

#[track_caller]
fn assert_unavailable(answer: Answer) {
    assert!(answer.header("retry-after").parse::<u64>().is_ok_and(|seconds| seconds >= 1), "{answer:?}");
    let text = answer.problem(503).to_string();
    for secret in ["sqlx", "127.0.0.1", "Connection refused", "os error", "postgres"] {
        assert!(!text.contains(secret), "{text}");
    }
}

#[tokio::test]
async fn a_killed_database_is_503_except_for_what_is_cached() {
    let (postgres, redis) = own_server().await;
    let replica = Replica::start(&postgres.url("postgres"), &redis.url(), CacheMode::Fenced).await;
    let off = Replica::start(&postgres.url("postgres"), &redis.url(), CacheMode::Off).await;
    let path = format!("/posts/{}", replica.write("ann", "t", &[]).await);
    replica.get(&path).await.expect(200);
    replica.get("/authors/ann").await.expect(200);

    postgres.kill().await;
    assert_eq!(replica.get(&path).await.expect(200).header("x-cache"), "HIT");
    assert_eq!(replica.get("/authors/ann").await.expect(200).header("x-cache"), "HIT");
    for uncached in ["/posts/77", "/posts", "/posts?tag=x", "/authors/bob", "/posts/popular"] {
        assert_unavailable(replica.get(uncached).await);
    }
    assert_unavailable(off.get(&path).await);
    assert_unavailable(replica.put(&path, &body("t")).await);
    assert_unavailable(replica.delete(&path).await);
    assert_unavailable(replica.post("/posts", &json!({"author": "ann", "title": "t", "body": "b"})).await);
    assert_unavailable(replica.post(&format!("{path}/comments"), &json!({"author": "a", "body": "b"})).await);
    // What needs no database goes on.
    replica.get("/noop").await.expect(200);
    replica.get("/posts/x").await.problem(400);
    replica.until_check("postgres", "fail").await;
    assert_eq!(replica.readiness().await.status, 503);

    postgres.start_again().await.unwrap();
    replica.until_check("postgres", "pass").await;
    assert_eq!(replica.readiness().await.status, 200);
    until("reads are answered", async || (replica.get("/posts").await.status == 200).then_some(())).await;
    until("writes are answered", async || (replica.put(&path, &body("t2")).await.status == 200).then_some(())).await;
    assert_eq!(replica.get(&path).await.expect(200).json()["title"], "t2");
}

#[tokio::test]
async fn a_start_without_the_database_answers_503_and_recovers() {
    let (postgres, redis) = own_server().await;
    postgres.kill().await;
    let replica = Replica::start_anyway(&postgres.url("postgres"), &redis.url(), CacheMode::Fenced).await;
    assert_unavailable(replica.get("/posts/1").await);
    assert_unavailable(replica.post("/posts", &json!({"author": "ann", "title": "t", "body": "b"})).await);
    assert_eq!(replica.readiness().await.status, 503);
    postgres.start_again().await.unwrap();
    for check in ["postgres", "migrations", "replay"] {
        replica.until_check(check, "pass").await;
    }
    replica.write("ann", "t", &[]).await;
}

/// A restart cuts every connection of the pool. Reads are asked again on another one; what is not answered is a 503.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_under_load_leaves_nothing_wrong_behind() {
    let (postgres, redis) = own_server().await;
    let replica = Replica::start(&postgres.url("postgres"), &redis.url(), CacheMode::Fenced).await;
    let path = format!("/posts/{}", replica.write("ann", "t", &[]).await);
    let work = async {
        let mut acknowledged = 1;
        for n in 0..300 {
            let put = replica.put(&path, &body(&format!("{n}"))).await;
            match put.status.as_u16() {
                200 if put.header("x-cache-write") == "applied" => {
                    acknowledged = put.json()["version"].as_u64().unwrap();
                }
                200 => {}
                _ => assert_unavailable(put),
            }
            let read = replica.get(&path).await;
            match read.status.as_u16() {
                200 => assert!(read.json()["version"].as_u64().unwrap() >= acknowledged, "{read:?}"),
                _ => assert_unavailable(read),
            }
        }
    };
    let restarts = async {
        for _ in 0..2 {
            tokio::time::sleep(Duration::from_millis(150)).await;
            postgres.restart().await.unwrap();
        }
    };
    tokio::join!(work, restarts);
    until("it is all over", async || (replica.put(&path, &body("end")).await.status == 200).then_some(())).await;
    assert_eq!(replica.get(&path).await.expect(200).json()["title"], "end");
}

#[tokio::test]
async fn a_database_that_is_not_migrated_says_what_to_do() {
    let empty = testbed::database("empty", async |_: &str| Ok::<_, sqlx::Error>(())).await;
    let redis = testbed::redis().await;
    let replica = Replica::start_anyway(&empty.url(), &redis.url(), CacheMode::Fenced).await;
    replica.until_check("postgres", "pass").await;
    replica.until_check("migrations", "fail").await;
    let readiness = replica.readiness().await;
    assert_eq!(readiness.status, 503);
    assert!(readiness.json()["checks"]["migrations"]["detail"].as_str().unwrap().contains("run `blog-api migrate`"));
    assert_unavailable(replica.get("/posts/1").await);
    assert_unavailable(replica.post("/posts", &json!({"author": "ann", "title": "t", "body": "b"})).await);
    fill(&empty.url()).await.unwrap();
    replica.until_check("migrations", "pass").await;
    replica.write("ann", "t", &[]).await;
}

/// The connection dies in COMMIT: before it, nothing happened; after it, it happened, and the answer says so.
#[tokio::test]
async fn a_commit_in_doubt_is_found_out() {
    let stage = Stage::set().await;
    let reader = stage.replica().await;
    let proxy = FaultProxy::start(stage.database.url()).await.unwrap();
    let replica = Replica::start(&proxy.url(), &stage.redis.url(), CacheMode::Fenced).await;
    let path = format!("/posts/{}", reader.write("ann", "t1", &[]).await);
    reader.get(&path).await.expect(200);

    proxy.cut_when(Direction::ClientToServer, "COMMIT", Cut::Before);
    assert_unavailable(replica.put(&path, &body("t2")).await);
    assert_eq!(reader.get(&path).await.expect(200).json()["title"], "t1");

    proxy.cut_when(Direction::ClientToServer, "COMMIT", Cut::After);
    let put = replica.put(&path, &body("t3")).await.expect(200);
    assert_eq!((put.header("x-cache-write"), put.header("etag")), ("applied", "\"2\""));
    assert_eq!(reader.get(&path).await.expect(200).json()["title"], "t3");

    // Nobody can be asked what became of it.
    let committing = proxy.wait_for(Direction::ClientToServer, "COMMIT");
    proxy.cut_when(Direction::ClientToServer, "COMMIT", Cut::After);
    let refuse = async {
        committing.await;
        proxy.refuse(true);
        proxy.cut();
    };
    let fourth = body("t4");
    let (put, ()) = tokio::join!(replica.put(&path, &fourth), refuse);
    assert_eq!(put.header("x-cache-write"), "unknown");
    assert_unavailable(put);
    proxy.heal();
    until("the relay has told the cache, if it happened", async || {
        let version: i64 = sqlx::query_scalar("select version from blog.posts where id = $1")
            .bind(path.trim_start_matches("/posts/").parse::<i64>().unwrap())
            .fetch_one(&stage.pool().await)
            .await
            .unwrap();
        let read = reader.get(&path).await.expect(200);
        (read.json()["version"] == version).then_some(())
    })
    .await;
}

/// A client that hangs up does not cut a write: it is committed, and the cache is told.
#[tokio::test]
async fn a_write_outlives_its_client() {
    let stage = Stage::set().await;
    let pool = stage.pool().await;
    for mode in [CacheMode::Fenced, CacheMode::Naive, CacheMode::Off] {
        let (replica, reader) = (stage.replica_with(mode).await, stage.replica_with(mode).await);
        let post = json!({"author": "ann", "title": "t", "body": "b"});
        let id = replica.post("/posts", &post).await.expect(201).json()["id"].as_i64().unwrap();
        let path = format!("/posts/{id}");
        reader.get(&path).await.expect(200);
        let mut lock = pool.begin().await.unwrap();
        sqlx::query("select 1 from blog.posts where id = $1 for update").bind(id).execute(&mut *lock).await.unwrap();

        let gone_before = gone(&replica).await;
        let put = tokio::spawn(replica.request(Method::PUT, &path).json(&body("t2")).send());
        until("the write waits for the row", async || {
            let waiting: i64 = sqlx::query_scalar(
                "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()",
            )
            .fetch_one(&pool)
            .await
            .unwrap();
            (waiting > 0).then_some(())
        })
        .await;
        put.abort();
        assert!(put.await.unwrap_err().is_cancelled());
        // The server has seen it: nobody waits for an answer any more.
        until("the request is gone", async || (gone(&replica).await > gone_before).then_some(())).await;
        assert_eq!(reader.get(&path).await.expect(200).json()["title"], "t");
        lock.rollback().await.unwrap();
        let read = until("the write is there", async || {
            Some(reader.get(&path).await.expect(200)).filter(|read| read.json()["title"] == "t2")
        })
        .await;
        assert_eq!(read.header("etag"), "\"2\"", "{mode:?}");
    }
}

/// How many writes lost their client so far, in all of this process.
async fn gone(replica: &Replica) -> u64 {
    let metrics = Request::new(replica.admin, Method::GET, "/metrics").try_send().await.unwrap();
    let metrics = String::from_utf8(metrics.body.to_vec()).unwrap();
    let of_puts = metrics.lines().filter(|line| line.contains("status=\"499\"") && line.contains("\"PUT\""));
    of_puts.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

/// Redis away and the database slow: what does not get through the gate is told to come back.
#[tokio::test]
async fn a_full_gate_is_503_with_retry_after() {
    let stage = Stage::set().await;
    let replica = stage.replica().await;
    let id = replica.write("ann", "t", &[]).await;
    stage.redis.kill().await;
    replica.until_check("redis", "fail").await;
    let pool = stage.pool().await;
    let mut lock = pool.begin().await.unwrap();
    sqlx::query("lock table blog.posts in access exclusive mode").execute(&mut *lock).await.unwrap();
    // A pool of 6, of which 2 are kept for writes; the seventh key waits for a second and gives up.
    let reads = (0..12).map(|n| replica.request(Method::GET, &format!("/posts/{}", id + n)).send());
    let answers = futures_util::future::join_all(reads).await;
    let overloaded = answers.iter().filter(|answer| String::from_utf8_lossy(&answer.body).contains("no more room"));
    assert!(overloaded.count() >= 4, "{answers:?}");
    answers.into_iter().for_each(assert_unavailable);
    lock.rollback().await.unwrap();
    assert_eq!(replica.get(&format!("/posts/{id}")).await.expect(200).header("x-cache"), "BYPASS");
}
