//! What a replica costs: commands to Redis, memory, and the time until it is ready.

use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde::Serialize;
use tokio::process::Command;

use super::api::Answer;
use super::requests::{hot_posts, prime};
use super::round_trips::{self, RoundTrips};
use super::system::System;
use crate::fleet::guardian::Guardian;
use crate::measure::figures::Figure;
use crate::measure::http::fetch;
use crate::measure::latencies::as_f64;
use crate::measure::load::ClosedLoop;
use crate::measure::statistics::Spread;
use crate::measure::table::{Group, three_digits};

/// How often a replica is started to see how long that takes.
const STARTS: usize = 3;
/// How long a start may take.
const READY: Duration = Duration::from_secs(20);
/// Under load for so long before the memory is read.
const LOAD: Duration = Duration::from_secs(2);

/// What the section found.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Footprint {
    pub(crate) round_trips: Option<RoundTrips>,
    /// From the start of the process to the first 200 of `/readyz`, in milliseconds.
    pub(crate) ready_ms: Option<Spread>,
    pub(crate) idle_mib: Option<f64>,
    pub(crate) loaded_mib: Option<f64>,
    /// Of the replicas that run, in their order, after all that they have served.
    pub(crate) running_mib: Vec<f64>,
    pub(crate) connections: usize,
    /// Why something is missing.
    pub(crate) missing: Vec<String>,
}

/// Starts replicas of its own for time and memory, because those that run have a past.
pub(crate) async fn run(system: &System, connections: usize) -> anyhow::Result<Footprint> {
    let mut found = Footprint {
        round_trips: None,
        ready_ms: None,
        idle_mib: None,
        loaded_mib: None,
        running_mib: Vec::new(),
        connections,
        missing: Vec::new(),
    };
    match round_trips::run(system).await {
        Ok(round_trips) => found.round_trips = Some(round_trips),
        Err(error) => found.missing.push(format!("round trips: {error:#}")),
    }
    for &admin in &system.admin {
        match resident_mib(admin, None).await {
            Ok(mib) => found.running_mib.push(mib),
            Err(error) => found.missing.push(format!("memory of {admin}: {error:#}")),
        }
    }
    if let Err(error) = starts(system, connections, &mut found).await {
        found.missing.push(format!("a replica of the lab's own: {error:#}"));
    }
    Ok(found)
}

async fn starts(system: &System, connections: usize, found: &mut Footprint) -> anyhow::Result<()> {
    let guardian = Guardian::start()?;
    let mut times = Vec::new();
    for start in 1..=STARTS {
        let mut replica = Cold::start(system, &guardian).await?;
        times.push(replica.ready.as_secs_f64() * 1e3);
        if start == STARTS {
            found.idle_mib = Some(replica.resident_mib().await?);
            found.loaded_mib = Some(replica.loaded_mib(system, connections).await?);
        }
        replica.stop(&guardian).await?;
    }
    found.ready_ms = Spread::of(&times);
    Ok(())
}

/// A replica that has just started.
struct Cold {
    process: tokio::process::Child,
    pid: u32,
    ready: Duration,
    api: std::net::SocketAddr,
    admin: std::net::SocketAddr,
}

impl Cold {
    async fn start(system: &System, guardian: &Guardian) -> anyhow::Result<Self> {
        let binary = crate::fleet::Service::Blog.binary()?;
        let (api, admin) = (free_address()?, free_address()?);
        let begun = Instant::now();
        let mut process = Command::new(binary)
            .env("LISTEN", api.to_string())
            .env("ADMIN_LISTEN", admin.to_string())
            .env("DATABASE_URL", &system.database_url)
            .env("CACHE_REDIS_URL", &system.cache_redis_url)
            .env("CACHE", "fenced")
            .env("DRAIN", "0s")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("blog-api does not start")?;
        let pid = process.id().context("blog-api ended at once")?;
        // So that it ends even when the lab is killed.
        guardian.guard(pid)?;
        loop {
            if matches!(fetch(admin, "/readyz").await, Ok((200, _))) {
                break;
            }
            if let Some(status) = process.try_wait()? {
                bail!("it ended with {status}");
            }
            if begun.elapsed() > READY {
                bail!("it is not ready after {READY:?}");
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(Self { process, pid, ready: begun.elapsed(), api, admin })
    }

    async fn resident_mib(&self) -> anyhow::Result<f64> {
        resident_mib(self.admin, Some(self.pid)).await
    }

    /// The most memory seen while that many connections read what is cached.
    async fn loaded_mib(&self, system: &System, connections: usize) -> anyhow::Result<f64> {
        let ids: Arc<[i64]> = system.familiar(1_000).into();
        prime(&[self.api], ids.clone()).await?;
        let load = ClosedLoop { addresses: vec![self.api], connections, warm_up: Duration::ZERO, duration: LOAD };
        let load = load.run(Answer::of, hot_posts(ids));
        let mut load = std::pin::pin!(load);
        let mut most: f64 = 0.0;
        loop {
            tokio::select! {
                tally = &mut load => {
                    let tally = tally?;
                    anyhow::ensure!(tally.count(|answer| answer.status == 200) > 0, "it answered nothing under load");
                    return Ok(most.max(self.resident_mib().await?));
                }
                () = tokio::time::sleep(Duration::from_millis(200)) => {
                    most = most.max(self.resident_mib().await?);
                }
            }
        }
    }

    async fn stop(&mut self, guardian: &Guardian) -> anyhow::Result<()> {
        let raw = i32::try_from(self.pid).ok().and_then(rustix::process::Pid::from_raw).context("no process id")?;
        rustix::process::kill_process(raw, rustix::process::Signal::TERM)?;
        if tokio::time::timeout(Duration::from_secs(10), self.process.wait()).await.is_err() {
            self.process.kill().await?;
        }
        guardian.release(self.pid);
        Ok(())
    }
}

/// An address that nobody listens on now.
fn free_address() -> anyhow::Result<std::net::SocketAddr> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// From the process's own metrics, or from procfs where those do not tell.
async fn resident_mib(admin: std::net::SocketAddr, pid: Option<u32>) -> anyhow::Result<f64> {
    const MIB: f64 = 1024.0 * 1024.0;
    let (status, body) = fetch(admin, "/metrics").await?;
    let told =
        (status == 200).then(|| metric(&String::from_utf8_lossy(&body), "process_resident_memory_bytes")).flatten();
    told.or_else(|| pid.and_then(crate::measure::machine::resident_bytes).map(as_f64))
        .map(|bytes| bytes / MIB)
        .context("neither /metrics nor procfs tells its memory")
}

/// The value of a metric without labels in the text format of Prometheus.
fn metric(text: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.split(' ').next()?.parse().ok())
}

impl Footprint {
    pub(crate) fn table(&self) -> Group {
        let mut group = Group::new("A REPLICA", &["", ""]);
        let mib = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |mib| format!("{} MiB", three_digits(mib)));
        if let Some(found) = &self.round_trips {
            for (name, commands) in [("hit", &found.hit), ("miss", &found.miss)] {
                group.row([
                    format!("Redis commands of a {name} (a post)"),
                    commands.len().to_string(),
                    commands.join(", "),
                ]);
            }
        }
        let ready =
            self.ready_ms.map_or_else(|| "-".to_owned(), |spread| format!("{} ms", three_digits(spread.median)));
        group.row(["start to ready".to_owned(), ready]);
        group.row(["memory, idle".to_owned(), mib(self.idle_mib)]);
        group.row([format!("memory, {} connections", self.connections), mib(self.loaded_mib)]);
        if !self.running_mib.is_empty() {
            let each: Vec<String> = self.running_mib.iter().map(|mib| three_digits(*mib)).collect();
            group.note(format!("memory of the replicas that run, after the sections above: {} MiB", each.join(", ")));
        }
        for missing in &self.missing {
            group.note(format!("not measured: {missing}"));
        }
        group
    }

    pub(crate) fn figures(&self) -> Vec<Figure> {
        let commands = |pick: fn(&RoundTrips) -> &Vec<String>| {
            self.round_trips.as_ref().map(|found| as_f64(pick(found).len() as u64))
        };
        vec![
            Figure::exactly("Redis round trips of a hit", commands(|found| &found.hit), 1.0, ""),
            Figure::exactly("Redis round trips of a miss without tags", commands(|found| &found.miss), 3.0, ""),
            Figure::at_most("memory of a replica, idle", self.idle_mib, 25.0, " MiB"),
            Figure::at_most(&format!("memory under {} connections", self.connections), self.loaded_mib, 60.0, " MiB"),
            Figure::at_most("start to ready", self.ready_ms.map(|spread| spread.median), 150.0, " ms"),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::metric;

    #[test]
    fn a_metric_is_found_by_its_whole_name() {
        let text = "# TYPE process_resident_memory_bytes gauge\nprocess_resident_memory_bytes_max 9\nprocess_resident_memory_bytes 26214400\n";
        assert_eq!(metric(text, "process_resident_memory_bytes"), Some(26_214_400.0));
        assert_eq!(metric(text, "process_cpu"), None);
    }
}
