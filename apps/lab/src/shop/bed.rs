//! Stores, replicas and workers of an experiment's own, for what cannot be done to a running `lab up`: another TTL, and faults.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use testbed::PostgresServer;

use crate::fleet::{Fleet, Plan, Service};
use crate::seed;
use crate::target::ShopStores;

const DATABASE: &str = "postgres";

/// A PostgreSQL with a shop in it, and where the programs are.
#[derive(Debug)]
pub(crate) struct Bed {
    pub(crate) postgres: PostgresServer,
    /// The lab's own connections.
    pub(crate) database: PgPool,
    logs: PathBuf,
}

impl Bed {
    /// Starts PostgreSQL, with so many products in it.
    ///
    /// # Errors
    /// A server or a binary is missing, or the rows cannot be made.
    pub(crate) async fn start(products: u64, logs: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(logs).with_context(|| format!("cannot make {}", logs.display()))?;
        // Absolute: those who write there may have another working folder.
        let logs = logs.canonicalize()?;
        // Without fsync: a crash of the server loses nothing by that, and nobody takes the power away.
        let builder = PostgresServer::builder().setting("max_connections", "300");
        let postgres = builder.start().await.context("cannot start PostgreSQL")?;
        let database = PgPoolOptions::new()
            .max_connections(4)
            .acquire_timeout(Duration::from_secs(3))
            .connect_lazy(&postgres.url(DATABASE))?;
        let bed = Self { postgres, database, logs };
        bed.migrate().await?;
        let streams = seed::default_streams();
        seed::shop::seed(&seed::Plan { database_url: bed.database_url(), items: products, streams, replace: false })
            .await?;
        Ok(bed)
    }

    async fn migrate(&self) -> anyhow::Result<()> {
        let output = tokio::process::Command::new(Service::Shop.binary()?)
            .arg("migrate")
            .env("DATABASE_URL", self.database_url())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .context("cannot run shop-api migrate")?;
        if !output.status.success() {
            let said = [output.stdout, output.stderr].concat();
            bail!("shop-api migrate: {}", String::from_utf8_lossy(&said).trim());
        }
        Ok(())
    }

    pub(crate) fn database_url(&self) -> String {
        self.postgres.url(DATABASE)
    }

    /// Replicas of shop-api on this Redis, with settings beside the usual ones.
    pub(crate) async fn replicas(
        &self,
        name: &str,
        count: u16,
        redis: &str,
        more: &[(&'static str, String)],
    ) -> anyhow::Result<Fleet> {
        self.fleet(Plan { replicas: count, ..Plan::shop(&self.stores(redis)) }, name, more).await
    }

    /// Two workers, one of which leads.
    pub(crate) async fn workers(
        &self,
        name: &str,
        redis: &str,
        more: &[(&'static str, String)],
    ) -> anyhow::Result<Fleet> {
        self.fleet(Plan::shop_worker(&self.stores(redis)), name, more).await
    }

    async fn fleet(&self, plan: Plan, name: &str, more: &[(&'static str, String)]) -> anyhow::Result<Fleet> {
        let mut plan = Plan { name: name.to_owned(), logs: Some(self.logs.clone()), ..plan };
        plan.environment.extend(more.iter().cloned());
        Fleet::start(plan).await
    }

    fn stores(&self, redis: &str) -> ShopStores {
        ShopStores { database_url: self.database_url(), cache_redis_url: redis.to_owned() }
    }

    pub(crate) async fn stop(self) {
        self.database.close().await;
        self.postgres.stop().await;
    }
}
