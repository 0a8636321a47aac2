//! `lab shop faults`: a worker is killed, a message lost, stores die, a replica stands still; and how long it takes until
//! every replica serves what the database has.
//!
//! Each cell of the matrix is one fault under one strategy, with replicas and workers of its own on stores of the lab's own. A
//! round of it: everything is cached everywhere; readers press on all replicas and writers on those that can be written at;
//! the fault is injected, seen, and ended; then every replica is asked for every product until it serves the newest version, and
//! a few times more. What is newest is what the database says. The control is `event` with workers that do not repair gaps: a lost
//! message must leave it stale, or a repair that was seen beside it has repaired nothing.

mod cell;
mod inject;
mod matrix;
mod picture;
mod readers;
mod report;
mod round;
mod stage;

use std::path::{Path, PathBuf};
use std::time::{Instant, UNIX_EPOCH};

use anyhow::Context as _;

use super::goods::Goods;
use super::strategy::Strategy;
use crate::fleet::Service;
use crate::measure::files::{FileArgs, Files};
use crate::measure::kept::Kept;
use crate::measure::machine::now;
use crate::screen::{Bar, note, say};
use crate::verdict::Verdict;
use cell::Cell;
use matrix::{Fault, Subject};
use report::Report;
use round::Ground;
use stage::{Cast, Stage};

/// Flags of `lab shop faults`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct FaultsArgs {
    /// Inject these faults only; repeat it or separate them by commas [default: all]
    #[arg(long, value_name = "FAULT", value_enum, value_delimiter = ',')]
    pub(crate) faults: Vec<Fault>,

    /// Run these strategies only; the control that a fault needs is added [default: all]
    #[arg(long, value_name = "NAME", value_enum, value_delimiter = ',')]
    pub(crate) strategies: Vec<Strategy>,

    /// Rounds of each cell, each with a fault of its own (1 to 100)
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) rounds: u32,

    /// Replicas of shop-api (2 to 8)
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(2..=8))]
    pub(crate) replicas: u16,

    /// Products that are read and written (2 to 1000)
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(2..=1_000))]
    pub(crate) products: u16,

    /// Go on with an interrupted run: cells that were done with the same settings and binaries are kept
    #[arg(long)]
    pub(crate) resume: bool,

    /// Folder for figures, picture, logs and the cells that are done [default: lab-results]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
}

/// The folder when none is named.
const FOLDER: &str = "lab-results";
/// Names the experiment.
const NAME: &str = "shop-faults";

impl FaultsArgs {
    /// What a cell depends on. A new build of a program is another one: its cells are not mixed with the old ones'.
    fn settings(&self) -> anyhow::Result<String> {
        let built = |service: Service| {
            let binary = service.binary()?;
            let file = std::fs::metadata(&binary).with_context(|| format!("cannot look at {}", binary.display()))?;
            anyhow::Ok(file.modified()?.duration_since(UNIX_EPOCH)?.as_millis())
        };
        let Self { rounds, replicas, products, .. } = self;
        let (api, worker) = (built(Service::Shop)?, built(Service::ShopWorker)?);
        Ok(format!(
            "{rounds} rounds, {replicas} replicas, {products} products, shop-api of {api}, shop-worker of {worker}"
        ))
    }

    fn files(&self) -> anyhow::Result<Files> {
        let named = |ending: &str| self.out.as_ref().map(|folder| folder.join(format!("{NAME}.{ending}")));
        Files::of(NAME, &FileArgs { json: named("json"), svg: named("svg") })
    }
}

/// Runs the cells, prints the matrix, and writes the figures and the picture; also of what was done before a signal.
///
/// # Errors
/// Something that is needed could not be had: a binary, a server, a file. What is *wrong* is in the verdict.
pub(crate) async fn run(args: FaultsArgs) -> anyhow::Result<Verdict> {
    let folder = args.out.clone().unwrap_or_else(|| PathBuf::from(FOLDER));
    let kept = Kept::open(&folder, NAME, args.resume, &args.settings()?)?;
    let wanted = matrix::cells(&args.faults, &args.strategies);
    let report = Report::new(&args, now());
    let mut unfinished = Unfinished { wanted, kept, files: args.files()?, report: Some(report) };
    // A signal drops this where it stands: what is stopped goes on, and what was started ends, by their drops.
    all_cells(&args, &folder, &unfinished.wanted, &mut unfinished.kept).await?;
    let broken = unfinished.tell()?;
    Ok(Verdict { broken })
}

/// A run and what it is told by. Dropped before its end, it tells the cells that are done.
#[derive(Debug)]
struct Unfinished {
    wanted: Vec<(Fault, Subject)>,
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
        let done = self.wanted.iter().filter(|(fault, subject)| self.kept.has(*fault, *subject)).count();
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
    wanted: &[(Fault, Subject)],
    kept: &mut Kept<Cell>,
) -> anyhow::Result<()> {
    let settings = args.settings()?;
    let missing: Vec<_> = wanted.iter().filter(|(fault, subject)| !kept.has(*fault, *subject)).copied().collect();
    if missing.is_empty() {
        return Ok(());
    }
    let stage = Stage::start(&folder.join(format!("{NAME}-logs"))).await?;
    let goods = Goods::pick(&stage.bed.database, args.products.into()).await?;
    let mut bar = Bar::new("cells", wanted.len() as u64, (wanted.len() - missing.len()) as u64);
    for (fault, subject) in missing {
        let begun = Instant::now();
        let mut cell = Cell::new(fault, subject, &settings);
        let cast = stage.cast(subject, args.replicas).await?;
        rounds(args, &stage, &cast, &goods, &mut cell).await?;
        cast.stop().await;
        cell.seconds = begun.elapsed().as_secs_f64();
        tell(&cell);
        kept.add(cell)?;
        bar.advance(1);
    }
    bar.done();
    stage.stop().await;
    Ok(())
}

/// A round that could not be run as it should ends its cell: what it has broken may still be broken.
async fn rounds(args: &FaultsArgs, stage: &Stage, cast: &Cast, goods: &Goods, cell: &mut Cell) -> anyhow::Result<()> {
    let replicas = cast.addresses().await?;
    let (fault, subject) = (cell.fault, cell.subject);
    for number in 1..=args.rounds {
        let ground = Ground { stage, cast, goods, replicas: &replicas, fault, subject, number };
        match ground.run().await {
            Ok(round) => cell.rounds.push(round),
            Err(error) => {
                cell.failed.push(format!("round {number} proves nothing: {error:#}"));
                return stage.heal().await;
            }
        }
        // What it leaves stale would be there before the next fault.
        if subject == Subject::EventUnrepaired {
            crate::up::cache::forget(&stage.redis.url(), &["shop:"]).await?;
        }
    }
    Ok(())
}

/// One line for a cell that is done.
fn tell(cell: &Cell) {
    let Cell { fault, subject, rounds, .. } = cell;
    let sum = |of: fn(&cell::Round) -> u64| rounds.iter().map(of).sum::<u64>();
    let mut line = format!(
        "{} x {subject}: {} products written, converged after {:.0} ms at the most, {} not; {} reads, {} stale, {} failed ({:.0} s)",
        fault.as_str(),
        sum(|round| round.products),
        cell.slowest_ms(),
        sum(|round| round.unconverged),
        sum(|round| round.reads),
        sum(|round| round.stale_reads),
        sum(|round| round.failed_reads),
        cell.seconds
    );
    for what in cell.broken().into_iter().chain(cell.control_held()) {
        line.push_str(&format!("\n  broken: {what}"));
    }
    note(&line);
}
