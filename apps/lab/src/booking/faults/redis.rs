//! Asking a Redis something, over a connection of its own, so that no reconnect of a client is in the way; and a Redis
//! whose clock can be set.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use fred::clients::Client;
use fred::interfaces::ClientLike as _;
use fred::types::config::{Config, ReconnectPolicy};
use fred::types::{ClusterHash, CustomCommand, FromValue};
use tokio::process::Child;

use crate::fleet::guardian::{Guardian, launcher};
use crate::measure::redis::one_attempt;

/// How long a connection or a command may take.
const ANSWER: Duration = Duration::from_secs(2);
/// How long a server may take to start.
const READY: Duration = Duration::from_secs(10);

/// One command.
pub(crate) async fn ask<T: FromValue>(url: &str, command: &str) -> anyhow::Result<T> {
    let mut builder = one_attempt(Config::from_url(url)?, ANSWER);
    builder.set_policy(ReconnectPolicy::new_constant(1, 10));
    let client = builder.build()?;
    let asking = async {
        client.init().await?;
        let mut words = command.split(' ').map(str::to_owned);
        let name = words.next().unwrap_or_default();
        client.custom(CustomCommand::new(name, ClusterHash::Random, false), words.collect::<Vec<_>>()).await
    };
    let answer = tokio::time::timeout(2 * ANSWER, asking).await;
    close(&client).await;
    Ok(answer.with_context(|| format!("{command}: no answer"))??)
}

async fn close(client: &Client) {
    // Only a client that is told to end lets its task end; what it says is of no use.
    let _ = tokio::time::timeout(ANSWER, client.quit()).await;
}

/// The server's clock, in microseconds.
pub(crate) async fn time(url: &str) -> anyhow::Result<i64> {
    let (seconds, micros): (i64, i64) = ask(url, "TIME").await?;
    Ok(seconds * 1_000_000 + micros)
}

/// One value out of INFO.
pub(crate) async fn info(url: &str, field: &str) -> anyhow::Result<String> {
    let text: String = ask(url, "INFO server").await?;
    let found = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    found.map(|value| value.trim().to_owned()).with_context(|| format!("INFO has no {field}"))
}

/// Every key that matches, in a database that has few.
pub(super) async fn keys(url: &str, pattern: &str) -> anyhow::Result<Vec<String>> {
    ask(url, &format!("KEYS {pattern}")).await
}

/// Where distributions put libfaketime.
const LIBRARIES: [&str; 8] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib64/faketime/libfaketime.so.1",
    "/usr/lib/faketime/libfaketime.so.1",
    "/usr/local/lib/faketime/libfaketime.so.1",
    "/usr/lib/x86_64-linux-gnu/libfaketime.so.1",
    "/usr/lib64/libfaketime.so.1",
    "/usr/lib/libfaketime.so.1",
];

/// libfaketime, if it is there.
pub(super) fn faketime() -> Option<&'static Path> {
    LIBRARIES.iter().map(Path::new).find(|path| path.is_file())
}

/// A Redis whose wall clock is offset by what a file says. Not testbed's, which starts its servers in our environment,
/// and a preloaded library is part of the environment.
#[derive(Debug)]
pub(super) struct FakedRedis {
    child: Child,
    pid: u32,
    address: SocketAddr,
    offset: PathBuf,
    guardian: Guardian,
}

impl FakedRedis {
    /// # Errors
    /// It does not come up, or its clock is not the machine's.
    pub(super) async fn start(library: &Path, folder: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let offset = folder.join("offset");
        std::fs::write(&offset, "+0\n")?;
        let log = std::fs::File::create(folder.join("redis.log"))?;
        let port = free_port()?;
        let guardian = Guardian::start()?;
        let program = std::env::var_os("REDIS_SERVER").unwrap_or_else(|| "redis-server".into());
        // libc before the allocator that Redis is linked to: jemalloc asks for the time while libfaketime is still looking
        // for the real clock, and the two then wait for each other.
        let preload = format!("LD_PRELOAD={} libc.so.6", library.display());
        let mut redis = launcher()?;
        redis
            .args(["env", &preload])
            .arg(format!("FAKETIME_TIMESTAMP_FILE={}", offset.display()))
            // Looked at with each question; and only the wall clock, the event loop's runs on.
            .args(["FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1"])
            .arg(program)
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .arg("--dir")
            .arg(folder);
        let (child, pid) = guardian.launch(&mut redis, log, "the Redis with a clock of its own").await?;
        let redis = Self { child, pid, address: SocketAddr::from(([127, 0, 0, 1], port)), offset, guardian };
        let deadline = Instant::now() + READY;
        while info(&redis.url(), "process_id").await.ok() != Some(pid.to_string()) {
            if Instant::now() > deadline {
                bail!("a Redis under {} does not answer; its log is in {}", library.display(), folder.display());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        redis.set_back(true).await.context("libfaketime does not work here")?;
        redis.set_back(false).await.context("libfaketime does not work here")?;
        Ok(redis)
    }

    pub(super) fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Sets the clock back by an hour, or right again. Returns by how many seconds it then is behind ours.
    ///
    /// # Errors
    /// The server's TIME does not show it.
    pub(super) async fn set_back(&self, back: bool) -> anyhow::Result<i64> {
        // By rename: the server looks at any moment, and must not see half of it.
        let new = self.offset.with_extension("new");
        std::fs::write(&new, if back { "-3600\n" } else { "+0\n" })?;
        std::fs::rename(&new, &self.offset)?;
        let ours = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
        let behind = i64::try_from(ours)? - time(&self.url()).await? / 1_000_000;
        let wanted = if back { 3_600 } else { 0 };
        ensure!((behind - wanted).abs() <= 5, "Redis' clock is {behind} s behind ours, not {wanted}");
        Ok(behind)
    }

    pub(super) async fn stop(mut self) {
        // Nothing of it is worth keeping. An error means that it has ended.
        let _ = self.child.kill().await;
    }
}

impl Drop for FakedRedis {
    fn drop(&mut self) {
        // An error means that it has ended. The guardian need not see it go: it would wait for that.
        let _ = self.child.start_kill();
        self.guardian.release(self.pid);
    }
}

fn free_port() -> anyhow::Result<u16> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).context("no free port")?;
    Ok(listener.local_addr()?.port())
}
