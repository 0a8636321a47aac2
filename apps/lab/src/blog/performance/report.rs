//! Everything that a run found: as a table, as JSON, and as a picture.

use serde::Serialize;

use super::findings::Hunt;
use super::footprint::Footprint;
use super::latency::Latency;
use super::open_loop::OpenLoop;
use super::stampede::Stampede;
use super::system::System;
use super::throughput::Throughput;
use super::writes::Writes;
use crate::measure::figures::Figure;
use crate::measure::http::fetch;
use crate::measure::machine::{Machine, now};
use crate::measure::table::{self, Group, count};

/// The same experiment on the replicas under test and on naive ones.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Compared<T> {
    pub(crate) tested: Option<T>,
    pub(crate) naive: Option<T>,
}

impl<T> Default for Compared<T> {
    fn default() -> Self {
        Self { tested: None, naive: None }
    }
}

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
    pub(crate) posts: usize,
    pub(crate) replicas: usize,
    /// How the replicas under test cache: `fenced`, `naive` or `off`.
    pub(crate) cache: &'static str,
    pub(crate) latency: Option<Latency>,
    pub(crate) throughput: Option<Throughput>,
    pub(crate) open_loop: Option<OpenLoop>,
    pub(crate) stampede: Compared<Stampede>,
    pub(crate) staleness: Compared<Hunt>,
    pub(crate) writes: Option<Writes>,
    pub(crate) footprint: Option<Footprint>,
    pub(crate) figures: Vec<Figure>,
    /// One line per invariant that did not hold, or that the run did not prove.
    pub(crate) broken: Vec<String>,
    #[serde(skip)]
    begun: std::time::Instant,
}

/// Of everything that took part.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Versions {
    lab: &'static str,
    /// Built without optimizations, the lab takes more of the machine than it needs to.
    lab_is_optimized: bool,
    service: String,
    postgresql: String,
    redis: String,
}

impl Report {
    /// Notes where and on what the run takes place.
    pub(crate) async fn begin(system: &System) -> anyhow::Result<Self> {
        let postgresql: String = sqlx::query_scalar("show server_version").fetch_one(&system.database).await?;
        let redis = system.store.info("server").await?.remove("redis_version").unwrap_or_default();
        let posts: i64 = sqlx::query_scalar("select count(*) from blog.posts").fetch_one(&system.database).await?;
        let versions = Versions {
            lab: env!("CARGO_PKG_VERSION"),
            lab_is_optimized: !cfg!(debug_assertions),
            service: service_version(system).await,
            postgresql,
            redis,
        };
        let cache = system.cache().await?;
        Ok(Self::new(versions, usize::try_from(posts)?, system.replicas.len(), cache))
    }

    fn new(versions: Versions, posts: usize, replicas: usize, cache: &'static str) -> Self {
        Self {
            format: 1,
            started_at: now(),
            seconds: 0.0,
            machine: Machine::look(),
            versions,
            posts,
            replicas,
            cache,
            latency: None,
            throughput: None,
            open_loop: None,
            stampede: Compared::default(),
            staleness: Compared::default(),
            writes: None,
            footprint: None,
            figures: Vec::new(),
            broken: Vec::new(),
            begun: std::time::Instant::now(),
        }
    }

    /// Forms the figures from what the sections found.
    pub(crate) fn finish(&mut self) {
        self.seconds = self.begun.elapsed().as_secs_f64();
        let mut figures = Vec::new();
        figures.extend(self.throughput.iter().flat_map(Throughput::figures));
        figures.extend(self.latency.iter().flat_map(Latency::figures));
        figures.extend(self.stampede.tested.iter().flat_map(Stampede::figures));
        figures.extend(self.writes.iter().flat_map(Writes::figures));
        figures.extend(self.staleness.tested.iter().flat_map(Hunt::figures));
        figures.extend(self.footprint.iter().flat_map(Footprint::figures));
        self.figures = figures;
    }

    /// The whole table.
    pub(crate) fn text(&self) -> String {
        let mut groups = Vec::new();
        groups.extend(self.latency.iter().map(Latency::table));
        groups.extend(self.throughput.iter().map(Throughput::table));
        groups.extend(self.open_loop.iter().map(OpenLoop::table));
        groups.extend(self.writes.iter().map(Writes::table));
        groups.extend(self.footprint.iter().map(Footprint::table));
        groups.extend(self.stampede.tested.iter().map(|found| found.table(self.cache, self.stampede.naive.as_ref())));
        groups.extend(self.staleness.tested.iter().map(|found| found.table(self.cache, self.staleness.naive.as_ref())));
        if !self.figures.is_empty() {
            let mut group = Group::new("FIGURES TO REACH", &["measured", "target", ""]);
            for figure in &self.figures {
                group.row([
                    figure.what.clone(),
                    figure.measured.clone(),
                    figure.target.clone(),
                    figure.mark().to_owned(),
                ]);
            }
            groups.push(group);
        }
        let mut text = format!("{}\n\n{}", self.heading(), table::render(&groups));
        if self.broken.is_empty() {
            text.push_str("Every invariant that was checked held.\n");
        }
        text
    }

    /// Where and on what, in one line.
    pub(crate) fn heading(&self) -> String {
        let Self { machine, versions, .. } = self;
        let built = if versions.lab_is_optimized { "" } else { " (lab built without optimizations)" };
        format!(
            "lab blog performance, {}: {}, PostgreSQL {}, Redis {}, {} posts, {}, {:.0} s{built}",
            self.started_at,
            machine,
            versions.postgresql.split(' ').next().unwrap_or_default(),
            versions.redis,
            count(self.posts as u64),
            table::replicas(self.replicas),
            self.seconds,
        )
    }
}

async fn service_version(system: &System) -> String {
    #[derive(serde::Deserialize)]
    struct Document {
        info: Info,
    }
    #[derive(serde::Deserialize)]
    struct Info {
        version: String,
    }
    match fetch(system.replicas[0], "/openapi.json").await {
        Ok((200, body)) => serde_json::from_slice::<Document>(&body).map(|document| document.info.version).ok(),
        _ => None,
    }
    .unwrap_or_else(|| "unknown".to_owned())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{Compared, Report, Versions};
    use crate::blog::performance::api::{Cached, Wrote};
    use crate::blog::performance::endpoint::Endpoint;
    use crate::blog::performance::findings::Hunt;
    use crate::blog::performance::footprint::Footprint;
    use crate::blog::performance::latency::{Latency, Row};
    use crate::blog::performance::loads::Source;
    use crate::blog::performance::open_loop::OpenLoop;
    use crate::blog::performance::round_trips::RoundTrips;
    use crate::blog::performance::stampede::{Round, Stampede};
    use crate::blog::performance::throughput::{self, Kind, Throughput};
    use crate::blog::performance::writes::Writes;
    use crate::measure::latencies::{Latencies, Percentiles};
    use crate::measure::statistics::Spread;
    use std::time::Duration;

    pub(crate) fn nothing() -> Report {
        let versions = Versions {
            lab: "0",
            lab_is_optimized: true,
            service: "0".to_owned(),
            postgresql: "15".to_owned(),
            redis: "7".to_owned(),
        };
        Report::new(versions, 500_000, 3, "fenced")
    }

    fn times(from_us: u64) -> Latencies {
        let mut times = Latencies::default();
        (0..5_000).for_each(|n| times.record(Duration::from_micros(from_us + n / 10)));
        times
    }

    fn percentiles(from_us: u64) -> Option<Percentiles> {
        times(from_us).percentiles()
    }

    fn stampede(loads: i64) -> Stampede {
        let outcomes = vec![(Cached::Miss, 1), (Cached::Coalesced, 63)];
        let round = Round { endpoint: Endpoint::Post, path: "/posts/1".to_owned(), loads, took_us: 900.0, outcomes };
        Stampede {
            readers: 64,
            replicas: 3,
            counted_by: Source::PgStatStatements,
            rounds: vec![round],
            broken: Vec::new(),
        }
    }

    fn hunt(violations: u64) -> Hunt {
        Hunt {
            replicas: 3,
            seconds: 20.0,
            reads: 100_000,
            writes: 9_000,
            reads_by_outcome: vec![(Cached::Hit, 100_000)],
            writes_by_outcome: vec![(Wrote::Applied, 9_000)],
            violations,
            told: (0..violations.min(1)).map(|_| "post 7: <b> & \"more\"".to_owned()).collect(),
            ..Hunt::default()
        }
    }

    /// A run in which every section found something.
    pub(crate) fn full() -> Report {
        let mut report = nothing();
        let row = |endpoint| Row {
            endpoint,
            hit: percentiles(100),
            miss: percentiles(300_000),
            gain: Some(300.0),
            body_bytes: 1_500,
            other_answers: Vec::new(),
        };
        report.latency = Some(Latency {
            endpoints: Endpoint::ALL.map(row).into(),
            noop: percentiles(50),
            redis_get: percentiles(30),
            sql: percentiles(200),
        });
        let kinds =
            [(Kind::BareHttp, 42_000.0), (Kind::Noop, 9_208.0), (Kind::HitOne, 4_604.0), (Kind::MissOne, 1_000.0)];
        report.throughput = Some(Throughput {
            connections: 64,
            body_bytes: 1_500,
            rows: kinds
                .map(|(kind, rate)| throughput::Row { kind, per_second: vec![rate; 3], p99_us: Some(900.0) })
                .into(),
            pgbench: Some(45_000.0),
        });
        report.open_loop = Some(OpenLoop {
            rate: 1_000.0,
            capacity: Some(2_000.0),
            scheduled: 5_000,
            all: percentiles(100),
            by_outcome: vec![(Cached::Hit, percentiles(100).unwrap())],
            own_delay: percentiles(50),
            curve: times(100).curve(),
        });
        report.stampede = Compared { tested: Some(stampede(1)), naive: Some(stampede(64)) };
        report.staleness = Compared { tested: Some(hunt(0)), naive: Some(hunt(21)) };
        report.writes = Some(Writes {
            entries: 100_000,
            with_full_cache: percentiles(1_000),
            with_empty_cache: percentiles(1_000),
            ratio: Spread::of(&[1.02]),
        });
        report.footprint = Some(Footprint {
            round_trips: Some(RoundTrips { hit: vec!["GET".to_owned()], miss: vec!["GET".to_owned(); 3] }),
            ready_ms: Spread::of(&[90.0]),
            idle_mib: Some(20.0),
            loaded_mib: Some(30.0),
            running_mib: vec![25.0],
            connections: 64,
            missing: Vec::new(),
        });
        report.finish();
        report
    }

    #[test]
    fn the_table_has_every_section_and_marks_every_figure() {
        let text = full().text();
        for shown in [
            "ONE REQUEST AT A TIME",
            "64 CONNECTIONS",
            "OPEN LOOP, 1,000 ARRIVALS A SECOND",
            "A PUT, ONE AT A TIME",
            "A REPLICA",
            "64 REQUESTS AT ONCE",
            "STALENESS HUNT",
            "FIGURES TO REACH",
            "Every invariant that was checked held.",
        ] {
            assert!(text.contains(shown), "{shown} is not in {text}");
        }
        assert!(text.lines().filter(|line| line.ends_with("reached")).count() >= 10, "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 160), "{text}");
    }

    #[test]
    fn a_broken_run_does_not_say_that_all_held() {
        let mut report = full();
        report.broken.push("stale".to_owned());
        assert!(!report.text().contains("Every invariant"));
    }

    #[test]
    fn the_json_has_every_figure_as_a_number_too() {
        let json = serde_json::to_value(full()).unwrap();
        assert_eq!(json["stampede"]["tested"]["rounds"][0]["loads"], 1);
        assert_eq!(json["staleness"]["naive"]["violations"], 21);
        assert!(json["figures"].as_array().unwrap().iter().all(|figure| figure["value"].is_number()), "{json}");
        assert!(json["machine"]["cores"].as_u64().unwrap() > 0);
    }
}
