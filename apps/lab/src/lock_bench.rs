//! `lab lock bench`: what the granted lock costs, beside what no lock can be cheaper than, in one run.
//!
//! The waiting is done by processes of the library's own bench, which report when each acquisition was asked for, had and
//! given back. What that means is judged here, and what Redis was sent is read from Redis' own counters.

mod contention;
mod report;
mod workers;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use testbed::RedisServer;

use self::contention::{Cell, Round};
use self::report::Report;
use self::workers::Workers;
use crate::exit::Ending;
use crate::measure::redis::Wire;
use crate::measure::unfinished::Unfinished;
use crate::screen::{Steps, say};
use crate::verdict::Verdict;

/// Flags of `lab lock bench`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct LockBenchArgs {
    /// How often each cell is measured, in turns with the others (1 to 100)
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: u16,

    /// How long each round of a cell lasts, in milliseconds (100 to 60000)
    #[arg(long, value_name = "MS", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(100..=60_000))]
    millis: u64,

    /// Acquisitions of each uncontended round (100 to 100000)
    #[arg(long, value_name = "N", default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(100..=100_000))]
    pairs: u32,

    /// Numbers of waiters; repeat it or separate them by commas [default: 2,16,64]
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(2..=1_000))]
    waiters: Vec<u16>,

    /// A Redis that nobody else uses (the keys below `bench:`) [default: a private one, nothing on disk]
    #[arg(long, value_name = "URL", hide_env_values = true, value_parser = crate::cli::redis_url)]
    redis_url: Option<String>,

    /// The bench of the library [default: examples/bench beside `lab`]
    #[arg(long, value_name = "PATH", env = "LAB_LOCK_BENCH")]
    bench: Option<PathBuf>,

    /// File for all figures [default: lab-results/lock-bench-latest.json]
    #[arg(long, value_name = "PATH")]
    json: Option<PathBuf>,
}

/// Ways to wait for a lock; the first one is under test, the second one is the floor.
const CONTENDED: [&str; 4] = ["fenced", "blpop", "poll-10", "poll-1"];
const UNCONTENDED: [&str; 3] = ["fenced", "bare", "set-nx"];
/// Of each uncontended round.
const PORTIONS: u32 = 10;
const PROCESSES: [usize; 2] = [1, 4];
const INSIDE_MS: [u64; 2] = [0, 1];
/// What connecting the waiters of a round and reading its times takes, roughly.
const AROUND: Duration = Duration::from_millis(400);

impl LockBenchArgs {
    fn waiters(&self) -> Vec<u16> {
        if self.waiters.is_empty() { vec![2, 16, 64] } else { self.waiters.clone() }
    }

    fn bench(&self) -> anyhow::Result<PathBuf> {
        if let Some(path) = &self.bench {
            return Ok(path.clone());
        }
        let own = std::env::current_exe().context("cannot find the lab's own binary")?;
        let beside = own.with_file_name("examples").join("bench");
        anyhow::ensure!(
            beside.is_file(),
            "there is no {}: build it by `cargo build --release -p fenced-lock --example bench`, or name it by --bench",
            beside.display()
        );
        Ok(beside)
    }

    /// All cells, once.
    fn cells(&self) -> Vec<Cell> {
        let mut cells = Vec::new();
        for processes in PROCESSES {
            for waiters in self.waiters() {
                for inside_ms in INSIDE_MS {
                    cells.extend(CONTENDED.map(|way| Cell { way, processes, waiters: waiters.into(), inside_ms }));
                }
            }
        }
        cells
    }
}

/// Measures everything, prints the table, and writes the figures.
///
/// # Errors
/// Something that is needed could not be had: the bench, a Redis, a file. What is *wrong* is in the ending.
pub(crate) async fn run(args: LockBenchArgs) -> anyhow::Result<Ending> {
    let bench = args.bench()?;
    let private = match &args.redis_url {
        Some(_) => None,
        None => {
            let server = RedisServer::builder().setting("maxmemory-policy", "noeviction").start();
            Some(server.await.context("cannot start Redis")?)
        }
    };
    let url = args.redis_url.clone().or_else(|| private.as_ref().map(RedisServer::url)).unwrap_or_default();
    let mut wire = Wire::connect(&url).await?;
    let mut unfinished = Unfinished::new(Report::new(args.rounds, args.millis));
    let report = unfinished.findings();
    report.redis = wire.info("server").await?.remove("redis_version").unwrap_or_default();
    measure(&args, &bench, &url, &mut wire, report).await?;
    let report = unfinished.end();
    report.write(args.json.as_deref())?;
    if let Some(server) = private {
        server.stop().await;
    }
    Ok(Verdict { broken: report.broken }.report())
}

async fn measure(
    args: &LockBenchArgs,
    bench: &std::path::Path,
    url: &str,
    wire: &mut Wire,
    report: &mut Report,
) -> anyhow::Result<()> {
    let time = Duration::from_millis(args.millis);
    let (cells, rounds) = (args.cells(), u32::from(args.rounds));
    let each = time + AROUND;
    let mut steps = Steps::new(each * (u32::try_from(cells.len())? + 1) * rounds);
    let mut workers = Workers::start(bench, url, PROCESSES.into_iter().max().unwrap_or(1)).await?;
    say(&format!(
        "{} cells, {rounds} rounds of {} ms each; interrupted, the run tells what it has",
        cells.len(),
        args.millis
    ));
    for round in 0..=rounds {
        steps.next("uncontended", each);
        // In small portions, each time begun by another: what the machine does meanwhile is to meet all alike.
        let mut took = UNCONTENDED.map(|_| Vec::new());
        for portion in 0..usize::try_from(PORTIONS)? {
            for turn in 0..UNCONTENDED.len() {
                let at = (portion + turn) % UNCONTENDED.len();
                took[at].extend(workers.uncontended(UNCONTENDED[at], args.pairs / PORTIONS).await?);
            }
        }
        // The first round warms up.
        for (way, took) in UNCONTENDED.into_iter().zip(&took).filter(|_| round > 0) {
            report.uncontended(way, took);
        }
        if round == 0 {
            continue;
        }
        for cell in &cells {
            steps.next(&cell.to_string(), each);
            let before = wire.executed().await?;
            let turns = workers.contend(cell, time).await?;
            let after = wire.executed().await?;
            let sent = |name: &str| {
                let calls = |stats: &std::collections::BTreeMap<String, i64>| stats.get(name).copied().unwrap_or(0);
                u64::try_from(calls(&after) - calls(&before)).unwrap_or(0)
            };
            report.contended(cell, Round::judge(cell, &turns, time, sent));
        }
    }
    workers.stop().await;
    if args.redis_url.is_none() {
        // All have left. Every lock's keys end by themselves one day; the token of BLPOP, which is still there, does not.
        let keyspace = wire.info("keyspace").await?;
        let expiring = keyspace.get("db0").and_then(|db| db.split(',').find_map(|part| part.strip_prefix("expires=")));
        report.left_behind(expiring.unwrap_or("0").parse()?);
    }
    Ok(())
}
