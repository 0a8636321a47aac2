//! What a cell stands on: private stores, proxies in front of them, and replicas with short leases. Nothing of it is a
//! running `lab up`'s.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use testbed::{FaultProxy, PostgresServer, RedisServer};

use super::look::Sight;
use super::matrix::Times;
use super::redis::{self, FakedRedis};
use crate::data::ReplicaState;
use crate::fleet::{Fleet, Plan, Service};
use crate::target::BookingStores;

/// Servers of redlock. One of three may be lost.
const REDLOCK: usize = 3;

/// The stores.
#[derive(Debug)]
pub(super) struct Bed {
    pub(super) postgres: PostgresServer,
    pub(super) locks: Locks,
    /// To the locks' Redis: the way of the victim's replica, and the way of the others.
    pub(super) ways: [FaultProxy; 2],
    pub(super) redlock: Vec<(RedisServer, FaultProxy)>,
    /// The lab's own connections.
    pub(super) database: PgPool,
    binary: PathBuf,
    logs: PathBuf,
}

/// The locks' Redis.
#[derive(Debug)]
pub(super) enum Locks {
    /// One that can be killed. It writes nothing down, so it comes back empty.
    Killable(RedisServer),
    /// One whose clock can be set.
    Faked(FakedRedis),
}

impl Locks {
    pub(super) fn url(&self) -> String {
        match self {
            Self::Killable(server) => server.url(),
            Self::Faked(server) => server.url(),
        }
    }
}

const DATABASE: &str = "postgres";

impl Bed {
    /// `faketime`: the library under which the locks' Redis runs, if its clock is to be set.
    pub(super) async fn start(faketime: Option<&Path>, logs: &Path) -> anyhow::Result<Self> {
        let binary = Service::Booking.binary()?;
        let locks = async {
            match faketime {
                Some(library) => FakedRedis::start(library, &logs.join("redis-faketime")).await.map(Locks::Faked),
                None => RedisServer::builder()
                    .setting("maxmemory-policy", "noeviction")
                    .start()
                    .await
                    .map(Locks::Killable)
                    .context("cannot start the locks' Redis"),
            }
        };
        // Without fsync: a crash of the server loses nothing by that, and no cell takes the power away.
        let postgres = async {
            let builder = PostgresServer::builder().setting("max_connections", "200");
            builder.start().await.context("cannot start PostgreSQL")
        };
        let redlock = async {
            let mut servers = Vec::new();
            for _ in 0..REDLOCK {
                let server = RedisServer::builder().start().await.context("cannot start a Redis of redlock")?;
                let proxy = FaultProxy::start(server.url()).await?;
                servers.push((server, proxy));
            }
            anyhow::Ok(servers)
        };
        let (locks, postgres, redlock) = tokio::try_join!(locks, postgres, redlock)?;
        let ways = [FaultProxy::start(locks.url()).await?, FaultProxy::start(locks.url()).await?];
        let database = PgPoolOptions::new()
            .max_connections(3)
            .acquire_timeout(Duration::from_secs(3))
            .connect_lazy(&postgres.url(DATABASE))?;
        let bed = Self { postgres, locks, ways, redlock, database, binary, logs: logs.to_owned() };
        bed.migrate().await?;
        Ok(bed)
    }

    async fn migrate(&self) -> anyhow::Result<()> {
        let output = tokio::process::Command::new(&self.binary)
            .arg("migrate")
            .env("DATABASE_URL", self.postgres.url(DATABASE))
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .with_context(|| format!("cannot run {} migrate", self.binary.display()))?;
        if !output.status.success() {
            let said = [output.stdout, output.stderr].concat();
            bail!("booking-api migrate: {}", String::from_utf8_lossy(&said).trim());
        }
        Ok(())
    }

    /// Starts the victim's replica and the others, all on these stores.
    pub(super) async fn replicas(&self, count: u16, times: Times) -> anyhow::Result<Replicas> {
        let plan = |name: &str, count, port, way: &FaultProxy| {
            let mut plan = Plan::booking(&BookingStores {
                database_url: self.postgres.url(DATABASE),
                lock_redis_url: way.redis_url(),
                redlock_redis_urls: self.redlock.iter().map(|(_, proxy)| proxy.redis_url()).collect(),
            });
            plan.environment.extend(times.environment());
            // A section that began just before the end of the wait is a payment longer than that.
            plan.environment.push(("REQUEST_TIMEOUT", "30s".to_owned()));
            name.clone_into(&mut plan.name);
            plan.replicas = count;
            (plan.api_port, plan.admin_port) = (port, port + count);
            plan.binary = Some(self.binary.clone());
            plan.logs = Some(self.logs.clone());
            plan
        };
        let [first, rest] = &self.ways;
        let port = free_ports(2 * count)?;
        let victim = Fleet::start(plan("booking-victim", 1, port, first)).await?;
        let others = match Fleet::start(plan("booking-other", count - 1, port + 2, rest)).await {
            Ok(others) => others,
            Err(error) => {
                victim.stop().await;
                return Err(error);
            }
        };
        Ok(Replicas { victim, others })
    }

    /// All of them.
    pub(super) fn proxies(&self) -> impl Iterator<Item = &FaultProxy> {
        self.ways.iter().chain(self.redlock.iter().map(|(_, proxy)| proxy))
    }

    /// The stores as they are looked into: by their own addresses, past the proxies.
    pub(super) fn sight(&self) -> Sight {
        Sight {
            locks: self.locks.url(),
            redlock: self.redlock.iter().map(|(server, _)| server.url()).collect(),
            database: self.database.clone(),
        }
    }

    /// Ends whatever fault a cell may have left.
    pub(super) async fn heal(&self) -> anyhow::Result<()> {
        self.proxies().for_each(FaultProxy::heal);
        match &self.locks {
            Locks::Killable(server) => server.start_again().await?,
            Locks::Faked(server) => {
                server.set_back(false).await?;
            }
        }
        self.postgres.start_again().await?;
        for (server, _) in &self.redlock {
            server.start_again().await?;
        }
        let _: String = redis::ask(&self.locks.url(), "FLUSHALL").await?;
        Ok(())
    }

    pub(super) async fn stop(self) {
        let Self { postgres, locks, redlock, database, .. } = self;
        database.close().await;
        postgres.stop().await;
        match locks {
            Locks::Killable(server) => server.stop().await,
            Locks::Faked(server) => server.stop().await,
        }
        for (server, _) in &redlock {
            server.stop().await;
        }
    }
}

/// Where the replicas' ports are looked for. Nobody else of this project takes any there by himself: while a replica is
/// dead, another lab must not get its port, and with it the requests that are meant for this one.
const PORTS: std::ops::Range<u16> = 14_000..17_000;

/// The first of so many free ports in a row.
fn free_ports(count: u16) -> anyhow::Result<u16> {
    let free = |port| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok();
    let rows = PORTS.len() / usize::from(count);
    // Two runs that start at the same moment look in different places.
    let first = usize::try_from(std::process::id())? % rows;
    let mut bases =
        (first..rows).chain(0..first).filter_map(|row| u16::try_from(row).ok()).map(|row| PORTS.start + row * count);
    bases
        .find(|&base| (base..base + count).all(free))
        .with_context(|| format!("no {count} free ports in a row between {} and {}", PORTS.start, PORTS.end))
}

/// The replicas of one cell.
#[derive(Debug)]
pub(super) struct Replicas {
    victim: Fleet,
    others: Fleet,
}

impl Replicas {
    /// The victim's, as it is now.
    pub(super) fn victim(&self) -> ReplicaState {
        self.victim.states().into_iter().next().unwrap_or_default()
    }

    /// The victim's first.
    pub(super) fn states(&self) -> Vec<ReplicaState> {
        let mut states = self.victim.states();
        states.extend(self.others.states());
        states
    }

    /// Where the victim's replica and the others answer.
    ///
    /// # Errors
    /// An address of the fleet is none.
    pub(super) fn addresses(&self) -> anyhow::Result<(SocketAddr, Vec<SocketAddr>)> {
        let address =
            |url: String| url.trim_start_matches("http://").parse().with_context(|| format!("the address {url}"));
        let victim = address(self.victim().api)?;
        Ok((victim, self.others.api().into_iter().map(address).collect::<anyhow::Result<_>>()?))
    }

    /// How often one of them had to be started again.
    pub(super) fn restarts(&self) -> u32 {
        self.states().iter().map(|state| state.restarts).sum()
    }

    pub(super) async fn stop(self) {
        self.victim.stop().await;
        self.others.stop().await;
    }
}
