//! What makes Redis right again: rebuilding a pool, and finding reservations that nobody will claim.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use metrics::counter;
use sqlx::Connection as _;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use super::claims;
use super::pool::{Expired, Pool};
use crate::domain::{Event, EventId};
use crate::metrics::RESERVATIONS_LEAKED;
use crate::store::Store;
use crate::strategies::{Refusal, limit};

/// Rebuilds of one process that may run side by side; of one event, one at a time.
const TURNS: usize = 16;

#[derive(Debug)]
pub(super) struct Mender {
    store: Store,
    pool: Pool,
    timeout: Duration,
    turns: [Mutex<()>; TURNS],
}

impl Mender {
    /// `timeout`: how old an unclaimed reservation may get.
    pub(super) fn new(store: Store, pool: Pool, timeout: Duration) -> Self {
        Self { store, pool, timeout, turns: Default::default() }
    }

    /// Makes a missing pool of what PostgreSQL says, unless somebody else is faster.
    ///
    /// Under the event's row lock `for update`. Each claim takes a share of that row (its foreign key), and each cancellation
    /// too: so those that have reserved from the pool before are waited for, and from the look at the claims until Redis
    /// has the pool none comes or goes. A booking that has reserved and not yet begun to claim is in Redis' `held`,
    /// which survives a rebuild; if Redis has lost that as well, its seat is handed out again, and one of the two has a
    /// conflict.
    ///
    /// `for update` waits only for those who had their share before, and newcomers may pass it by again and again. So a pool
    /// that is there is never replaced: it is taken away first, and without it there are no newcomers.
    pub(super) async fn rebuild(&self, event: &Event, deadline: Instant) -> Result<(), Refusal> {
        let turn = &self.turns[usize::try_from(event.id.get()).unwrap_or(0) % TURNS];
        let Ok(_turn) = timeout_at(deadline, turn.lock()).await else { return Err(Refusal::Locked) };
        if self.pool.exists(event.id).await? {
            return Ok(());
        }
        let mut db = limit::acquire(&self.store.waiting, deadline).await?;
        let mut transaction = db.begin().await?;
        limit::until(&mut transaction, deadline).await?;
        if !claims::lock_event(&mut transaction, event.id).await.map_err(limit::late)? {
            return Err(Refusal::NoSuchEvent);
        }
        // Another replica may have had the lock before.
        if !self.pool.exists(event.id).await? {
            // A statement of its own: the one that waited sees what was there before it waited.
            let claimed = claims::all(&mut transaction, event.id).await.map_err(limit::late)?;
            // If this is not answered, it may take effect after the lock is gone, and hand out what was claimed meanwhile:
            // as after any loss of Redis', that is a conflict.
            if self.pool.rebuild(event, &claimed).await? {
                tracing::info!(event = %event.id, claimed = claimed.len(), "made a pool of free seats");
            }
        }
        transaction.rollback().await?;
        Ok(())
    }

    /// Ends reservations that are too old. Those that were claimed have only not been confirmed; the seats of the others are
    /// free again.
    ///
    /// One that is claimed right now counts as not claimed, and its seats are handed out a second time: its own claim, or the
    /// other one, then has a conflict. To rule that out would take a lock; to be wrong costs somebody a second try.
    pub(super) async fn settle(&self, event: EventId, expired: &[Expired]) -> Result<(), Refusal> {
        let seats: Vec<i32> = expired.iter().flat_map(|reservation| reservation.seats.iter().copied()).collect();
        let claimed = claims::among(&mut *self.store.pool.acquire().await?, event, &seats).await?;
        let claimed: HashSet<i32> = claimed.into_iter().collect();
        for Expired { token, seats } in expired {
            let kept: Vec<i32> = seats.iter().copied().filter(|seat| claimed.contains(seat)).collect();
            // Of several who find it, one ends it, and so counts it.
            if self.pool.release(event, token, &kept).await? && kept.len() < seats.len() {
                counter!(RESERVATIONS_LEAKED).increment(1);
                tracing::warn!(%event, ?seats, "a reservation was neither claimed nor given back: its seats are free again");
            }
        }
        Ok(())
    }

    /// Takes away a pool that lacks this many seats which PostgreSQL has, to be made anew.
    pub(super) async fn drop_incomplete(&self, event: EventId, generation: &str, missing: i64) -> Result<(), Refusal> {
        if self.pool.drop(event, generation).await? {
            counter!(RESERVATIONS_LEAKED).increment(missing.unsigned_abs());
            tracing::warn!(%event, missing, "the pool lacks free seats: it is made anew");
        }
        Ok(())
    }

    /// Looks for old reservations of all events, until it is stopped.
    pub(super) async fn sweep(&self, stop: CancellationToken) {
        let pause = (self.timeout / 4).clamp(Duration::from_millis(25), Duration::from_secs(10));
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                // Not all replicas at once.
                () = sleep(pause.mul_f64(0.75 + 0.5 * fastrand::f64())) => {}
            }
            if let Err(error) = self.sweep_once().await {
                tracing::debug!(%error, "leaked reservations were not looked for");
            }
        }
    }

    async fn sweep_once(&self) -> Result<(), Refusal> {
        let mut cursor = Some("0".to_owned());
        while let Some(here) = cursor {
            let (events, next) = self.pool.held(here).await?;
            for event in events {
                let look = self.pool.look(event, self.timeout).await?;
                if !look.expired.is_empty() {
                    self.settle(event, &look.expired).await?;
                }
            }
            cursor = next;
        }
        Ok(())
    }

    /// How much of an event is sold, and what Redis knows of it.
    pub(super) async fn compare(&self, event: EventId) -> Result<Comparison, Refusal> {
        // Redis first: a seat that is claimed in between is then counted twice, and not at all the other way round, which
        // would look like a missing one.
        let look = self.pool.look(event, self.timeout).await?;
        let counted: HashMap<_, _> = claims::count(&mut *self.store.pool.acquire().await?, &[event]).await?;
        Ok(Comparison { look, claimed: counted.get(&event).copied().unwrap_or(0) })
    }
}

#[derive(Debug)]
pub(super) struct Comparison {
    pub(super) look: super::pool::Look,
    pub(super) claimed: i64,
}
