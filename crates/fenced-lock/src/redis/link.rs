//! Keeps a session: connects, watches, and starts over when the connection is gone.

use std::sync::Arc;
use std::time::Duration;

use fred::clients::Client;
use fred::interfaces::ClientLike;
use fred::types::Message;
use futures_util::future::join;
use metrics::Counter;
use tokio::sync::{broadcast, watch};
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{info, warn};

use super::session::{Connections, Recipe, Session};

const RETRY_FIRST: Duration = Duration::from_millis(20);
const RETRY_LAST: Duration = Duration::from_secs(1);
/// How often an idle connection is asked whether it still answers.
const PING: Duration = Duration::from_millis(500);
/// Pings in a row that may go unanswered before the connection counts as lost.
const SILENT_PINGS: u32 = 4;

/// What comes in by itself.
pub(crate) trait Pushes: Send + Sync + 'static {
    /// One message of the channel.
    fn message(&self, payload: &[u8]);
    /// Messages may have been missed: a new session, or too many at once.
    fn resync(&self);
}

/// For a lock that is told nothing.
#[derive(Debug)]
pub(crate) struct NoPushes;

impl Pushes for NoPushes {
    fn message(&self, _payload: &[u8]) {}
    fn resync(&self) {}
}

/// The current session, if there is one. Its task ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Link {
    current: watch::Receiver<Option<Arc<Session>>>,
    _task: DropGuard,
}

impl Link {
    /// Begins to connect, and never stops trying. Must be called inside of a tokio runtime.
    pub(crate) fn start(recipe: Recipe, pushes: Arc<dyn Pushes>, lost: Counter) -> Self {
        let (current, observer) = watch::channel(None);
        let stop = CancellationToken::new();
        tokio::spawn(run(recipe, pushes, current, stop.clone(), lost));
        Self { current: observer, _task: stop.drop_guard() }
    }

    pub(crate) fn session(&self) -> Option<Arc<Session>> {
        self.current.borrow().clone()
    }

    /// Resolves when there is a session (at once if there is one).
    pub(crate) async fn connected(&self) {
        let mut current = self.current.clone();
        if current.wait_for(Option::is_some).await.is_err() {
            // The task is gone, so there will be none.
            std::future::pending::<()>().await;
        }
    }
}

async fn run(
    recipe: Recipe,
    pushes: Arc<dyn Pushes>,
    current: watch::Sender<Option<Arc<Session>>>,
    stop: CancellationToken,
    lost: Counter,
) {
    let mut retry = RETRY_FIRST;
    let mut reported = false;
    loop {
        let opened = tokio::select! {
            () = stop.cancelled() => return,
            opened = Session::open(&recipe) => opened,
        };
        match opened {
            Ok((session, connections)) => {
                info!("connected to the redis of the locks");
                (retry, reported) = (RETRY_FIRST, false);
                if keep(Arc::new(session), connections, &pushes, &current, &stop).await.is_none() {
                    return;
                }
                lost.increment(1);
                warn!("connection to the redis of the locks lost: nobody is let in until it is back");
            }
            Err(error) if !reported => {
                warn!(%error, "the redis of the locks cannot be reached, retrying");
                reported = true;
            }
            Err(_) => {}
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(retry.mul_f64(0.75 + 0.5 * fastrand::f64())) => {}
        }
        retry = (retry * 2).min(RETRY_LAST);
    }
}

/// One session from its publication to its loss; `None` when it is to stop.
async fn keep(
    session: Arc<Session>,
    mut connections: Connections,
    pushes: &Arc<dyn Pushes>,
    current: &watch::Sender<Option<Arc<Session>>>,
    stop: &CancellationToken,
) -> Option<()> {
    current.send_replace(Some(Arc::clone(&session)));
    // Subscribed before published: what is granted from now on is heard of, what was before is asked for.
    pushes.resync();
    let listening = connections.take_messages().map(|messages| tokio::spawn(listen(Arc::clone(pushes), messages)));
    let second = connections.pushes().unwrap_or_else(|| session.client.clone());
    let watching = watch_over(session.client.clone(), second);
    let ended = tokio::select! {
        () = connections.lost() => Some(()),
        () = session.lost.cancelled() => Some(()),
        () = watching => Some(()),
        () = stop.cancelled() => None,
    };
    current.send_replace(None);
    drop(connections);
    if let Some(listening) = listening {
        listening.abort();
    }
    ended
}

async fn listen(pushes: Arc<dyn Pushes>, mut messages: broadcast::Receiver<Message>) {
    loop {
        match messages.recv().await {
            Ok(message) => match message.value.as_bytes() {
                Some(payload) => pushes.message(payload),
                None => pushes.resync(),
            },
            Err(broadcast::error::RecvError::Lagged(_)) => pushes.resync(),
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

/// Asks both connections again and again whether they answer; resolves when one has been silent for too long.
async fn watch_over(commands: Client, pushes: Client) {
    let mut ticks = interval(PING);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut silent = 0;
    while silent < SILENT_PINGS {
        ticks.tick().await;
        let (commands, pushes) = join(commands.ping::<()>(None), pushes.ping::<()>(None)).await;
        silent = if commands.is_ok() && pushes.is_ok() { 0 } else { silent + 1 };
    }
}
