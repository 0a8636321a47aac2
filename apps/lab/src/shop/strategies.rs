//! `lab shop strategies`: one workload on the same products, one strategy of invalidation after the other: how old is what is
//! read, and what does it cost not to be?
//!
//! Each strategy has the same seeded reads over all replicas at a set rate, and the same writes: new prices of single products,
//! and of a whole category. Every read that begins after a write was acknowledged and shows what was before it is counted;
//! and after each acknowledged write every replica is probed until it has the new version. `ttl` is the control: where it is
//! not seen stale, nobody can have been.

mod counters;
mod picture;
mod report;
mod round;
mod row;

use std::time::Duration;

use super::goods::Goods;
use super::strategy::{Promise, Strategy};
use super::system::System;
use crate::measure::files::{FileArgs, Files};
use crate::measure::unfinished::{Findings as _, Unfinished};
use crate::screen::Steps;
use crate::target::ShopTargets;
use crate::verdict::Verdict;
use counters::Counters;
use report::Report;
use round::Round;

/// Flags of `lab shop strategies`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct StrategiesArgs {
    /// Run these strategies only, and the control `ttl`; repeat it or separate them by commas [default: all]
    #[arg(long, value_name = "NAME", value_enum, value_delimiter = ',')]
    pub(crate) strategies: Vec<Strategy>,

    /// Products that are read and written, from all over the shop (10 to 100000)
    #[arg(long, value_name = "N", default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(10..=100_000))]
    pub(crate) products: u32,

    /// Reads a second, over all replicas (10 to 100000)
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(10..=100_000))]
    pub(crate) rate: u32,

    /// New prices of single products a second (1 to 1000)
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) writes: u32,

    /// New prices for a whole category, in the time of each strategy (0 to 100)
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(0..=100))]
    pub(crate) bulks: u32,

    /// The category whose prices change [default: the largest]
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(i64).range(1..))]
    pub(crate) category: Option<i64>,

    /// How long each strategy is measured, in seconds (1 to 600)
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=600))]
    pub(crate) seconds: u32,

    /// What the near cache of `combined` may be behind, in milliseconds, as the replicas were told (0 to 60000)
    #[arg(long, value_name = "MS", default_value_t = 500, value_parser = clap::value_parser!(u32).range(0..=60_000))]
    pub(crate) near_grace: u32,

    #[command(flatten)]
    pub(crate) files: FileArgs,
}

impl StrategiesArgs {
    /// The control is always there.
    fn strategies(&self) -> Vec<Strategy> {
        let mut asked = self.strategies.clone();
        if !asked.is_empty() {
            asked.push(Strategy::Ttl);
        }
        Strategy::chosen(&asked)
    }

    fn window(&self) -> Duration {
        Duration::from_secs(self.seconds.into())
    }

    /// What a strategy takes, as a rule. The control waits for its TTL twice, ten seconds unless told.
    fn expected(&self, strategy: Strategy) -> Duration {
        let control = if strategy.promise() == Promise::Expiry { 2 } else { 0 };
        round::AROUND + self.window() + Duration::from_secs(11) * control
    }
}

/// Measures all strategies, prints the table, and writes the figures and the picture. Dropped before its end, it says what
/// was measured until then.
///
/// # Errors
/// Something that is needed could not be had: a replica, a store, a file. What is *wrong* is in the verdict.
pub(crate) async fn run(args: StrategiesArgs, targets: ShopTargets) -> anyhow::Result<Verdict> {
    let files = Files::of("shop-strategies", &args.files)?;
    let system = System::look(&targets).await?;
    let goods = Goods::pick(&system.database, usize::try_from(args.products)?).await?;
    let mut unfinished = Unfinished::new(Report::begin(&system, &args).await?);
    measure(&args, &system, &goods, unfinished.findings()).await?;
    system.database.close().await;
    let report = unfinished.end();
    files.write(&report.started_at, &report, &report.text(), &picture::draw(&report))?;
    Ok(Verdict { broken: report.broken })
}

async fn measure(args: &StrategiesArgs, system: &System, goods: &Goods, report: &mut Report) -> anyhow::Result<()> {
    let strategies = args.strategies();
    let mut steps = Steps::new(strategies.iter().map(|&strategy| args.expected(strategy)).sum());
    let counters = Counters::look(system).await?;
    report.notes.extend(counters.missing());
    for strategy in strategies {
        if !system.has(strategy) {
            report.broken.push(format!("nothing was proved: the replicas do not have the strategy {strategy}"));
            continue;
        }
        steps.next(&strategy.to_string(), args.expected(strategy));
        let row = Round { args, system, goods, counters: &counters, strategy, category: report.category }.run().await?;
        system.forget(strategy).await?;
        report.broken.extend(row.broken(args));
        report.rows.push(row);
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{StrategiesArgs, Strategy};
    use clap::Parser as _;

    #[derive(Debug, clap::Parser)]
    struct Cli {
        #[command(flatten)]
        args: StrategiesArgs,
    }

    pub(crate) fn args(args: &[&str]) -> Result<StrategiesArgs, clap::Error> {
        Cli::try_parse_from([&["lab"], args].concat()).map(|cli| cli.args)
    }

    #[test]
    fn the_control_is_never_left_out() {
        let strategies = |asked: &[&str]| args(asked).unwrap().strategies();
        assert_eq!(strategies(&[]), Strategy::ALL);
        assert_eq!(strategies(&["--strategies", "combined,tags"]), [Strategy::Ttl, Strategy::Tags, Strategy::Combined]);
        assert!(args(&["--strategies", "hope"]).is_err() && args(&["--rate", "0"]).is_err());
    }
}
