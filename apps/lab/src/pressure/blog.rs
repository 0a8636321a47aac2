//! The load on the blog, and the readers who look for stale posts meanwhile.

pub(super) mod ground;
mod hunters;
mod settle;

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde::Serialize;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use super::addresses::{Addresses, Route};
use super::arrivals::Arrivals;
use super::client::{Client, Target};
use super::failure::Method;
use super::log::Progress;
use super::pressed::Pressed;
use super::running::Running;
use super::sender::{Reply, Sender};
use crate::blog::performance::api;
use crate::measure::zipf::{Random, Zipf};
use ground::Ground;
pub(crate) use ground::Hunted;

/// How the posts that are read are spread.
const EXPONENT: f64 = 0.99;
/// Of a thousand requests: bursts of writes of a hot post, reads of them, and reads of lists. The rest are reads of all
/// posts.
const BURSTS: usize = 10;
const HOT_READS: usize = 50;
const LISTS: usize = 30;
/// Writes of one burst, each sent when the one before it is answered: a read that fills the cache after the first must
/// be under way while the second commits, or no cache would ever be caught. All but the first come on top of the rate.
const BURST: usize = 4;

/// How hard the blog is pressed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct BlogConfig {
    /// Requests a second, in the open loop: they are due whether or not earlier ones are answered.
    pub(crate) rate: f64,
    /// How many may be under way at once, each on a connection of its own.
    pub(crate) connections: usize,
    pub(crate) route: Route,
    /// A connection is renewed after this time to twice this time.
    pub(crate) life: Duration,
    /// How long one try may take.
    pub(crate) answer: Duration,
    /// How long a request is tried.
    pub(crate) deadline: Duration,
    /// Between two tries of a request.
    pub(crate) pause: Duration,
    /// Between two reads of one replica by its hunter; a write that is acknowledged is read back at once, from each.
    pub(crate) hunt: Duration,
    /// Posts that are read by all, at most.
    pub(crate) posts: usize,
}

impl Default for BlogConfig {
    fn default() -> Self {
        Self {
            rate: 500.0,
            connections: 64,
            route: Route::Service,
            life: Duration::from_secs(4),
            answer: Duration::from_secs(5),
            deadline: Duration::from_secs(15),
            pause: Duration::from_millis(50),
            hunt: Duration::from_millis(20),
            posts: 20_000,
        }
    }
}

/// A load on the blog. Dropped, it stops.
#[derive(Debug)]
pub(crate) struct BlogPressure {
    running: Running<()>,
    ground: Arc<Ground>,
    addresses: Addresses,
}

impl BlogPressure {
    /// Creates the posts that are hunted on, and begins.
    ///
    /// # Errors
    /// The blog has no posts, or does not take new ones.
    pub(crate) async fn start(config: BlogConfig, addresses: Addresses, database: PgPool) -> anyhow::Result<Self> {
        ensure!(config.rate > 0.0 && config.connections > 0, "a load needs a rate and a connection");
        let ground = Arc::new(ground::prepare(&config, &addresses, &database).await?);
        let stopping = CancellationToken::new();
        let work = {
            let (ground, addresses, stopping) = (Arc::clone(&ground), addresses.clone(), stopping.clone());
            move || press(config, ground, addresses, stopping)
        };
        let running = Running::start("blog pressure", database, Arc::clone(&ground.log), stopping, work);
        Ok(Self { running, ground, addresses })
    }

    /// Remembers this moment under this name; a new window of the findings begins.
    pub(crate) fn mark(&self, text: &str) -> Instant {
        self.running.mark(text)
    }

    /// The counters so far.
    #[expect(dead_code, reason = "no fault shows it while it goes on yet")]
    pub(crate) fn progress(&self) -> Progress {
        self.running.progress()
    }

    /// Ends the load, holds what every ready replica shows in the end against the database, and takes the posts of the
    /// hunt away again.
    ///
    /// # Errors
    /// The load ended by itself, or the database does not answer.
    pub(crate) async fn stop(self, database: &PgPool) -> anyhow::Result<Pressed> {
        let Self { running, ground, addresses } = self;
        let log = Arc::clone(&running.log);
        let ((), looks) = running.stop().await?;
        let mut pressed = Pressed::of(&log, addresses.service(), &looks);
        let behind = settle::behind(&ground, &addresses, database).await?;
        settle::clean(&ground, &addresses).await;
        pressed.blog = Some(ground.found(behind));
        Ok(pressed)
    }
}

/// All of the load, on its thread.
pub(super) async fn press(
    config: BlogConfig,
    ground: Arc<Ground>,
    addresses: Addresses,
    stopping: CancellationToken,
) -> anyhow::Result<()> {
    let arrivals = Rc::new(Arrivals::new(config.rate));
    let zipf = Rc::new(Zipf::new(ground.posts.len(), EXPONENT));
    let mut workers = tokio::task::JoinSet::new();
    for number in 0..config.connections {
        let target = Target::Any(addresses.clone(), config.route);
        let sender = Sender {
            client: Client::new(target, config.answer, config.life, number),
            log: Arc::clone(&ground.log),
            deadline: config.deadline,
            pause: config.pause,
            stopping: stopping.clone(),
        };
        let worker = Worker {
            ground: Arc::clone(&ground),
            zipf: Rc::clone(&zipf),
            random: Random::new(0x0b10_6500 + number as u64),
            sender,
            request: Vec::with_capacity(512),
        };
        workers.spawn_local(worker.run(Rc::clone(&arrivals)));
    }
    let hunters = tokio::task::spawn_local(hunters::hunt(ground.clone(), config, addresses, stopping.clone()));
    tokio::select! {
        () = stopping.cancelled() => {}
        never = arrivals.run() => match never {},
        Some(ended) = workers.join_next() => ended.context("a worker panicked")?,
    }
    let unsent = arrivals.end();
    ground.log.count(|counts| counts.unsent += unsent);
    while let Some(ended) = workers.join_next().await {
        ended.context("a worker panicked")?;
    }
    hunters.await.context("the hunters panicked")
}

struct Worker {
    ground: Arc<Ground>,
    zipf: Rc<Zipf>,
    random: Random,
    sender: Sender,
    request: Vec<u8>,
}

impl Worker {
    async fn run(mut self, arrivals: Rc<Arrivals>) {
        while let Some(due) = arrivals.next().await {
            self.request.clear();
            match self.random.below(1_000) {
                at if at < BURSTS => self.write(due).await,
                at if at < BURSTS + HOT_READS => self.read_hot(due).await,
                at if at < BURSTS + HOT_READS + LISTS => {
                    let path = self.ground.list(&mut self.random);
                    api::get(&mut self.request, &path);
                    self.read(due).await;
                }
                _ => {
                    let id = self.ground.posts[self.zipf.draw(&mut self.random)];
                    api::get_post(&mut self.request, id);
                    self.read(due).await;
                }
            }
        }
    }

    async fn read(&mut self, due: Instant) {
        let reply = |status| if status == 200 { Reply::Good(()) } else { Reply::Bad };
        self.sender.send(Method::Get, due, &self.request, |response| reply(response.status)).await;
    }

    async fn read_hot(&mut self, due: Instant) {
        let (ground, hot) = (&self.ground, self.random.below(self.ground.hot.len()));
        api::get_post(&mut self.request, ground.hot[hot].id);
        // Of the first try; for those that follow it promises less than it could, and nothing that is wrong.
        let promise = ground.hot[hot].promise();
        let how = "over the service";
        let sent = self
            .sender
            .send(Method::Get, due, &self.request, |response| ground.judge_post(hot, promise, None, response, how));
        sent.await;
    }

    async fn write(&mut self, mut due: Instant) {
        let ground = &self.ground;
        let hot = self.random.below(ground.hot.len());
        for _ in 0..BURST {
            let write = ground.write_numbers.fetch_add(1, Ordering::Relaxed);
            let request = ground.put(hot, write);
            self.sender.send(Method::Put, due, &request, |response| ground.wrote(hot, write, response)).await;
            due = Instant::now();
        }
    }
}

/// How the writes of a load were acknowledged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Writes {
    /// No read that begins later may see what was before.
    pub(crate) applied: u64,
    /// Committed; the invalidation follows.
    pub(crate) pending: u64,
    /// Anything else that is allowed.
    pub(crate) other: u64,
}
