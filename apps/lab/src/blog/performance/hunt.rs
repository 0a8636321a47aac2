//! The staleness hunt: writers and readers on the same few posts, over all replicas, and the judge of
//! [`super::history`] between them.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tokio::task::JoinSet;

use super::api::{self, Draft, Post, Wrote};
use super::fault::{Kill, Killer};
use super::findings::Hunt;
use super::history::{Violation, Watched, title};
use super::hunters::{Reader, churn, write};
use super::system::System;
use crate::measure::connection::Line;
use crate::measure::http::REQUEST;
use crate::measure::latencies::as_f64;

/// Posts that are written all the time. With those that come and go they fit the ten of an author's page.
const HOT: usize = 5;
/// How long all replicas may take to show what the database holds, once nobody writes any more.
const SETTLE: Duration = Duration::from_secs(20);
/// Violations that are told in full.
const TOLD: usize = 10;

/// How a hunt goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) readers: usize,
    pub(crate) writers: usize,
    pub(crate) until: Until,
    /// How often Redis is killed meanwhile.
    pub(crate) kills: u32,
}

/// When it is over.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Until {
    Elapsed(Duration),
    /// So many acknowledged writes.
    Writes(u64),
    /// So many stale reads of posts by their id were found; or the time is up.
    Violations(u64, Duration),
}

/// What was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// A post by its id.
    Post,
    /// A list of posts: a cache that lets those live until they expire shows stale ones without any race, so they
    /// prove nothing about the hunt.
    List,
}

/// What all hunters share.
#[derive(Debug)]
pub(crate) struct Ground {
    pub(crate) replicas: Vec<SocketAddr>,
    pub(crate) author: String,
    pub(crate) tag: String,
    /// The posts to read: the hot ones, and those that come and go.
    pub(crate) watched: Mutex<Arc<[Arc<Watched>]>>,
    pub(crate) hot: Vec<Arc<Watched>>,
    /// The id that the next created post will probably have.
    pub(crate) next_id: AtomicI64,
    pub(crate) write_numbers: AtomicU64,
    pub(crate) acknowledged: AtomicU64,
    pub(crate) violations: AtomicU64,
    pub(crate) stop: AtomicBool,
    pub(crate) begun: Instant,
    pub(crate) found: Mutex<Hunt>,
}

impl Ground {
    pub(crate) fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    pub(crate) fn replica(&self, number: u64) -> SocketAddr {
        let at = number % self.replicas.len() as u64;
        self.replicas[usize::try_from(at).unwrap_or(0)]
    }

    pub(crate) fn watched(&self) -> Arc<[Arc<Watched>]> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn note(&self, change: impl FnOnce(&mut Hunt)) {
        change(&mut self.found.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(crate) fn violated(&self, violation: &Violation, what: What, how: &str) {
        self.note(|found| {
            let told = match what {
                What::Post => {
                    self.violations.fetch_add(1, Ordering::Relaxed);
                    found.violations += 1;
                    &mut found.told
                }
                What::List => {
                    found.list_violations += 1;
                    &mut found.told_of_lists
                }
            };
            if told.len() < TOLD {
                told.push(format!("{violation} ({how})"));
            }
            found.stale_for_ms = found.stale_for_ms.max(violation.age.as_secs_f64() * 1e3);
            found.first_violation_ms.get_or_insert(self.begun.elapsed().as_secs_f64() * 1e3);
        });
    }

    /// Something that a hunt must not see and that is no staleness.
    pub(crate) fn unexpected(&self, what: String) {
        self.note(|found| {
            if found.broken.len() < TOLD {
                found.broken.push(what);
            }
        });
    }
}

/// Hunts on some replicas.
///
/// # Errors
/// The posts to hunt on could not be made, or Redis could not be killed or did not come back.
pub(crate) async fn run(system: &System, replicas: &[SocketAddr], plan: Plan) -> anyhow::Result<Hunt> {
    let killer = match plan.kills {
        0 => None,
        kills => Some(Killer::prepare(&system.cache_redis_url, kills).await?),
    };
    let run_id = system.store.run_id().await?;
    let ground = Arc::new(prepare(system, replicas).await?);
    // A hunt that was dropped leaves no hunters behind.
    let mut hunters = JoinSet::new();
    for number in 0..plan.readers {
        hunters.spawn(Reader::new(ground.clone(), number as u64).run());
    }
    for number in 0..plan.writers {
        hunters.spawn(write(ground.clone(), number as u64));
    }
    hunters.spawn(churn(ground.clone()));
    let outcome = watch(&ground, plan, killer).await;
    let seconds = ground.begun.elapsed().as_secs_f64();
    ground.stop.store(true, Ordering::Relaxed);
    while let Some(ended) = hunters.join_next().await {
        ended.context("a hunter panicked")?;
    }
    let kills = outcome?;
    let mut found = ground.found.lock().unwrap_or_else(PoisonError::into_inner).clone();
    found.seconds = seconds;
    found.kills = kills;
    if found.stale() == 0 {
        found.broken.extend(unsettled(system, &ground).await?);
    }
    // While Redis is away replicas may refuse what the database could not bear. Else there is no reason to.
    if found.refused > 0 && system.store.run_id().await? == run_id {
        found
            .broken
            .push(format!("staleness hunt: {} requests were answered 503 while Redis was there", found.refused));
    }
    clean(&ground).await;
    found.reads_by_outcome.sort_unstable();
    found.writes_by_outcome.sort_unstable();
    Ok(found)
}

/// Creates the posts that are hunted on: under an author that exists and a tag that nobody else has.
async fn prepare(system: &System, replicas: &[SocketAddr]) -> anyhow::Result<Ground> {
    let mut random = [0_u8; 4];
    getrandom::fill(&mut random).map_err(|error| anyhow::anyhow!("no random numbers: {error}"))?;
    let [a, b, c, d] = random;
    let tag = format!("lab-{a:02x}{b:02x}{c:02x}{d:02x}");
    let authors = &system.subjects.authors;
    let author = authors[usize::from(u16::from_le_bytes([a, b])) % authors.len()].clone();
    let mut line = Line::new(replicas[0], REQUEST);
    let mut hot = Vec::new();
    let write_numbers = AtomicU64::new(0);
    for _ in 0..HOT {
        let number = write_numbers.fetch_add(1, Ordering::Relaxed);
        let draft = Draft { author: Some(&author), title: &title(number), body: "hunted", tags: &[&tag] };
        let request = api::send("POST", "/posts", &draft)?;
        let response = line.exchange(&request).await?;
        ensure!(
            response.status == 201,
            "POST /posts answered {}: {}",
            response.status,
            String::from_utf8_lossy(response.body)
        );
        let post: Post = serde_json::from_slice(response.body).context("the answer to POST /posts")?;
        let watched = Watched::new(post.id);
        watched.committed(post.version, number);
        if Wrote::of(&response) == Wrote::Applied {
            watched.applied(post.version);
        }
        hot.push(Arc::new(watched));
    }
    let last = hot.last().map_or(0, |post| post.id);
    Ok(Ground {
        replicas: replicas.to_vec(),
        author,
        tag,
        watched: Mutex::new(hot.clone().into()),
        hot,
        next_id: AtomicI64::new(last + 1),
        write_numbers,
        acknowledged: AtomicU64::new(0),
        violations: AtomicU64::new(0),
        stop: AtomicBool::new(false),
        begun: Instant::now(),
        found: Mutex::new(Hunt { replicas: replicas.len(), ..Hunt::default() }),
    })
}

/// Waits for the end, and kills Redis on the way to it.
async fn watch(ground: &Ground, plan: Plan, mut killer: Option<Killer>) -> anyhow::Result<Vec<Kill>> {
    let mut stalled = (0, Instant::now());
    loop {
        let elapsed = ground.begun.elapsed();
        let writes = ground.acknowledged.load(Ordering::Relaxed);
        let progress = match plan.until {
            Until::Elapsed(time) => elapsed.as_secs_f64() / time.as_secs_f64(),
            Until::Writes(wanted) => as_f64(writes) / as_f64(wanted),
            Until::Violations(wanted, time) => {
                let found = ground.violations.load(Ordering::Relaxed);
                (as_f64(found) / as_f64(wanted)).max(elapsed.as_secs_f64() / time.as_secs_f64())
            }
        };
        if let Some(killer) = &mut killer {
            killer.step(progress.min(1.0)).await?;
        }
        if progress >= 1.0 {
            return Ok(killer.map(Killer::kills).unwrap_or_default());
        }
        if writes != stalled.0 {
            stalled = (writes, Instant::now());
        }
        ensure!(stalled.1.elapsed() < Duration::from_secs(30), "no write of the hunt was acknowledged for 30 s");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Once nobody writes, every replica must show what the database holds: also what was written while Redis was away.
async fn unsettled(system: &System, ground: &Ground) -> anyhow::Result<Vec<String>> {
    let mut behind = Vec::new();
    for post in &ground.hot {
        let version: i64 = sqlx::query_scalar("select version from blog.posts where id = $1")
            .bind(post.id)
            .fetch_one(&system.database)
            .await?;
        let version = u64::try_from(version)?;
        for &replica in &ground.replicas {
            let deadline = Instant::now() + SETTLE;
            let mut line = Line::new(replica, REQUEST);
            let mut request = Vec::new();
            api::get_post(&mut request, post.id);
            loop {
                let shown = line.exchange(&request).await.ok().and_then(|response| api::etag(&response));
                if shown == Some(version) {
                    break;
                }
                if Instant::now() > deadline {
                    behind.push(format!(
                        "post {}: {replica} shows version {shown:?} and the database has {version}, {SETTLE:?} after the last write",
                        post.id
                    ));
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
    Ok(behind)
}

/// Takes the posts of the hunt away again. What is left behind when that fails is harmless.
async fn clean(ground: &Ground) {
    let mut line = Line::new(ground.replicas[0], REQUEST);
    for post in ground.watched().iter().filter(|post| !post.going()) {
        let _ = line.exchange(&api::delete(&format!("/posts/{}", post.id))).await;
    }
}
