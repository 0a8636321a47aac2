//! Starting, killing and stopping the servers.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::{Connection, Executor, PgConnection};
use testbed::{PostgresServer, RedisServer, TestbedError, reachable};
use tokio::time::{Instant, timeout};

use crate::resp::Client;

const SOON: Duration = Duration::from_secs(30);

/// A folder that every user can reach; removed at the end.
pub(crate) struct Base(pub(crate) PathBuf);

impl Base {
    pub(crate) fn new(name: &str) -> Self {
        let path = PathBuf::from(format!("/tmp/testbed-it-{name}-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        Self(path)
    }
}

impl Drop for Base {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

async fn query(server: &PostgresServer, statement: &'static str) -> Result<Option<String>, sqlx::Error> {
    let mut connection = PgConnection::connect(&server.url("postgres")).await?;
    let value = sqlx::query_scalar(statement).fetch_optional(&mut connection).await;
    connection.close().await?;
    value
}

pub(crate) fn is_gone(pid: u32) -> bool {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::test_kill_process(pid) == Err(rustix::io::Errno::SRCH)
}

#[tokio::test]
async fn postgres_survives_kill_and_restart_with_what_was_committed() {
    let server = PostgresServer::builder().setting("max_connections", "17").start().await.unwrap();
    let (port, first, folder) = (server.port(), server.pid(), server.folder().to_owned());
    assert_eq!(query(&server, "show max_connections").await.unwrap().as_deref(), Some("17"));
    let mut connection = PgConnection::connect(&server.url("postgres")).await.unwrap();
    connection.execute("create table items (name text)").await.unwrap();
    for round in 0..5 {
        sqlx::query("insert into items values ($1)").bind(round.to_string()).execute(&mut connection).await.unwrap();
        let ended = server.ended();
        let pid = server.pid();
        server.kill().await;
        assert!(is_gone(pid));
        timeout(SOON, ended).await.unwrap();
        assert!(connection.execute("select 1").await.is_err());
        assert!(PgConnection::connect(&server.url("postgres")).await.is_err());
        server.start_again().await.unwrap();
        assert_ne!(server.pid(), pid);
        connection = PgConnection::connect(&server.url("postgres")).await.unwrap();
    }
    assert_eq!(query(&server, "select count(*)::text from items").await.unwrap().as_deref(), Some("5"));

    let running = server.pid();
    server.start_again().await.unwrap();
    assert_eq!(server.pid(), running, "nothing happens to a server that runs");
    server.restart().await.unwrap();
    assert_ne!(server.pid(), first);
    assert_eq!(server.port(), port);
    assert_eq!(query(&server, "select count(*)::text from items").await.unwrap().as_deref(), Some("5"));

    let last = server.pid();
    server.stop().await;
    assert!(is_gone(last));
    assert!(!folder.exists(), "a temporary folder goes with its server");
}

#[tokio::test]
async fn a_killed_postmaster_takes_its_children_with_it() {
    let server = PostgresServer::builder().start().await.unwrap();
    let mut connection = PgConnection::connect(&server.url("postgres")).await.unwrap();
    connection.execute("create table items (name text)").await.unwrap();
    // A statement that computes does not look up, so it would go on for a second or more, and commit.
    let slow = tokio::spawn(async move {
        connection.execute("insert into items select max(n::text) from generate_series(1, 5000000) as n").await
    });
    let deadline = Instant::now() + SOON;
    while query(&server, "select 'x' from pg_stat_activity where query like 'insert into items%'")
        .await
        .unwrap()
        .is_none()
    {
        assert!(Instant::now() < deadline);
    }
    server.kill().await;
    assert!(slow.await.unwrap().is_err());
    server.start_again().await.unwrap();
    assert_eq!(query(&server, "select name from items").await.unwrap(), None, "nobody is left who could commit");
}

#[tokio::test]
async fn durable_means_the_settings_of_production() {
    let base = Base::new("durable");
    let folder = base.0.join("missing/postgres");
    assert!(reachable(&folder));
    let builder = PostgresServer::builder().data_dir(&folder).durable(true);
    let server = builder.clone().start().await.unwrap();
    for name in ["show fsync", "show full_page_writes", "show synchronous_commit"] {
        assert_eq!(query(&server, name).await.unwrap().as_deref(), Some("on"), "{name}");
    }
    query(&server, "create table items as select 'kept' as name").await.unwrap();
    server.stop().await;
    assert!(folder.join("data/PG_VERSION").exists());

    let server = builder.clone().start().await.unwrap();
    assert_eq!(query(&server, "select name from items").await.unwrap().as_deref(), Some("kept"));
    // A drop stops in the background; whoever comes next waits for it.
    let pid = server.pid();
    drop(server);
    let server = builder.clone().start().await.unwrap();
    assert!(is_gone(pid));
    assert_eq!(query(&server, "select name from items").await.unwrap().as_deref(), Some("kept"));
    server.stop().await;

    // After a reboot the id in a stale postmaster.pid may belong to anybody, here to another server of the same user.
    let stranger = PostgresServer::builder().start().await.unwrap();
    let stale = format!("{}\n{}\n1\n", stranger.pid(), folder.join("data").display());
    fs::write(folder.join("data/postmaster.pid"), stale).unwrap();
    let server = builder.start().await.unwrap();
    assert_eq!(query(&server, "select name from items").await.unwrap().as_deref(), Some("kept"));
    assert!(!is_gone(stranger.pid()));
    server.stop().await;
}

#[tokio::test]
async fn an_unfinished_cluster_is_made_anew() {
    let base = Base::new("unfinished");
    let folder = base.0.join("postgres");
    let builder = PostgresServer::builder().data_dir(&folder);
    builder.clone().start().await.unwrap().stop().await;
    // As after a kill in the middle of initdb.
    fs::rename(folder.join("data"), folder.join("data.new")).unwrap();
    fs::remove_file(folder.join("data.new/global/pg_control")).unwrap();
    let server = builder.start().await.unwrap();
    assert_eq!(query(&server, "select 'yes'").await.unwrap().as_deref(), Some("yes"));
    server.stop().await;
}

#[tokio::test]
async fn redis_survives_kill_with_what_was_on_disk() {
    for (append_only, kept) in [(false, "(nil)"), (true, "v")] {
        let server =
            RedisServer::builder().appendonly(append_only).setting("appendfsync", "always").start().await.unwrap();
        let (port, pid, folder) = (server.port(), server.pid(), server.folder().to_owned());
        let mut client = Client::local(port).await;
        assert_eq!(client.call(&["SET", "k", "v"]).await.unwrap(), "OK");
        server.kill().await;
        assert!(is_gone(pid));
        assert!(client.receive().await.is_err());
        server.start_again().await.unwrap();
        assert_eq!(server.url(), format!("redis://127.0.0.1:{port}"));
        assert_eq!(Client::local(port).await.call(&["GET", "k"]).await.unwrap(), kept);
        server.restart_empty().await.unwrap();
        assert_eq!(Client::local(port).await.call(&["GET", "k"]).await.unwrap(), "(nil)");
        server.stop().await;
        assert!(is_gone(server.pid()));
        assert!(!folder.exists());
    }
}

#[tokio::test]
async fn a_stopped_redis_keeps_its_data_when_asked_to() {
    let base = Base::new("redis");
    let builder = RedisServer::builder().data_dir(base.0.join("redis")).setting("save", "3600 1");
    let server = builder.clone().start().await.unwrap();
    Client::local(server.port()).await.call(&["SET", "k", "v"]).await.unwrap();
    server.stop().await;
    let server = builder.start().await.unwrap();
    assert_eq!(Client::local(server.port()).await.call(&["GET", "k"]).await.unwrap(), "v");
    server.stop().await;
}

#[tokio::test]
async fn settings_reach_redis() {
    let server = RedisServer::builder().setting("maxmemory", "3mb").setting("save", "60 1").start().await.unwrap();
    let mut client = Client::local(server.port()).await;
    assert_eq!(client.call(&["CONFIG", "GET", "maxmemory"]).await.unwrap(), "[maxmemory 3145728]");
    assert_eq!(client.call(&["CONFIG", "GET", "save"]).await.unwrap(), "[save 60 1]");
    let quiet = testbed::redis().await;
    assert_eq!(Client::local(quiet.port()).await.call(&["CONFIG", "GET", "save"]).await.unwrap(), "[save ]");
}

#[tokio::test]
async fn a_paused_redis_answers_after_it_resumes() {
    let server = testbed::redis().await;
    let mut client = Client::local(server.port()).await;
    assert_eq!(client.call(&["PING"]).await.unwrap(), "PONG");
    server.pause();
    assert!(timeout(Duration::from_millis(100), client.call(&["PING"])).await.is_err());
    server.resume();
    assert_eq!(timeout(SOON, client.receive()).await.unwrap().unwrap(), "PONG");
    // A paused one can be stopped as well.
    server.pause();
    timeout(SOON, server.stop()).await.unwrap();
    assert!(is_gone(server.pid()));
}

#[tokio::test]
async fn a_taken_port_is_named_and_an_own_one_comes_back() {
    let server = testbed::redis().await;
    for error in [
        RedisServer::builder().port(server.port()).start().await.unwrap_err(),
        PostgresServer::builder().port(server.port()).start().await.unwrap_err(),
    ] {
        assert!(matches!(error, TestbedError::PortTaken { port } if port == server.port()), "{error:?}");
    }
    // Somebody takes the port of a killed server for a while.
    server.kill().await;
    let thief = std::net::TcpListener::bind(("127.0.0.1", server.port())).unwrap();
    let back = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        drop(thief);
    };
    let (started, ()) = tokio::join!(server.start_again(), back);
    started.unwrap();
    assert_eq!(Client::local(server.port()).await.call(&["PING"]).await.unwrap(), "PONG");
}

#[tokio::test]
async fn a_server_that_does_not_come_up_says_why_and_leaves_nothing() {
    let error = PostgresServer::builder().setting("no_such_setting", "1").start().await.unwrap_err().to_string();
    assert!(error.starts_with("PostgreSQL did not start: it ended at once (exit status 1)"), "{error}");
    assert!(error.contains(r#"unrecognized configuration parameter "no_such_setting""#), "{error}");
    let error = RedisServer::builder().setting("no-such-setting", "1").start().await.unwrap_err().to_string();
    assert!(error.starts_with("Redis did not start: it ended at once (exit status 1)"), "{error}");
    assert!(error.contains("no-such-setting"), "{error}");
}

#[tokio::test]
async fn a_folder_out_of_reach_is_named() {
    let base = Base::new("closed");
    let closed = base.0.join("closed");
    fs::create_dir(&closed).unwrap();
    // Without any right: closed to PostgreSQL's user when we are root, and to ourselves when we are not.
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
    assert!(!reachable(&closed));
    assert!(!reachable(&closed.join("postgres")));
    let error = PostgresServer::builder().data_dir(&closed).start().await.unwrap_err();
    assert!(matches!(&error, TestbedError::Unreachable { path, .. } if path == &closed), "{error:?}");
    assert!(reachable(Path::new("/tmp")));
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
}

#[tokio::test]
async fn the_log_of_the_start_before_is_kept() {
    let base = Base::new("logs");
    let folder = base.0.join("redis");
    let first = RedisServer::builder().data_dir(&folder).start().await.unwrap();
    let pid = first.pid();
    first.stop().await;
    RedisServer::builder().data_dir(&folder).start().await.unwrap().stop().await;
    let old = fs::read_to_string(folder.join("server.log.old")).unwrap();
    assert!(old.contains(&format!("{pid}:")), "{old}");
    assert!(!fs::read_to_string(folder.join("server.log")).unwrap().contains(&format!("{pid}:")));
}
