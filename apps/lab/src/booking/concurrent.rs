//! `lab booking concurrent`: the same event, the same buyers, one strategy after the other: who sells a seat twice, and
//! what it costs not to.
//!
//! Each strategy has two events. A large one, on which all take turns, gives the rates, beside the floor: the same
//! statements sent by pgbench. A small one is sold out with a payment in the middle of each booking, which is when
//! unlocked buyers run into each other. Both are judged by the lab's own SQL.

mod counters;
mod floor;
mod picture;
mod report;
mod sales;

use std::time::Duration;

use anyhow::ensure;

use super::judge::Judgement;
use super::strategy::{Promise, Strategy};
use super::system::System;
use crate::measure::files::{FileArgs, Files};
use crate::measure::metrics::Metrics;
use crate::measure::unfinished::{Findings as _, Unfinished};
use crate::screen::Steps;
use crate::target::BookingTargets;
use crate::verdict::Verdict;
use counters::Counters;
use report::{Report, Row};
use sales::Events;

/// The counter of bookings that only a constraint of the schema kept from overselling.
const SCHEMA_REFUSALS: &str = "booking_schema_refusals_total";

/// Flags of `lab booking concurrent`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ConcurrentArgs {
    /// Run these strategies only; repeat it or separate them by commas [default: all]
    #[arg(long, value_name = "NAME", value_enum, value_delimiter = ',')]
    pub(crate) strategies: Vec<Strategy>,

    /// Buyers at once, each with a connection of his own (2 to 1024)
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(2..=1024))]
    pub(crate) buyers: u16,

    /// Seats of the event that is sold out (1 to 100000)
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) seats: u32,

    /// The payment in the middle of each booking of the event that is sold out, in milliseconds (0 to 1000)
    #[arg(long, value_name = "MS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(0..=1_000))]
    pub(crate) work_ms: u64,

    /// Turns of each strategy on the large event, for the rates (0 to 100); without any there are no rates
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(0..=100))]
    pub(crate) rounds: u32,

    /// How long one turn is, in milliseconds (100 to 60000)
    #[arg(long, value_name = "MS", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(100..=60_000))]
    pub(crate) turn_ms: u64,

    #[command(flatten)]
    pub(crate) files: FileArgs,
}

impl ConcurrentArgs {
    fn strategies(&self) -> Vec<Strategy> {
        Strategy::chosen(&self.strategies, &Strategy::ALL)
    }

    fn turn(&self) -> Duration {
        Duration::from_millis(self.turn_ms)
    }

    fn work(&self) -> Duration {
        Duration::from_millis(self.work_ms)
    }

    /// How long selling out takes one buyer after the other, at three milliseconds of locking and writing a booking.
    fn sale(&self) -> Duration {
        (self.work() + Duration::from_millis(3)) * self.seats
    }

    /// Seats of the large event: more than can be sold in all turns, as far as there may be so many.
    fn plenty(&self) -> u32 {
        let sold = self.turn().as_secs_f64() * f64::from(self.rounds + 1) * 8_000.0;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
        let sold = sold.clamp(20_000.0, 100_000.0) as u32;
        sold
    }
}

/// Runs all sales, prints the table, and writes the figures and the picture. Dropped before its end, it says what was
/// measured until then.
///
/// # Errors
/// Something that is needed could not be had: a replica, a store, a file. What is *wrong* is in the verdict.
pub(crate) async fn run(args: ConcurrentArgs, targets: BookingTargets) -> anyhow::Result<Verdict> {
    let files = Files::of("booking-concurrent", &args.files)?;
    let system = System::look(&targets).await?;
    let mut unfinished = Unfinished::new(Report::begin(&system, &args).await?);
    measure(&args, &system, unfinished.findings()).await?;
    system.database.close().await;
    let report = unfinished.end();
    files.write(&report.started_at, &report, &report.text(), &picture::draw(&report))?;
    Ok(Verdict { broken: report.broken })
}

async fn measure(args: &ConcurrentArgs, system: &System, report: &mut Report) -> anyhow::Result<()> {
    let mut steps = steps(args);
    let mut all = Vec::new();
    for strategy in args.strategies() {
        steps.next(&format!("{strategy}: making events"), MAKING);
        match Events::make(system, strategy, args).await? {
            Ok(events) => {
                report.rows.push(Row::new(strategy));
                all.push(events);
            }
            Err(reason) => {
                let needed = strategy != Strategy::K8sLease;
                if needed {
                    report.broken.push(format!(
                        "nothing was proved: {strategy} is not to be had: {reason} (leave it out with --strategies)"
                    ));
                }
                report.rows.push(Row { missing: Some(reason), ..Row::new(strategy) });
            }
        }
    }
    ensure!(!all.is_empty(), "the replicas have none of the strategies");
    let counters = Counters::look(system).await?;
    if let Some(reason) = &counters.no_redis {
        report.notes.push(format!("commands to Redis were not counted: {reason}"));
    }
    for events in &mut all {
        steps.next(&format!("{}: commands and statements", events.strategy), sales::COUNTED);
        let found = events.warm_up(system, args, &counters).await;
        let row = report.row(events.strategy);
        match found {
            Ok(counted) => row.counted = Some(counted),
            Err(reason) => {
                row.missing = Some(format!("{reason:#}"));
                report.broken.push(format!("nothing was proved: {} sold nothing: {reason:#}", events.strategy));
            }
        }
    }
    all.retain(|events| report.row(events.strategy).missing.is_none());
    for round in 1..=args.rounds {
        for events in &mut all {
            steps.next(&format!("{}, turn {round} of {}", events.strategy, args.rounds), sales::WARM_UP + args.turn());
            let window = events.turn(system, args).await?;
            report.row(events.strategy).add(window);
        }
        steps.next(&format!("the floor, turn {round} of {}", args.rounds), args.turn() * 2);
        report.floor.extend(floor::row_lock(system, args, args.buyers.into()).await?);
        report.floor_of_few.extend(floor::row_lock(system, args, floor::FEW).await?);
    }
    for events in &mut all {
        steps.next(&format!("{}: selling out {} seats", events.strategy, args.seats), args.sale());
        let sale = events.sell_out(system, args).await?;
        report.row(events.strategy).sale = Some(sale);
        judge(system, events, report).await?;
    }
    schema_refusals(system, report).await
}

/// What making the events of one strategy takes, a row for each seat at the most.
const MAKING: Duration = Duration::from_millis(300);

fn steps(args: &ConcurrentArgs) -> Steps {
    let strategies = u32::try_from(args.strategies().len()).unwrap_or(u32::MAX);
    let turns = (sales::WARM_UP + args.turn()) * strategies + args.turn() * 2;
    Steps::new((MAKING + sales::COUNTED + args.sale()) * strategies + turns * args.rounds)
}

/// Judges both events of a strategy.
async fn judge(system: &System, events: &Events, report: &mut Report) -> anyhow::Result<()> {
    let strategy = events.strategy;
    let (large, small) = events.judge(system).await?;
    let sold_out = events.is_sold_out();
    let mut broken = large.broken(strategy, "large event", true, false);
    broken.extend(small.broken(strategy, "event sold out", true, sold_out));
    broken.extend(events.differences(system, &large, &small).await?);
    broken.extend(events.failures());
    if !sold_out {
        broken.push(format!("{strategy}: the event was not sold out within {} s", sales::SELLING_OUT.as_secs()));
    }
    broken.extend(unproved(strategy, &small));
    let row = report.row(strategy);
    row.large = Some(large);
    row.small = Some(small);
    report.broken.extend(broken);
    Ok(())
}

/// A strategy that promises nothing must be seen failing: buyers who did not run into each other prove nothing about the
/// others either.
fn unproved(strategy: Strategy, small: &Judgement) -> Option<String> {
    (strategy.promise() == Promise::Nothing && small.rows.oversold == 0).then(|| {
        format!(
            "nothing was proved: {strategy} did not oversell; give its buyers more to run into each other (--work-ms, --buyers, --seats)"
        )
    })
}

/// The schema's last line of defence must not have been needed.
async fn schema_refusals(system: &System, report: &mut Report) -> anyhow::Result<()> {
    if system.admin.is_empty() {
        report.notes.push(format!("{SCHEMA_REFUSALS} was not looked at: no --admin was given"));
        return Ok(());
    }
    let metrics = Metrics::scrape(&system.admin).await?;
    for row in report.rows.iter_mut().filter(|row| row.missing.is_none()) {
        let strategy = row.strategy;
        row.schema_refusals = metrics.sum(SCHEMA_REFUSALS, "strategy", strategy.as_str());
        match row.schema_refusals {
            Some(refusals) if refusals > 0.0 => report.broken.push(format!(
                "{strategy}: {refusals} bookings were kept from overselling by the schema alone ({SCHEMA_REFUSALS})"
            )),
            Some(_) => {}
            None => report.broken.push(format!("{strategy}: the replicas do not show {SCHEMA_REFUSALS}")),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{ConcurrentArgs, Strategy, unproved};
    use crate::booking::judge::{Judgement, Rows};
    use clap::Parser as _;

    #[derive(Debug, clap::Parser)]
    struct Cli {
        #[command(flatten)]
        args: ConcurrentArgs,
    }

    fn parse(args: &[&str]) -> Result<ConcurrentArgs, clap::Error> {
        Cli::try_parse_from([&["lab"], args].concat()).map(|cli| cli.args)
    }

    #[test]
    fn without_flags_every_strategy_has_64_buyers() {
        let args = parse(&[]).unwrap();
        assert_eq!(args.strategies(), Strategy::ALL);
        assert_eq!((args.buyers, args.seats, args.work_ms, args.rounds), (64, 200, 2, 3));
        assert_eq!(args.plenty(), 32_000);
    }

    #[test]
    fn a_run_in_which_none_does_not_oversell_proves_nothing() {
        let sold = |oversold| Judgement { rows: Rows { oversold, ..Rows::default() }, ..Judgement::default() };
        assert!(unproved(Strategy::None, &sold(0)).unwrap().contains("nothing was proved"));
        assert_eq!(unproved(Strategy::None, &sold(1)), None);
        assert_eq!(unproved(Strategy::Redis, &sold(0)), None);
    }

    #[test]
    fn strategies_are_shown_in_one_order() {
        let args = parse(&["--strategies", "pg-row,none", "--strategies", "redis-fenced"]).unwrap();
        assert_eq!(args.strategies(), [Strategy::None, Strategy::RedisFenced, Strategy::PgRow]);
        assert!(parse(&["--strategies", "hope"]).is_err() && parse(&["--buyers", "1"]).is_err());
    }
}
