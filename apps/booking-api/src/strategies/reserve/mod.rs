//! `redis-reserve`: Redis hands out seat numbers, and PostgreSQL decides.
//!
//! # Guarantees
//! - **A seat is sold once**, whatever Redis does: a booking is its rows in `booking.claims`, whose primary key is
//!   (event, seat) and whose check knows the event's capacity. Redis may be restarted empty, restored from an old file, or
//!   fail over and lose what it has said: that makes conflicts, which are counted and tried again with other seats.
//! - **Sold out means sold out**: it is said only if PostgreSQL has fewer seats than asked for. A seat that Redis has lost is
//!   looked for before; one that is reserved is waited for until the deadline, and then it is [`Refusal::Locked`].
//! - **Nothing is lost for long.** A reservation whose process has died is free again after `reservation_timeout`; a
//!   seat that nobody knows of any more (a cancellation that could not tell Redis) is found when the pool has too few.
//! - Without Redis nothing is booked ([`Refusal::Unavailable`]); cancellations go on.
//!
//! # Costs
//! - Two commands to Redis and one transaction per booking, which writes no row that another buyer writes. No connection
//!   is held during the payment.
//! - Who asks when nothing is left makes PostgreSQL count the event's claims, and so does the event's page: 100,000 claims
//!   take tens of milliseconds.
//! - While seats are leaked or in payment, a buyer of the last ones waits for them in vain: up to his deadline.
//! - A payment that takes longer than `reservation_timeout` may be made for a seat that is sold to somebody else
//!   meanwhile. The order is then tried with another seat, if there is one.
//!
//! # How
//! 1. Reserve: a script takes the lowest free seats from a bitmap, all or none, and writes them down under the order's token
//!    with the time (`pool.rs`).
//! 2. Pay.
//! 3. Claim: booking, key and claims in one transaction. What is claimed already (`on conflict do nothing`) is a conflict.
//! 4. Confirm: the reservation ends. Nobody waits for that; if it is lost, the sweep finds that the seats are claimed. After
//!    a failure the seats are given back instead, once, by the token.
//!
//! A pool that is not there is made of the claims, under the event's row lock (`mend.rs`). An order that has two conflicts has
//! met a pool that is wrong as a whole, and takes it away; so does one that finds, twice, fewer seats in the pool and in
//! reservations than PostgreSQL has. Pools have a generation, so that of many who find the same only one does.

mod claims;
mod mend;
mod pool;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use sqlx::{Connection as _, PgConnection};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use self::mend::{Comparison, Mender};
use self::pool::{Pool, Reservation, Reserved};
use super::{CUTS, Cancel, Cancellation, Made, Order, Outcome, Refusal, again_if_rolled_back, limit};
use crate::domain::{BookingId, EventId};
use crate::metrics::RESERVATION_CONFLICTS;
use crate::store::{Change, Store, bookings, keys, violated};

/// Conflicts of one order after which the pool counts as wrong. A single one also comes of a seat that was given back late.
const CONFLICTS: u32 = 2;
/// Pauses of an order that waits for seats which others have reserved.
const PAUSE_FIRST: Duration = Duration::from_millis(5);
const PAUSE_LAST: Duration = Duration::from_millis(100);
/// Longest wait for what runs in the background, when this ends.
const ENDING: Duration = Duration::from_secs(2);

/// What a deployment decides about reservations.
#[derive(Clone, Debug)]
pub struct ReserveSettings {
    /// The Redis.
    pub redis_url: String,
    /// How long a reservation may be neither claimed nor given back until it counts as leaked.
    pub reservation_timeout: Duration,
}

/// Seats that Redis hands out and PostgreSQL decides on. Cheap to clone; the background work ends with the last clone.
#[derive(Clone, Debug)]
pub struct Reserve {
    store: Store,
    pool: Pool,
    mender: Arc<Mender>,
    background: TaskTracker,
    stop: CancellationToken,
    _stop_at_the_end: Arc<DropGuard>,
}

/// What an order has been through.
#[derive(Debug)]
struct Progress {
    paid: bool,
    cuts: u32,
    conflicts: u32,
    /// The last look at the pool found that seats were missing.
    incomplete: bool,
    pause: Duration,
}

/// How a claim has ended.
enum Claim {
    Booked(Made),
    /// These seats are somebody else's, or do not exist.
    Refused(Vec<i32>),
    /// The order's key is there already.
    KeyTaken,
}

impl Reserve {
    /// Connects in the background, and looks for leaked reservations until it is closed.
    ///
    /// # Errors
    /// For a URL that the client does not understand.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(store: Store, settings: ReserveSettings) -> Result<Self, fred::error::Error> {
        let pool = Pool::connect(&settings.redis_url)?;
        let mender = Arc::new(Mender::new(store.clone(), pool.clone(), settings.reservation_timeout));
        let (background, stop) = (TaskTracker::new(), CancellationToken::new());
        let (sweeper, stopped) = (Arc::clone(&mender), stop.clone());
        background.spawn(async move { sweeper.sweep(stopped).await });
        let guard = Arc::new(stop.clone().drop_guard());
        Ok(Self { store, pool, mender, background, stop, _stop_at_the_end: guard })
    }

    /// Books.
    ///
    /// # Errors
    /// [`Refusal`]
    pub async fn book(&self, order: &Order) -> Result<Outcome, Refusal> {
        if let Some(stored) = self.store.stored_before_payment(order).await? {
            return Ok(stored);
        }
        let mut progress = Progress { paid: false, cuts: CUTS, conflicts: 0, incomplete: false, pause: PAUSE_FIRST };
        loop {
            match self.try_book(order, &mut progress).await {
                Ok(Some(outcome)) => return Ok(outcome),
                Ok(None) => {}
                Err(refusal) if progress.cuts > 0 && refusal.is_rolled_back() => progress.cuts -= 1,
                Err(refusal) => return Err(refusal),
            }
            if Instant::now() >= order.deadline {
                return Err(Refusal::Locked);
            }
        }
    }

    /// Tries it once; `None` if it is to be tried again.
    async fn try_book(&self, order: &Order, progress: &mut Progress) -> Result<Option<Outcome>, Refusal> {
        let event = order.event.id;
        let reservation = match self.pool.reserve(event, order.seats.get()).await? {
            Reserved::Seats(reservation) => reservation,
            Reserved::Short => return self.none_left(order, progress).await,
            Reserved::Missing => return self.mender.rebuild(&order.event, order.deadline).await.map(|()| None),
        };
        if !progress.paid {
            order.pay().await;
            progress.paid = true;
        }
        match self.claim(order, &reservation).await {
            Ok(Claim::Booked(made)) => {
                let pool = self.pool.clone();
                self.background.spawn(async move { pool.confirm(event, reservation.token).await });
                Ok(Some(Outcome::Booked(made)))
            }
            Ok(Claim::KeyTaken) => {
                self.give_back(event, &reservation, &[]).await;
                // None: whoever had the key has rolled back, or it was pruned.
                Ok(self.store.stored(order).await?)
            }
            Ok(Claim::Refused(seats)) => {
                counter!(RESERVATION_CONFLICTS).increment(u64::try_from(seats.len()).unwrap_or(0));
                tracing::warn!(%event, ?seats, "redis has handed out seats that are not to be had");
                self.give_back(event, &reservation, &seats).await;
                progress.conflicts += 1;
                if progress.conflicts >= CONFLICTS && self.pool.drop(event, &reservation.generation).await? {
                    tracing::warn!(%event, "the pool is wrong: it is made anew");
                }
                Ok(None)
            }
            // Whether the seats are claimed is for the sweep to find out.
            Err(refusal @ Refusal::InDoubt(_)) => Err(refusal),
            Err(refusal) => {
                self.give_back(event, &reservation, &[]).await;
                Err(refusal)
            }
        }
    }

    /// Ends a reservation that has come to nothing.
    async fn give_back(&self, event: EventId, reservation: &Reservation, kept: &[i32]) {
        if let Err(error) = self.pool.release(event, &reservation.token, kept).await {
            tracing::debug!(%error, %event, "a reservation could not be given back: it will be found");
        }
    }

    async fn claim(&self, order: &Order, reservation: &Reservation) -> Result<Claim, Refusal> {
        let mut db = self.store.pool.acquire().await?;
        let mut transaction = db.begin().await?;
        let made = match bookings::insert(&mut transaction, order, Some(&reservation.seats), None).await {
            Ok(made) => made,
            Err(error) if keys::is_taken(&error) => {
                transaction.rollback().await?;
                return Ok(Claim::KeyTaken);
            }
            Err(error) => return Err(error.into()),
        };
        let id = BookingId::of_row(made.booking.id);
        let mut refused = reservation.seats.clone();
        match claims::insert(&mut transaction, &order.event, id, &reservation.seats).await {
            Ok(claimed) => refused.retain(|seat| !claimed.contains(seat)),
            Err(error) if violated(&error) == Some("claims_seat_check") => {
                refused.retain(|seat| !(1..=order.event.capacity.get()).contains(seat));
            }
            Err(error) => return Err(error.into()),
        }
        if !refused.is_empty() {
            transaction.rollback().await?;
            return Ok(Claim::Refused(refused));
        }
        let committed = transaction.commit().await;
        // Whoever asks in case of doubt takes a connection of its own.
        drop(db);
        // The booking's row tells of its claims, too: they are one transaction. It is asked for by inserting the same id, which
        // waits until the transaction in doubt has ended. To look for it could find nothing a moment before it is
        // there, and the seats would be given back, and booked again, with the first booking made.
        self.store.confirm(committed, Change::Booked(id, order.event.id)).await?;
        Ok(Claim::Booked(made))
    }

    /// The pool has too few: is the event sold out? If not, waits for those who have reserved, or finds what is lost.
    async fn none_left(&self, order: &Order, progress: &mut Progress) -> Result<Option<Outcome>, Refusal> {
        let event = order.event.id;
        let Comparison { look, claimed } = self.mender.compare(event).await?;
        let remaining = (i64::from(order.event.capacity.get()) - claimed).max(0);
        if remaining < i64::from(order.seats.get()) {
            // The seats may be gone to this very order's first try.
            return Ok(Some(self.store.stored(order).await?.unwrap_or(Outcome::SoldOut { remaining })));
        }
        // No pool any more: the next try says so, too.
        let Some(generation) = look.generation else { return Ok(None) };
        if !look.expired.is_empty() {
            self.mender.settle(event, &look.expired).await?;
            return Ok(None);
        }
        let missing = remaining - look.free - look.held;
        if missing > 0 && progress.incomplete {
            self.mender.drop_incomplete(event, &generation, missing).await?;
            return Ok(None);
        }
        // Once is nothing: a cancellation may be on its way from PostgreSQL to Redis.
        progress.incomplete = missing > 0;
        let left = order.deadline.saturating_duration_since(Instant::now());
        sleep(progress.pause.mul_f64(0.5 + 0.5 * fastrand::f64()).min(left)).await;
        progress.pause = (2 * progress.pause).min(PAUSE_LAST);
        Ok(None)
    }

    /// Cancels. Redis need not be there.
    ///
    /// # Errors
    /// [`Refusal`]
    pub async fn cancel(&self, cancel: &Cancel) -> Result<Cancellation, Refusal> {
        let (cancellation, seats) = again_if_rolled_back(cancel.deadline, || self.try_cancel(cancel)).await?;
        // Not before the commit: else somebody could be handed a seat that is still claimed.
        if !seats.is_empty()
            && let Err(error) = self.pool.restore(cancel.event.id, &seats).await
        {
            tracing::debug!(%error, event = %cancel.event.id, "cancelled seats are not back in the pool: they will be found");
        }
        Ok(cancellation)
    }

    async fn try_cancel(&self, cancel: &Cancel) -> Result<(Cancellation, Vec<i32>), Refusal> {
        let mut db = limit::acquire(&self.store.waiting, cancel.deadline).await?;
        let mut transaction = db.begin().await?;
        limit::until(&mut transaction, cancel.deadline).await?;
        // Else a rebuild could take the seats for claimed, and they would come back while there is no pool yet.
        claims::share_event(&mut transaction, cancel.event.id).await.map_err(limit::late)?;
        let cancelled = bookings::cancel(&mut transaction, cancel.booking, &cancel.expected).await;
        let cancellation = cancelled.map_err(limit::late)?;
        let Cancellation::Cancelled { .. } = cancellation else { return Ok((cancellation, Vec::new())) };
        let seats = claims::delete(&mut transaction, cancel.event.id, cancel.booking).await.map_err(limit::late)?;
        let committed = transaction.commit().await;
        drop(db);
        self.store.confirm(committed, Change::Cancelled(cancel.booking)).await?;
        Ok((cancellation, seats))
    }

    /// How many seats of these events are booked; an event without any may be left out.
    ///
    /// # Errors
    /// The database's.
    pub async fn booked(db: &mut PgConnection, events: &[EventId]) -> Result<HashMap<EventId, i64>, sqlx::Error> {
        claims::count(db, events).await
    }

    /// Ends the background work and the connection.
    pub async fn close(&self) {
        self.stop.cancel();
        self.background.close();
        if timeout(ENDING, self.background.wait()).await.is_err() {
            tracing::debug!("reservations are still being confirmed at the end");
        }
        self.pool.close().await;
    }
}
