//! The worker: stands by, leads, stands by again.

use std::time::Duration;

use fenced_cache::Cache;
use shop_events::{Names, decode};
use sqlx::postgres::PgConnection;
use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::lead::{Seat, Seats};
use crate::listen::Item;
use crate::metrics::Metrics;
use crate::sometimes::Sometimes;
use crate::status::Status;

/// How often one that stands by asks for the seat.
const ASK: Duration = Duration::from_millis(100);
/// After the seat was lost or could not be asked for.
const PAUSE: Duration = Duration::from_millis(250);
/// Between two log lines of one kind.
const LOG: Duration = Duration::from_secs(5);

/// What decides how it works.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) heartbeat: Duration,
    pub(crate) gap_repair: bool,
    pub(crate) page: usize,
}

#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) seats: Seats,
    pub(crate) cache: Cache,
    pub(crate) names: Names,
    pub(crate) items: Receiver<Item>,
    pub(crate) settings: Settings,
    pub(crate) metrics: Metrics,
    pub(crate) status: Status,
    /// Every event up to this number is applied.
    pub(crate) done: u64,
    /// What the database says of that.
    pub(crate) saved: u64,
    /// The last number that is known to be given out: by the table, or by events that follow each other.
    pub(crate) known: u64,
    pub(crate) save_at: Instant,
    pub(crate) touched: Instant,
    /// When the next heartbeat counts as missed.
    pub(crate) beat_by: Instant,
    /// No more garbage is written down before this.
    pub(crate) full_until: Instant,
    pub(crate) aside_log: Sometimes,
    pub(crate) gap_log: Sometimes,
    pub(crate) unconfirmed_log: Sometimes,
}

/// What a worker is made of.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) seats: Seats,
    pub(crate) cache: Cache,
    pub(crate) names: Names,
    pub(crate) items: Receiver<Item>,
    pub(crate) settings: Settings,
    pub(crate) metrics: Metrics,
    pub(crate) status: Status,
}

impl Worker {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { seats, cache, names, items, settings, metrics, status } = parts;
        let now = Instant::now();
        Self {
            seats,
            cache,
            names,
            items,
            settings,
            metrics,
            status,
            done: 0,
            saved: 0,
            known: 0,
            save_at: now,
            touched: now,
            beat_by: now,
            full_until: now,
            aside_log: Sometimes::every(LOG),
            gap_log: Sometimes::every(LOG),
            unconfirmed_log: Sometimes::every(LOG),
        }
    }

    /// Runs until `stop`. What is under way then is dropped: it was not recorded, and is done again by the next leader.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        while let Some(mut seat) = stop.run_until_cancelled(self.stand_by()).await {
            tracing::info!("this worker leads");
            // Whatever the channel said before is in the table, or not meant for a leader that begins here.
            while self.items.try_recv().is_ok() {}
            self.status.leads(true);
            let ended = stop.run_until_cancelled(self.follow(&mut seat)).await;
            self.status.leads(false);
            match ended {
                Some(Ok(never)) => match never {},
                Some(Err(error)) => tracing::warn!(%error, "this worker leads no more"),
                None => return seat.leave(self.done).await,
            }
            if stop.run_until_cancelled(sleep(PAUSE)).await.is_none() {
                return;
            }
        }
    }

    /// Returns when this worker has the seat. Until then it hears what the leader hears, so that it is subscribed when it leads.
    async fn stand_by(&mut self) -> Seat {
        let mut connection: Option<PgConnection> = None;
        let mut told = false;
        loop {
            let pause = match self.seats.ask(&mut connection).await {
                Ok(Some(seat)) => return seat,
                Ok(None) => {
                    told = false;
                    ASK
                }
                Err(error) => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!(%error, "the leader's seat cannot be asked for; trying again until it can");
                    }
                    PAUSE
                }
            };
            let until = Instant::now() + pause;
            loop {
                tokio::select! {
                    Some(item) = self.items.recv() => self.overhear(&item),
                    () = sleep_until(until) => break,
                }
            }
        }
    }

    /// Takes what is meant for the leader. A leader begins with the table.
    fn overhear(&mut self, item: &Item) {
        if let Item::Message(bytes) = item
            && let Err(unreadable) = decode(bytes)
        {
            tracing::debug!(%unreadable, "not understood; the leader keeps it aside");
        }
    }

    /// A heartbeat came, or is not to be expected before long.
    pub(crate) fn beat(&mut self) {
        // Half a heartbeat late is what a busy machine makes of it.
        self.beat_by = Instant::now() + self.settings.heartbeat * 5 / 2;
    }
}
