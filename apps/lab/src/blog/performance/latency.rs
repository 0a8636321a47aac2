//! One request at a time: what a reader waits for a hit, and for a miss.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::ensure;
use fred::interfaces::{ClientLike as _, KeysInterface as _};
use serde::Serialize;

use super::api::{self, Answer, Cached};
use super::endpoint::{self, Endpoint};
use super::floors;
use super::pace::Pace;
use super::steady::steady;
use super::store;
use super::system::System;
use crate::measure::connection::{Connection, Line};
use crate::measure::figures::Figure;
use crate::measure::http::{REQUEST, noop_path};
use crate::measure::latencies::{Latencies, Percentiles};
use crate::measure::own_thread::on_own_thread;
use crate::measure::postgres::pool;
use crate::measure::table::{Group, three_digits, time};

/// No endpoint is read longer than this in one row.
const ROW: Duration = Duration::from_secs(3);

/// What the section found.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Latency {
    pub(crate) endpoints: Vec<Row>,
    /// The service's no-op route, with a body of a hit's size.
    pub(crate) noop: Option<Percentiles>,
    /// A bare GET of a value of a hit's size, from the lab.
    pub(crate) redis_get: Option<Percentiles>,
    /// The bare SQL of a post by id, from the lab.
    pub(crate) sql: Option<Percentiles>,
}

/// One endpoint.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    pub(crate) endpoint: Endpoint,
    pub(crate) hit: Option<Percentiles>,
    pub(crate) miss: Option<Percentiles>,
    /// Median miss over median hit.
    pub(crate) gain: Option<f64>,
    /// Mean size of a body.
    pub(crate) body_bytes: u64,
    /// Answers that were not what the row is about; they are in no figure.
    pub(crate) other_answers: Vec<String>,
}

/// Measures all endpoints on the first replica.
pub(crate) async fn run(system: &System, pace: &Pace) -> anyhow::Result<(Latency, Vec<String>)> {
    let mut endpoints = Vec::new();
    let mut broken = Vec::new();
    for endpoint in Endpoint::ALL {
        let (found, wrong) = steady(system, async || {
            let found = row(system, pace, endpoint).await?;
            let wrong = found.broken();
            Ok((found, wrong))
        })
        .await?;
        endpoints.push(found);
        broken.extend(wrong);
    }
    let bytes = endpoints[0].body_bytes;
    let address = system.replicas[0];
    let samples = pace.serial_hits;
    let noop = steady(system, async || Ok((noop(address, samples, bytes).await?, Vec::new())));
    let (noop, _) = noop.await?;
    let found = Latency {
        endpoints,
        noop: noop.percentiles(),
        redis_get: redis_get(system, samples, bytes).await?.percentiles(),
        sql: sql(system, pace.serial_misses).await?.percentiles(),
    };
    Ok((found, broken))
}

async fn noop(address: SocketAddr, samples: usize, bytes: u64) -> anyhow::Result<Latencies> {
    on_own_thread("noop", move || async move {
        let mut request = Vec::new();
        api::get(&mut request, &noop_path(bytes));
        let mut connection = Connection::open(address).await?;
        let mut times = Latencies::default();
        for _ in 0..samples {
            let begun = Instant::now();
            let status = connection.exchange(&request).await?.status;
            times.record(begun.elapsed());
            ensure!(status == 200, "{} answered {status}", noop_path(bytes));
        }
        Ok(times)
    })
    .await
}

async fn row(system: &System, pace: &Pace, endpoint: Endpoint) -> anyhow::Result<Row> {
    let (misses, hits) = match endpoint {
        Endpoint::Popular => (pace.popular_misses, pace.serial_hits),
        _ => (pace.serial_misses, pace.serial_hits),
    };
    let places = endpoint.places(system).await?;
    let identities = match endpoint {
        Endpoint::Popular => vec![endpoint.identities(system, 1).concat(); misses],
        _ => endpoint.identities(system, misses),
    };
    let address = system.replicas[0];
    let store = system.store.clone();
    on_own_thread("latency", move || async move {
        let mut line = Line::new(address, REQUEST);
        let mut found = Serial::default();
        let mut request = Vec::new();
        let mut miss = Latencies::default();
        let begun = Instant::now();
        for identity in &identities {
            endpoint::forget(&store, &places, std::slice::from_ref(identity)).await?;
            request.clear();
            api::get(&mut request, &endpoint.path(identity));
            found.one(&mut line, &request, Cached::Miss, &mut miss).await?;
            if begun.elapsed() > ROW {
                break;
            }
        }
        // Some of those that were just loaded are the hits.
        let mut hit = Latencies::default();
        let begun = Instant::now();
        for identity in identities.iter().take(20.min(identities.len())).cycle().take(hits) {
            request.clear();
            api::get(&mut request, &endpoint.path(identity));
            found.one(&mut line, &request, Cached::Hit, &mut hit).await?;
            if begun.elapsed() > ROW {
                break;
            }
        }
        let (hit, miss) = (hit.percentiles(), miss.percentiles());
        Ok(Row {
            endpoint,
            gain: hit.zip(miss).map(|(hit, miss)| miss.p50_us / hit.p50_us),
            hit,
            miss,
            body_bytes: found.bytes.checked_div(found.answers).unwrap_or(0),
            other_answers: found.others,
        })
    })
    .await
}

/// Requests one after the other.
#[derive(Default)]
struct Serial {
    answers: u64,
    bytes: u64,
    others: Vec<String>,
}

impl Serial {
    async fn one(
        &mut self,
        line: &mut Line,
        request: &[u8],
        wanted: Cached,
        times: &mut Latencies,
    ) -> anyhow::Result<()> {
        let begun = Instant::now();
        let response = line.exchange(request).await?;
        let took = begun.elapsed();
        let answer = Answer::of(&response);
        self.answers += 1;
        self.bytes += response.body.len() as u64;
        if answer == (Answer { status: 200, cached: wanted }) {
            times.record(took);
        } else {
            self.others.push(format!("{} {} instead of a {}", answer.status, answer.cached.as_str(), wanted.as_str()));
        }
        Ok(())
    }
}

async fn redis_get(system: &System, samples: usize, bytes: u64) -> anyhow::Result<Latencies> {
    let url = system.cache_redis_url.clone();
    on_own_thread("redis", move || async move {
        let client = store::builder(&url, Duration::from_secs(2))?.build()?;
        client.init().await?;
        floors::put_value(&client, bytes).await?;
        let mut times = Latencies::default();
        for _ in 0..samples {
            let begun = Instant::now();
            let value: Option<bytes::Bytes> = client.get(floors::VALUE_KEY).await?;
            times.record(begun.elapsed());
            ensure!(value.is_some(), "the value of the bare GET is gone");
        }
        client.quit().await?;
        Ok(times)
    })
    .await
}

async fn sql(system: &System, samples: usize) -> anyhow::Result<Latencies> {
    let ids = system.unread(samples).await?;
    let url = system.database_url.clone();
    on_own_thread("sql", move || async move {
        let database = pool(&url, 1).await?;
        let mut times = Latencies::default();
        for id in ids {
            let begun = Instant::now();
            floors::post(&database, id).await?;
            times.record(begun.elapsed());
        }
        database.close().await;
        Ok(times)
    })
    .await
}

impl Latency {
    pub(crate) fn table(&self) -> Group {
        let mut group = Group::new(
            "ONE REQUEST AT A TIME",
            &["hit p50", "hit p99", "miss p50", "miss p99", "miss/hit", "body", ""],
        );
        let shown = |percentiles: Option<Percentiles>, pick: fn(Percentiles) -> f64| {
            percentiles.map_or_else(|| "-".to_owned(), |found| time(pick(found)))
        };
        for row in &self.endpoints {
            group.row([
                row.endpoint.label().to_owned(),
                shown(row.hit, |found| found.p50_us),
                shown(row.hit, |found| found.p99_us),
                shown(row.miss, |found| found.p50_us),
                shown(row.miss, |found| found.p99_us),
                row.gain.map_or_else(|| "-".to_owned(), |gain| format!("{}x", three_digits(gain))),
                format!("{} B", row.body_bytes),
                match row.other_answers.len() {
                    0 => String::new(),
                    others => format!("{others} other"),
                },
            ]);
        }
        for (name, floor) in
            [("floor: the service's no-op route", self.noop), ("floor: bare GET from the lab", self.redis_get)]
        {
            group.row([name.to_owned(), shown(floor, |found| found.p50_us), shown(floor, |found| found.p99_us)]);
        }
        group.row([
            "floor: bare SQL of a post from the lab".to_owned(),
            String::new(),
            String::new(),
            shown(self.sql, |found| found.p50_us),
            shown(self.sql, |found| found.p99_us),
        ]);
        group
    }

    pub(crate) fn figures(&self) -> Vec<Figure> {
        let gain = |wanted: Endpoint| self.endpoints.iter().find(|row| row.endpoint == wanted).and_then(|row| row.gain);
        vec![
            Figure::at_least("hit against miss: a post", gain(Endpoint::Post), 3.0, "x"),
            Figure::at_least("hit against miss: an author's page", gain(Endpoint::Author), 3.0, "x"),
            Figure::at_least("hit against miss: popular", gain(Endpoint::Popular), 100.0, "x"),
        ]
    }
}

impl Row {
    /// Whether the row measured something else than it says.
    fn broken(&self) -> Vec<String> {
        let mut broken = Vec::new();
        if let Some(first) = self.other_answers.first() {
            broken.push(format!(
                "{}: {} answers were not what the row is about, the first a {first}",
                self.endpoint.label(),
                self.other_answers.len()
            ));
        }
        if self.hit.is_none() || self.miss.is_none() {
            broken.push(format!("{}: no hit or no miss was seen at all", self.endpoint.label()));
        }
        broken
    }
}
