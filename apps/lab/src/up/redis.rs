//! The Redis servers of `lab up`: one for the cache, one for the locks, five for redlock.

use std::convert::Infallible;

use anyhow::{Context as _, bail};
use testbed::{RedisBuilder, RedisServer};

use super::cache;
use super::stores::memory_bytes;
use crate::cli::UpArgs;
use crate::data::DataDir;
use crate::screen::{note, say};

/// How many servers redlock has. A majority of five may lose two.
const REDLOCK: usize = 5;

/// One server, private or the user's.
#[derive(Debug)]
pub(super) struct Redis {
    /// As a person reads it.
    name: String,
    /// Absent when the user named a server.
    server: Option<RedisServer>,
    url: String,
    /// What a restart leaves of its data, as a person reads it.
    after_restart: &'static str,
}

impl Redis {
    /// The cache's: nothing on the disk, and any key may go at any time.
    pub(super) async fn cache(args: &UpArgs, data: &DataDir) -> anyhow::Result<Self> {
        if let Some(url) = &args.cache_redis_url {
            let version = cache::check(url, "CACHE_REDIS_URL").await?;
            say(&format!("Redis       {version}, yours"));
            return Ok(Self::of_the_user("Redis", url));
        }
        let megabytes = (memory_bytes() / 16).clamp(128 << 20, 1 << 30) >> 20;
        let builder = RedisServer::builder()
            .data_dir(data.path().join("redis"))
            .setting("maxmemory", format!("{megabytes}mb"))
            // Any key may go at any time (the protocol's own assumption), so all are candidates. By frequency and not by
            // recency: popularity is Zipf-like, and one walk over many posts must not push the popular ones out.
            .setting("maxmemory-policy", "allkeys-lfu");
        let server = at(builder, args.redis_port).start().await.context("cannot start Redis")?;
        say(&format!("Redis       on port {}, {megabytes} MB, nothing on disk", server.port()));
        Ok(Self::private("Redis", server, "empty"))
    }

    /// The locks': what is acknowledged is written down, and nothing is ever evicted.
    pub(super) async fn lock(args: &UpArgs, data: &DataDir) -> anyhow::Result<Self> {
        if let Some(url) = &args.lock_redis_url {
            let version = cache::check(url, "LOCK_REDIS_URL").await?;
            let [policy, limit, append_only] = cache::keeping(url).await?;
            if policy != "noeviction" && limit != "0" {
                bail!(
                    "the Redis that LOCK_REDIS_URL names evicts keys ({policy}), and an evicted lock is no lock: set maxmemory-policy noeviction, or unset LOCK_REDIS_URL for a private one"
                );
            }
            if append_only != "1" {
                note("lab: the Redis that LOCK_REDIS_URL names has no AOF: a restart forgets who waits for a lock");
            }
            say(&format!("lock Redis  {version}, yours"));
            return Ok(Self::of_the_user("the locks' Redis", url));
        }
        let folder = data.path().join("redis-locks");
        if args.fresh && folder.exists() {
            // Events that are counted from 1 again must not find the reservations of those before them.
            std::fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
        }
        let builder =
            RedisServer::builder().data_dir(folder).appendonly(true).setting("maxmemory-policy", "noeviction");
        let server = at(builder, args.lock_redis_port).start().await.context("cannot start the locks' Redis")?;
        say(&format!("lock Redis  on port {}, append-only file, no eviction", server.port()));
        Ok(Self::private("the locks' Redis", server, "with what it had written down"))
    }

    /// Redlock's, which write nothing down: for as long as a lease after its start, the library asks none of them, so
    /// that a server that forgot a lock does not grant it a second time.
    pub(super) async fn redlock() -> anyhow::Result<Vec<Self>> {
        let mut all = Vec::with_capacity(REDLOCK);
        for number in 1..=REDLOCK {
            let server = RedisServer::builder()
                .setting("maxmemory-policy", "noeviction")
                .start()
                .await
                .context("cannot start a Redis of redlock")?;
            all.push(Self::private(&format!("redlock's Redis {number}"), server, "empty"));
        }
        let ports: Vec<String> =
            all.iter().filter_map(|redis| redis.server.as_ref()).map(|server| server.port().to_string()).collect();
        say(&format!("redlock     {REDLOCK} Redis on ports {}, nothing on disk", ports.join(", ")));
        Ok(all)
    }

    fn of_the_user(name: &str, url: &str) -> Self {
        Self { name: name.to_owned(), server: None, url: url.to_owned(), after_restart: "" }
    }

    fn private(name: &str, server: RedisServer, after_restart: &'static str) -> Self {
        let url = server.url();
        Self { name: name.to_owned(), server: Some(server), url, after_restart }
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Absent when it is the user's.
    pub(super) fn pid(&self) -> Option<u32> {
        self.server.as_ref().map(RedisServer::pid)
    }

    /// Starts it again when it has died, on its port. Calls `changed` then. Ends only with an error.
    pub(super) async fn keep_up(&self, changed: impl Fn() -> anyhow::Result<()>) -> anyhow::Result<Infallible> {
        let Self { name, after_restart, .. } = self;
        let Some(server) = &self.server else { return std::future::pending().await };
        loop {
            let exit = server.ended().await;
            let (pid, port) = (server.pid(), server.port());
            note(&format!("{name} (pid {pid}) ended: {exit}; starting it again on port {port}"));
            server.start_again().await.with_context(|| format!("{name} does not come back"))?;
            note(&format!("{name} is back (pid {}), {after_restart}", server.pid()));
            changed()?;
        }
    }

    pub(super) async fn stop(&self) {
        if let Some(server) = &self.server {
            server.stop().await;
        }
    }
}

/// On a port of the user's choice, or any.
fn at(builder: RedisBuilder, port: u16) -> RedisBuilder {
    if port == 0 { builder } else { builder.port(port) }
}
