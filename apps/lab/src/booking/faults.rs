//! `lab booking faults`: processes are killed and stopped, stores die, vanish and lose the time, and nothing may be sold
//! twice.
//!
//! Each cell of the matrix is one fault under one strategy, on stores and replicas of its own. A round of it: a fresh
//! event; one booking, the *victim*, goes into its section alone and is seen there; buyers press on the other replicas;
//! the fault is injected and seen; the buyers buy until nothing is left; the fault is ended, and the victim gets its
//! answer. Then the lab's own SQL is held against what each of them was told. Every fault has a control that must
//! oversell: where it does not, the safe strategies beside it have proved nothing.

mod bed;
pub(crate) mod buyers;
mod cell;
pub(crate) mod http;
mod inject;
pub(crate) mod judge;
pub(crate) mod look;
mod matrix;
mod picture;
pub(crate) mod redis;
mod report;
mod round;

use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use anyhow::Context as _;

use super::strategy::Strategy;
use crate::exit::Failure;
use crate::fleet::Service;
use crate::measure::files::{FileArgs, Files};
use crate::measure::kept::Kept;
use crate::measure::machine::now;
use crate::screen::{Bar, note, say};
use crate::verdict::Verdict;
use bed::Bed;
use cell::Cell;
pub(crate) use matrix::Fault;
use report::Report;

/// Flags of `lab booking faults`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct FaultsArgs {
    /// Inject these faults only; repeat it or separate them by commas [default: all]
    #[arg(long, value_name = "FAULT", value_enum, value_delimiter = ',')]
    pub(crate) faults: Vec<Fault>,

    /// Run these strategies only; the controls that a fault needs are added [default: all but k8s-lease]
    #[arg(long, value_name = "STRATEGY", value_enum, value_delimiter = ',')]
    pub(crate) strategies: Vec<Strategy>,

    /// Least bookings of each cell (20 to 100000)
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(20..=100_000))]
    pub(crate) bookings: u64,

    /// Rounds of each cell, each with an event and a fault of its own (1 to 100)
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) rounds: u32,

    /// Replicas of booking-api, one of which is the victim's (2 to 8)
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(2..=8))]
    pub(crate) replicas: u16,

    /// Go on with an interrupted run: cells that were done with the same settings and binary are kept
    #[arg(long)]
    pub(crate) resume: bool,

    /// Folder for figures, picture, logs and the cells that are done [default: lab-results]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
}

/// The folder when none is named.
const FOLDER: &str = "lab-results";

impl FaultsArgs {
    /// What a cell depends on. A new build of the service is another one: its cells are not mixed with the old ones'.
    fn settings(&self) -> anyhow::Result<String> {
        let binary = Service::Booking.binary()?;
        let file = std::fs::metadata(&binary).with_context(|| format!("cannot look at {}", binary.display()))?;
        let built = file.modified()?.duration_since(UNIX_EPOCH)?.as_millis();
        let Self { bookings, rounds, replicas, .. } = self;
        Ok(format!(
            "{bookings} bookings, {rounds} rounds, {replicas} replicas, booking-api of {built}, {:?}",
            matrix::TIMES
        ))
    }

    fn files(&self) -> anyhow::Result<Files> {
        let named = |ending: &str| self.out.as_ref().map(|folder| folder.join(format!("booking-faults.{ending}")));
        Files::of("booking-faults", &FileArgs { json: named("json"), svg: named("svg") })
    }
}

/// Runs the cells, prints the matrix, and writes the figures and the picture; also of what was done before a signal.
///
/// # Errors
/// Something that is needed could not be had: a binary, a server, a file. What is *wrong* is in the verdict.
pub(crate) async fn run(args: FaultsArgs) -> anyhow::Result<Verdict> {
    if args.strategies.contains(&Strategy::K8sLease) {
        let line = "--strategies k8s-lease: it needs a cluster, and the lab breaks only what it has started itself";
        return Err(Failure::usage(line).into());
    }
    let folder = args.out.clone().unwrap_or_else(|| PathBuf::from(FOLDER));
    let kept = Kept::open(&folder, "booking-faults", args.resume, &args.settings()?)?;
    let wanted = matrix::cells(&args.faults, &args.strategies);
    let report = Report::new(args.replicas, args.rounds, args.bookings, now());
    let mut unfinished = Unfinished { wanted, kept, files: args.files()?, report: Some(report) };
    // A signal drops this where it stands: what is stopped goes on, and what was started ends, by their drops.
    all_cells(&args, &folder, &unfinished.wanted, &mut unfinished.kept).await?;
    let broken = unfinished.tell()?;
    Ok(Verdict { broken })
}

/// A run and what it is told by. Dropped before its end, it tells the cells that are done.
#[derive(Debug)]
struct Unfinished {
    wanted: Vec<(Fault, Strategy)>,
    kept: Kept<Cell>,
    files: Files,
    /// Absent when it has been told.
    report: Option<Report>,
}

impl Unfinished {
    /// What is broken.
    fn tell(&mut self) -> anyhow::Result<Vec<String>> {
        let Some(mut report) = self.report.take() else { return Ok(Vec::new()) };
        report.finish(std::mem::take(&mut self.kept.cells), &self.wanted);
        let text = report.text();
        say(&text);
        self.files.write(&report.started_at, &report, &text, &picture::draw(&report))?;
        Ok(report.broken)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if self.report.is_none() || self.kept.cells.is_empty() {
            return;
        }
        let done = self.wanted.iter().filter(|(fault, strategy)| self.kept.has(*fault, *strategy)).count();
        let line = format!("{done} of {} cells are done and kept: go on with --resume", self.wanted.len());
        match self.tell() {
            Ok(broken) => broken.iter().for_each(|line| note(&format!("lab: broken: {line}"))),
            Err(error) => note(&format!("lab: {error:#}")),
        }
        note(&line);
    }
}

async fn all_cells(
    args: &FaultsArgs,
    folder: &Path,
    wanted: &[(Fault, Strategy)],
    kept: &mut Kept<Cell>,
) -> anyhow::Result<()> {
    let logs = folder.join("booking-faults-logs");
    std::fs::create_dir_all(&logs).with_context(|| format!("cannot make {}", logs.display()))?;
    // Absolute: those who write there may have another working folder.
    let logs = logs.canonicalize()?;
    let settings = args.settings()?;
    let before = wanted.iter().filter(|(fault, strategy)| kept.has(*fault, *strategy)).count();
    let mut bar = Bar::new("cells", wanted.len() as u64, before as u64);
    let mut bed: Option<(bool, Bed)> = None;
    for &(fault, strategy) in wanted {
        if kept.has(fault, strategy) {
            continue;
        }
        let mut cell = Cell::new(fault, strategy, &settings);
        let clock = fault == Fault::ClockBack;
        if let Err(why) = matrix::expected(fault, strategy, args.rounds) {
            cell.meaningless = Some(why.to_owned());
        } else if clock && redis::faketime().is_none() {
            cell.not_run = Some("needs libfaketime (apt-get install faketime)".to_owned());
        } else {
            if bed.as_ref().is_some_and(|(faked, _)| *faked != clock)
                && let Some((_, old)) = bed.take()
            {
                old.stop().await;
            }
            let (_, bed) = match &mut bed {
                Some(bed) => bed,
                none => none.insert((clock, Bed::start(redis::faketime().filter(|_| clock), &logs).await?)),
            };
            cell = cell::run(bed, cell, args.replicas, args.rounds, args.bookings).await?;
            tell(args, &cell);
        }
        kept.add(cell)?;
        bar.advance(1);
    }
    bar.done();
    if let Some((_, bed)) = bed {
        bed.stop().await;
    }
    Ok(())
}

/// One line for a cell that is done.
fn tell(args: &FaultsArgs, cell: &Cell) {
    let judged = &cell.judged;
    let mut line = format!(
        "{} x {}: {} bookings, {} oversold, {} lost, {} doubled, {} in doubt",
        cell.fault.as_str(),
        cell.strategy,
        judged.bookings,
        judged.oversold,
        judged.lost,
        judged.doubled,
        judged.in_doubt
    );
    if let Some(recovery) = cell.recovery_ms {
        line.push_str(&format!(", back after {recovery:.0} ms"));
    }
    line.push_str(&format!(" ({:.0} s)", cell.seconds));
    for what in cell.broken(args.rounds, args.bookings).into_iter().chain(cell.control_held(args.rounds)) {
        line.push_str(&format!("\n  broken: {what}"));
    }
    note(&line);
}
