//! Doing it, making sure that it was done, and ending it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rustix::process::Signal;
use testbed::{Armed, Direction, FaultProxy, RedisServer};

use super::super::strategy::Strategy;
use super::bed::{Bed, Locks, Replicas};
use super::look;
use super::matrix::Fault;
use super::redis;
use crate::fleet::{Stopped, process_state, signal};

/// How long a store that is taken away stays away.
const AWAY: Duration = Duration::from_millis(300);
/// How long everybody is cut off from Redis: longer than a command may take.
const CUT: Duration = Duration::from_millis(1_500);
/// How long a fault may take to show.
const SHOWN: Duration = Duration::from_secs(5);
/// The first push is lost, and then each of so many.
const EVERY_PUSH: u64 = 25;

/// A fault that was seen to be there.
#[derive(Debug)]
pub(super) struct Injected {
    /// How it was seen.
    pub(super) evidence: String,
    /// From here on the system may recover: the fault itself, or its end where a store was away for everybody.
    pub(super) since: Instant,
    /// When the lease of the one who was hit ends by the clock of its store, where that is known.
    pub(super) lease_ends: Option<Instant>,
    lasting: Lasting,
}

/// What goes on until it is ended.
#[derive(Debug)]
enum Lasting {
    Nothing,
    Stopped { pid: u32, since: Instant, process: Stopped },
    Partition { way: Way, bytes: u64, since: Instant },
    Pushes(Armed),
    Clock,
}

/// Which proxy has a hole.
#[derive(Debug, Clone, Copy)]
enum Way {
    Victim,
    Redlock,
}

impl Way {
    fn of(self, bed: &Bed) -> &FaultProxy {
        match self {
            Self::Victim => &bed.ways[0],
            Self::Redlock => &bed.redlock[0].1,
        }
    }
}

/// What is hit, and when.
#[derive(Debug)]
pub(super) struct Hit<'a> {
    pub(super) bed: &'a Bed,
    pub(super) replicas: &'a Replicas,
    pub(super) fault: Fault,
    pub(super) strategy: Strategy,
    pub(super) event: i64,
    pub(super) round: u32,
}

impl Hit<'_> {
    /// Injects the fault.
    ///
    /// # Errors
    /// It could not be verified that it is there.
    pub(super) async fn inject(&self) -> anyhow::Result<Injected> {
        let Self { bed, strategy, .. } = *self;
        match self.fault {
            Fault::HolderKilled => self.kill_holder().await,
            Fault::HolderStopped => self.stop_holder().await,
            Fault::RedisKilled if strategy == Strategy::Redlock => {
                let (server, proxy) = &bed.redlock[0];
                self.kill_redis(server, &[proxy]).await
            }
            Fault::RedisKilled => {
                let Locks::Killable(server) = &bed.locks else { bail!("this Redis cannot be killed") };
                let [victim, others] = &bed.ways;
                self.kill_redis(server, &[victim, others]).await
            }
            Fault::RedisCut if strategy == Strategy::Redlock => partition(bed, Way::Redlock),
            Fault::RedisCut if self.round.is_multiple_of(2) => partition(bed, Way::Victim),
            Fault::RedisCut => self.cut_all().await,
            Fault::PushDropped => drop_pushes(bed).await,
            Fault::PostgresRestarted => restart_postgres(bed).await,
            Fault::ClockBack => self.set_clock_back().await,
        }
    }

    fn holder(&self) -> anyhow::Result<u32> {
        self.replicas.victim().pid.context("the victim's replica does not run")
    }

    async fn lease_ends(&self) -> anyhow::Result<Option<Instant>> {
        let left =
            look::lease_left(&self.bed.sight(), self.strategy, self.event).await.context("the holder's lease")?;
        Ok(left.map(|left| Instant::now() + left))
    }

    async fn kill_holder(&self) -> anyhow::Result<Injected> {
        let (pid, lease_ends) = (self.holder()?, self.lease_ends().await?);
        signal(pid, Signal::KILL);
        let since = Instant::now();
        until("the holder's process is still there", || !matches!(process_state(pid), Some(state) if state != 'Z'))
            .await?;
        let evidence = format!("process {pid} is gone");
        Ok(Injected { evidence, since, lease_ends, lasting: Lasting::Nothing })
    }

    async fn stop_holder(&self) -> anyhow::Result<Injected> {
        let (pid, lease_ends) = (self.holder()?, self.lease_ends().await?);
        let process = Stopped::stop(pid);
        let since = Instant::now();
        until("the holder's process is not stopped", || process_state(pid) == Some('T')).await?;
        let evidence = format!("process {pid} is in state T");
        Ok(Injected { evidence, since, lease_ends, lasting: Lasting::Stopped { pid, since, process } })
    }

    /// From when on a store's absence counts: from its end for those who cannot do without the store, from its beginning
    /// for those who have no need to wait.
    fn since(&self, began: Instant) -> Instant {
        let needed = matches!(self.strategy, Strategy::Redis | Strategy::RedisFenced | Strategy::RedisReserve);
        if needed { Instant::now() } else { began }
    }

    /// SIGKILL, and back on the same port with nothing. Nobody gets in before that was seen.
    async fn kill_redis(&self, server: &RedisServer, ways: &[&FaultProxy]) -> anyhow::Result<Injected> {
        let url = server.url();
        let before = redis::info(&url, "run_id").await?;
        ways.iter().for_each(|way| way.refuse(true));
        let began = Instant::now();
        server.kill().await;
        tokio::time::sleep(AWAY).await;
        let back = server.start_again().await;
        let seen = async {
            let after = redis::info(&url, "run_id").await?;
            ensure!(after != before, "Redis has the run_id that it had before the kill");
            let keys: i64 = redis::ask(&url, "DBSIZE").await?;
            ensure!(keys == 0, "Redis came back with {keys} keys");
            Ok(after)
        };
        let seen = seen.await;
        ways.iter().for_each(|way| way.refuse(false));
        let since = self.since(began);
        back.context("Redis does not come back")?;
        let after = seen?;
        Ok(at_once(format!("run_id {before:.8} became {after:.8}, DBSIZE 0"), since, Lasting::Nothing))
    }

    /// All connections are reset and new ones refused, for everybody.
    async fn cut_all(&self) -> anyhow::Result<Injected> {
        let bed = self.bed;
        let open: usize = bed.ways.iter().map(FaultProxy::connections).sum();
        let began = Instant::now();
        for way in &bed.ways {
            way.refuse(true);
            way.cut();
        }
        tokio::time::sleep(CUT).await;
        let left: usize = bed.ways.iter().map(FaultProxy::connections).sum();
        bed.ways.iter().for_each(|way| way.refuse(false));
        let since = self.since(began);
        ensure!(open > 0, "nobody was connected to Redis");
        ensure!(left == 0, "{left} connections to Redis survived the cut");
        Ok(at_once(format!("all {open} connections reset and none for {}", seconds(CUT)), since, Lasting::Nothing))
    }

    /// The clock steps back and every lock is forgotten, as after a failover to a server that lags: the next fence is below
    /// the one that the event's row has.
    async fn set_clock_back(&self) -> anyhow::Result<Injected> {
        let bed = self.bed;
        let Locks::Faked(server) = &bed.locks else { bail!("this Redis has no clock of its own") };
        let url = server.url();
        let before = redis::time(&url).await?;
        server.set_back(true).await?;
        let _: String = redis::ask(&url, "FLUSHALL").await?;
        let since = Instant::now();
        let after = redis::time(&url).await?;
        ensure!(after < before, "TIME did not go back");
        let mut evidence = format!("TIME went back by {} s, the keys are gone", (before - after) / 1_000_000);
        if self.strategy == Strategy::RedisFenced {
            // A fence is Redis' time in microseconds, where there is no lock to count on from.
            let fence: i64 = sqlx::query_scalar("select fence from booking.events where id = $1")
                .bind(self.event)
                .fetch_one(&bed.database)
                .await?;
            ensure!(fence > after, "a new fence would not be below the one that has entered");
            evidence.push_str(", and a new fence is below the one that has entered");
        }
        Ok(at_once(evidence, since, Lasting::Clock))
    }
}

impl Injected {
    /// Ends what goes on, and adds to the evidence that it went on until now.
    ///
    /// # Errors
    /// It did not go on until now, or could not be ended.
    pub(super) async fn end(&mut self, bed: &Bed) -> anyhow::Result<()> {
        match std::mem::replace(&mut self.lasting, Lasting::Nothing) {
            Lasting::Nothing => {}
            Lasting::Stopped { pid, since, process } => {
                if let Some(lease_ends) = self.lease_ends {
                    tokio::time::sleep_until(lease_ends.into()).await;
                }
                ensure!(process_state(pid) == Some('T'), "the holder's process did not stay stopped");
                drop(process);
                until("the holder's process does not go on", || process_state(pid) != Some('T')).await?;
                self.add(&format!("for {}", seconds(since.elapsed())));
            }
            Lasting::Partition { way, bytes, since } => {
                let proxy = way.of(bed);
                let passed = passed(proxy) - bytes;
                proxy.heal();
                ensure!(passed == 0, "{passed} bytes passed the cut");
                self.add(&format!("for {}", seconds(since.elapsed())));
            }
            Lasting::Pushes(armed) => {
                armed.disarm();
                self.add(&format!("{} in all", armed.count()));
            }
            Lasting::Clock => {
                let Locks::Faked(server) = &bed.locks else { bail!("this Redis has no clock of its own") };
                server.set_back(false).await?;
            }
        }
        Ok(())
    }

    fn add(&mut self, more: &str) {
        self.evidence.push_str(", ");
        self.evidence.push_str(more);
    }
}

async fn until(what: &str, condition: impl Fn() -> bool) -> anyhow::Result<()> {
    let deadline = Instant::now() + SHOWN;
    while !condition() {
        ensure!(Instant::now() < deadline, "{what}, {SHOWN:?} later");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

fn at_once(evidence: String, since: Instant, lasting: Lasting) -> Injected {
    Injected { evidence, since, lease_ends: None, lasting }
}

fn passed(way: &FaultProxy) -> u64 {
    way.bytes(Direction::ClientToServer) + way.bytes(Direction::ServerToClient)
}

/// As if the server had vanished from the network: nothing passes, and nobody is told.
fn partition(bed: &Bed, way: Way) -> anyhow::Result<Injected> {
    let proxy = way.of(bed);
    let open = proxy.connections();
    ensure!(open > 0, "nobody is connected to the Redis that is to be cut off");
    proxy.half_open();
    let (since, bytes) = (Instant::now(), passed(proxy));
    let of = match way {
        Way::Victim => "of the holder's replica",
        Way::Redlock => "to one of redlock's servers",
    };
    Ok(at_once(
        format!("no byte passed on the {open} connections {of}"),
        since,
        Lasting::Partition { way, bytes, since },
    ))
}

/// Arms the loss, and waits until the victim has released and the grant that follows is lost.
async fn drop_pushes(bed: &Bed) -> anyhow::Result<Injected> {
    let mut pushes = 0;
    let armed = bed.ways[1].drop_matching(Direction::ServerToClient, move |message| {
        let push = message.windows(8).any(|part| part == b"smessage");
        pushes += u64::from(push);
        push && pushes % EVERY_PUSH == 1
    });
    until("no push was lost", || armed.count() > 0).await?;
    let since = Instant::now();
    Ok(at_once("the grant of the victim's release was dropped".to_owned(), since, Lasting::Pushes(armed)))
}

async fn restart_postgres(bed: &Bed) -> anyhow::Result<Injected> {
    let before = look::postgres_started(&bed.database).await?;
    bed.postgres.kill().await;
    tokio::time::sleep(AWAY).await;
    bed.postgres.start_again().await.context("PostgreSQL does not come back")?;
    let since = Instant::now();
    let after = look::postgres_started(&bed.database).await?;
    ensure!(after != before, "PostgreSQL says that it has been running since {before}");
    Ok(at_once(format!("the postmaster that started at {before} became one of {after}"), since, Lasting::Nothing))
}
