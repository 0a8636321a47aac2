//! `lab blog performance`: what the cache gains, what it costs, and whether it ever lies.
//!
//! Each section measures one thing on the running system and says what it found ([`report::Report`]). The
//! sections that look for a fault run a second time on replicas that have it (`--cache naive`): a hunt
//! that finds nothing there has proved nothing anywhere.

pub(crate) mod api;
mod endpoint;
mod fault;
mod findings;
mod floors;
mod footprint;
pub(crate) mod history;
mod hunt;
mod hunters;
mod latency;
mod loads;
mod open_loop;
mod pace;
mod picture;
mod report;
mod requests;
mod round_trips;
mod stampede;
mod steady;
mod store;
mod system;
mod throughput;
mod writes;

use std::net::SocketAddr;
use std::time::Duration;

use crate::fleet::{Cache, Fleet, Plan as FleetPlan};
use crate::measure::files::{FileArgs, Files};
use crate::screen::progress;
use crate::target::Targets;
use crate::verdict::Verdict;
use hunt::{Plan, Until};
use pace::Pace;
use report::Report;
use steady::steady;
use system::System;

/// Readers and writers of a hunt. More of them find no more on two cores, they only wait for each other.
const READERS: usize = 16;
const WRITERS: usize = 6;
/// Stale reads after which the control has shown what it is for, and how long it may look for them.
const CONTROL: Until = Until::Violations(20, Duration::from_secs(20));

/// The parts of the experiment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Section {
    /// One request at a time: hits and misses of every endpoint
    Latency,
    /// As much as goes through, beside the floors
    Throughput,
    /// Waiting times at a fixed arrival rate
    OpenLoop,
    /// Many at once on an expired entry; also on naive replicas, as a control
    Stampede,
    /// Whether a PUT costs more the more is cached
    Writes,
    /// Commands to Redis, memory and start of a replica
    Footprint,
    /// Reads older than an acknowledged write; also on naive replicas, as a control
    Staleness,
}

/// Flags of `lab blog performance`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct PerformanceArgs {
    /// Run these sections only; repeat it or separate them by commas [default: all]
    #[arg(long, value_name = "SECTION", value_enum, value_delimiter = ',')]
    pub(crate) only: Vec<Section>,

    /// Smaller amounts of everything: some seconds, and rougher figures
    #[arg(long)]
    pub(crate) quick: bool,

    /// Connections of the load, and readers of a stampede (1 to 1024)
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) connections: u16,

    /// Database connections of one replica, for the floor that is the bare SQL (1 to 100)
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) database_pool: u32,

    /// Arrivals a second of the open loop (1 to 1000000) [default: half of what the replicas can do]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) rate: Option<u32>,

    /// How long the staleness hunt goes on, in seconds (1 to 86400) [default: 20, quick: 5]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=86_400), conflicts_with = "writes")]
    pub(crate) hunt: Option<u32>,

    /// Let the staleness hunt go on until so many writes are acknowledged (1 to 100000000)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub(crate) writes: Option<u64>,

    /// Kill the cache's Redis so many times during the staleness hunt (0 to 100); needs one that is restarted, as `lab up` does
    #[arg(long, value_name = "K", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=100))]
    pub(crate) kill_redis: u32,

    /// Base URL of a replica run with `--cache naive`, for the controls; repeat it [default: the lab starts three]
    #[arg(long = "naive", value_name = "URL")]
    pub(crate) naive: Vec<String>,

    #[command(flatten)]
    pub(crate) files: FileArgs,
}

impl PerformanceArgs {
    fn wants(&self, section: Section) -> bool {
        self.only.is_empty() || self.only.contains(&section)
    }

    fn hunt(&self) -> Plan {
        let time = self.hunt.unwrap_or(if self.quick { 5 } else { 20 });
        let until = match self.writes {
            Some(writes) => Until::Writes(writes),
            None => Until::Elapsed(Duration::from_secs(time.into())),
        };
        Plan { readers: READERS, writers: WRITERS, until, kills: self.kill_redis }
    }
}

/// Runs the sections asked for, prints the table, and writes the figures and the picture.
///
/// # Errors
/// Something that is needed could not be had: a replica, a store, a file. What is *wrong* is in the verdict.
pub(crate) async fn run(args: PerformanceArgs, targets: Targets) -> anyhow::Result<Verdict> {
    let files = Files::of("blog-performance", &args.files)?;
    let pace = if args.quick { Pace::QUICK } else { Pace::DEFAULT };
    let connections = usize::from(args.connections);
    let system = System::look(&targets).await?;
    let mut report = Report::begin(&system).await?;
    system.store.clear().await?;
    if args.wants(Section::Latency) {
        progress("one request at a time");
        let (found, wrong) = latency::run(&system, &pace).await?;
        report.latency = Some(found);
        report.broken.extend(wrong);
    }
    if args.wants(Section::Throughput) {
        progress("throughput, and the floors");
        let (found, wrong) = throughput::run(&system, &pace, connections, args.database_pool).await?;
        report.throughput = Some(found);
        report.broken.extend(wrong);
    }
    if args.wants(Section::OpenLoop) {
        progress("open loop");
        let (found, wrong) =
            steady(&system, async || open_loop::run(&system, &pace, connections, args.rate.map(f64::from)).await)
                .await?;
        report.open_loop = Some(found);
        report.broken.extend(wrong);
    }
    if args.wants(Section::Writes) {
        progress("writes with a full and an empty cache");
        let (found, wrong) = steady(&system, async || writes::run(&system, &pace).await).await?;
        report.writes = Some(found);
        report.broken.extend(wrong);
    }
    if args.wants(Section::Footprint) {
        progress("commands, memory and start of a replica");
        report.footprint = Some(footprint::run(&system, connections).await?);
    }
    if args.wants(Section::Stampede) {
        progress("stampedes");
        let (found, _) = steady(&system, async || {
            let run_id = system.store.run_id().await?;
            let found = stampede::run(&system, &pace, &system.replicas, connections).await?;
            // What an empty Redis lets through is no fault. What a Redis that was there does, is never tried again.
            anyhow::ensure!(system.store.run_id().await? == run_id, "Redis was restarted during a stampede");
            Ok((found, Vec::new()))
        })
        .await?;
        report.broken.extend(found.judged());
        report.stampede.tested = Some(found);
    }
    if args.wants(Section::Staleness) {
        progress("staleness hunt");
        let found = hunt::run(&system, &system.replicas, args.hunt()).await?;
        report.broken.extend(found.judged());
        report.staleness.tested = Some(found);
    }
    if args.wants(Section::Stampede) || args.wants(Section::Staleness) {
        progress("the controls, on naive replicas");
        controls(&args, &system, &targets, &pace, &mut report).await?;
    }
    system.store.clear().await?;
    system.store.close().await;
    system.database.close().await;
    report.finish();
    progress("");
    let text = report.text();
    print!("{text}");
    files.write(&report.started_at, &report, &text, &picture::draw(&report))?;
    Ok(Verdict { broken: report.broken })
}

/// Runs what looks for faults on replicas that have them.
async fn controls(
    args: &PerformanceArgs,
    system: &System,
    targets: &Targets,
    pace: &Pace,
    report: &mut Report,
) -> anyhow::Result<()> {
    let fleet = if args.naive.is_empty() {
        let plan = FleetPlan {
            name: "naive".to_owned(),
            replicas: 3,
            ..FleetPlan::blog(&targets.database_url, &targets.cache_redis_url, Cache::Naive)
        };
        match Fleet::start(plan).await {
            Ok(fleet) => Some(fleet),
            Err(error) => {
                report.broken.push(format!("nothing was proved: no naive replicas for the controls ({error:#})"));
                return Ok(());
            }
        }
    } else {
        None
    };
    let urls = fleet.as_ref().map_or_else(|| args.naive.clone(), Fleet::api);
    let replicas = system.behind(&urls).await?;
    // What the replicas under test have cached is not what the naive ones expect, nor the other way round.
    system.store.clear().await?;
    let outcome = controls_on(args, system, pace, report, &replicas).await;
    system.store.clear().await?;
    if let Some(fleet) = fleet {
        fleet.stop().await;
    }
    outcome
}

async fn controls_on(
    args: &PerformanceArgs,
    system: &System,
    pace: &Pace,
    report: &mut Report,
    replicas: &[SocketAddr],
) -> anyhow::Result<()> {
    if args.wants(Section::Stampede) {
        // Tens of the expensive query at once would take the machine for minutes and show nothing more.
        let pace = Pace { stampedes: 1, popular_stampedes: 0, ..*pace };
        let found = stampede::run(system, &pace, replicas, usize::from(args.connections)).await?;
        if args.connections > 1 && found.most_loads().is_none_or(|most| most <= 1) {
            report
                .broken
                .push("nothing was proved: naive replicas too had no more than one load in a stampede".to_owned());
        }
        report.stampede.naive = Some(found);
        system.store.clear().await?;
    }
    if args.wants(Section::Staleness) {
        let plan = Plan { until: CONTROL, kills: 0, ..args.hunt() };
        let found = hunt::run(system, replicas, plan).await?;
        if found.violations == 0 {
            report
                .broken
                .push("nothing was proved: the staleness hunt found no stale post on naive replicas either".to_owned());
        }
        report.staleness.naive = Some(found);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{PerformanceArgs, Section, Until};
    use clap::Parser as _;
    use std::time::Duration;

    #[derive(Debug, clap::Parser)]
    struct Cli {
        #[command(flatten)]
        args: PerformanceArgs,
    }

    fn parse(args: &[&str]) -> Result<PerformanceArgs, clap::Error> {
        Cli::try_parse_from([&["lab"], args].concat()).map(|cli| cli.args)
    }

    #[test]
    fn without_flags_everything_runs_and_the_hunt_takes_20_seconds() {
        let args = parse(&[]).unwrap();
        assert!(args.wants(Section::Latency) && args.wants(Section::Staleness));
        assert!(matches!(args.hunt().until, Until::Elapsed(time) if time == Duration::from_secs(20)));
        assert_eq!((args.connections, args.database_pool, args.kill_redis), (64, 10, 0));
    }

    #[test]
    fn sections_can_be_chosen() {
        let args = parse(&["--only", "latency,open-loop", "--only", "stampede"]).unwrap();
        assert!(args.wants(Section::OpenLoop) && args.wants(Section::Stampede) && !args.wants(Section::Staleness));
        assert!(parse(&["--only", "nothing"]).is_err());
    }

    #[test]
    fn the_long_hunt_counts_writes() {
        let args = parse(&["--writes", "100000", "--kill-redis", "2"]).unwrap();
        assert!(matches!(args.hunt().until, Until::Writes(100_000)));
        assert_eq!(args.hunt().kills, 2);
        assert!(parse(&["--writes", "5", "--hunt", "5"]).is_err());
        assert!(parse(&["--connections", "0"]).is_err() && parse(&["--rate", "0"]).is_err());
    }
}
