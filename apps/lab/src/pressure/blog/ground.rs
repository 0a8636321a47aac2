//! The posts that are written and read during a load, and what their readers found.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use serde::Serialize;
use sqlx::PgPool;
use tokio::sync::broadcast;

use super::{BlogConfig, Writes};
use crate::blog::performance::api::{self, Cached, Draft, Page, Post, Wrote, encoded};
use crate::blog::performance::history::{Promise, Seen, Violation, Watched, title};
use crate::measure::connection::{Line, Response};
use crate::measure::http::REQUEST;
use crate::measure::zipf::Random;
use crate::pressure::addresses::{Addresses, Route};
use crate::pressure::log::Log;
use crate::pressure::sender::Reply;

/// Posts that are written all the time.
const HOT: usize = 5;
/// Violations that are told in full.
const TOLD: usize = 10;
/// Authors and tags whose lists are read.
const NAMES: i64 = 100;
/// Acknowledged writes that a hunter may be behind.
const BEHIND: usize = 64;

/// What all tasks of a load on the blog share.
#[derive(Debug)]
pub(crate) struct Ground {
    pub(crate) posts: Vec<i64>,
    authors: Vec<String>,
    tags: Vec<String>,
    pub(crate) tag: String,
    pub(crate) hot: Vec<Watched>,
    pub(crate) write_numbers: AtomicU64,
    /// Says which of the hot posts was just written, so that it is read at once.
    pub(crate) written: broadcast::Sender<usize>,
    pub(crate) log: Arc<Log>,
    found: Mutex<Hunted>,
}

/// What the readers of the hot posts found.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct Hunted {
    pub(crate) writes: Writes,
    /// Reads that were held against what had been acknowledged.
    pub(crate) judged: u64,
    /// Reads of a post that broke an acknowledged promise.
    pub(crate) stale: u64,
    /// Reads of a list that did.
    pub(crate) stale_lists: u64,
    /// The first ones.
    pub(crate) told: Vec<String>,
    /// Longest time between an acknowledgement and the beginning of a read that broke it, in milliseconds.
    pub(crate) stale_for_ms: f64,
    /// Replicas that did not show what the database holds, long after the last write.
    pub(crate) behind: Vec<String>,
    /// Replicas that were ready and that their hunter could never read.
    pub(crate) unread: Vec<String>,
}

impl Hunted {
    /// In one line.
    pub(crate) fn line(&self) -> String {
        let Self { writes, judged, stale, stale_lists, .. } = self;
        format!(
            "{} writes applied, {} pending; {judged} reads held against them, {stale} stale posts, {stale_lists} stale lists",
            writes.applied, writes.pending
        )
    }

    /// What did not hold, whatever the fault.
    pub(crate) fn broken(&self) -> Vec<String> {
        let mut broken = Vec::new();
        let stale = self.stale + self.stale_lists;
        if stale > 0 {
            let first = self.told.first().map_or("", String::as_str);
            broken.push(format!("{stale} stale reads after acknowledged writes, the first: {first}"));
        }
        broken.extend(self.behind.iter().cloned());
        if self.writes.applied == 0 || self.judged == 0 {
            broken.push("nothing was proved: no write was applied, or none was read back".to_owned());
        }
        if !self.unread.is_empty() {
            broken.push(format!("nothing was proved of {}: never read directly", self.unread.join(", ")));
        }
        broken
    }
}

/// Reads what there is to read, and creates the hot posts: under an author that exists and a tag that nobody else has.
pub(super) async fn prepare(config: &BlogConfig, addresses: &Addresses, database: &PgPool) -> anyhow::Result<Ground> {
    let most = i64::try_from(config.posts)?;
    let mut posts: Vec<i64> = sqlx::query_scalar("select id from blog.posts order by id desc limit $1")
        .bind(most)
        .fetch_all(database)
        .await
        .context("cannot read blog.posts")?;
    ensure!(!posts.is_empty(), "the blog has no posts; `lab blog seed` fills it");
    Random::new(0x0b10_6001).shuffle(&mut posts);
    let authors: Vec<String> = sqlx::query_scalar("select name from blog.authors order by id limit $1")
        .bind(NAMES)
        .fetch_all(database)
        .await?;
    let tags: Vec<String> = sqlx::query_scalar(
        "select distinct unnest(tags) as tag from blog.posts where id = any($1) order by 1 limit $2",
    )
    .bind(&posts[..posts.len().min(200)])
    .bind(NAMES)
    .fetch_all(database)
    .await?;
    ensure!(!authors.is_empty() && !tags.is_empty(), "the blog has posts without authors or tags");
    let mut random = [0_u8; 4];
    getrandom::fill(&mut random).map_err(|error| anyhow::anyhow!("no random numbers: {error}"))?;
    let tag = format!("lab-{:08x}", u32::from_le_bytes(random));
    let address = addresses.pick(Route::Service, 0).context("no replica of the blog is ready")?;
    let mut line = Line::new(address, REQUEST);
    let mut hot = Vec::new();
    for number in 0..HOT as u64 {
        let draft = Draft { author: Some(&authors[0]), title: &title(number), body: "hunted", tags: &[&tag] };
        let response = line.exchange(&api::send("POST", "/posts", &draft)?).await?;
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
        hot.push(watched);
    }
    Ok(Ground {
        posts,
        authors,
        tags,
        tag,
        hot,
        write_numbers: AtomicU64::new(HOT as u64),
        written: broadcast::Sender::new(BEHIND),
        log: Arc::new(Log::new()),
        found: Mutex::default(),
    })
}

impl Ground {
    #[cfg(test)]
    pub(crate) fn scripted(posts: Vec<i64>, hot: Vec<i64>) -> Self {
        Self {
            posts,
            authors: vec!["author".to_owned()],
            tags: vec!["tag".to_owned()],
            tag: "lab".to_owned(),
            hot: hot.into_iter().map(Watched::new).collect(),
            write_numbers: AtomicU64::new(0),
            written: broadcast::Sender::new(BEHIND),
            log: Arc::new(Log::new()),
            found: Mutex::default(),
        }
    }

    fn note(&self, change: impl FnOnce(&mut Hunted)) {
        change(&mut self.found.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The path of some list.
    pub(super) fn list(&self, random: &mut Random) -> String {
        let author = encoded(&self.authors[random.below(self.authors.len())]);
        match random.below(3) {
            0 => format!("/posts?author={author}&limit=20"),
            1 => format!("/posts?tag={}&limit=20", encoded(&self.tags[random.below(self.tags.len())])),
            _ => format!("/authors/{author}"),
        }
    }

    /// The list that shows all the hot posts and nothing else.
    pub(super) fn hot_list(&self) -> String {
        format!("/posts?tag={}&limit=20", encoded(&self.tag))
    }

    /// A write of a hot post; the same bytes each time that it is sent.
    pub(super) fn put(&self, hot: usize, write: u64) -> Vec<u8> {
        let draft = Draft { author: None, title: &title(write), body: "hunted", tags: &[&self.tag] };
        api::send("PUT", &format!("/posts/{}", self.hot[hot].id), &draft).unwrap_or_else(|error| {
            self.log.unexpected(format!("a PUT cannot be written: {error}"));
            Vec::new()
        })
    }

    /// The answer to it.
    pub(super) fn wrote(&self, hot: usize, write: u64, response: &Response<'_>) -> Reply<()> {
        if response.status != 200 {
            return Reply::Bad;
        }
        let wrote = Wrote::of(response);
        let post = match serde_json::from_slice::<Post>(response.body) {
            Ok(post) => post,
            Err(error) => {
                self.log.unexpected(format!("an answer to PUT /posts/{{id}} is no post: {error}"));
                return Reply::Bad;
            }
        };
        self.hot[hot].committed(post.version, write);
        if wrote == Wrote::Applied {
            self.hot[hot].applied(post.version);
            // Nobody listens while no replica is ready.
            let _ = self.written.send(hot);
        }
        self.log.count(|counts| counts.writes += 1);
        self.note(|found| match wrote {
            Wrote::Applied => found.writes.applied += 1,
            Wrote::Pending => found.writes.pending += 1,
            _ => found.writes.other += 1,
        });
        if wrote == Wrote::Unsaid {
            self.log.unexpected("PUT /posts/{id}: no X-Cache-Write in an answer 200".to_owned());
        }
        Reply::Good(())
    }

    /// Judges the answer to a read of a hot post, by what was promised before it was sent. `known` is the version that
    /// the request named as known.
    pub(super) fn judge_post(
        &self,
        hot: usize,
        promise: Promise,
        known: Option<u64>,
        response: &Response<'_>,
        how: &str,
    ) -> Reply<Option<u64>> {
        let post = &self.hot[hot];
        let (version, violation) = match (response.status, known) {
            (200, _) => match serde_json::from_slice::<Post>(response.body) {
                Ok(body) if body.id == post.id && api::etag(response) == Some(body.version) => {
                    (Some(body.version), post.judge_present(promise, &Seen::of(&body)))
                }
                Ok(_) => {
                    self.log.unexpected(format!("GET /posts/{} answered another post, or another ETag", post.id));
                    return Reply::Bad;
                }
                Err(error) => {
                    self.log.unexpected(format!("an answer to GET /posts/{{id}} is no post: {error}"));
                    return Reply::Bad;
                }
            },
            (304, Some(version)) => (Some(version), post.judge_present(promise, &Seen::version(version))),
            (404, _) => (None, post.judge_absent(promise)),
            _ => return Reply::Bad,
        };
        self.judged(violation, false, || format!("{how}, {} {}", response.status, Cached::of(response).as_str()));
        Reply::Good(version)
    }

    /// Judges the answer to a read of the list of the hot posts.
    pub(super) fn judge_list(&self, promises: &[Promise], response: &Response<'_>, how: &str) -> Reply<Option<u64>> {
        if response.status != 200 {
            return Reply::Bad;
        }
        let page = match serde_json::from_slice::<Page>(response.body) {
            Ok(page) => page,
            Err(error) => {
                self.log.unexpected(format!("an answer to GET /posts?tag= is no page: {error}"));
                return Reply::Bad;
            }
        };
        for (post, &promise) in self.hot.iter().zip(promises) {
            let violation = match page.items.iter().find(|item| item.id == post.id) {
                Some(item) => post.judge_present(promise, &Seen::of(item)),
                None => post.judge_absent(promise),
            };
            self.judged(violation, true, || format!("in its list, {how}, {}", Cached::of(response).as_str()));
        }
        Reply::Good(None)
    }

    fn judged(&self, violation: Option<Violation>, list: bool, how: impl FnOnce() -> String) {
        if violation.is_some() {
            self.log.count(|counts| counts.stale += 1);
        }
        let at = Instant::now().saturating_duration_since(self.log.began()).as_secs_f64();
        self.note(|found| {
            found.judged += 1;
            let Some(violation) = violation else { return };
            *(if list { &mut found.stale_lists } else { &mut found.stale }) += 1;
            found.stale_for_ms = found.stale_for_ms.max(violation.age.as_secs_f64() * 1e3);
            if found.told.len() < TOLD {
                found.told.push(format!("{violation} ({}; at {at:.3} s)", how()));
            }
        });
    }

    /// A hunter had time to read this replica, and never did.
    pub(super) fn unread(&self, name: &str) {
        self.note(|found| found.unread.push(name.to_owned()));
    }

    pub(crate) fn found(&self, behind: Vec<String>) -> Hunted {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Hunted { behind, ..found }
    }

    /// What is promised of all the hot posts now.
    pub(super) fn promises(&self) -> Vec<Promise> {
        self.hot.iter().map(Watched::promise).collect()
    }
}
