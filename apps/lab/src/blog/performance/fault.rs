//! Killing the cache's Redis in the middle of things, and making sure that it really died.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use fred::interfaces::ClientLike as _;
use fred::types::config::{Config, ServerConfig};
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;

use super::store::{self, Store};

/// How long Redis may take to come back. `lab up` restarts its own at once.
const BACK: Duration = Duration::from_secs(15);

/// One kill that happened.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Kill {
    pub(crate) pid: u32,
    /// How long nobody answered.
    pub(crate) away_ms: f64,
    /// `run_id` of the process that was killed.
    pub(crate) run_id: String,
    /// `run_id` of the one that answered afterwards: another, or the kill was none.
    pub(crate) next_run_id: String,
    /// Keys that the new one had when it first answered.
    pub(crate) keys_after: u64,
}

/// Kills Redis at even distances of the way through an experiment.
#[derive(Debug)]
pub(crate) struct Killer {
    url: String,
    wanted: u32,
    kills: Vec<Kill>,
}

impl Killer {
    /// # Errors
    /// Redis is not on this machine, so that nobody here could kill it.
    pub(crate) async fn prepare(url: &str, wanted: u32) -> anyhow::Result<Self> {
        let config = Config::from_url(url)?;
        let ServerConfig::Centralized { server } = &config.server else {
            bail!("--kill-redis {wanted}: only a single Redis of this machine can be killed");
        };
        let host = server.host.to_string();
        let local = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
        ensure!(local, "--kill-redis {wanted}: Redis runs on {host}, and not on this machine");
        let identity = Identity::read(url).await?;
        ensure!(
            identity.is_redis(),
            "--kill-redis {wanted}: process {} is not a Redis that this machine shows; is it in a container?",
            identity.pid
        );
        Ok(Self { url: url.to_owned(), wanted, kills: Vec::new() })
    }

    /// Kills Redis if it is time to: the first of two kills at a third of the way, the second at two thirds.
    pub(crate) async fn step(&mut self, progress: f64) -> anyhow::Result<()> {
        let done = u32::try_from(self.kills.len())?;
        if done < self.wanted && progress >= f64::from(done + 1) / f64::from(self.wanted + 1) {
            let kill = self.kill().await.with_context(|| format!("kill {} of Redis", done + 1))?;
            self.kills.push(kill);
        }
        Ok(())
    }

    async fn kill(&self) -> anyhow::Result<Kill> {
        let before = Identity::read(&self.url).await?;
        ensure!(before.is_redis(), "process {} is no Redis", before.pid);
        let pid = i32::try_from(before.pid).ok().and_then(Pid::from_raw).context("Redis has no process id")?;
        let killed = Instant::now();
        kill_process(pid, Signal::KILL).context("SIGKILL")?;
        let deadline = killed + BACK;
        let after = loop {
            // The port may still be answered by the connection's backlog for a moment.
            match Identity::read(&self.url).await {
                Ok(identity) if identity.run_id != before.run_id => break identity,
                _ if Instant::now() > deadline => bail!(
                    "Redis was killed and did not come back within {BACK:?}; `lab up` restarts its own, another one needs a supervisor"
                ),
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        };
        Ok(Kill {
            pid: before.pid,
            away_ms: killed.elapsed().as_secs_f64() * 1e3,
            run_id: before.run_id,
            next_run_id: after.run_id,
            keys_after: after.keys,
        })
    }

    pub(crate) fn kills(self) -> Vec<Kill> {
        self.kills
    }
}

/// Which process answers.
#[derive(Debug)]
struct Identity {
    pid: u32,
    run_id: String,
    keys: u64,
}

impl Identity {
    /// Over a connection of its own, so that no reconnect of a client is in the way.
    async fn read(url: &str) -> anyhow::Result<Self> {
        let mut builder = store::builder(url, Duration::from_millis(500))?;
        builder.set_policy(fred::types::config::ReconnectPolicy::new_constant(1, 10));
        builder.with_config(|config| config.fail_fast = true);
        let client = builder.build()?;
        let connection = client.connect();
        let outcome = async {
            tokio::time::timeout(Duration::from_secs(1), client.wait_for_connect()).await??;
            let keys: i64 = client
                .custom(
                    fred::types::CustomCommand::new_static("DBSIZE", fred::types::ClusterHash::FirstKey, false),
                    Vec::<String>::new(),
                )
                .await?;
            let info = Store::info_of(&client, "server").await?;
            anyhow::Ok(Self {
                pid: info.get("process_id").context("INFO has no process_id")?.parse()?,
                run_id: info.get("run_id").context("INFO has no run_id")?.clone(),
                keys: u64::try_from(keys)?,
            })
        }
        .await;
        // Dropped without this the client would leave its task behind.
        connection.abort();
        outcome
    }

    /// Whether this machine shows that process as a Redis (or Valkey). Where there is no procfs, its word is taken.
    fn is_redis(&self) -> bool {
        if !std::path::Path::new("/proc/self/comm").exists() {
            return true;
        }
        std::fs::read_to_string(format!("/proc/{}/comm", self.pid))
            .is_ok_and(|name| name.contains("redis") || name.contains("valkey"))
    }
}
