//! `store-restart`: the pod of a store is deleted, and comes back.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use super::scene::{Scene, short};
use crate::fleet::Service;
use crate::measure::postgres::pool;
use crate::measure::redis::Wire;
use crate::pressure::Methods;

/// How long a store may take to be ready again.
const BACK: Duration = Duration::from_secs(120);

/// How long the services may take to be connected again.
const RECONNECTED: Duration = Duration::from_secs(5);

/// A store of the base.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Store {
    /// The cache's Redis, which comes back empty
    RedisCache,
    /// The locks' Redis, which reads its log
    RedisLock,
    /// PostgreSQL
    Postgres,
}

impl Store {
    /// The name of its StatefulSet.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::RedisCache => "redis-cache",
            Self::RedisLock => "redis-lock",
            Self::Postgres => "postgres",
        }
    }
}

/// Its URL as the lab reaches it.
#[derive(Debug, Clone)]
pub(super) struct Urls {
    pub(super) database: String,
    pub(super) cache: String,
    pub(super) lock: String,
}

pub(super) async fn act(scene: &Scene<'_>, store: Store, urls: &Urls, grace: Option<u32>) -> anyhow::Result<()> {
    let pod = format!("{}-0", store.name());
    let (uid, _) = scene.cluster.restarts(&pod).await?;
    let before = process(store, urls).await?;
    let active = scene.breaks(store.name());
    let begun = Instant::now();
    scene.cluster.delete_pod(&pod, &uid, grace).await?;
    let successor = scene.cluster.successor(&pod, &uid, BACK).await?;
    let after = again(store, urls).await?;
    drop(active);
    let back = Instant::now() + RECONNECTED;
    match store {
        // Reads go on without the cache, and writes are acknowledged as pending.
        Store::RedisCache => {}
        Store::RedisLock => {
            scene.allow(Service::Booking, |allowed| allowed.unavailable(Methods::All, begun, back).disturbed());
        }
        Store::Postgres => {
            for &service in scene.services {
                // Without it no replica is ready, so that the service's address leads to nobody.
                scene.allow(service, |allowed| {
                    allowed.unavailable(Methods::All, begun, back).dying(&[], begun, back).giving_up()
                });
            }
        }
    }
    ensure!(after != before, "{pod} is the process of before: {before}");
    scene.saw(format!(
        "{pod} deleted and ready again {:.1} s later: uid ..{} became ..{}, {before} became {after}",
        begun.elapsed().as_secs_f64(),
        short(&uid),
        short(&successor)
    ));
    Ok(())
}

/// What tells one process of a store from the next.
async fn process(store: Store, urls: &Urls) -> anyhow::Result<String> {
    let run_id = async |url: &str| {
        let run_id = Wire::connect(url).await?.info("server").await?.remove("run_id").context("INFO has no run_id")?;
        anyhow::Ok(format!("run_id {run_id:.8}"))
    };
    match store {
        Store::RedisCache => run_id(&urls.cache).await,
        Store::RedisLock => run_id(&urls.lock).await,
        Store::Postgres => {
            let database = pool(&urls.database, 1).await?;
            let started: String =
                sqlx::query_scalar("select pg_postmaster_start_time()::text").fetch_one(&database).await?;
            database.close().await;
            Ok(format!("the postmaster of {started}"))
        }
    }
}

/// [`process`], once the store can be reached: its Service may follow its pod a moment later.
async fn again(store: Store, urls: &Urls) -> anyhow::Result<String> {
    let deadline = Instant::now() + BACK;
    loop {
        match process(store, urls).await {
            Ok(process) => return Ok(process),
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}
