//! What runs beside the requests: the cache, the outbox's relays, and the checks of Redis and of the replay.

use std::time::{Duration, Instant};

use fenced_cache::{BreakerState, Cache};
use outbox::Background;
use service::{Check, Health};
use tokio_util::sync::CancellationToken;

/// How often the checks of Redis and of the replay are brought up to date.
const WATCH: Duration = Duration::from_millis(100);

/// How long a start may take to find Redis before that is worth a line in the log.
const CONNECTS_WITHIN: Duration = Duration::from_secs(1);

/// What has to be stopped once no request and no write is left.
#[derive(Debug)]
pub struct Running {
    cache: Cache,
    relaying: CancellationToken,
    background: Vec<Background>,
}

impl Running {
    /// Begins to watch, and adds the checks `redis` and `replay`. `background` are the relays, which end with `relaying`.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    #[must_use]
    pub fn start(
        cache: Cache,
        relaying: CancellationToken,
        background: impl IntoIterator<Item = Background>,
        health: Health,
    ) -> Self {
        tokio::spawn(watch(cache.clone(), health, relaying.clone()));
        Self { cache, relaying, background: background.into_iter().collect() }
    }

    /// Lets writes under way finish, then the marks of the last ones.
    pub async fn stop(self) {
        self.cache.shutdown().await;
        self.relaying.cancel();
        for background in self.background {
            background.stopped().await;
        }
    }
}

/// Neither check decides about readiness: without Redis a replica answers from the database.
async fn watch(cache: Cache, health: Health, stop: CancellationToken) {
    let redis = health.informative("redis");
    let replay = health.informative("replay");
    let started = Instant::now();
    let mut was_trusted = false;
    loop {
        let now = cache.health();
        was_trusted |= now.trusted;
        if was_trusted || started.elapsed() > CONNECTS_WITHIN {
            report(now, &redis, &replay);
        }
        tokio::select! {
            () = tokio::time::sleep(WATCH) => {}
            () = stop.cancelled() => return,
        }
    }
}

fn report(now: fenced_cache::Health, redis: &Check, replay: &Check) {
    match (now.connected, now.breaker) {
        (false, _) => redis.fail("not connected: reads go to the database, writes end as pending"),
        (true, BreakerState::Closed) => redis.pass(),
        (true, _) => redis.fail("does not answer: reads go to the database, writes end as pending"),
    }
    match (now.connected, now.trusted) {
        (_, true) => replay.pass(),
        (true, false) => replay.fail("what Redis may have missed is being repeated: reads go to the database"),
        (false, false) => replay.fail("waits for Redis"),
    }
}
