//! `lab shop near`: what a near cache gains over Redis, and what it costs: how far is a replica's own memory behind, in order,
//! after a lost connection, and when it hears nothing although its connection seems to stand?
//!
//! On stores and replicas of its own. The last replica reaches its Redis through a proxy, where its connections are cut and held.

mod picture;
mod report;
mod staleness;
mod throughput;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use testbed::{FaultProxy, RedisServer};

use super::bed::Bed;
use super::goods::Goods;
use crate::fleet::Fleet;
use crate::measure::files::{FileArgs, Files};
use crate::measure::http::resolve;
use crate::measure::unfinished::{Findings as _, Unfinished};
use crate::screen::Steps;
use crate::verdict::Verdict;
use report::Report;
use staleness::{Fault, Phase};

/// Flags of `lab shop near`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct NearArgs {
    /// Replicas with a near cache (2 to 8)
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(2..=8))]
    pub(crate) replicas: u16,

    /// Products that are read and written (10 to 10000)
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(10..=10_000))]
    pub(crate) products: u32,

    /// Connections of the throughput's turns (1 to 1024)
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1_024))]
    pub(crate) connections: u16,

    /// Rounds in which the throughput's rows take turns (1 to 100)
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) rounds: u32,

    /// How long a turn of the throughput takes, in seconds (1 to 60)
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=60))]
    pub(crate) turn: u32,

    /// Reads a second over all replicas, while it is looked how far they are behind (10 to 10000)
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(10..=10_000))]
    pub(crate) rate: u32,

    /// New prices a second (1 to 1000)
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) writes: u32,

    /// How long is looked in order, and under each fault, in seconds (5 to 600)
    #[arg(long, value_name = "SECONDS", default_value_t = 20, value_parser = clap::value_parser!(u32).range(5..=600))]
    pub(crate) seconds: u32,

    /// The longest that a replica's own memory may be behind, in milliseconds (250 to 60000)
    #[arg(long, value_name = "MS", default_value_t = 500, value_parser = clap::value_parser!(u32).range(250..=60_000))]
    pub(crate) near_grace: u32,

    #[command(flatten)]
    pub(crate) files: FileArgs,
}

/// What stores, rows and replicas take until they are there, as a rule.
const STARTING: Duration = Duration::from_secs(8);
/// Memory for the near cache: for all products many times over.
const NEAR: &str = "64MiB";
/// No entry ends while it is measured: what is behind is behind by the near cache.
const TTL: &str = "600s";
/// The fewest products that the seeder makes.
const SEEDED: u64 = 1_000;

impl NearArgs {
    fn window(&self) -> Duration {
        Duration::from_secs(self.seconds.into())
    }

    fn near_grace(&self) -> Duration {
        Duration::from_millis(self.near_grace.into())
    }

    fn throughput(&self) -> Duration {
        Duration::from_secs((3 * self.rounds * self.turn).into())
    }
}

/// Stores, and replicas on them.
#[derive(Debug)]
struct Stage {
    bed: Bed,
    redis: RedisServer,
    /// Between the last replica and Redis.
    way: FaultProxy,
    /// With a near cache: all but the last, and the last.
    near: [Fleet; 2],
    /// Without one.
    plain: Fleet,
}

/// Measures all of it, prints the table, and writes the figures and the picture. Dropped before its end, it says what was
/// measured until then.
///
/// # Errors
/// Something that is needed could not be had: a server, a binary, a file. What is *wrong* is in the verdict.
pub(crate) async fn run(args: NearArgs) -> anyhow::Result<Verdict> {
    let files = Files::of("shop-near", &args.files)?;
    let mut unfinished = Unfinished::new(Report::new(&args));
    let faults = [None, Some(Fault::Cut), Some(Fault::Silent)];
    let mut steps = Steps::new(STARTING + args.throughput() + args.window() * 3);
    steps.next("starting replicas with a near cache and without", STARTING);
    let stage = Stage::start(&args).await?;
    let goods = Goods::pick(&stage.bed.database, usize::try_from(args.products)?).await?;
    let replicas = stage.replicas().await?;

    steps.next("throughput", args.throughput());
    let plain = resolve(&stage.plain.api()[0]).await?;
    unfinished.findings().throughput(throughput::run(&args, &goods, replicas[0], plain).await?);
    for fault in faults {
        steps.next(fault.map_or("reads and writes", Fault::label), args.window());
        let phase = Phase { args: &args, goods: &goods, database: &stage.bed.database, replicas: &replicas, fault };
        let found = phase.run(&stage.way).await?;
        stage.way.heal();
        unfinished.findings().staleness(found);
    }
    stage.stop().await;
    let report = unfinished.end();
    files.write(&report.started_at, &report, &report.text(), &picture::draw(&report))?;
    Ok(Verdict { broken: report.broken })
}

impl Stage {
    async fn start(args: &NearArgs) -> anyhow::Result<Self> {
        let logs: PathBuf = std::env::temp_dir().join(format!("lab-shop-near-{}", std::process::id()));
        let bed = Bed::start(u64::from(args.products).max(SEEDED), &logs).await?;
        // An entry that is evicted before its time would be a miss that nothing here explains.
        let builder = RedisServer::builder().setting("maxmemory-policy", "noeviction");
        let redis = builder.start().await.context("cannot start a Redis")?;
        let way = FaultProxy::start(redis.url()).await?;
        let ttl = ("CACHE_TTL", TTL.to_owned());
        let near = [ttl.clone(), ("NEAR_CACHE", NEAR.to_owned()), ("NEAR_GRACE", format!("{}ms", args.near_grace))];
        let most = bed.replicas("near", args.replicas - 1, &redis.url(), &near).await?;
        let last = bed.replicas("near-last", 1, &way.redis_url(), &near).await?;
        let plain = bed.replicas("plain", 1, &redis.url(), &[ttl]).await?;
        Ok(Self { bed, redis, way, near: [most, last], plain })
    }

    /// Those with a near cache; the one behind the proxy comes last.
    async fn replicas(&self) -> anyhow::Result<Vec<std::net::SocketAddr>> {
        let mut replicas = Vec::new();
        for url in self.near.iter().flat_map(Fleet::api) {
            replicas.push(resolve(&url).await?);
        }
        Ok(replicas)
    }

    async fn stop(self) {
        let Self { bed, redis, near: [most, last], plain, .. } = self;
        tokio::join!(most.stop(), last.stop(), plain.stop());
        redis.stop().await;
        bed.stop().await;
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::NearArgs;
    use clap::Parser as _;
    use std::time::Duration;

    #[derive(Debug, clap::Parser)]
    struct Cli {
        #[command(flatten)]
        args: NearArgs,
    }

    pub(crate) fn args(args: &[&str]) -> Result<NearArgs, clap::Error> {
        Cli::try_parse_from([&["lab"], args].concat()).map(|cli| cli.args)
    }

    #[test]
    fn what_cannot_be_measured_is_refused() {
        let usual = args(&[]).unwrap();
        assert_eq!((usual.near_grace(), usual.throughput()), (Duration::from_millis(500), Duration::from_secs(30)));
        // A near cache that is proved every 100 ms serves nothing within 200.
        assert!(args(&["--near-grace", "200"]).is_err() && args(&["--replicas", "1"]).is_err());
    }
}
