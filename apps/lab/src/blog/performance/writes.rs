//! Whether a write costs more the more is cached. An invalidation that looks for its keys would.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use fred::interfaces::ClientLike as _;
use fred::types::{ClusterHash, CustomCommand, Value};
use serde::Serialize;

use super::api::{self, Draft, Post};
use super::endpoint::Endpoint;
use super::pace::Pace;
use super::store::PREFIX;
use super::system::System;
use crate::measure::connection::Line;
use crate::measure::figures::{Figure, median};
use crate::measure::http::REQUEST;
use crate::measure::latencies::{Latencies, Percentiles};
use crate::measure::own_thread::on_own_thread;
use crate::measure::statistics::{Spread, paired_ratio};
use crate::measure::table::{Group, count, three_digits, time};

/// How long the entries live that fill the cache: longer than the section takes, in case the lab is killed.
const LIFE: Duration = Duration::from_secs(180);

/// What the section found.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Writes {
    /// Entries of the full cache.
    pub(crate) entries: usize,
    pub(crate) with_full_cache: Option<Percentiles>,
    pub(crate) with_empty_cache: Option<Percentiles>,
    /// Median of a PUT with a full cache over that with an empty one, in each turn.
    pub(crate) ratio: Option<Spread>,
}

/// Puts the same posts in turns with a full and with an empty cache.
pub(crate) async fn run(system: &System, pace: &Pace) -> anyhow::Result<(Writes, Vec<String>)> {
    let posts = Posts::create(system, pace.write_samples).await?;
    let outcome = turns(system, pace, &posts).await;
    posts.delete(system).await;
    system.store.clear().await?;
    outcome
}

async fn turns(system: &System, pace: &Pace, posts: &Posts) -> anyhow::Result<(Writes, Vec<String>)> {
    let entry = sample_entry(system).await?;
    let (mut full, mut empty) = (Latencies::default(), Latencies::default());
    let (mut full_medians, mut empty_medians) = (Vec::new(), Vec::new());
    let mut broken = Vec::new();
    // Once before anything counts: connections, plans and pages are warm afterwards.
    posts.put_all(system).await?;
    for turn in 0..pace.write_pairs * 2 {
        // Full first, then empty, then empty first: what drifts in one direction cancels out.
        let fill = matches!(turn % 4, 0 | 3);
        system.store.clear().await?;
        if fill {
            fill_cache(system, &entry, pace.entries).await?;
            let keys = system.store.keys("*").await?.len();
            ensure!(keys >= pace.entries, "Redis keeps {keys} entries of {}: is its memory full?", pace.entries);
        }
        let (times, wrong) = posts.put_all(system).await?;
        broken.extend(wrong);
        let medians = if fill { &mut full_medians } else { &mut empty_medians };
        medians.push(times.quantile_us(0.5));
        if fill { &mut full } else { &mut empty }.merge(&times);
    }
    let found = Writes {
        entries: pace.entries,
        with_full_cache: full.percentiles(),
        with_empty_cache: empty.percentiles(),
        ratio: paired_ratio(&full_medians, &empty_medians),
    };
    Ok((found, broken))
}

/// A real entry as Redis itself would move it, to fill the cache with the like of it.
async fn sample_entry(system: &System) -> anyhow::Result<Bytes> {
    let identity = Endpoint::Post.identities(system, 1).concat();
    let places = Endpoint::Post.places(system).await?;
    let key = places.first().context("no place")?.key(&identity);
    let dump = CustomCommand::new_static("DUMP", ClusterHash::FirstKey, false);
    let entry: Option<Bytes> = system.store.client().custom(dump, vec![key]).await?;
    entry.context("the entry went before it could be copied")
}

/// Stores copies of an entry under ids that no route reads: what is cached under a real id is for the
/// service alone to write.
async fn fill_cache(system: &System, entry: &Bytes, entries: usize) -> anyhow::Result<()> {
    let life = i64::try_from(LIFE.as_millis())?;
    for first in (0..entries).step_by(1_000) {
        let pipeline = system.store.client().pipeline();
        for number in first..entries.min(first + 1_000) {
            let restore = CustomCommand::new_static("RESTORE", ClusterHash::FirstKey, false);
            let key = format!("{PREFIX}fc:{{lab-filler:{number}}}");
            let arguments: Vec<Value> = vec![key.into(), life.into(), Value::Bytes(entry.clone())];
            pipeline.custom::<(), _>(restore, arguments).await?;
        }
        pipeline.all::<Vec<Value>>().await?;
    }
    Ok(())
}

/// Posts of the lab's own, so that nobody's are changed.
struct Posts {
    ids: Vec<i64>,
}

impl Posts {
    async fn create(system: &System, wanted: usize) -> anyhow::Result<Self> {
        let author = system.subjects.authors[0].clone();
        let mut line = Line::new(system.replicas[0], REQUEST);
        let mut ids = Vec::with_capacity(wanted);
        for number in 0..wanted {
            let draft = draft(Some(&author), number);
            let response = line.exchange(&api::send("POST", "/posts", &draft)?).await?;
            ensure!(response.status == 201, "POST /posts answered {}", response.status);
            ids.push(serde_json::from_slice::<Post>(response.body)?.id);
        }
        Ok(Self { ids })
    }

    /// Reads each post and puts it; the times are those of the PUTs alone.
    async fn put_all(&self, system: &System) -> anyhow::Result<(Latencies, Vec<String>)> {
        let ids = self.ids.clone();
        let address = system.replicas[0];
        on_own_thread("writes", move || async move {
            let mut line = Line::new(address, REQUEST);
            let mut times = Latencies::default();
            let mut wrong = Vec::new();
            let mut request = Vec::new();
            for (number, id) in ids.into_iter().enumerate() {
                request.clear();
                api::get_post(&mut request, id);
                let status = line.exchange(&request).await?.status;
                ensure!(status == 200, "GET /posts/{id} answered {status}");
                let put = api::send("PUT", &format!("/posts/{id}"), &draft(None, number))?;
                let begun = Instant::now();
                let status = line.exchange(&put).await?.status;
                if status == 200 {
                    times.record(begun.elapsed());
                } else {
                    wrong.push(format!("PUT /posts/{id} answered {status}"));
                }
            }
            Ok((times, wrong))
        })
        .await
    }

    async fn delete(&self, system: &System) {
        let mut line = Line::new(system.replicas[0], REQUEST);
        for id in &self.ids {
            // What is left behind is harmless.
            let _ = line.exchange(&api::delete(&format!("/posts/{id}"))).await;
        }
    }
}

fn draft(author: Option<&str>, number: usize) -> Draft<'_> {
    const BODIES: [&str; 2] = ["written by the lab, and soon deleted", "written again by the lab, and soon deleted"];
    Draft { author, title: "a post of the lab", body: BODIES[number % 2], tags: &["lab-writes"] }
}

impl Writes {
    pub(crate) fn table(&self) -> Group {
        let mut group = Group::new("A PUT, ONE AT A TIME", &["p50", "p99", "requests"]);
        let full = format!("with {} entries cached", crate::measure::table::count(self.entries as u64));
        for (name, times) in [(full, self.with_full_cache), ("with an empty cache".to_owned(), self.with_empty_cache)] {
            if let Some(times) = times {
                group.row([name, time(times.p50_us), time(times.p99_us), count(times.count)]);
            }
        }
        if let Some(ratio) = self.ratio {
            group.note(format!(
                "full over empty: {} ({} to {} in {} turns); the entries are copies of a real one under ids that no route reads",
                three_digits(ratio.median),
                three_digits(ratio.min),
                three_digits(ratio.max),
                ratio.rounds
            ));
        }
        group
    }

    pub(crate) fn figures(&self) -> Vec<Figure> {
        let what = format!("PUT with {} entries cached, against an empty cache", count(self.entries as u64));
        vec![Figure::at_most(&what, median(self.ratio), 1.1, "x")]
    }
}
