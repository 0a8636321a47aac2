//! All strategies: as a table, as JSON, and for the picture.

use std::time::Instant;

use serde::Serialize;

use super::StrategiesArgs;
use super::row::Row;
use crate::measure::figures::{Figure, median};
use crate::measure::latencies::Percentiles;
use crate::measure::machine::{Machine, now};
use crate::measure::table::{self, Group, count, three_digits, time};
use crate::measure::unfinished::Findings;
use crate::shop::strategy::Strategy;
use crate::shop::system::{System, Versions};

/// A run.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Report {
    /// Version of this shape.
    format: u32,
    /// RFC 3339, in UTC.
    pub(crate) started_at: String,
    pub(crate) seconds: f64,
    pub(crate) machine: Machine,
    pub(crate) versions: Versions,
    pub(crate) replicas: usize,
    /// Products that are read and written.
    products: u32,
    /// Reads and single writes a second.
    pub(crate) rate: u32,
    pub(crate) writes: u32,
    bulks: u32,
    /// How long each strategy was measured.
    window_s: u32,
    /// The category whose prices change.
    pub(crate) category: i64,
    pub(crate) rows: Vec<Row>,
    figures: Vec<Figure>,
    pub(crate) notes: Vec<String>,
    /// One line per invariant that did not hold, or that the run did not prove.
    pub(crate) broken: Vec<String>,
    #[serde(skip)]
    begun: Instant,
}

impl Report {
    /// # Errors
    /// The database does not say which category is the largest, or which version it is.
    pub(crate) async fn begin(system: &System, args: &StrategiesArgs) -> anyhow::Result<Self> {
        let category = match args.category {
            Some(category) => category,
            None => {
                let largest = "select category_id from shop.products group by 1 order by count(*) desc, 1 limit 1";
                sqlx::query_scalar(largest).fetch_one(&system.database).await?
            }
        };
        Ok(Self::new(args, system.versions().await?, system.replicas.len(), category))
    }

    fn new(args: &StrategiesArgs, versions: Versions, replicas: usize, category: i64) -> Self {
        Self {
            format: 1,
            started_at: now(),
            seconds: 0.0,
            machine: Machine::look(),
            versions,
            replicas,
            products: args.products,
            rate: args.rate,
            writes: args.writes,
            bulks: args.bulks,
            window_s: args.seconds,
            category,
            rows: Vec::new(),
            figures: Vec::new(),
            notes: Vec::new(),
            broken: Vec::new(),
            begun: Instant::now(),
        }
    }

    fn heading(&self) -> String {
        let Self { machine, versions, .. } = self;
        format!(
            "lab shop strategies, {}: {}, {}, PostgreSQL {}, Redis {}, {:.0} s{}\n\
             {} reads/s of {} products, {} new prices/s, {} times for the {} products of category {}; {} s each",
            self.started_at,
            table::replicas(self.replicas),
            machine,
            versions.postgresql.split(' ').next().unwrap_or_default(),
            versions.redis,
            self.seconds,
            if versions.lab_is_optimized { "" } else { " (lab built without optimizations)" },
            count(self.rate.into()),
            count(self.products.into()),
            self.writes,
            self.bulks,
            self.rows.first().map_or_else(|| "?".to_owned(), |row| count(row.quiet.products)),
            self.category,
            self.window_s,
        )
    }

    fn reads(&self) -> Group {
        let columns = ["hit ratio", "p50", "p99", "loads/s", "stale reads", "share"];
        let mut group = Group::new("READS UNDER LOAD", &columns);
        for row in &self.rows {
            let counts = &row.counts;
            let near = if counts.behind_near > 0 { format!(" ({} near)", counts.behind_near) } else { String::new() };
            group.row([
                row.strategy.to_string(),
                format!("{:.2} %", row.hit_ratio * 100.0),
                of(row.read, |times| times.p50_us),
                of(row.read, |times| times.p99_us),
                row.loads_per_second.map_or_else(|| "-".to_owned(), three_digits),
                format!("{}{near}", counts.behind + counts.behind_near),
                format!("{:.3} %", row.stale_share * 100.0),
            ]);
        }
        group.note("a stale read began after a write was acknowledged, and showed what was before it");
        group
    }

    fn staleness(&self) -> Group {
        let columns = ["p50", "p99", "max", "of writes", "probed"];
        let mut group = Group::new("STALE AFTER A WRITE", &columns);
        for row in &self.rows {
            group.row([
                row.strategy.to_string(),
                of(row.staleness, |times| times.p50_us),
                of(row.staleness, |times| times.p99_us),
                of(row.staleness, |times| times.max_us),
                count(row.stale_writes),
                count(row.staleness.map_or(0, |times| times.count)),
            ]);
        }
        group.note(
            "from the acknowledgement to the last answer of any replica that was behind, known within a sixteenth",
        );
        group
    }

    fn writes(&self) -> Group {
        let columns = ["single p50", "p99", "bulk", "over its SQL", "applied", "pending", "deferred"];
        let mut group = Group::new("WRITES", &columns);
        for row in &self.rows {
            group.row([
                row.strategy.to_string(),
                of(row.single, |times| times.p50_us),
                of(row.single, |times| times.p99_us),
                row.quiet.bulk().map_or_else(|| "-".to_owned(), |millis| time(millis * 1e3)),
                row.quiet.ratio().map_or_else(|| "-".to_owned(), |ratio| format!("{}x", three_digits(ratio.median))),
                count(row.applied),
                count(row.pending),
                count(row.deferred),
            ]);
        }
        group.note(
            "single: under the load, where a bulk locks some of the rows; bulk: without a load, medians of three",
        );
        group
    }

    fn commands(&self) -> Group {
        let mut group = Group::new("COMMANDS TO REDIS", &["a hit", "a single write", "a bulk"]);
        for row in &self.rows {
            let Some(commands) = row.quiet.commands else { continue };
            let [hit, write, bulk] = [commands.hit, commands.write, commands.bulk].map(three_digits);
            group.row([row.strategy.to_string(), hit, write, bulk]);
        }
        group.note("a write with what follows it: relay, worker, and the reads until the new version is there");
        group
    }

    fn row(&self, strategy: Strategy) -> Option<&Row> {
        self.rows.iter().find(|row| row.strategy == strategy)
    }

    fn reach(&self) -> Vec<Figure> {
        let event = self.row(Strategy::Event).and_then(|row| row.staleness).map(|times| times.p99_us / 1e3);
        let tags = self.row(Strategy::Tags).map(|row| &row.quiet);
        // None at all would say that none was seen, and not that none was needed.
        let bulk = tags.and_then(|quiet| quiet.commands).map(|commands| commands.bulk).filter(|&bulk| bulk > 0.0);
        let ratio = median(tags.and_then(super::row::Quiet::ratio));
        vec![
            Figure::at_most("event: acknowledged to the last stale answer of any replica, p99", event, 50.0, " ms"),
            Figure::at_most("tags: commands to Redis for new prices of a whole category", bulk, 5.0, ""),
            Figure::at_most("tags: new prices for a whole category, against the SQL's own", ratio, 1.1, "x"),
            Figure::at_most("the whole run", Some(self.seconds), 180.0, " s"),
        ]
    }
}

fn of(times: Option<Percentiles>, read: fn(&Percentiles) -> f64) -> String {
    times.as_ref().map_or_else(|| "-".to_owned(), |times| shown(read(times)))
}

/// Nothing is no time: a zero, and not so many microseconds.
pub(super) fn shown(micros: f64) -> String {
    if micros < 0.1 { "0".to_owned() } else { time(micros) }
}

impl Findings for Report {
    fn is_empty(&self) -> bool {
        self.broken.is_empty() && self.rows.is_empty()
    }

    fn finish(&mut self) {
        self.seconds = self.begun.elapsed().as_secs_f64();
        self.figures = self.reach();
    }

    fn text(&self) -> String {
        let mut figures = Group::new("FIGURES", &["measured", "wanted", ""]);
        for figure in &self.figures {
            let cells = [figure.what.clone(), figure.measured.clone(), figure.target.clone(), figure.mark().to_owned()];
            figures.row(cells);
        }
        let groups = [self.reads(), self.staleness(), self.writes(), self.commands(), figures];
        let mut text = format!("{}\n\n{}", self.heading(), table::render(&groups));
        for note in &self.notes {
            text.push_str(&format!("{note}\n"));
        }
        let late = self.rows.iter().map(|row| row.own_delay_us).fold(0.0, f64::max);
        text.push_str(&format!("the generator itself was late by at most {} (p99 of a strategy)\n", time(late)));
        if self.broken.is_empty() && !self.rows.is_empty() {
            text.push_str("Every invariant that was checked held.\n");
        }
        text
    }

    fn broken(&self) -> &[String] {
        &self.broken
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::row::tests::row;
    use super::super::tests::args;
    use super::*;

    pub(crate) fn nothing() -> Report {
        let versions = Versions {
            lab: "0",
            lab_is_optimized: true,
            service: "0".into(),
            postgresql: "15.0".into(),
            redis: "7.0".into(),
        };
        Report::new(&args(&[]).unwrap(), versions, 3, 1)
    }

    /// All strategies, as they should be.
    pub(crate) fn full() -> Report {
        let mut report = nothing();
        report.rows = Strategy::ALL.map(row).into();
        report.finish();
        report
    }

    #[test]
    fn the_table_has_all_strategies_in_each_part() {
        let text = full().text();
        for strategy in Strategy::ALL {
            let rows = text.lines().filter(|line| line.trim_start().split(' ').next() == Some(strategy.as_str()));
            assert_eq!(rows.count(), 4, "{strategy} in {text}");
        }
        for shown in ["9.40 s", "1.02x", "14,700 products of category 1", "Every invariant that was checked held."] {
            assert!(text.contains(shown), "{shown:?} is not in {text}");
        }
        assert!(!text.contains("MISSED"), "{text}");
    }

    #[test]
    fn a_run_of_nothing_claims_nothing() {
        let mut nothing = nothing();
        nothing.finish();
        assert!(!nothing.text().contains("Every invariant"));
        let mut broken = full();
        broken.broken.push("something".to_owned());
        assert!(!broken.text().contains("Every invariant"));
    }
}
