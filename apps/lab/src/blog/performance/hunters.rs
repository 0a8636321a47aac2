//! Those who read and write in a hunt.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::Serialize;

use super::api::{self, AuthorPage, Cached, Draft, Page, Post, Wrote, encoded};
use super::findings::Hunt;
use super::history::{Promise, Seen, Watched, title};
use super::hunt::{Ground, What};
use crate::measure::connection::{ExchangeError, Line, Response};
use crate::measure::http::REQUEST;
use crate::measure::zipf::Random;

/// Posts that came and went and are still read, so that a deleted one that comes back is seen.
const REMEMBERED: usize = 4;
/// Versions that a reader remembers at most: those that came and went add up in a long hunt.
const MOST_REMEMBERED: usize = 1_000;
/// How long a post that comes and goes stays, and how long it is missed before.
const STAY: Duration = Duration::from_millis(40);
/// After a request without an answer: its replica may be restarting.
const BREATHER: Duration = Duration::from_millis(50);

/// One reader with a connection to each replica.
pub(crate) struct Reader {
    ground: Arc<Ground>,
    lines: Vec<Line>,
    random: Random,
    request: Vec<u8>,
    /// The version last seen of each post, for conditional requests.
    last: HashMap<i64, u64>,
}

/// The lists that show the posts.
#[derive(Debug, Clone, Copy)]
enum List {
    Author,
    Tag,
    AuthorPage,
}

impl Reader {
    pub(crate) fn new(ground: Arc<Ground>, number: u64) -> Self {
        let lines = ground.replicas.iter().map(|&address| Line::new(address, REQUEST)).collect();
        Self { ground, lines, random: Random::new(1_000 + number), request: Vec::new(), last: HashMap::new() }
    }

    /// Reads until the hunt ends.
    pub(crate) async fn run(mut self) {
        while !self.ground.stopped() {
            let answered = match self.random.below(100) {
                ..85 => self.post().await,
                85..91 => self.list(List::Author).await,
                91..97 => self.list(List::Tag).await,
                _ => self.list(List::AuthorPage).await,
            };
            if let Err(error) = answered {
                unanswered(&self.ground, &error).await;
            }
        }
    }

    async fn post(&mut self) -> Result<(), ExchangeError> {
        // Mostly those that are written all the time; the rest keeps an eye on those that come and go.
        let watched = self.ground.watched();
        let hot = self.ground.hot.len();
        let at = if self.random.below(5) > 0 { self.random.below(hot) } else { self.random.below(watched.len()) };
        let post = &watched[at];
        let replica = self.random.below(self.lines.len());
        self.request.clear();
        let known = self.last.get(&post.id).copied().filter(|_| self.random.below(2) == 0);
        match known {
            Some(version) => api::get_if_changed(&mut self.request, &format!("/posts/{}", post.id), version),
            None => api::get_post(&mut self.request, post.id),
        }
        let promise = post.promise();
        let response = self.lines[replica].exchange(&self.request).await?;
        let cached = Cached::of(&response);
        count(&self.ground, &response, cached);
        let violation = match response.status {
            200 => match serde_json::from_slice::<Post>(response.body) {
                Ok(body) => {
                    if api::etag(&response) != Some(body.version) || body.id != post.id {
                        let etag = api::etag(&response);
                        self.ground.unexpected(format!(
                            "GET /posts/{} answered post {} version {} with ETag {etag:?}",
                            post.id, body.id, body.version
                        ));
                    }
                    if self.last.len() > MOST_REMEMBERED {
                        self.last.clear();
                    }
                    self.last.insert(body.id, body.version);
                    post.judge_present(promise, &Seen::of(&body))
                }
                Err(error) => {
                    self.ground.unexpected(format!("GET /posts/{}: {error}", post.id));
                    None
                }
            },
            304 => match known {
                Some(version) => post.judge_present(promise, &Seen::version(version)),
                None => {
                    self.ground.unexpected(format!("GET /posts/{}: 304 to an unconditional request", post.id));
                    None
                }
            },
            404 => post.judge_absent(promise),
            status => {
                refused(&self.ground, status, "GET /posts/{id}");
                None
            }
        };
        if let Some(violation) = violation {
            let how = format!("GET /posts/{}, replica {replica}, {} {}", post.id, response.status, cached.as_str());
            self.ground.violated(&violation, What::Post, &how);
        }
        Ok(())
    }

    async fn list(&mut self, list: List) -> Result<(), ExchangeError> {
        let ground = self.ground.clone();
        let path = match list {
            List::Author => format!("/posts?author={}&limit=25", encoded(&ground.author)),
            List::Tag => format!("/posts?tag={}&limit=25", encoded(&ground.tag)),
            List::AuthorPage => format!("/authors/{}", encoded(&ground.author)),
        };
        let replica = self.random.below(self.lines.len());
        self.request.clear();
        api::get(&mut self.request, &path);
        let promised: Vec<(Arc<Watched>, Promise)> =
            ground.watched().iter().map(|post| (post.clone(), post.promise())).collect();
        let response = self.lines[replica].exchange(&self.request).await?;
        let cached = Cached::of(&response);
        count(&ground, &response, cached);
        if response.status != 200 {
            refused(&ground, response.status, &path);
            return Ok(());
        }
        let parsed = match list {
            List::AuthorPage => serde_json::from_slice::<AuthorPage>(response.body).map(|page| page.latest),
            _ => serde_json::from_slice::<Page>(response.body).map(|page| page.items),
        };
        let items = match parsed {
            Ok(items) => items,
            Err(error) => {
                ground.unexpected(format!("GET {path}: {error}"));
                return Ok(());
            }
        };
        for (post, promise) in promised {
            let violation = match items.iter().find(|item| item.id == post.id) {
                Some(item) => post.judge_present(promise, &Seen::of(item)),
                None => post.judge_absent(promise),
            };
            if let Some(violation) = violation {
                ground.violated(&violation, What::List, &format!("GET {path}, replica {replica}, {}", cached.as_str()));
            }
        }
        Ok(())
    }
}

/// Changes the hot posts until the hunt ends.
pub(crate) async fn write(ground: Arc<Ground>, number: u64) {
    let mut random = Random::new(2_000 + number);
    let mut lines: Vec<Line> = ground.replicas.iter().map(|&address| Line::new(address, REQUEST)).collect();
    let mut reader = Reader::new(ground.clone(), 3_000 + number);
    while !ground.stopped() {
        let post = ground.hot[random.below(ground.hot.len())].clone();
        let line = random.below(lines.len());
        let written = match random.below(10) {
            0 => comment(&ground, &mut lines[line], &post).await,
            _ => put(&ground, &mut lines[line], &post).await,
        };
        if let Err(error) = written {
            unanswered(&ground, &error).await;
        } else if let Err(error) = reader.post().await {
            unanswered(&ground, &error).await;
        }
    }
}

async fn put(ground: &Ground, line: &mut Line, post: &Watched) -> Result<(), ExchangeError> {
    let write = ground.write_numbers.fetch_add(1, Ordering::Relaxed);
    let draft = Draft { author: None, title: &title(write), body: "hunted", tags: &[&ground.tag] };
    let path = format!("/posts/{}", post.id);
    let response = line.exchange(&encode(ground, "PUT", &path, &draft)).await?;
    let Some(wrote) = acknowledged(ground, &response, 200, "PUT /posts/{id}") else {
        return Ok(());
    };
    match serde_json::from_slice::<Post>(response.body) {
        Ok(body) => {
            post.committed(body.version, write);
            if wrote == Wrote::Applied {
                post.applied(body.version);
            }
        }
        Err(error) => ground.unexpected(format!("PUT {path}: {error}")),
    }
    Ok(())
}

async fn comment(ground: &Ground, line: &mut Line, post: &Watched) -> Result<(), ExchangeError> {
    #[derive(Serialize)]
    struct Comment<'a> {
        author: &'a str,
        body: &'a str,
    }
    let path = format!("/posts/{}/comments", post.id);
    let body = Comment { author: &ground.author, body: "hunted" };
    let response = line.exchange(&encode(ground, "POST", &path, &body)).await?;
    if acknowledged(ground, &response, 201, "POST /posts/{id}/comments") == Some(Wrote::Applied) {
        post.comment_applied();
    }
    Ok(())
}

/// Creates posts and deletes them again. Before a post is created it is read under the id that it will have,
/// so that its absence is what is cached.
pub(crate) async fn churn(ground: Arc<Ground>) {
    let mut line = Line::new(ground.replica(1), REQUEST);
    let mut remembered: Vec<Arc<Watched>> = Vec::new();
    while !ground.stopped() {
        let expected = Arc::new(Watched::new(ground.next_id.load(Ordering::Relaxed)));
        show(&ground, &remembered, &expected);
        tokio::time::sleep(STAY).await;
        let post = match create(&ground, &mut line, &expected).await {
            Ok(Some(post)) => post,
            Ok(None) => {
                // Whether it was created, and with which id, is not known.
                ground.next_id.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            Err(error) => {
                unanswered(&ground, &error).await;
                ground.next_id.fetch_add(1, Ordering::Relaxed);
                continue;
            }
        };
        ground.next_id.store(post.id + 1, Ordering::Relaxed);
        show(&ground, &remembered, &post);
        tokio::time::sleep(STAY).await;
        if ground.stopped() {
            return;
        }
        post.deletion_begins();
        match line.exchange(&api::delete(&format!("/posts/{}", post.id))).await {
            Ok(response) => {
                if acknowledged(&ground, &response, 204, "DELETE /posts/{id}") == Some(Wrote::Applied) {
                    post.deleted();
                }
            }
            Err(error) => unanswered(&ground, &error).await,
        }
        remembered.push(post);
        if remembered.len() > REMEMBERED {
            remembered.remove(0);
        }
    }
}

async fn create(
    ground: &Ground,
    line: &mut Line,
    expected: &Arc<Watched>,
) -> Result<Option<Arc<Watched>>, ExchangeError> {
    let write = ground.write_numbers.fetch_add(1, Ordering::Relaxed);
    let draft = Draft { author: Some(&ground.author), title: &title(write), body: "hunted", tags: &[&ground.tag] };
    let response = line.exchange(&encode(ground, "POST", "/posts", &draft)).await?;
    let Some(wrote) = acknowledged(ground, &response, 201, "POST /posts") else {
        return Ok(None);
    };
    let body: Post = match serde_json::from_slice(response.body) {
        Ok(body) => body,
        Err(error) => {
            ground.unexpected(format!("POST /posts: {error}"));
            return Ok(None);
        }
    };
    let post = if body.id == expected.id { expected.clone() } else { Arc::new(Watched::new(body.id)) };
    post.committed(body.version, write);
    if wrote == Wrote::Applied {
        post.applied(body.version);
    }
    Ok(Some(post))
}

/// Lets the readers read the hot posts, those remembered, and this one.
fn show(ground: &Ground, remembered: &[Arc<Watched>], one: &Arc<Watched>) {
    let all = ground.hot.iter().chain(remembered).chain([one]).cloned().collect();
    *ground.watched.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = all;
}

fn encode(ground: &Ground, method: &str, path: &str, body: &impl Serialize) -> Vec<u8> {
    api::send(method, path, body).unwrap_or_else(|error| {
        ground.unexpected(format!("{method} {path}: {error}"));
        Vec::new()
    })
}

/// How a write was acknowledged; `None` when it was not.
fn acknowledged(ground: &Ground, response: &Response<'_>, status: u16, what: &str) -> Option<Wrote> {
    if response.status != status {
        refused(ground, response.status, what);
        return None;
    }
    let wrote = Wrote::of(response);
    if wrote == Wrote::Unsaid {
        ground.unexpected(format!("{what}: no X-Cache-Write in an answer {status}"));
    }
    ground.acknowledged.fetch_add(1, Ordering::Relaxed);
    ground.note(|found| {
        found.writes += 1;
        add(&mut found.writes_by_outcome, wrote);
    });
    Some(wrote)
}

fn count(ground: &Ground, response: &Response<'_>, cached: Cached) {
    let status = response.status;
    ground.note(|found: &mut Hunt| {
        found.reads += 1;
        match status {
            304 => found.not_modified += 1,
            404 => found.not_found += 1,
            _ => {}
        }
        if status < 500 {
            add(&mut found.reads_by_outcome, cached);
        }
    });
}

fn add<T: PartialEq>(counts: &mut Vec<(T, u64)>, what: T) {
    match counts.iter_mut().find(|(known, _)| *known == what) {
        Some((_, count)) => *count += 1,
        None => counts.push((what, 1)),
    }
}

/// An answer that is none: 503 may be, while a fault lasts; nothing else may.
fn refused(ground: &Ground, status: u16, what: &str) {
    if status == 503 {
        ground.note(|found| found.refused += 1);
    } else {
        ground.unexpected(format!("staleness hunt: {what} answered {status}"));
    }
}

async fn unanswered(ground: &Ground, error: &ExchangeError) {
    if let ExchangeError::Malformed(_) | ExchangeError::TooLarge = error {
        ground.unexpected(format!("staleness hunt: {error}"));
    }
    ground.note(|found| found.unanswered += 1);
    tokio::time::sleep(BREATHER).await;
}
