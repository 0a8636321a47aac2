//! Everything that a run found: as a table, as JSON, and for the picture.

use std::time::Instant;

use serde::Serialize;

use super::ConcurrentArgs;
use super::counters::Counted;
use super::floor::FEW;
use super::sales::{Sale, Turn};
use crate::booking::judge::Judgement;
use crate::booking::ledger::Window;
use crate::booking::strategy::{Promise, Strategy};
use crate::booking::system::{System, Versions};
use crate::measure::figures::Figure;
use crate::measure::latencies::Percentiles;
use crate::measure::machine::{Machine, now};
use crate::measure::statistics::{Spread, paired_ratio};
use crate::measure::table::{self, Group, three_digits, time, whole};
use crate::measure::unfinished::Findings;

/// A run.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Report {
    /// Version of this shape.
    format: u32,
    /// RFC 3339, in UTC.
    pub(crate) started_at: String,
    seconds: f64,
    pub(crate) machine: Machine,
    pub(crate) versions: Versions,
    pub(crate) replicas: usize,
    pub(crate) buyers: u16,
    /// Of the event that is sold out.
    pub(crate) seats: u32,
    pub(crate) work_ms: u64,
    pub(crate) turn_ms: u64,
    pub(crate) rows: Vec<Row>,
    /// Bookings a second that pgbench makes under the event's row lock, in each round.
    pub(crate) floor: Vec<f64>,
    /// The same with [`super::floor::FEW`] clients.
    pub(crate) floor_of_few: Vec<f64>,
    pub(crate) figures: Vec<Figure>,
    pub(crate) notes: Vec<String>,
    /// One line per invariant that did not hold, or that the run did not prove.
    pub(crate) broken: Vec<String>,
    #[serde(skip)]
    begun: Instant,
}

/// What one strategy did.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    pub(crate) strategy: Strategy,
    /// Why there is nothing of it.
    pub(crate) missing: Option<String>,
    pub(crate) counted: Option<Counted>,
    /// Bookings a second on the large event, in each round.
    pub(crate) per_second: Vec<f64>,
    /// Of all rounds together.
    pub(crate) waits: Option<Percentiles>,
    pub(crate) fairness_of_buyers: Option<f64>,
    pub(crate) fairness_of_replicas: Option<f64>,
    /// Answers 423 and 503 in all rounds.
    pub(crate) locked: u64,
    pub(crate) unavailable: u64,
    /// Of the event that was sold out.
    pub(crate) sale: Option<Sale>,
    pub(crate) small: Option<Judgement>,
    pub(crate) large: Option<Judgement>,
    pub(crate) schema_refusals: Option<f64>,
    #[serde(skip)]
    pub(super) window: Option<Window>,
}

impl Row {
    pub(crate) fn new(strategy: Strategy) -> Self {
        Self {
            strategy,
            missing: None,
            counted: None,
            per_second: Vec::new(),
            waits: None,
            fairness_of_buyers: None,
            fairness_of_replicas: None,
            locked: 0,
            unavailable: 0,
            sale: None,
            small: None,
            large: None,
            schema_refusals: None,
            window: None,
        }
    }

    /// Adds one turn on the large event.
    pub(crate) fn add(&mut self, turn: Turn) {
        self.per_second.push(turn.window.per_second());
        self.locked += turn.locked;
        self.unavailable += turn.unavailable;
        let mut window = turn.window;
        if let Some(before) = &self.window {
            window.merge(before);
        }
        self.waits = window.waits.percentiles();
        self.fairness_of_buyers = window.fairness_of_buyers();
        self.fairness_of_replicas = window.fairness_of_replicas();
        self.window = Some(window);
    }
}

impl Report {
    /// Notes where and on what the run takes place.
    pub(crate) async fn begin(system: &System, args: &ConcurrentArgs) -> anyhow::Result<Self> {
        Ok(Self::new(system.versions().await?, system.replicas.len(), args))
    }

    fn new(versions: Versions, replicas: usize, args: &ConcurrentArgs) -> Self {
        Self {
            format: 1,
            started_at: now(),
            seconds: 0.0,
            machine: Machine::look(),
            versions,
            replicas,
            buyers: args.buyers,
            seats: args.seats,
            work_ms: args.work_ms,
            turn_ms: args.turn_ms,
            rows: Vec::new(),
            floor: Vec::new(),
            floor_of_few: Vec::new(),
            figures: Vec::new(),
            notes: Vec::new(),
            broken: Vec::new(),
            begun: Instant::now(),
        }
    }

    /// The row of a strategy, made when it is not there yet.
    pub(crate) fn row(&mut self, strategy: Strategy) -> &mut Row {
        let at = self.rows.iter().position(|row| row.strategy == strategy).unwrap_or_else(|| {
            self.rows.push(Row::new(strategy));
            self.rows.len() - 1
        });
        &mut self.rows[at]
    }

    fn found(&self, strategy: Strategy) -> Option<&Row> {
        self.rows.iter().find(|row| row.strategy == strategy)
    }

    /// Bookings a second of a row against the floor, round by round.
    pub(crate) fn of_the_floor(&self, row: &Row) -> Option<Spread> {
        paired_ratio(&row.per_second, &self.floor)
    }

    /// The same against the row lock through the same HTTP interface.
    pub(crate) fn of_pg_row(&self, row: &Row) -> Option<Spread> {
        paired_ratio(&row.per_second, &self.found(Strategy::PgRow)?.per_second)
    }

    fn form(&mut self) {
        self.seconds = self.begun.elapsed().as_secs_f64();
        let ratio = |strategy, least| {
            let row = self.found(strategy)?;
            let value = self.of_the_floor(row).map(|spread| spread.median);
            Some(Figure::at_least(
                &format!("{strategy}: bookings/s of pgbench's row lock, {} clients", self.buyers),
                value,
                least,
                "x",
            ))
        };
        let mut figures: Vec<Figure> =
            [ratio(Strategy::RedisFenced, 0.9), ratio(Strategy::PgConditional, 1.2)].into_iter().flatten().collect();
        let judged = |row: &&Row| row.strategy.promise() == Promise::Always && row.small.is_some();
        if self.rows.iter().any(|row| judged(&row)) {
            let wrong: i64 =
                self.rows.iter().filter(judged).flat_map(|row| row.small.iter().chain(&row.large)).map(wrong).sum();
            let value = crate::measure::latencies::as_f64(wrong.unsigned_abs());
            figures.push(Figure::exactly(
                "oversold, lost, doubled: redis-fenced, pg-*, redis-reserve",
                Some(value),
                0.0,
                "",
            ));
        }
        if let Some(none) = self.found(Strategy::None).and_then(|row| row.small.as_ref()) {
            let value = crate::measure::latencies::as_f64(none.rows.oversold.unsigned_abs());
            figures.push(Figure::at_least("oversold by none, which proves the run", Some(value), 1.0, ""));
        }
        self.figures = figures;
    }

    /// Where and on what, in one line.
    fn heading(&self) -> String {
        let Self { machine, versions, .. } = self;
        let built = if versions.lab_is_optimized { "" } else { " (lab built without optimizations)" };
        format!(
            "lab booking concurrent, {}: {}, PostgreSQL {}, Redis {}, {} of booking-api, {:.0} s{built}",
            self.started_at,
            machine,
            versions.postgresql.split(' ').next().unwrap_or_default(),
            versions.redis,
            table::replicas(self.replicas),
            self.seconds,
        )
    }

    fn group(&self, title: &str) -> Group {
        let names: Vec<&str> = self.rows.iter().map(|row| row.strategy.as_str()).collect();
        Group::new(title, &names)
    }

    fn line(&self, group: &mut Group, what: &str, cell: impl Fn(&Row) -> Option<String>) {
        let cells = self.rows.iter().map(|row| cell(row).unwrap_or_else(|| "-".to_owned()));
        group.cells(std::iter::once(what.to_owned()).chain(cells).collect());
    }

    /// The event that was sold out: unlocked beside locked.
    fn sold_out(&self) -> Group {
        let title = format!("{} BUYERS, {} SEATS, {} ms OF PAYMENT", self.buyers, self.seats, self.work_ms);
        let mut group = self.group(&title);
        let judged =
            |read: fn(&Judgement) -> i64| move |row: &Row| row.small.as_ref().map(|found| read(found).to_string());
        self.line(&mut group, "seats sold, by the lab's own count", judged(|found| found.rows.seats_sold));
        self.line(&mut group, "seats OVERSOLD", judged(|found| found.rows.oversold));
        self.line(&mut group, "bookings lost (201 and absent)", judged(|found| found.lost));
        self.line(&mut group, "bookings doubled", judged(|found| found.doubled));
        self.line(&mut group, "bookings/s until sold out", |row| row.sale.as_ref().map(|sale| whole(sale.per_second)));
        let waits = |row: &Row| row.sale.as_ref().and_then(|sale| sale.waits);
        self.waits(&mut group, waits);
        if self.rows.iter().filter_map(waits).any(|waits| waits.count < 1_000) {
            group.note("of fewer than 1,000 bookings p99.9 is the longest wait");
        }
        self.line(&mut group, "answers 423, 503 (sent again)", |row| {
            row.sale.as_ref().map(|sale| format!("{}, {}", sale.locked, sale.unavailable))
        });
        group
    }

    fn waits(&self, group: &mut Group, of: impl Fn(&Row) -> Option<Percentiles>) {
        self.line(group, "a buyer waits: p50", |row| of(row).map(|waits| time(waits.p50_us)));
        self.line(group, "p99", |row| of(row).map(|waits| time(waits.p99_us)));
        self.line(group, "p99.9", |row| of(row).map(|waits| time(waits.p999_us)));
    }

    /// The large event.
    fn rates(&self) -> Group {
        let rounds = self.rows.iter().map(|row| row.per_second.len()).max().unwrap_or(0);
        let turn = time(crate::measure::latencies::as_f64(self.turn_ms) * 1e3);
        let mut group = self.group(&format!("{} BUYERS, ONE HOT EVENT, {rounds} x {turn}", self.buyers));
        let ratio = |spread: Option<Spread>| spread.map(|spread| format!("{:.2}x", spread.median));
        self.line(&mut group, "bookings/s (median)", |row| {
            Spread::of(&row.per_second).map(|spread| whole(spread.median))
        });
        self.line(&mut group, "of pgbench's row lock", |row| ratio(self.of_the_floor(row)));
        let few = format!("of it with {FEW} clients only");
        self.line(&mut group, &few, |row| ratio(paired_ratio(&row.per_second, &self.floor_of_few)));
        self.line(&mut group, "of pg-row over the same HTTP", |row| ratio(self.of_pg_row(row)));
        self.waits(&mut group, |row| row.waits);
        let index = |value: Option<f64>| value.map(|value| format!("{value:.3}"));
        self.line(&mut group, "fairness between buyers (Jain)", |row| index(row.fairness_of_buyers));
        self.line(&mut group, "fairness between replicas", |row| index(row.fairness_of_replicas));
        let counted =
            |read: fn(&Counted) -> Option<f64>| move |row: &Row| row.counted.as_ref().and_then(read).map(three_digits);
        self.line(&mut group, "Redis commands sent a booking", counted(|counted| counted.redis_sent));
        self.line(&mut group, "and executed, in scripts too", counted(|counted| counted.redis_executed));
        self.line(&mut group, "SQL statements a booking", counted(|counted| counted.statements));
        self.line(&mut group, "answers 423, 503 (sent again)", |row| {
            row.waits.map(|_| format!("{}, {}", row.locked, row.unavailable))
        });
        self.line(&mut group, "refused by the schema alone", |row| row.schema_refusals.map(whole));
        group.note("the floor: pgbench under the event's row lock (begin; lock; insert; update; commit), without HTTP");
        for (clients, floor) in [(u32::from(self.buyers), &self.floor), (FEW, &self.floor_of_few)] {
            group.note(match Spread::of(floor) {
                Some(floor) => format!(
                    "  with {clients} clients: {}/s ({} to {})",
                    whole(floor.median),
                    whole(floor.min),
                    whole(floor.max)
                ),
                None => format!("  with {clients} clients: not measured (no turn was made, or there is no pgbench)"),
            });
        }
        let same = self.found(Strategy::PgRow).and_then(|row| self.of_the_floor(row));
        if let Some(same) = same.filter(|same| same.median > 1.0) {
            // Then a ratio to it says little: the same lock did better with all of HTTP on top.
            group.note(format!(
                "  with {} clients it is no floor here: pg-row over HTTP sold {:.2} times as much; compare with that, and with {FEW} clients",
                self.buyers,
                same.median
            ));
        }
        group.note(format!(
            "the buyers, HTTP and JSON share the {} cores with the stores; the floor has none of them, pg-row has all",
            self.machine.cores
        ));
        group
    }
}

impl Findings for Report {
    fn is_empty(&self) -> bool {
        self.broken.is_empty() && self.rows.iter().all(|row| row.counted.is_none())
    }

    fn finish(&mut self) {
        self.form();
    }

    fn text(&self) -> String {
        let mut groups = Vec::new();
        if self.rows.iter().any(|row| row.sale.is_some()) {
            groups.push(self.sold_out());
        }
        if self.rows.iter().any(|row| row.counted.is_some()) {
            groups.push(self.rates());
        }
        if !self.figures.is_empty() {
            let mut group = Group::new("FIGURES TO REACH", &["measured", "target", ""]);
            for figure in &self.figures {
                let mark = figure.mark().to_owned();
                group.row([figure.what.clone(), figure.measured.clone(), figure.target.clone(), mark]);
            }
            groups.push(group);
        }
        let mut text = format!("{}\n\n{}", self.heading(), table::render(&groups));
        for row in &self.rows {
            if let Some(reason) = &row.missing {
                text.push_str(&format!("{} is left out: {reason}\n", row.strategy));
            }
        }
        for note in &self.notes {
            text.push_str(&format!("{note}\n"));
        }
        if self.broken.is_empty()
            && !self.rows.is_empty()
            && self.rows.iter().all(|row| row.small.is_some() || row.missing.is_some())
        {
            text.push_str("Every invariant that was checked held.\n");
        }
        text
    }

    fn broken(&self) -> &[String] {
        &self.broken
    }
}

/// What a judgement has against a strategy that promises everything.
fn wrong(judged: &Judgement) -> i64 {
    judged.rows.oversold + judged.lost + judged.doubled
}

#[cfg(test)]
pub(crate) mod tests;
