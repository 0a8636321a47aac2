//! What runs beside the requests: keys are pruned, oversold seats counted, the lock's Redis watched.

use std::time::Duration;

use fred::clients::Client;
use fred::interfaces::ClientLike;
use fred::types::Builder;
use fred::types::config::{Config, ReconnectPolicy};
use metrics::{counter, gauge};
use service::Health;
use service::config::RedisUrl;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::domain::Strategy;
use crate::metrics::{KEYS_PRUNED, OVERSOLD_SEATS};
use crate::store::{Store, events, keys};

/// Between two counts of the oversold seats.
const COUNT: Duration = Duration::from_secs(2);

/// The longest time between two looks for keys to prune.
const PRUNE: Duration = Duration::from_secs(60);

/// Between two looks at the lock's Redis, and the most that one may take.
const WATCH: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(500);

/// Tasks that end when they are stopped.
#[derive(Debug)]
pub struct Background {
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Background {
    /// Starts the tasks.
    ///
    /// # Errors
    /// For a URL that the client of Redis does not understand.
    pub fn start(
        store: &Store,
        retention: Duration,
        redis: &RedisUrl,
        health: &Health,
    ) -> Result<Self, fred::error::Error> {
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let client = client(redis)?;
        tasks.spawn(stop.clone().run_until_cancelled_owned(prune(store.clone(), retention)));
        tasks.spawn(stop.clone().run_until_cancelled_owned(count(store.clone())));
        let (watching, health) = (stop.clone(), health.clone());
        tasks.spawn(async move {
            watching.run_until_cancelled(watch(&client, &health)).await;
            // The client's own task ends with this, whether it was connected or not.
            let _gone_already = timeout(LOOK, client.quit()).await;
        });
        tasks.close();
        Ok(Self { stop, tasks })
    }

    /// Stops the tasks and waits for their end.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.wait().await;
    }
}

async fn prune(store: Store, retention: Duration) {
    let pruned = counter!(KEYS_PRUNED);
    let pause = (retention / 10).min(PRUNE);
    loop {
        match keys::prune(&store.pool, retention).await {
            Ok(count) => {
                pruned.increment(count);
                // As many as one statement removes: there may be more.
                if i64::try_from(count) == Ok(keys::PRUNED_AT_ONCE) {
                    continue;
                }
            }
            Err(error) => tracing::debug!(%error, "keys are not pruned now"),
        }
        sleep(pause).await;
    }
}

async fn count(store: Store) {
    let unsafe_ones = Strategy::ALL.into_iter().filter(|strategy| strategy.may_oversell());
    let gauges: Vec<_> =
        unsafe_ones.map(|strategy| (strategy, gauge!(OVERSOLD_SEATS, "strategy" => strategy.as_str()))).collect();
    loop {
        match events::oversold(&store.pool).await {
            Ok(found) => {
                for (strategy, gauge) in &gauges {
                    let seats = found.iter().find(|(name, _)| name == strategy.as_str()).map_or(0, |(_, seats)| *seats);
                    // Exact up to 2^53 seats.
                    gauge.set(seats as f64);
                }
            }
            Err(error) => tracing::debug!(%error, "oversold seats are not counted now"),
        }
        sleep(COUNT).await;
    }
}

fn client(url: &RedisUrl) -> Result<Client, fred::error::Error> {
    let mut builder = Builder::from_config(Config { fail_fast: false, ..Config::from_url(url.expose())? });
    builder.set_policy(ReconnectPolicy::new_exponential(0, 50, 1_000, 2));
    builder.with_performance_config(|performance| performance.default_command_timeout = LOOK);
    builder.with_connection_config(|connection| connection.max_command_attempts = 1);
    let client = builder.build()?;
    // The task ends with the client; until then it connects and connects again.
    let _connecting = client.connect();
    Ok(client)
}

/// Only reported: without its Redis a replica still books for all strategies that need none, so it is not taken out of
/// service. The others say 503 themselves, for the events that have them.
async fn watch(client: &Client, health: &Health) {
    let check = health.informative("lock-redis");
    // The first connection takes a moment, which is no news.
    let _late_or_failed = timeout(WATCH, client.wait_for_connect()).await;
    loop {
        match client.ping::<()>(None).await {
            Ok(()) => check.pass(),
            Err(_) => check.fail("does not answer: redis, redis-fenced and redis-reserve answer 503"),
        }
        sleep(WATCH).await;
    }
}
