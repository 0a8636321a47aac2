//! Those who read while something is broken: at every replica, all the time, each read judged by what was acknowledged before.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::measure::connection::Line;
use crate::measure::http::REQUEST;
use crate::measure::own_thread::on_own_thread;
use crate::measure::zipf::Random;
use crate::shop::api::{Cached, Seen};
use crate::shop::floors::Floors;
use crate::shop::goods::Goods;
use crate::shop::reads::{Sighting, Sightings};
use crate::shop::strategy::Strategy;

/// Readers of each replica.
const READERS: usize = 2;
/// After each read.
const PAUSE: Duration = Duration::from_millis(5);

/// What they read.
#[derive(Debug, Clone)]
pub(super) struct Readers {
    pub(super) strategy: Strategy,
    pub(super) goods: Goods,
    pub(super) replicas: Vec<SocketAddr>,
    pub(super) floors: Arc<Floors>,
    pub(super) stop: CancellationToken,
}

/// What they saw.
#[derive(Debug, Clone, Default)]
pub(super) struct Saw {
    pub(super) reads: u64,
    /// Without a product for an answer.
    pub(super) failed: u64,
    /// Behind what was acknowledged, but for those from a replica's own memory.
    pub(super) behind: u64,
    /// When the last of those was answered.
    pub(super) last_behind: Option<Instant>,
    pub(super) sighting: Option<String>,
}

impl Readers {
    /// Reads until it is stopped.
    pub(super) async fn run(self) -> anyhow::Result<Saw> {
        on_own_thread("readers", move || async move {
            let sightings = Sightings::default();
            let mut readers = JoinSet::new();
            for (number, &replica) in self.replicas.iter().cycle().take(self.replicas.len() * READERS).enumerate() {
                readers.spawn_local(self.clone().read(replica, number as u64, sightings.clone()));
            }
            let mut all = Saw::default();
            while let Some(saw) = readers.join_next().await {
                let saw = saw?;
                all.reads += saw.reads;
                all.failed += saw.failed;
                all.behind += saw.behind;
                all.last_behind = all.last_behind.max(saw.last_behind);
            }
            all.sighting = sightings.all().first().map(ToString::to_string);
            Ok(all)
        })
        .await
    }

    async fn read(self, replica: SocketAddr, number: u64, sightings: Sightings) -> Saw {
        let requests = self.goods.reads(self.strategy);
        let (mut line, mut random, mut saw) = (Line::new(replica, REQUEST), Random::new(number), Saw::default());
        while !self.stop.is_cancelled() {
            let at = random.below(self.goods.len());
            let promised = self.floors.promised(at);
            saw.reads += 1;
            match line.exchange(&requests[at]).await.ok().and_then(|response| Seen::of(&response)) {
                None => saw.failed += 1,
                Some(Seen { version, cached }) => {
                    if let Some(behind) = self.floors.behind(promised, version).filter(|_| cached != Cached::NearHit) {
                        saw.behind += 1;
                        saw.last_behind = Some(Instant::now());
                        sightings.note(Sighting { product: self.goods.get(at).id, cached, behind });
                    }
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
        saw
    }
}
