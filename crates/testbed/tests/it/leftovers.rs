//! Nothing is left behind, however a test process ends. The processes that end badly here are this test binary, run again
//! with [`helper`] as its only test and with a temporary folder of its own.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, getpgid, kill_process_group};
use sqlx::{Connection, Executor, PgConnection};
use testbed::{PostgresServer, RedisServer, TestbedError};
use tokio::signal::unix::{SignalKind, signal};

use crate::resp::{Client, command};
use crate::servers::{Base, is_gone};

const SCENE: &str = "TESTBED_TEST_SCENE";

/// Plays the scene that the environment names, in another process.
#[tokio::test]
#[ignore = "run by the other tests of this file"]
async fn helper() {
    let scene = env::var(SCENE).unwrap();
    let base = env::temp_dir();
    println!("go");
    if scene == "without postgres" {
        let error = PostgresServer::builder().start().await.unwrap_err();
        println!("error: {error}");
        let error = RedisServer::builder().start().await.unwrap_err();
        println!("error: {error}");
        return;
    }
    if scene == "busy redis" {
        let kept = RedisServer::builder().data_dir(base.join("kept-redis")).setting("enable-debug-command", "yes");
        let kept = kept.start().await.unwrap();
        println!("pid {}", kept.pid());
        let mut client = Client::local(kept.port()).await;
        client.send(&command(&["DEBUG", "SLEEP", "2"])).await.unwrap();
        println!("busy");
        return std::future::pending().await;
    }
    let migrate = async |url: &str| PgConnection::connect(url).await?.execute("create table items ()").await.map(drop);
    let _database = testbed::database("helper", migrate).await;
    let postgres = PostgresServer::builder().start().await.unwrap();
    let redis = testbed::redis().await;
    let paused = testbed::redis().await;
    paused.pause();
    let killed = testbed::redis().await;
    killed.kill().await;
    let kept = PostgresServer::builder().data_dir(base.join("kept-postgres")).start().await.unwrap();
    let mut connection = PgConnection::connect(&kept.url("postgres")).await.unwrap();
    connection.execute("create table items as select 'kept' as name").await.unwrap();
    let kept_redis = RedisServer::builder().data_dir(base.join("kept-redis")).start().await.unwrap();
    for port in [postgres.port(), redis.port(), paused.port(), kept.port(), kept_redis.port()] {
        println!("port {port}");
    }
    let mut interrupts = (scene == "handle ctrl-c").then(|| signal(SignalKind::interrupt()).unwrap());
    println!("ready");
    match scene.as_str() {
        "panic" => panic!("as the scene wants it"),
        "exit" => std::process::exit(0),
        "handle ctrl-c" => {
            interrupts.as_mut().unwrap().recv().await;
            let own = getpgid(None).unwrap();
            for pid in [kept.pid(), redis.pid()] {
                let group = getpgid(Pid::from_raw(i32::try_from(pid).unwrap())).unwrap();
                assert_ne!(group, own, "the signal did not go to the servers");
            }
            // So there is time to say goodbye to them.
            connection.execute("insert into items values ('goodbye')").await.unwrap();
            std::net::TcpStream::connect(("127.0.0.1", redis.port())).unwrap();
            println!("goodbye");
        }
        _ => std::future::pending().await,
    }
}

fn play(scene: &str, base: &Path) -> (Child, impl Iterator<Item = String> + use<>) {
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args(["--ignored", "--exact", "leftovers::helper", "--nocapture"])
        .env(SCENE, scene)
        .env("TMPDIR", base)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    if scene == "without postgres" {
        command.env("POSTGRES_BIN", "/nonexistent").env("REDIS_SERVER", "/bin/true");
    }
    let mut child = command.spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    (child, lines)
}

/// A helper that has come to where the servers run.
struct Scene {
    child: Child,
    ports: Vec<u16>,
    lines: Box<dyn Iterator<Item = String>>,
}

impl Scene {
    fn play(scene: &str, base: &Path) -> Self {
        let (child, mut lines) = play(scene, base);
        let before: Vec<String> = lines.by_ref().take_while(|line| line != "ready").collect();
        let ports: Vec<u16> = before.iter().filter_map(|line| line.strip_prefix("port ")?.parse().ok()).collect();
        assert_eq!(ports.len(), 5, "{scene}: {before:?}");
        Self { child, ports, lines: Box::new(lines) }
    }

    /// What a terminal does at Ctrl-C: the signal goes to the whole process group in the foreground.
    fn interrupt(&self) {
        let group = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process_group(group, Signal::INT).unwrap();
    }

    /// Waits until the helper has ended and nothing is left. Says whether it ended well.
    fn end(mut self, base: &Path, context: &str) -> bool {
        let status = self.child.wait().unwrap();
        wait_until_clean(base, context);
        for port in self.ports {
            let connected = std::net::TcpStream::connect(("127.0.0.1", port));
            assert!(connected.is_err(), "{context}: somebody still listens on {port}");
        }
        let stale = base.join("kept-postgres/data/postmaster.pid");
        assert!(!stale.exists(), "{context}: a kept server is shut down in order");
        status.success()
    }
}

/// The command lines of all processes that have to do with the folder.
fn processes(base: &Path) -> Vec<String> {
    let base = base.to_str().unwrap();
    let all: Vec<String> = match fs::read_dir("/proc") {
        Ok(entries) => entries
            .filter_map(|entry| fs::read(entry.ok()?.path().join("cmdline")).ok())
            .map(|bytes| String::from_utf8_lossy(&bytes).replace('\0', " "))
            .collect(),
        Err(_) => {
            let output = Command::new("ps").args(["-axo", "args="]).output().unwrap();
            String::from_utf8_lossy(&output.stdout).lines().map(String::from).collect()
        }
    };
    all.into_iter().filter(|line| line.contains(base)).collect()
}

fn wait_until_clean(base: &Path, context: &str) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let names = fs::read_dir(base).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let folders: Vec<String> = names.filter(|name| !name.starts_with("kept-")).collect();
        let processes = processes(base);
        if folders.is_empty() && processes.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "{context}: {folders:?} and {processes:#?} are left");
        sleep(Duration::from_millis(20));
    }
}

#[test]
fn after_sigkill() {
    let base = Base::new("sigkill");
    let mut scene = Scene::play("wait", &base.0);
    assert!(processes(&base.0).len() > 6, "the servers were found: {:?}", processes(&base.0));
    scene.child.kill().unwrap();
    assert!(!scene.end(&base.0, "SIGKILL"));
    assert!(base.0.join("kept-postgres/data/PG_VERSION").exists());
}

#[test]
fn after_ctrl_c() {
    let base = Base::new("ctrl-c");
    let scene = Scene::play("wait", &base.0);
    scene.interrupt();
    assert!(!scene.end(&base.0, "SIGINT"));
}

#[test]
fn ctrl_c_reaches_the_program_and_not_its_servers() {
    let base = Base::new("goodbye");
    let mut scene = Scene::play("handle ctrl-c", &base.0);
    scene.interrupt();
    assert!(scene.lines.any(|line| line == "goodbye"));
    assert!(scene.end(&base.0, "SIGINT handled"));
}

#[test]
fn after_a_panic_and_after_exit() {
    for (scene, success) in [("panic", false), ("exit", true)] {
        let base = Base::new(scene);
        assert_eq!(Scene::play(scene, &base.0).end(&base.0, scene), success);
    }
}

#[test]
fn after_sigkill_at_any_moment_of_a_start() {
    // The start takes 1 to 3 seconds; wherever the kill falls, nothing may stay.
    for moment in [0, 20, 150, 400, 800, 1_500] {
        let base = Base::new(&format!("early-{moment}"));
        let (mut child, mut lines) = play("wait", &base.0);
        assert!(lines.any(|line| line == "go"));
        sleep(Duration::from_millis(moment));
        child.kill().unwrap();
        child.wait().unwrap();
        wait_until_clean(&base.0, &format!("SIGKILL after {moment} ms"));
    }
}

#[tokio::test]
async fn a_kept_folder_is_nobody_elses_until_its_server_is_gone() {
    let base = Base::new("locked");
    let folder = base.0.join("kept-postgres");
    let mut scene = Scene::play("wait", &base.0);
    let owner = scene.child.id();
    let builder = PostgresServer::builder().data_dir(&folder);
    let error = builder.clone().start().await.unwrap_err();
    assert!(matches!(error, TestbedError::InUse { pid, .. } if pid == owner), "{error:?}");
    let error = RedisServer::builder().data_dir(base.0.join("kept-redis")).start().await.unwrap_err();
    assert!(matches!(error, TestbedError::InUse { pid, .. } if pid == owner), "{error:?}");

    // The start comes while the old server is still shutting down, and must wait for that.
    scene.child.kill().unwrap();
    scene.child.wait().unwrap();
    let server = builder.start().await.unwrap();
    let mut connection = PgConnection::connect(&server.url("postgres")).await.unwrap();
    let name: String = sqlx::query_scalar("select name from items").fetch_one(&mut connection).await.unwrap();
    assert_eq!(name, "kept");
    let log = fs::read_to_string(folder.join("server.log.old")).unwrap();
    assert!(log.contains("database system is shut down"), "{log}");
    server.stop().await;
    wait_until_clean(&base.0, "stop");
}

#[tokio::test]
async fn a_kept_redis_is_waited_for_while_it_shuts_down() {
    let base = Base::new("busy");
    let (mut child, mut lines) = play("busy redis", &base.0);
    let pid = lines.by_ref().find_map(|line| line.strip_prefix("pid ")?.parse().ok()).unwrap();
    assert!(lines.any(|line| line == "busy"));
    child.kill().unwrap();
    child.wait().unwrap();
    // Redis itself would start a second server on the same files.
    let server = RedisServer::builder().data_dir(base.0.join("kept-redis")).start().await.unwrap();
    assert!(is_gone(pid));
    server.stop().await;
    wait_until_clean(&base.0, "busy redis");
}

#[test]
fn missing_programs_are_one_line_that_says_what_to_do() {
    let base = Base::new("missing");
    let (mut child, lines) = play("without postgres", &base.0);
    let errors: Vec<String> = lines.filter(|line| line.starts_with("error: ")).collect();
    assert!(child.wait().unwrap().success());
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(errors[0].starts_with("error: PostgreSQL 15 or newer not found: apt-get install postgresql"), "{errors:?}");
    assert!(errors[1].starts_with("error: Redis 7 or newer not found: apt-get install redis-server"), "{errors:?}");
}
