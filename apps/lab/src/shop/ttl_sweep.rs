//! `lab shop ttl-sweep`: how many reads a TTL answers, and how many of those are stale, beside what arithmetic says.
//!
//! For each TTL there is a replica of shop-api with a Redis of its own, all on one database that the lab fills for it, and all at
//! the same time: the same writes make the entries of all of them stale. So a sweep takes as long as its longest TTL needs.

mod formula;
mod picture;
mod report;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::future::try_join_all;
use testbed::RedisServer;
use tokio_util::sync::CancellationToken;

use super::bed::Bed;
use super::floors::Floors;
use super::goods::Goods;
use super::reads::{Counts, Reads, Sightings};
use super::strategy::Strategy;
use super::writes::{Writes, Written};
use crate::exit::Failure;
use crate::fleet::Fleet;
use crate::measure::files::{FileArgs, Files};
use crate::measure::http::resolve;
use crate::measure::open_loop::OpenLoop;
use crate::measure::unfinished::{Findings as _, Unfinished};
use crate::screen::Steps;
use crate::verdict::Verdict;
use report::{Point, Report};

/// Flags of `lab shop ttl-sweep`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct TtlSweepArgs {
    /// The TTLs, in seconds (1 to 300 each); repeat it or separate them by commas
    #[arg(
        long,
        value_name = "SECONDS",
        value_delimiter = ',',
        default_value = "1,2,5,10,30",
        value_parser = clap::value_parser!(u32).range(1..=300)
    )]
    pub(crate) ttls: Vec<u32>,

    /// Products that are read and written (10 to 100000)
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(10..=100_000))]
    pub(crate) products: u32,

    /// Reads a second, for each TTL (10 to 10000)
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(10..=10_000))]
    pub(crate) rate: u32,

    /// New prices a second, for all TTLs together (1 to 1000)
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) writes: u32,

    /// How long is measured, in seconds (5 to 3600) [default: twice the longest TTL, at least 20]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(5..=3_600))]
    pub(crate) seconds: Option<u32>,

    #[command(flatten)]
    pub(crate) files: FileArgs,
}

/// Most TTLs of one sweep: each is a Redis and a replica.
const MOST: usize = 8;
/// Connections to one replica.
const CONNECTIONS: usize = 16;
/// What stores, rows and replicas take until they are there, as a rule.
const STARTING: Duration = Duration::from_secs(12);
/// The fewest products that the seeder makes.
const FEWEST_SEEDED: u64 = 1_000;

impl TtlSweepArgs {
    /// The TTLs in their order, each once.
    ///
    /// # Errors
    /// There are too many.
    fn ttls(&self) -> Result<Vec<u32>, Failure> {
        let mut ttls = self.ttls.clone();
        ttls.sort_unstable();
        ttls.dedup();
        if ttls.len() > MOST {
            return Err(Failure::usage(format!("--ttls names {} TTLs: at most {MOST} at once", ttls.len())));
        }
        Ok(ttls)
    }

    fn window(&self) -> Duration {
        let longest = self.ttls.iter().copied().max().unwrap_or(1);
        Duration::from_secs(self.seconds.unwrap_or((2 * longest).max(20)).into())
    }

    /// Until the longest entry of the first load has ended, and others with it.
    fn settling(&self) -> Duration {
        let longest = self.ttls.iter().copied().max().unwrap_or(1);
        Duration::from_secs_f64(f64::from(longest) * 1.1 + 1.0)
    }
}

/// A replica with its TTL.
struct Served {
    ttl: u32,
    fleet: Fleet,
    redis: RedisServer,
}

/// Measures all TTLs, prints the table, and writes the figures and the picture. Dropped before its end, it says what was
/// measured until then.
///
/// # Errors
/// Something that is needed could not be had: a server, a binary, a file. What is *wrong* is in the verdict.
pub(crate) async fn run(args: TtlSweepArgs) -> anyhow::Result<Verdict> {
    let ttls = args.ttls()?;
    let files = Files::of("shop-ttl-sweep", &args.files)?;
    let mut unfinished = Unfinished::new(Report::new(&args));
    let mut steps = Steps::new(STARTING + args.settling() + args.window());
    steps.next("starting a replica and a Redis for each TTL", STARTING);
    let bed = Bed::start(u64::from(args.products).max(FEWEST_SEEDED), &logs()).await?;
    let mut served = Vec::new();
    for &ttl in &ttls {
        // One after the other: two that look for free ports at once find the same.
        served.push(serve(&bed, ttl).await?);
    }
    let points = measure(&args, &bed, &served, &mut steps).await?;
    unfinished.findings().add(points);
    for Served { fleet, redis, .. } in served {
        fleet.stop().await;
        redis.stop().await;
    }
    bed.stop().await;
    let report = unfinished.end();
    files.write(&report.started_at, &report, &report.text(), &picture::draw(&report))?;
    Ok(Verdict { broken: report.broken })
}

fn logs() -> PathBuf {
    std::env::temp_dir().join(format!("lab-shop-ttl-sweep-{}", std::process::id()))
}

async fn serve(bed: &Bed, ttl: u32) -> anyhow::Result<Served> {
    // An entry that is evicted before its time would be a miss that no TTL explains.
    let builder = RedisServer::builder().setting("maxmemory-policy", "noeviction");
    let redis = builder.start().await.context("cannot start a Redis")?;
    let fleet = bed.replicas(&format!("ttl-{ttl}"), 1, &redis.url(), &[("CACHE_TTL", format!("{ttl}s"))]).await?;
    Ok(Served { ttl, fleet, redis })
}

async fn measure(
    args: &TtlSweepArgs,
    bed: &Bed,
    served: &[Served],
    steps: &mut Steps,
) -> anyhow::Result<(Vec<Point>, Written)> {
    let goods = Goods::pick(&bed.database, usize::try_from(args.products)?).await?;
    let floors = Arc::new(Floors::new(goods.versions(&bed.database).await?));
    let mut replicas = Vec::new();
    for one in served {
        for url in one.fleet.api() {
            replicas.push(resolve(&url).await?);
        }
    }
    for (what, duration, counts) in
        [("filling the caches", args.settling(), false), ("reads and writes", args.window(), true)]
    {
        steps.next(what, duration);
        let reads = replicas.iter().zip(served).map(|(&replica, one)| {
            // Others for each TTL, and others while it counts.
            let seed = u64::from(one.ttl) * 2 + u64::from(counts);
            let reads = Reads::new(&goods, Strategy::Ttl, seed, floors.clone(), Sightings::default());
            let rate = args.rate.into();
            OpenLoop { addresses: vec![replica], connections: CONNECTIONS, rate, duration }.run_traffic(reads)
        });
        let writes = Writes {
            strategy: Strategy::Ttl,
            goods: goods.clone(),
            replicas: replicas.clone(),
            floors: floors.clone(),
            rate: args.writes.into(),
            duration,
            stop: CancellationToken::new(),
            bulks: 0,
            category: 1,
            // The reads themselves show how many are stale. Probes would be reads that no formula knows of.
            patience: Duration::ZERO,
            seed: u64::from(counts),
        };
        let (arrivals, written) = tokio::try_join!(try_join_all(reads), writes.run())?;
        if counts {
            let points = arrivals.iter().zip(served);
            let points = points.map(|(arrivals, one)| Point::new(args, one.ttl, Counts::of(arrivals))).collect();
            return Ok((points, written));
        }
    }
    unreachable!("the last of the two counts")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::TtlSweepArgs;
    use clap::Parser as _;
    use std::time::Duration;

    #[derive(Debug, clap::Parser)]
    struct Cli {
        #[command(flatten)]
        args: TtlSweepArgs,
    }

    pub(crate) fn args(args: &[&str]) -> Result<TtlSweepArgs, clap::Error> {
        Cli::try_parse_from([&["lab"], args].concat()).map(|cli| cli.args)
    }

    #[test]
    fn a_sweep_is_as_long_as_its_longest_ttl_needs() {
        let all = args(&[]).unwrap();
        assert_eq!((all.ttls().unwrap(), all.window()), (vec![1, 2, 5, 10, 30], Duration::from_secs(60)));
        assert_eq!(all.settling(), Duration::from_secs(34));
        let short = args(&["--ttls", "2,1,2"]).unwrap();
        assert_eq!((short.ttls().unwrap(), short.window()), (vec![1, 2], Duration::from_secs(20)));
    }

    #[test]
    fn too_many_and_too_short_ones_are_refused() {
        assert!(args(&["--ttls", "1,2,3,4,5,6,7,8,9"]).unwrap().ttls().is_err());
        assert!(args(&["--ttls", "0"]).is_err() && args(&["--ttls", ""]).is_err());
    }
}
