//! The shop: its rows, and the experiments on it.

pub(crate) mod api;
mod bed;
mod faults;
mod floors;
mod goods;
mod line_pool;
mod near;
mod probe;
pub(crate) mod reads;
pub(crate) mod strategies;
pub(crate) mod strategy;
mod system;
mod ttl_sweep;
mod writes;

use std::path::PathBuf;

use crate::cli::{EXIT_CODES, database_url};
use crate::data::DataDir;
use crate::exit::Ending;
use crate::screen::{grouped, say};
use crate::seed::{self, Seeded};
use crate::target::TargetArgs;
use faults::FaultsArgs;
use near::NearArgs;
use strategies::StrategiesArgs;
use ttl_sweep::TtlSweepArgs;

/// Fewest and most products. Below the least, most categories would be empty; above the most, a laptop's disk is the subject.
pub(crate) const PRODUCTS: std::ops::RangeInclusive<u64> = 1_000..=2_000_000;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum ShopCommand {
    /// Fill the shop's tables; a second run finishes what an interrupted one left
    #[command(after_help = EXIT_CODES)]
    Seed(SeedArgs),
    /// Seven strategies of invalidation on one workload: staleness, hits, loads, commands, writes
    #[command(after_help = EXIT_CODES)]
    Strategies(StrategiesCommand),
    /// Kill, lose, stop and pause while products are written: how long until every replica is right again
    #[command(after_help = EXIT_CODES)]
    Faults(FaultsArgs),
    /// What a near cache gains, and how far it is behind: in order, cut off, and deaf; on stores and replicas of its own
    #[command(after_help = EXIT_CODES)]
    Near(NearArgs),
    /// The TTL against hits and staleness, beside the formula; on stores and replicas of its own
    #[command(name = "ttl-sweep", after_help = EXIT_CODES)]
    TtlSweep(TtlSweepArgs),
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct StrategiesCommand {
    #[command(flatten)]
    pub(crate) targets: TargetArgs,
    #[command(flatten)]
    pub(crate) strategies: StrategiesArgs,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct SeedArgs {
    /// How many products the shop has afterwards (1000 to 2000000)
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(PRODUCTS))]
    pub(crate) products: u64,

    /// The database, migrated by `shop-api migrate` [default: the one of the running `lab up`]
    #[arg(long, value_name = "URL", env = "DATABASE_URL", hide_env_values = true, value_parser = database_url)]
    pub(crate) database_url: Option<String>,

    /// How many connections load at once (1 to 16) [default: one per processor, at least 2]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=16))]
    pub(crate) streams: Option<u16>,

    /// Data folder of the running `lab up`
    #[arg(long, value_name = "DIR", env = "LAB_DATA")]
    pub(crate) data: Option<PathBuf>,
}

pub(crate) async fn run(command: ShopCommand) -> anyhow::Result<Ending> {
    match command {
        ShopCommand::Seed(args) => seed(args).await,
        ShopCommand::Strategies(command) => {
            let targets = command.targets.resolve_shop().await?;
            Ok(strategies::run(command.strategies, targets).await?.report())
        }
        ShopCommand::Faults(args) => Ok(faults::run(args).await?.report()),
        ShopCommand::Near(args) => Ok(near::run(args).await?.report()),
        ShopCommand::TtlSweep(args) => Ok(ttl_sweep::run(args).await?.report()),
    }
}

async fn seed(args: SeedArgs) -> anyhow::Result<Ending> {
    let database_url = match args.database_url {
        Some(url) => url,
        None => DataDir::locate(args.data)?.running()?.database_url,
    };
    let plan = seed::Plan {
        database_url,
        items: args.products,
        streams: args.streams.unwrap_or_else(seed::default_streams),
        replace: false,
    };
    let products = grouped(args.products);
    match seed::shop::seed(&plan).await? {
        Seeded::Before => say(&format!("{products} products are there already")),
        Seeded::Now => say(&format!("{products} products are there, verified")),
    }
    Ok(Ending::Held)
}
