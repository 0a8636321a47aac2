//! `lab up`: everything that it starts, and that nothing of it stays.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;

use crate::programs::{Folder, Running, blog_api, get, is_alive, kill, lab, run, wait_for};

/// A small system, without experiments.
fn up(folder: &Folder, more: &[&str]) -> Command {
    let mut args = vec!["up", "--no-experiments", "--posts", "1000", "--products", "1000", "--replicas", "2"];
    args.extend(["--data", folder.as_str()]);
    args.extend(more);
    lab(&args)
}

/// The same with the blog alone.
fn blog(folder: &Folder, more: &[&str]) -> Command {
    up(folder, &[&["--only", "blog"], more].concat())
}

fn state(folder: &Folder) -> Value {
    let text = std::fs::read(folder.path().join("state.json")).expect("a state file");
    serde_json::from_slice(&text).expect("JSON")
}

fn pid(value: &Value) -> u32 {
    u32::try_from(value.as_u64().expect("an id")).expect("an id")
}

/// The ids of all processes that the state file names, the lab's own excepted.
fn pids(state: &Value) -> Vec<u32> {
    let lists = ["/blog/replicas", "/shop/replicas", "/shop/workers", "/booking/replicas"];
    let lists = lists.map(|list| state.pointer(list).and_then(Value::as_array));
    let replicas = lists.into_iter().flatten().flatten().map(|replica| &replica["pid"]);
    let redlock = state["redlock_redis_pids"].as_array().expect("a list");
    let stores = ["postgres_pid", "cache_redis_pid", "lock_redis_pid"].map(|name| &state[name]);
    let stores = stores.into_iter().filter(|pid| !pid.is_null());
    stores.chain(replicas).chain(redlock).map(pid).collect()
}

/// Whether a process has the folder in its command line: stores, their guardians, anything forgotten.
fn processes_with(folder: &Path) -> String {
    let output = Command::new("ps").args(["-A", "-o", "pid=,args="]).output().expect("ps");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let ours = |line: &&str| line.contains(folder.to_str().expect("text"));
    text.lines().filter(ours).map(|line| line.chars().take(120).collect::<String>() + "\n").collect()
}

#[tokio::test]
async fn the_dead_are_restarted_and_a_stop_ends_everything() {
    let folder = Folder::new("restart");
    let mut lab = Running::start(up(&folder, &[]));
    lab.until_said("Ctrl-C stops everything");
    let first = state(&folder);
    assert_eq!(pid(&first["pid"]), lab.pid());

    for (what, path) in [
        ("replica", &["blog", "replicas", "1", "pid"][..]),
        ("replica of booking-api", &["booking", "replicas", "0", "pid"]),
        ("replica of shop-api", &["shop", "replicas", "1", "pid"]),
        ("shop-worker", &["shop", "workers", "0", "pid"]),
        ("Redis", &["cache_redis_pid"]),
        ("Redis of the locks", &["lock_redis_pid"]),
        ("Redis of redlock", &["redlock_redis_pids", "4"]),
        ("PostgreSQL", &["postgres_pid"]),
    ] {
        let pointer = format!("/{}", path.join("/"));
        let before = pid(state(&folder).pointer(&pointer).expect("a pid"));
        kill(before, Signal::KILL);
        let replaced = || {
            let now = state(&folder).pointer(&pointer).and_then(Value::as_u64);
            now.is_some_and(|now| now != u64::from(before))
        };
        wait_for(replaced, || format!("another {what}: {}", lab.said()));
        // The state file may be read before what was said.
        lab.until_said(&format!("(pid {before})"));
    }
    lab.until_said("blog-api 2 is back");
    lab.until_said("booking-api 1 is back");
    lab.until_said("shop-api 2 is back");
    lab.until_said("shop-worker 1 is back");
    lab.until_said("Redis is back");
    lab.until_said("the locks' Redis is back");
    lab.until_said("redlock's Redis 5 is back");
    lab.until_said("PostgreSQL is back");

    let last = state(&folder);
    assert_eq!(last["blog"]["replicas"][1]["restarts"], 1);
    assert_eq!(last["blog"]["replicas"][0]["restarts"], 0);
    assert_eq!(last["blog"]["replicas"][1]["api"], first["blog"]["replicas"][1]["api"]);
    assert_eq!(last["booking"]["replicas"][0]["restarts"], 1);
    assert_eq!(last["booking"]["replicas"][0]["api"], first["booking"]["replicas"][0]["api"]);
    assert_eq!(last["database_url"], first["database_url"]);
    assert_eq!(last["lock_redis_url"], first["lock_redis_url"]);
    assert_eq!((&last["shop"]["products"], &last["shop"]["workers"][0]["restarts"]), (&1_000.into(), &1.into()));
    // Three services with two replicas each, two workers, PostgreSQL, and seven Redis.
    assert_eq!(pids(&last).len(), 16, "{last}");
    for pid in pids(&last) {
        assert!(is_alive(pid), "{pid} of {last}");
    }

    lab.signal(Signal::TERM);
    assert_eq!(lab.ended().code(), Some(0), "{}", lab.said());
    for pid in pids(&last) {
        assert!(!is_alive(pid), "{pid} of {last} is still there");
    }
    assert!(!folder.path().join("state.json").exists());
    wait_for(|| processes_with(folder.path()).is_empty(), || processes_with(folder.path()));
}

#[tokio::test]
async fn a_lab_that_is_killed_leaves_nothing_and_its_data_can_be_used_at_once() {
    let folder = Folder::new("killed");
    let mut lab = Running::start(blog(&folder, &[]));
    lab.until_said("Ctrl-C stops everything");
    let pids = pids(&state(&folder));
    lab.signal(Signal::KILL);
    lab.ended();

    // The stale state file must not mislead: nobody holds the folder.
    let said = run(crate::programs::lab(&["blog", "performance", "--data", folder.as_str()]));
    assert_eq!(said.code, Some(64), "{said:?}");

    let again = run(blog(&folder, &["--once"]));
    assert_eq!(again.code, Some(0), "{again:?}");
    assert!(again.stdout.contains("1,000 posts (there already)"), "{again:?}");
    wait_for(|| !pids.iter().any(|&pid| is_alive(pid)), || format!("the end of {pids:?}"));
    wait_for(|| processes_with(folder.path()).is_empty(), || processes_with(folder.path()));
}

#[tokio::test]
async fn a_second_lab_on_the_same_data_says_where_the_first_one_is() {
    let folder = Folder::new("second");
    let mut lab = Running::start(blog(&folder, &[]));
    lab.until_said("Ctrl-C stops everything");
    let said = run(blog(&folder, &[]));
    assert_eq!(said.code, Some(75), "{said:?}");
    let state = state(&folder);
    for replica in state["blog"]["replicas"].as_array().expect("replicas") {
        assert!(said.stderr.contains(replica["api"].as_str().expect("a URL")), "{said:?}");
    }
    for pid in pids(&state) {
        assert!(is_alive(pid), "the second one ended {pid} of {state}");
    }
    // A seeder finds the running system by itself.
    let said = run(crate::programs::lab(&["blog", "seed", "--posts", "1000", "--data", folder.as_str()]));
    assert_eq!(said.code, Some(0), "{said:?}");
    lab.signal(Signal::INT);
    assert_eq!(lab.ended().code(), Some(0), "{}", lab.said());
}

#[tokio::test]
async fn a_start_that_fails_stops_what_it_had_started() {
    let folder = Folder::new("failed-start");
    let broken = folder.path().join("broken-api");
    let script = format!(
        "#!/bin/sh\n[ \"$1\" = migrate ] && exec '{}' migrate\necho 'cannot go on'\nexit 3\n",
        blog_api().display()
    );
    std::fs::write(&broken, script).unwrap();
    std::fs::set_permissions(&broken, std::fs::Permissions::from_mode(0o755)).unwrap();

    let said = run(blog(&folder, &["--blog-api", broken.to_str().unwrap()]));
    assert_eq!(said.code, Some(69), "{said:?}");
    assert!(said.stderr.contains("exit status 3") && said.stderr.contains("cannot go on"), "{said:?}");
    wait_for(|| processes_with(folder.path()).is_empty(), || processes_with(folder.path()));

    let said = run(blog(&folder, &["--blog-api", "/nowhere/blog-api"]));
    assert_eq!(said.code, Some(69), "{said:?}");
    assert!(said.stderr.contains("/nowhere/blog-api"), "{said:?}");
    wait_for(|| processes_with(folder.path()).is_empty(), || processes_with(folder.path()));
}

#[tokio::test]
async fn a_signal_in_the_middle_of_the_start_ends_it() {
    let folder = Folder::new("early-signal");
    let mut lab = Running::start(blog(&folder, &["--posts", "300000"]));
    lab.until_said("Redis ");
    lab.signal(Signal::INT);
    assert_eq!(lab.ended().code(), Some(130), "{}", lab.said());
    wait_for(|| processes_with(folder.path()).is_empty(), || processes_with(folder.path()));
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let folder = Folder::new("taken-port");
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = holder.local_addr().unwrap().port().to_string();
    for flag in [
        "--api-port",
        "--postgres-port",
        "--redis-port",
        "--lock-redis-port",
        "--booking-api-port",
        "--booking-admin-port",
        "--shop-api-port",
        "--shop-worker-port",
    ] {
        let said = run(up(&folder, &["--replicas", "1", flag, &port]));
        assert_eq!(said.code, Some(69), "{flag}: {said:?}");
        assert!(said.stderr.contains(&port), "{flag}: {said:?}");
    }
    wait_for(|| processes_with(folder.path()).is_empty(), || processes_with(folder.path()));
}

#[tokio::test]
async fn the_users_own_servers_are_used_and_only_there_where_it_is_said() {
    let folder = Folder::new("own-servers");
    let database = testbed::database("empty", async |_: &str| Ok::<_, std::convert::Infallible>(())).await;
    let redis = testbed::redis().await;
    let redis_cli = |args: &[&str]| {
        let output =
            Command::new("redis-cli").args(["-p", &redis.port().to_string()]).args(args).output().expect("redis-cli");
        String::from_utf8(output.stdout).expect("text").trim().to_owned()
    };
    redis_cli(&["mset", "blog:fc:{post:1}", "old", "blog-naive:post:1", "old", "other:1", "kept"]);

    let mut command = blog(&folder, &["--once"]);
    command.env("DATABASE_URL", database.url()).env("CACHE_REDIS_URL", redis.url());
    let said = run(command);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(said.stdout.matches("yours").count(), 2, "{said:?}");
    assert!(!folder.path().join("postgres").exists() && !folder.path().join("redis").exists());
    assert_eq!(redis_cli(&["exists", "blog:fc:{post:1}", "blog-naive:post:1"]), "0");
    assert_eq!(redis_cli(&["get", "other:1"]), "kept");

    // Another number of posts would cost what is there: on somebody's server only when it is said.
    let mut command = blog(&folder, &["--once", "--posts", "2000"]);
    command.env("DATABASE_URL", database.url()).env("CACHE_REDIS_URL", redis.url());
    let said = run(command);
    assert_eq!(said.code, Some(64), "{said:?}");
    let mut command = blog(&folder, &["--once", "--posts", "2000", "--fresh"]);
    command.env("DATABASE_URL", database.url()).env("CACHE_REDIS_URL", redis.url());
    let said = run(command);
    assert_eq!(said.code, Some(0), "{said:?}");
}

#[tokio::test]
async fn the_shop_runs_alone_with_its_rows_its_workers_and_its_cache() {
    let folder = Folder::new("shop-alone");
    let mut lab = Running::start(up(&folder, &["--only", "shop"]));
    lab.until_said("Ctrl-C stops everything");
    let state = state(&folder);
    assert_eq!(
        (&state["blog"], &state["booking"], &state["lock_redis_url"]),
        (&Value::Null, &Value::Null, &Value::Null)
    );
    let said = lab.said();
    for text in ["1,000 products", "shop-api 2", "shop-worker 2", "/strategies", "/status"] {
        assert!(said.contains(text), "{text:?} is not in: {said}");
    }
    // One of the workers leads, and which one is its own to say.
    let leaders = || {
        let workers = state["shop"]["workers"].as_array().expect("workers");
        let leads = |worker: &&Value| {
            let url = format!("{}/status", worker["api"].as_str().expect("a URL"));
            let status = get(&url).and_then(|body| serde_json::from_slice::<Value>(&body).ok());
            status.is_some_and(|status| status["leader"] == true)
        };
        workers.iter().filter(leads).count()
    };
    wait_for(|| leaders() == 1, || format!("one leader: {state}"));
    let first = state["shop"]["replicas"][0]["api"].as_str().expect("a URL");
    let product = get(&format!("{first}/s/tags/products/1000")).expect("an answer");
    let product: Value = serde_json::from_slice(&product).expect("JSON");
    assert_eq!(product["id"], 1_000);
    let said = run(crate::programs::lab(&["blog", "performance", "--data", folder.as_str()]));
    assert_eq!(said.code, Some(64), "{said:?}");
    assert!(said.stderr.contains("--only blog"), "{said:?}");
    lab.signal(Signal::TERM);
    assert_eq!(lab.ended().code(), Some(0), "{}", lab.said());
    for pid in pids(&state) {
        assert!(!is_alive(pid), "{pid} of {state} is still there");
    }
}

#[tokio::test]
async fn a_redis_that_evicts_is_refused_for_locks() {
    let folder = Folder::new("evicting-redis");
    let evicting =
        testbed::RedisServer::builder().setting("maxmemory", "100mb").setting("maxmemory-policy", "allkeys-lru");
    let redis = evicting.start().await.unwrap();
    let said = run(up(&folder, &["--once", "--only", "booking", "--lock-redis-url", &redis.url()]));
    assert_eq!(said.code, Some(69), "{said:?}");
    assert!(said.stderr.contains("noeviction"), "{said:?}");
    wait_for(|| processes_with(folder.path()).is_empty(), || processes_with(folder.path()));
}
