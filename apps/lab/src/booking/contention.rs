//! `lab booking contention`: so many bookings arrive a second, whoever may be waiting already: all for one hot event, or
//! spread over many. With each step there are more replicas, so more processes that want the same lock.

mod crew;
mod picture;
mod point;
mod report;

use std::time::Duration;

use super::strategy::Strategy;
use super::system::System;
use crate::exit::{Ending, Failure};
use crate::measure::files::{FileArgs, Files};
use crate::measure::table;
use crate::measure::unfinished::{Findings as _, Unfinished};
use crate::screen::Steps;
use crate::signals;
use crate::target::BookingStores;
use crate::verdict::Verdict;
use crew::Crew;
use report::Report;

/// What is measured when nobody says what: a lock that hands over, one that is asked for again and again, PostgreSQL's,
/// and none at all but a guarded update.
const BY_DEFAULT: [Strategy; 4] = [Strategy::RedisFenced, Strategy::Redis, Strategy::PgRow, Strategy::PgConditional];

/// Flags of `lab booking contention`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ContentionArgs {
    /// Run these strategies only; repeat it or separate them by commas [default: redis-fenced,redis,pg-row,pg-conditional]
    #[arg(long, value_name = "NAME", value_enum, value_delimiter = ',')]
    pub(crate) strategies: Vec<Strategy>,

    /// Most replicas; the steps are 1, 2, 4, ... up to so many (1 to 16)
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=16))]
    pub(crate) replicas: u16,

    /// Bookings that arrive a second (1 to 10000)
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) rate: u32,

    /// How long they arrive at each point, in seconds (1 to 600)
    #[arg(long, value_name = "SECONDS", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=600))]
    pub(crate) seconds: u32,

    /// The payment in the middle of each booking, in milliseconds (0 to 1000)
    #[arg(long, value_name = "MS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(0..=1_000))]
    pub(crate) work_ms: u64,

    /// How many events are many (2 to 1000)
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(2..=1_000))]
    pub(crate) events: u16,

    #[command(flatten)]
    pub(crate) files: FileArgs,
}

/// Most seats of an event.
const MOST_SEATS: u32 = 100_000;

impl ContentionArgs {
    fn strategies(&self) -> Vec<Strategy> {
        Strategy::chosen(&self.strategies, &BY_DEFAULT)
    }

    /// 1, 2, 4, ... and the last.
    fn steps(&self) -> Vec<u16> {
        let mut steps: Vec<u16> = std::iter::successors(Some(1_u16), |step| step.checked_mul(2))
            .take_while(|step| *step < self.replicas)
            .collect();
        steps.push(self.replicas);
        steps
    }

    /// Seats of one event, which are never all sold.
    fn seats(&self) -> u32 {
        self.rate * self.seconds + 1_000
    }

    /// # Errors
    /// More would be booked than an event can have seats.
    fn check(&self) -> Result<(), Failure> {
        if self.rate.saturating_mul(self.seconds) > MOST_SEATS - 1_000 {
            return Err(Failure::usage(format!(
                "--rate {} for --seconds {} are more than {} bookings: an event has no more seats",
                self.rate,
                self.seconds,
                MOST_SEATS - 1_000
            )));
        }
        Ok(())
    }
}

/// Measures until the end or a signal. A Deployment that was scaled for it has the replicas of before afterwards.
///
/// # Errors
/// Those of [`run`]; or the Deployment could not be scaled back.
pub(crate) async fn until_signal(args: ContentionArgs, stores: BookingStores) -> anyhow::Result<Ending> {
    let crew = Crew::find(stores).await?;
    let outcome = signals::until_signal(async { Ok(run(args, &crew).await?.report()) }).await;
    crew.dismiss().await?;
    outcome
}

/// Measures all points, prints the table, and writes the figures and the picture. Dropped before its end, it says what
/// was measured until then.
///
/// # Errors
/// Something that is needed could not be had: a replica, a store, a file. What is *wrong* is in the verdict.
async fn run(args: ContentionArgs, crew: &Crew) -> anyhow::Result<Verdict> {
    args.check()?;
    let files = Files::of("booking-contention", &args.files)?;
    let mut unfinished = Unfinished::new(Report::new(&args));
    measure(&args, crew, unfinished.findings()).await?;
    let report = unfinished.end();
    files.write(&report.started_at, &report, &report.text(), &picture::draw(&report))?;
    Ok(Verdict { broken: report.broken })
}

async fn measure(args: &ContentionArgs, crew: &Crew, report: &mut Report) -> anyhow::Result<()> {
    let (sizes, strategies) = (args.steps(), args.strategies());
    let each = Duration::from_secs(args.seconds.into()) + point::PREPARING;
    let of_a_size = crew.start_takes() + each * 2 * u32::try_from(strategies.len()).unwrap_or(u32::MAX);
    let mut steps = Steps::new(of_a_size * u32::try_from(sizes.len()).unwrap_or(u32::MAX));
    for replicas in sizes {
        steps.next(&format!("starting {replicas} of booking-api"), crew.start_takes());
        let (targets, fleet) = crew.start(replicas).await?;
        let system = System::look(&targets).await?;
        if report.versions.is_none() {
            report.versions = Some(system.versions().await?);
        }
        for &strategy in &strategies {
            for hot in [true, false] {
                let events = if hot { "one event" } else { "many events" };
                steps.next(&format!("{strategy}, {}, {events}", table::replicas(replicas.into())), each);
                match point::measure(&system, args, strategy, hot).await? {
                    Ok((point, broken)) => {
                        report.points.push(point);
                        report.broken.extend(broken);
                    }
                    Err(reason) => report.miss(strategy, &reason),
                }
            }
        }
        system.database.close().await;
        if let Some(fleet) = fleet {
            fleet.stop().await;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{ContentionArgs, Strategy};
    use clap::Parser as _;

    #[derive(Debug, clap::Parser)]
    struct Cli {
        #[command(flatten)]
        args: ContentionArgs,
    }

    fn parse(args: &[&str]) -> Result<ContentionArgs, clap::Error> {
        Cli::try_parse_from([&["lab"], args].concat()).map(|cli| cli.args)
    }

    #[test]
    fn the_steps_double_up_to_the_last() {
        let steps = |most: &str| parse(&["--replicas", most]).unwrap().steps();
        assert_eq!(steps("8"), [1, 2, 4, 8]);
        assert_eq!(steps("6"), [1, 2, 4, 6]);
        assert_eq!((steps("1"), steps("2")), (vec![1], vec![1, 2]));
    }

    #[test]
    fn more_than_an_event_can_hold_is_refused() {
        assert!(parse(&[]).unwrap().check().is_ok());
        assert!(parse(&["--rate", "10000", "--seconds", "600"]).unwrap().check().is_err());
        assert!(parse(&["--replicas", "17"]).is_err() && parse(&["--rate", "0"]).is_err());
        assert_eq!(parse(&["--strategies", "none"]).unwrap().strategies(), [Strategy::None]);
    }
}
