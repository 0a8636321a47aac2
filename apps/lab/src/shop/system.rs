//! The shop under measurement, looked at once: its replicas and the stores behind them.

use std::net::SocketAddr;

use anyhow::{Context as _, ensure};
use serde::Serialize;
use sqlx::PgPool;

use super::api::{Described, Strategies};
use super::strategy::Strategy;
use crate::measure::http::{fetch, resolve};
use crate::measure::postgres::pool;
use crate::measure::redis::Wire;
use crate::target::{ShopStores, ShopTargets};
use crate::up::cache;

/// Replicas and the stores behind them.
#[derive(Debug)]
pub(crate) struct System {
    pub(crate) replicas: Vec<SocketAddr>,
    /// In the order of `replicas`; may be empty.
    pub(crate) admin: Vec<SocketAddr>,
    pub(crate) stores: ShopStores,
    pub(crate) database: PgPool,
    described: Vec<Described>,
}

/// Of everything that took part.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Versions {
    pub(crate) lab: &'static str,
    /// Built without optimizations, the lab takes more of the machine than it needs to.
    pub(crate) lab_is_optimized: bool,
    pub(crate) service: String,
    pub(crate) postgresql: String,
    pub(crate) redis: String,
}

impl System {
    /// Connects to everything.
    ///
    /// # Errors
    /// One line that says which part does not answer.
    pub(crate) async fn look(targets: &ShopTargets) -> anyhow::Result<Self> {
        let mut replicas = Vec::new();
        let mut described = Vec::new();
        for url in &targets.replicas {
            let address = resolve(url).await?;
            let (status, body) = fetch(address, "/strategies").await.with_context(|| format!("replica {url}"))?;
            ensure!(status == 200, "replica {url} answers {status} to GET /strategies");
            let strategies: Strategies =
                serde_json::from_slice(&body).with_context(|| format!("GET /strategies of replica {url}"))?;
            described = strategies.items;
            replicas.push(address);
        }
        ensure!(!replicas.is_empty(), "there is no replica to measure");
        let mut admin = Vec::new();
        for url in &targets.admin {
            admin.push(resolve(url).await?);
        }
        let database = pool(&targets.stores.database_url, 4).await?;
        Ok(Self { replicas, admin, stores: targets.stores.clone(), database, described })
    }

    /// Whether the replicas have the strategy.
    pub(crate) fn has(&self, strategy: Strategy) -> bool {
        self.prefix(strategy).is_ok()
    }

    /// What the strategy's keys in Redis begin with.
    pub(crate) fn prefix(&self, strategy: Strategy) -> anyhow::Result<&str> {
        let described = self.described.iter().find(|described| described.name == strategy.as_str());
        Ok(&described.context("the replicas do not have the strategy")?.prefix)
    }

    /// Deletes everything that is cached under a strategy.
    pub(crate) async fn forget(&self, strategy: Strategy) -> anyhow::Result<()> {
        cache::forget(&self.stores.cache_redis_url, &[self.prefix(strategy)?]).await
    }

    pub(crate) async fn versions(&self) -> anyhow::Result<Versions> {
        let postgresql: String = sqlx::query_scalar("show server_version").fetch_one(&self.database).await?;
        let redis = Wire::connect(&self.stores.cache_redis_url).await?.info("server").await?.remove("redis_version");
        Ok(Versions {
            lab: env!("CARGO_PKG_VERSION"),
            lab_is_optimized: !cfg!(debug_assertions),
            service: service_version(self.replicas[0]).await,
            postgresql,
            redis: redis.unwrap_or_default(),
        })
    }
}

async fn service_version(replica: SocketAddr) -> String {
    let version = |body: Vec<u8>| {
        let document: serde_json::Value = serde_json::from_slice(&body).ok()?;
        Some(document["info"]["version"].as_str()?.to_owned())
    };
    let answered = fetch(replica, "/openapi.json").await.ok().filter(|(status, _)| *status == 200);
    answered.and_then(|(_, body)| version(body)).unwrap_or_else(|| "unknown".to_owned())
}
