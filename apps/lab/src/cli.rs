//! The command line: what can be asked for, and what is refused.

mod parse;
mod urls;

use std::ffi::OsString;
use std::path::PathBuf;

use crate::blog::performance::PerformanceArgs;
use crate::booking::concurrent::ConcurrentArgs;
use crate::booking::contention::ContentionArgs;
use crate::booking::faults::FaultsArgs;
use crate::fleet::Service;
use crate::lock_bench::LockBenchArgs;
use crate::shop;
use crate::target::{BookingStoreArgs, BookingTargetArgs, TargetArgs};
pub(crate) use parse::{one_line, parse};
pub(crate) use urls::{database_url, redis_url};

pub(crate) const EXIT_CODES: &str = "\
Exit status:
   0  everything that was checked held
   1  an invariant is broken, or an experiment proved nothing
  64  a wrong flag or setting
  69  something that is needed could not be had (a server, a port, a binary)
  75  another `lab up` runs on the same data
 130  interrupted by Ctrl-C before the work was done (143: by SIGTERM)";

/// Runs the services on this machine, drives them, and judges them.
#[derive(Debug, clap::Parser)]
#[command(name = "lab", version, after_help = EXIT_CODES, args_override_self = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Start PostgreSQL, Redis and the replicas, fill the database, run the experiments, stay up
    #[command(after_help = EXIT_CODES)]
    Up(UpArgs),
    /// Seed the blog, and run experiments on it
    #[command(subcommand)]
    Blog(BlogCommand),
    /// Run experiments on booking-api: locks against no locks
    #[command(subcommand)]
    Booking(BookingCommand),
    /// Seed the shop, and run experiments on it: seven strategies of invalidation
    #[command(subcommand)]
    Shop(crate::shop::ShopCommand),
    /// Measure the lock by itself
    #[command(subcommand)]
    Lock(LockCommand),
    /// One page of what the experiments have found: figures, tables, pictures
    #[command(after_help = EXIT_CODES)]
    Report(crate::report::ReportArgs),
    /// Draw the dashboards of Grafana, or check that each of their queries has data
    #[command(subcommand, after_help = EXIT_CODES)]
    Dashboards(crate::dashboards::DashboardsCommand),
    /// Break something in the cluster while clients press, and judge what they see
    #[cfg(feature = "k8s")]
    #[command(subcommand, after_help = EXIT_CODES)]
    Fault(crate::fault::FaultCommand),
    /// Signals the processes of a program (`lab fault` runs it inside of a replica's container)
    #[command(hide = true)]
    Signal(crate::process::SignalArgs),
    /// Ends the processes whose ids come on stdin when stdin closes (the lab starts it for itself)
    #[command(hide = true)]
    Guard,
    /// Becomes PROGRAM when a byte comes on stdin (the lab starts it for itself)
    #[command(hide = true)]
    Launch {
        program: PathBuf,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum BlogCommand {
    /// Fill the blog's tables; a second run finishes what an interrupted one left
    #[command(after_help = EXIT_CODES)]
    Seed(SeedArgs),
    /// Measure hits, misses, stampedes and staleness over all replicas
    #[command(after_help = EXIT_CODES)]
    Performance(PerformanceCommand),
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum BookingCommand {
    /// Many buyers of one event, per strategy: what each sells, and what it sells twice
    #[command(after_help = EXIT_CODES)]
    Concurrent(ConcurrentCommand),
    /// One hot event against many, at a fixed arrival rate, over 1 to 8 replicas
    #[command(after_help = EXIT_CODES)]
    Contention(ContentionCommand),
    /// Kill, stop and cut off while a booking is under way: what is oversold, lost, doubled or stuck then
    #[command(after_help = EXIT_CODES)]
    Faults(FaultsArgs),
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum LockCommand {
    /// Hand-offs a second, waits and fairness of the granted lock, beside BLPOP, bare scripts and polling
    #[command(after_help = EXIT_CODES)]
    Bench(LockBenchArgs),
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ConcurrentCommand {
    #[command(flatten)]
    pub(crate) targets: BookingTargetArgs,
    #[command(flatten)]
    pub(crate) concurrent: ConcurrentArgs,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ContentionCommand {
    #[command(flatten)]
    pub(crate) stores: BookingStoreArgs,
    #[command(flatten)]
    pub(crate) contention: ContentionArgs,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct PerformanceCommand {
    #[command(flatten)]
    pub(crate) targets: TargetArgs,
    #[command(flatten)]
    pub(crate) performance: PerformanceArgs,
}

/// The parts of the system that `lab up` can be limited to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Part {
    Blog,
    Shop,
    Booking,
}

/// Fewest and most posts. Below the least, a run measures set-up and not a cache; above the most,
/// a laptop's disk is the subject.
const POSTS: std::ops::RangeInclusive<u64> = 1_000..=5_000_000;

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct UpArgs {
    /// How many posts the blog has (1000 to 5000000); more than there are grows the data, fewer needs --fresh
    #[arg(long, value_name = "N", default_value_t = 500_000, value_parser = clap::value_parser!(u64).range(POSTS))]
    pub(crate) posts: u64,

    /// How many products the shop has (1000 to 2000000); another number than there are replaces them
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(shop::PRODUCTS))]
    pub(crate) products: u64,

    /// How many replicas of each service run (1 to 16)
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=16))]
    pub(crate) replicas: u16,

    /// Run this part only [default: all]
    #[arg(long, value_name = "NAME", value_enum)]
    pub(crate) only: Option<Part>,

    /// End after the experiments; the exit status says whether every invariant held
    #[arg(long)]
    pub(crate) once: bool,

    /// Start the system without running the experiments
    #[arg(long)]
    pub(crate) no_experiments: bool,

    /// Drop the data of an earlier run first
    #[arg(long)]
    pub(crate) fresh: bool,

    /// Folder for data, logs and the state file; PostgreSQL's user must be able to reach it
    /// [default: /var/tmp/redis-in-real-backends-UID]
    #[arg(long, value_name = "DIR", env = "LAB_DATA")]
    pub(crate) data: Option<PathBuf>,

    /// Port of the private PostgreSQL; 0 picks a free one
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    pub(crate) postgres_port: u16,

    /// Port of the private Redis of the cache; 0 picks a free one
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    pub(crate) redis_port: u16,

    /// Port of the private Redis of the locks; 0 picks a free one
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    pub(crate) lock_redis_port: u16,

    /// API port of the first replica of blog-api, the others follow it; 0 picks free ones
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    pub(crate) api_port: u16,

    /// Admin port of the first replica of blog-api, the others follow it; 0 picks free ones
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    pub(crate) admin_port: u16,

    /// API port of the first replica of booking-api, the others follow it; 0 picks free ones
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    pub(crate) booking_api_port: u16,

    /// Admin port of the first replica of booking-api, the others follow it; 0 picks free ones
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    pub(crate) booking_admin_port: u16,

    /// API port of the first replica of shop-api, the others follow it; 0 picks free ones
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    pub(crate) shop_api_port: u16,

    /// Admin port of the first replica of shop-api, the others follow it; 0 picks free ones
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    pub(crate) shop_admin_port: u16,

    /// Port of the first shop-worker, on which it says how it stands, the other follows it; 0 picks free ones
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    pub(crate) shop_worker_port: u16,

    /// Admin port of the first shop-worker, the other follows it; 0 picks free ones
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    pub(crate) shop_worker_admin_port: u16,

    /// Use this PostgreSQL instead of a private one (the schemas `blog`, `shop`, `booking` and `lab` of the database named)
    #[arg(long, value_name = "URL", env = "DATABASE_URL", hide_env_values = true, value_parser = database_url)]
    pub(crate) database_url: Option<String>,

    /// Use this Redis instead of a private one (the keys below `blog:` and `shop:`)
    #[arg(long, value_name = "URL", env = "CACHE_REDIS_URL", hide_env_values = true, value_parser = redis_url)]
    pub(crate) cache_redis_url: Option<String>,

    /// Use this Redis for the locks instead of a private one (the keys below `booking:`); needs AOF and noeviction
    #[arg(long, value_name = "URL", env = "LOCK_REDIS_URL", hide_env_values = true, value_parser = redis_url)]
    pub(crate) lock_redis_url: Option<String>,

    /// The blog-api binary [default: the one beside `lab`]
    #[arg(long, value_name = "PATH", env = "LAB_BLOG_API")]
    pub(crate) blog_api: Option<PathBuf>,

    /// The booking-api binary [default: the one beside `lab`]
    #[arg(long, value_name = "PATH", env = "LAB_BOOKING_API")]
    pub(crate) booking_api: Option<PathBuf>,

    /// The shop-api binary [default: the one beside `lab`]
    #[arg(long, value_name = "PATH", env = "LAB_SHOP_API")]
    pub(crate) shop_api: Option<PathBuf>,

    /// The shop-worker binary [default: the one beside `lab`]
    #[arg(long, value_name = "PATH", env = "LAB_SHOP_WORKER")]
    pub(crate) shop_worker: Option<PathBuf>,
}

impl UpArgs {
    /// Whether this part runs.
    pub(crate) fn wants(&self, part: Part) -> bool {
        self.only.is_none_or(|only| only == part)
    }

    /// The services that run, each with its binary.
    ///
    /// # Errors
    /// There is no binary beside this one, and none was named.
    pub(crate) fn binaries(&self) -> anyhow::Result<Vec<(Service, PathBuf)>> {
        let all = [
            (Part::Blog, Service::Blog, &self.blog_api),
            (Part::Shop, Service::Shop, &self.shop_api),
            (Part::Shop, Service::ShopWorker, &self.shop_worker),
            (Part::Booking, Service::Booking, &self.booking_api),
        ];
        let wanted = all.into_iter().filter(|(part, ..)| self.wants(*part));
        wanted.map(|(_, service, named)| Ok((service, named.clone().map_or_else(|| service.binary(), Ok)?))).collect()
    }
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct SeedArgs {
    /// How many posts the blog has afterwards (1000 to 5000000)
    #[arg(long, value_name = "N", default_value_t = 500_000, value_parser = clap::value_parser!(u64).range(POSTS))]
    pub(crate) posts: u64,

    /// The database, migrated by `blog-api migrate` [default: the one of the running `lab up`]
    #[arg(long, value_name = "URL", env = "DATABASE_URL", hide_env_values = true, value_parser = database_url)]
    pub(crate) database_url: Option<String>,

    /// How many connections load at once (1 to 16) [default: one per processor, at least 2]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=16))]
    pub(crate) streams: Option<u16>,

    /// Data folder of the running `lab up`
    #[arg(long, value_name = "DIR", env = "LAB_DATA")]
    pub(crate) data: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::parse::Refused;
    use super::{Cli, Command, parse};
    use clap::CommandFactory as _;

    fn lines(args: &[&str]) -> Vec<String> {
        match parse(args.iter().map(Into::into)) {
            Err(Refused::Wrong(failure)) => failure.to_string().lines().map(str::to_owned).collect(),
            other => panic!("{args:?} was not refused: {other:?}"),
        }
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_wrong_value_is_named_at_once_with_what_is_allowed() {
        let lines = lines(&["lab", "up", "--posts", "0", "--replicas=17", "--only", "shoes", "--api-port", "70000"]);
        assert_eq!(lines.len(), 4, "{lines:?}");
        for (setting, value, allowed) in [
            ("--posts", "'0'", "1000..=5000000"),
            ("--replicas", "'17'", "1..=16"),
            ("--only", "'shoes'", "possible values: blog, shop, booking"),
            ("--api-port", "'70000'", "0..=65535"),
        ] {
            assert!(
                lines.iter().any(|line| line.contains(setting) && line.contains(value) && line.contains(allowed)),
                "{setting} is not explained in {lines:?}"
            );
        }
    }

    #[test]
    fn an_unknown_flag_is_one_line() {
        let lines = lines(&["lab", "up", "--post", "5"]);
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains("'--post'"), "{lines:?}");
    }

    #[test]
    fn a_url_of_another_store_is_refused() {
        let lines = lines(&["lab", "up", "--database-url", "http://x", "--cache-redis-url", "postgres://x"]);
        assert_eq!(lines.len(), 2, "{lines:?}");
    }

    #[test]
    fn help_is_not_an_error() {
        assert!(matches!(parse(["lab", "--help"].map(Into::into)), Err(Refused::Shown(_))));
        assert!(matches!(parse(["lab", "up", "--help"].map(Into::into)), Err(Refused::Shown(_))));
    }

    #[test]
    fn the_defaults_are_those_of_the_readme() {
        let Ok(cli) = parse(["lab", "up"].map(Into::into)) else { panic!("refused") };
        let Command::Up(up) = cli.command else { panic!("another command") };
        assert_eq!((up.posts, up.products, up.replicas, up.once), (500_000, 100_000, 3, false));
    }
}
