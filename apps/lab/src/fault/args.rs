//! The command line of `lab fault`.

use std::net::SocketAddr;
use std::time::Duration;

use super::store_restart::{Store, Urls};
use crate::booking::strategy::{Promise, Strategy};
use crate::cli::{database_url, redis_url};
use crate::cluster::ClusterArgs;
use crate::exit::Failure;
use crate::fleet::Service;
use crate::measure::files::FileArgs;

#[derive(Debug, Clone, clap::Subcommand)]
pub(crate) enum FaultCommand {
    /// Kill a replica of each service, process and pod, without grace
    PodKill(OnlyCommon),
    /// Stop the process of a replica that is in its critical section, past the end of its lease
    Pause(PauseArgs),
    /// Replace every replica, as a new version would
    Rollout(OnlyCommon),
    /// Change the number of replicas, step by step, and back
    Scale(ScaleArgs),
    /// Let a node take no more pods, and its replicas leave it
    NodeDrain(NodeDrainArgs),
    /// Wait for somebody who kills a node, and judge
    NodeLoss(NodeLossArgs),
    /// Delete the pod of a store
    StoreRestart(StoreRestartArgs),
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct OnlyCommon {
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct PauseArgs {
    /// Strategies to try; repeat it or separate them by commas [default: redis,redis-fenced]
    #[arg(long, value_name = "NAME", value_enum, value_delimiter = ',')]
    strategies: Vec<Strategy>,

    /// Rounds of each (1 to 100)
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: u16,

    /// The servers of redlock, with commas between
    #[arg(long, value_name = "URLS", env = "REDLOCK_REDIS_URLS", hide_env_values = true, value_delimiter = ',', value_parser = redis_url)]
    redlock_redis_urls: Vec<String>,

    #[command(flatten)]
    common: Common,
}

impl PauseArgs {
    /// The strategy of each round.
    pub(super) fn rounds(&self) -> impl Iterator<Item = Strategy> {
        let chosen = Strategy::chosen(&self.strategies, &[Strategy::Redis, Strategy::RedisFenced]);
        chosen.into_iter().flat_map(|strategy| (0..self.rounds).map(move |_| strategy))
    }

    pub(super) fn redlock(&self) -> Vec<String> {
        self.redlock_redis_urls.clone()
    }
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ScaleArgs {
    /// How many replicas there are at each step, with commas between (1 to 50)
    #[arg(long, value_name = "N,..", default_value = "6,2", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..=50))]
    pub(super) steps: Vec<u16>,

    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct NodeDrainArgs {
    /// Which node [default: the one with the most replicas]
    #[arg(long, value_name = "NAME")]
    pub(super) node: Option<String>,

    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct NodeLossArgs {
    /// Which node is waited for [default: any]
    #[arg(long, value_name = "NAME")]
    pub(super) node: Option<String>,

    /// How long it may take to vanish, and to come back
    #[arg(long, value_name = "TIME", default_value = "300s", value_parser = seconds)]
    pub(super) within: Duration,

    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct StoreRestartArgs {
    /// Which one
    #[arg(long, value_name = "NAME", value_enum)]
    pub(super) store: Store,

    /// Seconds that its processes have to end [default: what the pod asks for]
    #[arg(long, value_name = "SECONDS")]
    pub(super) grace: Option<u32>,

    #[command(flatten)]
    common: Common,
}

/// What all faults take.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Common {
    /// Whose replicas are pressed, and meant; repeat it or separate them by commas [default: both]
    #[arg(long = "service", value_name = "NAME", value_enum, value_delimiter = ',')]
    services: Vec<Service>,

    /// Requests to the blog a second (1 to 5000)
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=5_000))]
    pub(super) rate: u32,

    /// How the event is sold that is booked meanwhile
    #[arg(long, value_name = "NAME", value_enum, default_value_t = Strategy::RedisFenced)]
    pub(super) strategy: Strategy,

    /// How long clients press before the fault, and after it
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = seconds)]
    pub(super) before: Duration,
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = seconds)]
    pub(super) after: Duration,

    #[command(flatten)]
    pub(super) cluster: ClusterArgs,

    /// Where the lab's own metrics are served, which say what is broken just now [default: nowhere]
    #[arg(long, value_name = "ADDRESS", env = "METRICS_LISTEN")]
    pub(super) metrics_listen: Option<SocketAddr>,

    /// The services' database
    #[arg(long, value_name = "URL", env = "DATABASE_URL", hide_env_values = true, value_parser = database_url)]
    database_url: Option<String>,

    /// The cache's Redis
    #[arg(long, value_name = "URL", env = "CACHE_REDIS_URL", hide_env_values = true, value_parser = redis_url)]
    cache_redis_url: Option<String>,

    /// The locks' Redis
    #[arg(long, value_name = "URL", env = "LOCK_REDIS_URL", hide_env_values = true, value_parser = redis_url)]
    lock_redis_url: Option<String>,

    #[command(flatten)]
    pub(super) files: FileArgs,
}

impl Common {
    /// In a fixed order, each once.
    pub(super) fn services(&self) -> Vec<Service> {
        let all = [Service::Blog, Service::Booking];
        all.into_iter().filter(|service| self.services.is_empty() || self.services.contains(service)).collect()
    }

    /// # Errors
    /// One line per store that is not named.
    pub(super) fn urls(&self) -> Result<Urls, Failure> {
        let mut wrong = Vec::new();
        let mut named = |url: &Option<String>, flag: &str, variable: &str| {
            url.clone().unwrap_or_else(|| {
                wrong.push(format!("`lab fault` needs {flag} (or {variable}): it judges by what the stores say"));
                String::new()
            })
        };
        let urls = Urls {
            database: named(&self.database_url, "--database-url", "DATABASE_URL"),
            cache: named(&self.cache_redis_url, "--cache-redis-url", "CACHE_REDIS_URL"),
            lock: named(&self.lock_redis_url, "--lock-redis-url", "LOCK_REDIS_URL"),
        };
        if wrong.is_empty() { Ok(urls) } else { Err(Failure::Usage(wrong)) }
    }
}

impl FaultCommand {
    pub(super) fn common(&self) -> &Common {
        match self {
            Self::PodKill(args) | Self::Rollout(args) => &args.common,
            Self::Pause(args) => &args.common,
            Self::Scale(args) => &args.common,
            Self::NodeDrain(args) => &args.common,
            Self::NodeLoss(args) => &args.common,
            Self::StoreRestart(args) => &args.common,
        }
    }

    /// As on the command line, and in metrics.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::PodKill(_) => "pod-kill",
            Self::Pause(_) => "pause",
            Self::Rollout(_) => "rollout",
            Self::Scale(_) => "scale",
            Self::NodeDrain(_) => "node-drain",
            Self::NodeLoss(_) => "node-loss",
            Self::StoreRestart(_) => "store-restart",
        }
    }

    pub(super) fn file_name(&self) -> &'static str {
        match self {
            Self::PodKill(_) => "fault-pod-kill",
            Self::Pause(_) => "fault-pause",
            Self::Rollout(_) => "fault-rollout",
            Self::Scale(_) => "fault-scale",
            Self::NodeDrain(_) => "fault-node-drain",
            Self::NodeLoss(_) => "fault-node-loss",
            Self::StoreRestart(args) => match args.store {
                Store::RedisCache => "fault-redis-cache-restart",
                Store::RedisLock => "fault-redis-lock-restart",
                Store::Postgres => "fault-postgres-restart",
            },
        }
    }

    /// # Errors
    /// What is asked for would prove nothing, or everything.
    pub(super) fn check(&self) -> Result<(), Failure> {
        let strategy = self.common().strategy;
        if strategy.promise() == Promise::Nothing && !matches!(self, Self::Pause(_)) {
            return Err(Failure::usage(format!(
                "--strategy {strategy} promises nothing, so that nothing can be judged; `lab booking concurrent` shows it"
            )));
        }
        Ok(())
    }
}

/// A time in seconds, as `5s`.
fn seconds(text: &str) -> Result<Duration, String> {
    let wrong = || "expected whole seconds from 1s to 3600s, as 5s".to_owned();
    let number: u64 = text.strip_suffix('s').unwrap_or(text).parse().map_err(|_| wrong())?;
    if (1..=3_600).contains(&number) { Ok(Duration::from_secs(number)) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::{FaultCommand, Service, Strategy};
    use clap::Parser as _;

    #[derive(Debug, clap::Parser)]
    struct Cli {
        #[command(subcommand)]
        fault: FaultCommand,
    }

    fn parse(args: &[&str]) -> Result<FaultCommand, clap::Error> {
        Cli::try_parse_from([&["lab"], args].concat()).map(|cli| cli.fault)
    }

    #[test]
    fn services_are_both_unless_told() {
        let services = |args: &[&str]| parse(args).unwrap().common().services();
        assert_eq!(services(&["rollout"]), [Service::Blog, Service::Booking]);
        assert_eq!(services(&["rollout", "--service", "booking-api"]), [Service::Booking]);
    }

    #[test]
    fn wrong_values_are_refused() {
        for wrong in [
            &["scale", "--steps", "0"][..],
            &["scale", "--steps", "3,,2"],
            &["rollout", "--before", "0s"],
            &["rollout", "--before", "1m"],
            &["rollout", "--rate", "0"],
            &["store-restart"],
            &["store-restart", "--store", "mysql"],
            &["pause", "--rounds", "0"],
        ] {
            assert!(parse(wrong).is_err(), "{wrong:?} was taken");
        }
        assert!(parse(&["rollout", "--strategy", "none"]).unwrap().check().is_err());
        let FaultCommand::Pause(pause) = parse(&["pause", "--rounds", "2"]).unwrap() else { panic!("not a pause") };
        assert_eq!(pause.rounds().filter(|strategy| *strategy == Strategy::RedisFenced).count(), 2);
    }

    #[test]
    fn a_store_that_is_not_named_is_one_line() {
        // Whatever the environment of this test names is named.
        let named = ["DATABASE_URL", "CACHE_REDIS_URL", "LOCK_REDIS_URL"].map(|name| std::env::var_os(name).is_some());
        let missing = named.iter().filter(|named| !**named).count();
        match parse(&["rollout"]).unwrap().common().urls() {
            Ok(_) => assert_eq!(missing, 0),
            Err(failure) => assert_eq!(failure.to_string().lines().count(), missing),
        }
    }
}
