//! The system under measurement, looked at once: replicas, stores, and what can be asked for.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, ensure};
use sqlx::PgPool;

use super::store::{NAIVE_PREFIX, PREFIX, Store};
use crate::measure::http::{fetch, resolve};
use crate::measure::postgres::pool;
use crate::measure::zipf::Random;
use crate::target::Targets;

/// Posts kept apart for reading often.
const FAMILIAR: usize = 2_000;
/// Most post ids held in memory.
const MAX_IDS: i64 = 1_000_000;

/// Replicas and the stores behind them.
#[derive(Debug)]
pub(crate) struct System {
    pub(crate) replicas: Vec<SocketAddr>,
    /// In the order of `replicas`; may be empty.
    pub(crate) admin: Vec<SocketAddr>,
    pub(crate) database: PgPool,
    pub(crate) store: Store,
    pub(crate) database_url: String,
    pub(crate) cache_redis_url: String,
    pub(crate) subjects: Subjects,
}

/// What can be asked for.
#[derive(Debug)]
pub(crate) struct Subjects {
    /// Ids of posts, in an order without meaning.
    pub(crate) posts: Vec<i64>,
    pub(crate) authors: Vec<String>,
    pub(crate) tags: Vec<String>,
    next: AtomicUsize,
}

impl System {
    /// Connects to everything and reads the names.
    ///
    /// # Errors
    /// One line that says which part does not answer, or that there are no posts.
    pub(crate) async fn look(targets: &Targets) -> anyhow::Result<Self> {
        let mut replicas = Vec::new();
        for url in &targets.replicas {
            let address = resolve(url).await?;
            let (status, _) = fetch(address, "/noop?bytes=1").await.with_context(|| format!("replica {url}"))?;
            ensure!(status == 200, "replica {url} answers {status} to its no-op route");
            replicas.push(address);
        }
        ensure!(!replicas.is_empty(), "there is no replica to measure");
        let mut admin = Vec::new();
        for url in &targets.admin {
            admin.push(resolve(url).await?);
        }
        let database = pool(&targets.database_url, 4).await?;
        let store = Store::connect(&targets.cache_redis_url).await?;
        let subjects = Subjects::read(&database).await?;
        Ok(Self {
            replicas,
            admin,
            database,
            store,
            database_url: targets.database_url.clone(),
            cache_redis_url: targets.cache_redis_url.clone(),
            subjects,
        })
    }

    /// How the replicas cache, by what a read leaves in Redis. Empties the cache.
    pub(crate) async fn cache(&self) -> anyhow::Result<&'static str> {
        self.store.clear().await?;
        let path = format!("/posts/{}", self.familiar(1)[0]);
        let (status, _) = fetch(self.replicas[0], &path).await?;
        ensure!(status == 200, "{path} answered {status}");
        let keys = self.store.keys("*").await?;
        let naive = keys.iter().any(|key| key.starts_with(NAIVE_PREFIX));
        let fenced = keys.iter().any(|key| key.starts_with(PREFIX) && key.contains("{post:"));
        Ok(if naive {
            "naive"
        } else if fenced {
            "fenced"
        } else {
            "off"
        })
    }

    /// The same stores and subjects behind other replicas.
    pub(crate) async fn behind(&self, replicas: &[String]) -> anyhow::Result<Vec<SocketAddr>> {
        let mut addresses = Vec::new();
        for url in replicas {
            addresses.push(resolve(url).await?);
        }
        ensure!(!addresses.is_empty(), "there is no replica to compare with");
        Ok(addresses)
    }

    /// Ids of `count` posts that nobody read since the cache was last emptied. When there are not so many left,
    /// the cache is emptied and all are new again; fewer are returned only when there are not so many posts.
    pub(crate) async fn unread(&self, count: usize) -> anyhow::Result<Vec<i64>> {
        let posts = &self.subjects.posts[..self.subjects.posts.len() - self.reserved()];
        let count = count.min(posts.len());
        let mut start = self.subjects.next.fetch_add(count, Ordering::Relaxed);
        if start + count > posts.len() {
            self.store.clear().await?;
            self.subjects.next.store(count, Ordering::Relaxed);
            start = 0;
        }
        Ok(posts[start..start + count].to_vec())
    }

    /// Posts that [`Self::unread`] never hands out, to be read as often as one likes: `count` of them, if
    /// there are so many.
    pub(crate) fn familiar(&self, count: usize) -> Vec<i64> {
        self.subjects.posts.iter().rev().take(count.min(self.reserved())).copied().collect()
    }

    fn reserved(&self) -> usize {
        FAMILIAR.min(self.subjects.posts.len() / 4)
    }
}

impl Subjects {
    async fn read(database: &PgPool) -> anyhow::Result<Self> {
        let mut posts: Vec<i64> = sqlx::query_scalar("select id from blog.posts order by id desc limit $1")
            .bind(MAX_IDS)
            .fetch_all(database)
            .await
            .context("cannot read blog.posts")?;
        ensure!(posts.len() >= 100, "the blog has {} posts; `lab blog seed` fills it", posts.len());
        // Tags of some posts all over the table: reading all of them would take a second.
        let step = (posts.len() / 2_000).max(1);
        let sample: Vec<i64> = posts.iter().step_by(step).copied().collect();
        let mut tags: Vec<String> =
            sqlx::query_scalar("select distinct unnest(tags) as tag from blog.posts where id = any($1) order by 1")
                .bind(sample)
                .fetch_all(database)
                .await?;
        let mut authors: Vec<String> =
            sqlx::query_scalar("select name from blog.authors order by id limit 100000").fetch_all(database).await?;
        ensure!(!authors.is_empty() && !tags.is_empty(), "the blog has posts without authors or tags");
        let mut random = Random::new(0x0b10_6000);
        random.shuffle(&mut posts);
        random.shuffle(&mut tags);
        random.shuffle(&mut authors);
        Ok(Self { posts, authors, tags, next: AtomicUsize::new(0) })
    }
}
