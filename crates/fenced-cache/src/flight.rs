//! A flight: one entitled load of one key, in a task that no caller can kill.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fred::clients::Client;
use fred::interfaces::KeysInterface;
use fred::types::{Expiration, SetOptions};
use futures_util::FutureExt;
use futures_util::future::{join, try_join_all};
use tokio::time::{Instant, timeout};
use tracing::{Instrument, debug, debug_span};

use crate::cache::Inner;
use crate::entry::now_ms;
use crate::error::{ReadError, RedisError};
use crate::key::Key;
use crate::layout::{self, Epoch, Meta};
use crate::outcome::{Loaded, Outcome, Read};
use crate::policy::Policy;
use crate::read::{Loader, millis};
use crate::registry::Ongoing;
use crate::script::{self, Acquired, Token};

/// How a flight ended, for all who joined it.
#[derive(Clone, Debug)]
pub(crate) enum Landing {
    /// Loaded, and proven current by a command that was sent after joining had ended.
    Proven(Arc<Landed>),
    /// Loaded, and something was invalidated meanwhile, or the proof did not come: only for who started it.
    Unproven(Arc<Landed>),
    /// Somebody else holds the lease for so much longer.
    Held(Duration),
    /// Somebody stored meanwhile.
    Changed,
    /// No lease could be had: Redis is away, or full.
    Unavailable,
    /// The load failed.
    Failed(ReadError),
}

/// What a load brought.
#[derive(Clone, Debug)]
pub(crate) struct Landed {
    loaded: Option<Loaded>,
    fresh_for: Duration,
}

impl Landed {
    /// `fresh_for` is zero for what is not stored.
    pub(crate) fn new(loaded: Option<Loaded>, fresh_for: Duration) -> Self {
        Self { loaded, fresh_for }
    }

    pub(crate) fn version(&self) -> Option<u64> {
        self.loaded.as_ref().and_then(|loaded| loaded.version)
    }

    pub(crate) fn read(&self, outcome: Outcome) -> Read {
        Read {
            value: self.loaded.as_ref().map(|loaded| loaded.payload.clone()),
            outcome,
            age: Duration::ZERO,
            fresh_for: self.fresh_for,
            version: self.version(),
        }
    }
}

/// Spawns the flight. `seen` is the token of the value that its starter judged, empty for none; with `drop_seen`
/// that value was invalid and goes.
pub(crate) fn take_off(
    inner: &Arc<Inner>,
    flight: Ongoing<Landing>,
    key: &Key,
    policy: &Policy,
    seen: &Bytes,
    drop_seen: bool,
    load: Loader,
) {
    let (inner, key, policy, seen) = (Arc::clone(inner), key.clone(), policy.clone(), seen.clone());
    let span = debug_span!("cache_flight", policy = policy.name(), landing = tracing::field::Empty);
    let tasks = inner.tasks.clone();
    let task = async move {
        let landing = fly(&inner, &flight, &key, &policy, &seen, drop_seen, load).await;
        flight.finish(landing);
    };
    tasks.spawn(task.instrument(span));
}

async fn fly(
    inner: &Arc<Inner>,
    flight: &Ongoing<Landing>,
    key: &Key,
    policy: &Policy,
    seen: &Bytes,
    drop_seen: bool,
    load: Loader,
) -> Landing {
    let Some(session) = inner.readable() else { return Landing::Unavailable };
    let client = &session.client;
    let metrics = &policy.0.metrics;
    let token = Token::random();

    // Both before the load; neither needs the other, so they share a round trip.
    let lease = script::acquire(client, key.name(), token, millis(policy.0.lease_ttl), seen, drop_seen);
    let (lease, epochs) = join(lease, capture(client, key, inner.settings.tag_ttl)).await;
    match &lease {
        Ok(Acquired::Granted) => metrics.leases.granted.increment(1),
        Ok(Acquired::Changed) => {
            metrics.leases.changed.increment(1);
            return Landing::Changed;
        }
        Ok(Acquired::Held(rest_ms)) => {
            metrics.leases.held.increment(1);
            return Landing::Held(Duration::from_millis(*rest_ms));
        }
        Err(error) => {
            metrics.leases.error.increment(1);
            inner.note(error);
        }
    }
    let epochs = match (lease, epochs) {
        (Ok(_), Ok(epochs)) => epochs,
        (lease, epochs) => {
            debug!(lease = ?lease.err(), epochs = ?epochs.err(), "no lease");
            // It may have been granted all the same.
            give_back(inner, client, key, token);
            return Landing::Unavailable;
        }
    };
    inner.breaker.answered();

    let began = Instant::now();
    let loaded = match guarded(policy, load).await {
        Ok(loaded) => loaded,
        Err(error) => {
            give_back(inner, client, key, token);
            return Landing::Failed(error);
        }
    };
    let cost = began.elapsed();

    // From here on nobody joins: what proves the value current is sent after every member has begun.
    flight.close();
    let negative = loaded.is_none();
    let fresh_for = policy.next_fresh_ttl(negative);
    let payload = loaded.as_ref().map(|loaded| loaded.payload.clone()).unwrap_or_default();
    let version = loaded.as_ref().and_then(|loaded| loaded.version);

    let too_large = payload.len() > policy.0.max_value_bytes;
    let proof = if too_large {
        // Nothing is stored, but a lease that is still there proves as much as a fill: nothing was invalidated.
        script::abandon(client, key.name(), token).await
    } else {
        let stored_at_ms = now_ms();
        let fresh_until_ms = stored_at_ms.saturating_add(millis(fresh_for));
        let meta = Meta { negative, version, stored_at_ms, fresh_until_ms, cost };
        let entry = layout::encode(&meta, &token.0, &epochs, &payload);
        let hard_ttl_ms = millis(policy.hard_ttl(fresh_for, negative)).max(1);
        script::fill(client, key.name(), token, entry, hard_ttl_ms).await
    };
    let fills = &metrics.fills;
    let proven = match proof {
        Err(error) => {
            fills.error.increment(1);
            inner.note(&error);
            give_back(inner, client, key, token);
            false
        }
        Ok(false) => {
            fills.refused.increment(1);
            false
        }
        // A tag's invalidation kills no lease, so a stored value alone proves nothing about its tags.
        Ok(true) if !key.tags().is_empty() && !epochs_still(client, key, &epochs).await => {
            fills.epoch_changed.increment(1);
            false
        }
        Ok(true) => {
            if too_large {
                fills.too_large.increment(1);
            } else {
                fills.stored.increment(1);
            }
            true
        }
    };
    let landed = Arc::new(Landed::new(loaded, if proven && !too_large { fresh_for } else { Duration::ZERO }));
    if proven { Landing::Proven(landed) } else { Landing::Unproven(landed) }
}

/// The loader within its deadline; a panic of it is an error like another.
pub(crate) async fn guarded(policy: &Policy, load: Loader) -> Result<Option<Loaded>, ReadError> {
    let metrics = &policy.0.metrics;
    let began = Instant::now();
    let loading = AssertUnwindSafe(async move { load().await }).catch_unwind();
    let result = match timeout(policy.0.load_deadline, loading).await {
        Ok(Ok(Ok(loaded))) => {
            metrics.loads.ok.increment(1);
            Ok(loaded)
        }
        Ok(Ok(Err(error))) => {
            metrics.loads.error.increment(1);
            Err(ReadError::Load(error.into()))
        }
        Ok(Err(_panic)) => {
            metrics.loads.panic.increment(1);
            Err(ReadError::LoadPanicked)
        }
        Err(_elapsed) => {
            metrics.loads.timeout.increment(1);
            Err(ReadError::LoadTimeout)
        }
    };
    metrics.load_duration.record(began.elapsed());
    result
}

/// ABANDON in the background: readers elsewhere need not wait for the lease to lapse.
fn give_back(inner: &Arc<Inner>, client: &Client, key: &Key, token: Token) {
    let (client, key) = (client.clone(), key.name().clone());
    inner.tasks.spawn(async move {
        if let Err(error) = script::abandon(&client, &key, token).await {
            debug!(%error, "a lease was not given back; it lapses by itself");
        }
    });
}

/// The epochs of the key's tags as they are now; one that is missing is made anew, never assumed.
pub(crate) async fn capture(client: &Client, key: &Key, tag_ttl: Duration) -> Result<Vec<Epoch>, RedisError> {
    let ttl = i64::try_from(tag_ttl.as_millis()).unwrap_or(i64::MAX);
    try_join_all(key.tags().iter().map(|tag| async move {
        let fresh = script::random_id();
        let made = Bytes::copy_from_slice(&fresh);
        let known: Option<Bytes> =
            client.set(tag.name().clone(), made, Some(Expiration::PX(ttl)), Some(SetOptions::NX), true).await?;
        match known {
            None => Ok(fresh),
            Some(known) => Epoch::try_from(known.as_ref())
                .map_err(|_| RedisError::Refused("a tag's epoch is not 16 bytes long".into())),
        }
    }))
    .await
}

async fn epochs_still(client: &Client, key: &Key, captured: &[Epoch]) -> bool {
    let current = try_join_all(key.tags().iter().map(|tag| client.get::<Option<Bytes>, _>(tag.name().clone()))).await;
    current.is_ok_and(|current| {
        current.len() == captured.len()
            && current.iter().zip(captured).all(|(now, then)| now.as_deref() == Some(then.as_slice()))
    })
}

#[cfg(test)]
mod tests {
    use testbed::{Direction, FaultProxy};
    use tokio::time::sleep;

    use super::*;
    use crate::{BoxError, Cache, Keyspace, NoJournal, Settings};

    /// Replies and joins follow each other on one connection and one thread, so that outside of this file the order can
    /// hardly be seen to be wrong; on several threads it can.
    #[tokio::test]
    async fn joining_has_ended_when_the_fill_is_sent() {
        let redis = testbed::redis().await;
        let proxy = FaultProxy::start(redis.url()).await.unwrap();
        let keyspace = Keyspace::new("test").unwrap();
        let settings = Settings::new(proxy.redis_url(), keyspace.clone()).command_timeout(Duration::from_secs(5));
        let cache = Cache::start(settings, Arc::new(NoJournal)).unwrap();
        while !cache.health().trusted {
            sleep(Duration::from_millis(1)).await;
        }
        let policy = cache.policy(Policy::named("test", Duration::from_secs(60))).unwrap();
        let key = keyspace.entry("row", 1_u64);
        let fill = proxy.hold_when(Direction::ClientToServer, b"the-payload");
        let read = tokio::spawn({
            let (cache, key) = (cache.clone(), key.clone());
            let load = || async { Ok::<_, BoxError>(Some(Loaded::new("the-payload"))) };
            async move { cache.get_or_load(&key, &policy, load).await.unwrap() }
        });
        fill.reached().await;
        let (_, begun) = cache.inner.flights.join_or_begin(key.name());
        assert!(begun.is_some(), "a flight whose fill is on the wire can still be joined");
        drop(begun);
        fill.release();
        assert_eq!(read.await.unwrap().outcome, Outcome::Miss);
    }
}
