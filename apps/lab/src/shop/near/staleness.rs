//! How far replicas are behind what was acknowledged, by their own memory and through Redis: in order, and while the way of one of
//! them to Redis is cut or silent.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use serde::Serialize;
use sqlx::PgPool;
use testbed::{Direction, FaultProxy};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::NearArgs;
use crate::measure::latencies::Percentiles;
use crate::measure::open_loop::OpenLoop;
use crate::shop::api::{Cached, Seen};
use crate::shop::floors::Floors;
use crate::shop::goods::Goods;
use crate::shop::line_pool::LinePool;
use crate::shop::reads::{Counts, Reads, Sightings};
use crate::shop::strategy::Strategy;
use crate::shop::writes::Writes;

/// Connections to all replicas together.
const CONNECTIONS: usize = 24;
/// Between the end of a fault and the next.
const BETWEEN: Duration = Duration::from_secs(1);
/// How long a replica may take until it answers from its own memory again, or has what was written.
const BACK: Duration = Duration::from_secs(10);

/// What happens to the way of the last replica to its Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Fault {
    /// Its connections are reset, and it connects again.
    Cut,
    /// What Redis sends does not arrive, and the connections stand: pushes and answers are held for longer than the bound, and then
    /// come all at once.
    Silent,
}

impl Fault {
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Cut => "connections cut",
            Self::Silent => "connections silent",
        }
    }
}

/// A time of reads and writes.
#[derive(Debug)]
pub(super) struct Phase<'a> {
    pub(super) args: &'a NearArgs,
    pub(super) goods: &'a Goods,
    pub(super) database: &'a PgPool,
    /// The last one's way leads through the proxy.
    pub(super) replicas: &'a [SocketAddr],
    pub(super) fault: Option<Fault>,
}

/// What was seen.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Staleness {
    pub(super) fault: Option<Fault>,
    pub(super) counts: Counts,
    /// Of each write: from its acknowledgement to the last answer of any replica that was behind; zero if none was.
    pub(super) times: Option<Percentiles>,
    /// The longest from an acknowledgement until a read was sent whose answer was behind, in microseconds.
    pub(super) asked_us: f64,
    /// Writes that somebody was behind of.
    pub(super) stale_writes: u64,
    /// Writes that some replica did not come to have.
    pub(super) unconverged: u64,
    /// Probes that were behind, other than by a replica's own memory.
    pub(super) probes_behind: u64,
    pub(super) applied: u64,
    pub(super) pending: u64,
    pub(super) writes_failed: u64,
    pub(super) write_failure: Option<String>,
    pub(super) injected: Injected,
    pub(super) sightings: Vec<String>,
}

/// The faults that there were.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Injected {
    pub(super) times: u64,
    /// Products that were read when the replica answered from its own memory again.
    pub(super) read_after: u64,
    /// Those of them that were behind.
    pub(super) behind_after: u64,
}

impl Phase<'_> {
    /// # Errors
    /// The fault was not seen to happen, or the replica did not come back from it.
    pub(super) async fn run(&self, way: &FaultProxy) -> anyhow::Result<Staleness> {
        let Self { args, goods, replicas, fault, .. } = self;
        let floors = Arc::new(Floors::new(goods.versions(self.database).await?));
        let sightings = Sightings::default();
        let seed = fault.map_or(1, |fault| 2 + fault as u64);
        let reads = Reads::new(goods, Strategy::Combined, seed, floors.clone(), sightings.clone());
        let load = OpenLoop {
            addresses: replicas.to_vec(),
            connections: CONNECTIONS,
            rate: args.rate.into(),
            duration: args.window(),
        };
        let writes = Writes {
            strategy: Strategy::Combined,
            goods: (*goods).clone(),
            replicas: replicas.to_vec(),
            floors: floors.clone(),
            rate: args.writes.into(),
            duration: args.window(),
            stop: CancellationToken::new(),
            bulks: 0,
            category: 1,
            patience: BACK,
            seed,
        };
        let (arrivals, written, injected) =
            tokio::try_join!(load.run_traffic(reads), writes.run(), self.inject(way, &floors))?;
        Ok(Staleness {
            fault: *fault,
            counts: Counts::of(&arrivals),
            times: written.probed.times.percentiles(),
            asked_us: written.probed.asked.as_secs_f64() * 1e6,
            stale_writes: written.probed.stale,
            unconverged: written.probed.unconverged,
            probes_behind: written.probed.behind,
            applied: written.applied,
            pending: written.pending,
            writes_failed: written.failed,
            write_failure: written.failure,
            injected,
            sightings: sightings.all().iter().map(ToString::to_string).collect(),
        })
    }

    /// One fault after the other, as long as there is load.
    async fn inject(&self, way: &FaultProxy, floors: &Floors) -> anyhow::Result<Injected> {
        let mut injected = Injected::default();
        let Some(fault) = self.fault else { return Ok(injected) };
        let last = LinePool::new(self.replicas[self.replicas.len() - 1]);
        let until = Instant::now() + self.args.window();
        // Longer than anything may be believed.
        let held = self.args.near_grace() * 3 / 2 + Duration::from_millis(200);
        while Instant::now() + BETWEEN + held < until {
            sleep(BETWEEN).await;
            match fault {
                Fault::Cut => {
                    ensure!(way.connections() > 0, "the replica has no connection that could be cut");
                    let accepted = way.accepted();
                    way.cut();
                    // Whoever connects again has noticed.
                    let again = async {
                        while way.accepted() == accepted {
                            sleep(Duration::from_millis(1)).await;
                        }
                    };
                    let back = tokio::time::timeout(BACK, again).await;
                    ensure!(back.is_ok(), "the replica did not connect to Redis again within {BACK:?}");
                }
                Fault::Silent => {
                    let before = way.bytes(Direction::ServerToClient);
                    way.hold(Direction::ServerToClient);
                    sleep(held).await;
                    let passed = way.bytes(Direction::ServerToClient) - before;
                    // What was being passed on when it began.
                    ensure!(passed < 65_536, "{passed} bytes came through while nothing should");
                    way.release(Direction::ServerToClient);
                }
            }
            injected.times += 1;
            self.look(&last, floors, &mut injected).await?;
        }
        Ok(injected)
    }

    /// Waits until the replica answers from its own memory again, and reads everything once.
    async fn look(&self, last: &LinePool, floors: &Floors, injected: &mut Injected) -> anyhow::Result<()> {
        let requests = self.goods.reads(Strategy::Combined);
        let since = Instant::now();
        while last.exchange(&requests[0], Seen::of).await?.is_none_or(|seen| seen.cached != Cached::NearHit) {
            ensure!(since.elapsed() < BACK, "no answer from the replica's own memory, {BACK:?} after the fault");
            sleep(Duration::from_millis(1)).await;
        }
        for (at, request) in requests.iter().enumerate() {
            let promised = floors.promised(at);
            let Some(seen) = last.exchange(request, Seen::of).await? else { continue };
            injected.read_after += 1;
            injected.behind_after += u64::from(floors.behind(promised, seen.version).is_some());
        }
        Ok(())
    }
}
