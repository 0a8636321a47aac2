//! Keeps a session: connects, replays, watches, and starts over when the connection is gone.

use std::collections::HashSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use fred::clients::Client;
use fred::interfaces::{ClientLike, KeysInterface};
use fred::types::config::Config;
use futures_util::future::{join, join_all};
use tokio::sync::broadcast;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::breaker::Breaker;
use crate::cache::Inner;
use crate::error::{BoxError, RedisError};
use crate::journal::{Record, RecordId};
use crate::listen::listen;
use crate::near::{Canary, Flushed, Plan};
use crate::session::{Connections, Session};
use crate::write;

const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_LAST: Duration = Duration::from_secs(1);
/// Pings in a row that may go unanswered before a connection counts as lost.
const SILENT_PINGS: u32 = 3;

/// Runs until the cache is shut down or its last handle is dropped. Between two sessions it holds the cache only
/// weakly, so that a cache which nobody holds any more ends by itself.
pub(crate) async fn run(inner: Arc<Inner>, config: Config) {
    let shutdown = inner.shutdown.clone();
    let command_timeout = inner.settings.command_timeout;
    let near = Plan::of(&inner.settings, &inner.metrics.near);
    let weak = Arc::downgrade(&inner);
    drop(inner);
    let mut retry = RETRY_FIRST;
    let mut reported = false;
    loop {
        let opened = tokio::select! {
            () = shutdown.cancelled() => return,
            opened = Session::open(&config, command_timeout, near.as_ref()) => opened,
        };
        match opened {
            Ok((session, connections)) => {
                info!(run_id = session.identity.run_id, "connected to redis");
                (retry, reported) = (RETRY_FIRST, false);
                if keep(&weak, &session, connections, near.as_ref(), &shutdown).await.is_none() {
                    return;
                }
                warn!("connection to redis lost; reads go to the database");
            }
            Err(error) => {
                if !reported {
                    warn!(%error, "redis cannot be reached; reads go to the database, retrying");
                    reported = true;
                }
            }
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = sleep(retry.mul_f64(0.75 + 0.5 * fastrand::f64())) => {}
        }
        retry = (retry * 2).min(RETRY_LAST);
    }
}

/// One session from its publication to its loss; `None` at shutdown.
async fn keep(
    weak: &Weak<Inner>,
    session: &Arc<Session>,
    mut connections: Connections,
    near: Option<&Plan>,
    shutdown: &CancellationToken,
) -> Option<()> {
    let (breaker, ping_every, cooldown) = {
        let inner = weak.upgrade()?;
        inner.breaker.close();
        inner.metrics.connected.set(1.0);
        inner.session.store(Some(Arc::clone(session)));
        (Arc::clone(&inner.breaker), inner.settings.ping, inner.settings.breaker_cooldown)
    };
    let pushes = std::mem::replace(&mut connections.pushes, broadcast::channel(1).1);
    // Each ends with the session, by its token or by the sockets being closed.
    let canary = near.map(|plan| Canary::new(plan, session.tracker.clone()));
    let listener = tokio::spawn(listen(Weak::clone(weak), Arc::clone(session), pushes, canary));
    let trust = tokio::spawn(establish_trust(Weak::clone(weak), Arc::clone(session)));
    let watch = tokio::spawn(watch(breaker, ping_every, cooldown, Arc::clone(session)));

    let ended = tokio::select! {
        () = connections.lost() => Some(()),
        () = session.lost.cancelled() => Some(()),
        () = shutdown.cancelled() => None,
    };
    session.lose();
    drop(connections);
    for task in [listener, trust, watch] {
        task.abort();
    }
    // Nobody believes it any more; this gives its memory back, whoever still holds the session.
    if let Some(near) = &session.near {
        near.flush(Flushed::Connection);
    }
    let inner = weak.upgrade()?;
    inner.session.store(None);
    inner.metrics.connected.set(0.0);
    inner.metrics.trusted.set(0.0);
    if ended.is_some() {
        inner.metrics.connections_lost.increment(1);
    }
    // Their pushes will not come any more.
    inner.waiters.wake_all();
    ended
}

/// Asks both connections again and again whether they answer, and probes for the breaker.
async fn watch(breaker: Arc<Breaker>, period: Duration, cooldown: Duration, session: Arc<Session>) {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut silent = 0;
    loop {
        let probe = tokio::select! {
            _ = ticks.tick() => false,
            () = breaker.opened() => {
                sleep(cooldown).await;
                breaker.probing();
                true
            }
        };
        let (commands, tracking) = join(ping(&session.client), ping(&session.tracker)).await;
        if commands && tracking {
            silent = 0;
            if probe {
                info!("redis answers again: breaker closed");
                breaker.close();
            }
            continue;
        }
        if probe {
            breaker.probe_failed();
        }
        silent += 1;
        if silent >= SILENT_PINGS {
            debug!("redis has not answered {SILENT_PINGS} pings");
            session.lose();
            return;
        }
    }
}

async fn ping(client: &Client) -> bool {
    client.ping::<()>(None).await.is_ok()
}

/// Section 7 of the protocol: no read trusts a session before everything that its Redis may not have heard of has
/// been repeated to it.
async fn establish_trust(weak: Weak<Inner>, session: Arc<Session>) {
    let mut retry = RETRY_FIRST;
    let replaced = loop {
        let Some(inner) = weak.upgrade() else { return };
        match replay(&inner, &session).await {
            Ok(replaced) => {
                session.trust();
                inner.metrics.trusted.set(1.0);
                break replaced;
            }
            Err(error) => debug!(%error, "the replay failed; reads go to the database, retrying"),
        }
        drop(inner);
        sleep(retry).await;
        retry = (retry * 2).min(RETRY_LAST);
    };
    if !replaced {
        return;
    }
    // Until now the deposed primary may have confirmed writes that this one has not heard of.
    let Some(silent) = weak.upgrade().map(|inner| inner.settings.settle) else { return };
    sleep(silent).await;
    loop {
        let Some(inner) = weak.upgrade() else { return };
        match settle(&inner, &session).await {
            Ok(()) => return,
            Err(error) => debug!(%error, "the second replay failed, retrying"),
        }
        drop(inner);
        sleep(RETRY_LAST).await;
    }
}

/// `true` if this Redis is another one than that of the last finished replay.
async fn replay(inner: &Inner, session: &Session) -> Result<bool, BoxError> {
    let known = inner.journal.identity(&node(inner)).await?;
    if known.as_ref() == Some(&session.identity) {
        let mut after = RecordId(i64::MIN);
        loop {
            let rows = inner.journal.unapplied(after, PAGE).await?;
            let Some(last) = rows.last() else { return Ok(false) };
            after = last.id;
            apply(inner, session, &rows).await?;
        }
    }
    info!(run_id = session.identity.run_id, "another redis than before: repeating the recent invalidations");
    repeat_young(inner, session).await?;
    Ok(true)
}

fn node(inner: &Inner) -> String {
    format!("{}/primary", inner.settings.keyspace.namespace())
}

/// The last replay, after which this Redis is no longer "another one" to anybody. Recorded no earlier: if this process
/// died, or lost its connection, in between, the next one would find the pair and leave the second replay out.
async fn settle(inner: &Inner, session: &Session) -> Result<(), BoxError> {
    repeat_young(inner, session).await?;
    inner.journal.remember(&node(inner), &session.identity).await?;
    Ok(())
}

const PAGE: usize = 1_000;

async fn repeat_young(inner: &Inner, session: &Session) -> Result<(), BoxError> {
    let mut after = RecordId(i64::MIN);
    loop {
        let rows = inner.journal.younger_than(inner.settings.replay_window, after, PAGE).await?;
        let Some(last) = rows.last() else { return Ok(()) };
        after = last.id;
        apply(inner, session, &rows).await?;
    }
}

/// Deletes the distinct names of one page, pipelined so many at once as a write does. Deleting once too often is harmless.
async fn apply(inner: &Inner, session: &Session, rows: &[Record]) -> Result<(), RedisError> {
    let names: HashSet<&Bytes> = rows.iter().flat_map(|row| row.keys.iter().chain(&row.tags)).collect();
    let count = names.len();
    let names: Vec<&Bytes> = names.into_iter().collect();
    for some in names.chunks(write::AT_ONCE) {
        let deletions = join_all(some.iter().map(|name| session.client.del::<i64, _>((*name).clone()))).await;
        deletions.into_iter().collect::<Result<Vec<_>, _>>()?;
    }
    inner.metrics.replayed.increment(u64::try_from(count).unwrap_or(u64::MAX));
    Ok(())
}
