//! `pg-units`: a row per seat, and each buyer locks other rows than the rest.
//!
//! # Guarantees
//! - **A seat is sold once**: it is one row, which is locked from the choice to the commit, the payment included. That holds
//!   with any number of replicas, and when one of them is killed or stopped.
//! - **Sold out means sold out**: it is said only if fewer seats than asked for are free by what is committed. Seats that others
//!   have locked may be free again in a moment; they are waited for until the deadline, and then it is
//!   [`Refusal::Locked`].
//! - **No deadlock and no livelock**, whatever the sizes of the orders: see below.
//!
//! # Costs
//! - 100,000 seats are 100,000 rows to be made with the event (about a quarter of a second), and each sale leaves a dead row
//!   behind.
//! - A connection is held during the payment, and while waiting for the last seats.
//! - Nobody counts while selling, so the page of an event does: 100,000 sold seats take it tens of milliseconds.
//! - A large order may see smaller ones take the last seats from under it, as there is no order among buyers before they wait.
//! - A cancellation may have to wait for a buyer who waited for its seats when they were sold, and so has their rows locked,
//!   too, until the end of its payment.
//!
//! # How
//! The first look takes free rows from a random seat on, and after the last one from the first, passing over those that are
//! locked (`skip locked`), so it never waits. If all began at the first free seat, each of 64 buyers would walk over the
//! rows of the other 63: 64 clients of pgbench then sell less than half as many seats per second. The partial index has
//! only the free seats, so none walks over what is sold.
//!
//! If that finds too few although enough are free, it gives back what it has, and the second look *waits*: from the first
//! free seat upwards, for each row that is locked. Partly filled orders cannot hold each other up: those who wait lock
//! in one order, so the first of them gets all that it needs, and those who do not wait are not waited with. Trying again
//! with a pause instead would let buyers of ten seats take five each from one another until their deadlines.

use std::collections::HashMap;
use std::time::Duration;

use sqlx::{Connection as _, PgConnection};
use tokio::time::{Instant, sleep};

use super::{CUTS, Cancel, Cancellation, Order, Outcome, Refusal, again_if_rolled_back, limit};
use crate::domain::{BookingId, Event, EventId};
use crate::store::{Change, Store, bookings, keys};

/// Longest pause of an order that has waited for all that it saw and must look again, for seats given back meanwhile.
const PAUSE: Duration = Duration::from_millis(20);

/// Seats as rows. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Units {
    store: Store,
}

/// What an order has been through.
struct Progress {
    /// Its first look found others in its way.
    patient: bool,
    paid: bool,
    cuts: u32,
}

impl Units {
    /// Seats in this store.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    /// Makes the rows of a new event, in its transaction.
    ///
    /// # Errors
    /// The database's.
    pub async fn create(db: &mut PgConnection, event: &Event) -> Result<(), sqlx::Error> {
        sqlx::query!(
            "insert into booking.units (event_id, seat) select $1, generate_series(1, $2::integer)",
            event.id.get(),
            event.capacity.get()
        )
        .execute(db)
        .await?;
        Ok(())
    }

    /// Books.
    ///
    /// # Errors
    /// [`Refusal`]
    pub async fn book(&self, order: &Order) -> Result<Outcome, Refusal> {
        if let Some(stored) = self.store.stored_before_payment(order).await? {
            return Ok(stored);
        }
        let mut progress = Progress { patient: false, paid: false, cuts: CUTS };
        loop {
            match self.try_book(order, &mut progress).await {
                Ok(Some(outcome)) => return Ok(outcome),
                Ok(None) if progress.patient => sleep(PAUSE.mul_f64(fastrand::f64())).await,
                Ok(None) => progress.patient = true,
                Err(refusal) if progress.cuts > 0 && refusal.is_rolled_back() => progress.cuts -= 1,
                Err(refusal) => return Err(refusal),
            }
            if Instant::now() >= order.deadline {
                return Err(Refusal::Locked);
            }
        }
    }

    /// Tries it once, in one transaction; `None` if others are in the way.
    async fn try_book(&self, order: &Order, progress: &mut Progress) -> Result<Option<Outcome>, Refusal> {
        let mut db = limit::acquire(&self.store.waiting, order.deadline).await?;
        let mut transaction = db.begin().await?;
        let seats = if progress.patient {
            wait_for(&mut transaction, order).await?
        } else {
            take_any(&mut transaction, order).await?
        };
        if count(&seats) < order.seats.get() {
            let remaining = free(&mut transaction, order).await?;
            transaction.rollback().await?;
            drop(db);
            return if remaining < i64::from(order.seats.get()) {
                // The seats may be gone to this very order's first try.
                Ok(Some(self.store.stored(order).await?.unwrap_or(Outcome::SoldOut { remaining })))
            } else {
                Ok(None)
            };
        }
        if !progress.paid {
            order.pay().await;
            progress.paid = true;
        }
        let made = match bookings::insert(&mut transaction, order, Some(&seats), None).await {
            Ok(made) => made,
            Err(error) if keys::is_taken(&error) => {
                transaction.rollback().await?;
                drop(db);
                // None: whoever had the key has rolled back, or it was pruned.
                return Ok(self.store.stored(order).await?);
            }
            Err(error) => return Err(error.into()),
        };
        let id = BookingId::of_row(made.booking.id);
        if assign(&mut transaction, order.event.id, &seats, id).await? != u64::from(order.seats.get().unsigned_abs()) {
            // Not as long as the rows are locked.
            tracing::error!(event = %order.event.id, ?seats, "seats were sold although they were locked");
            transaction.rollback().await?;
            return Ok(None);
        }
        let committed = transaction.commit().await;
        // Whoever asks in case of doubt takes a connection of its own.
        drop(db);
        self.store.confirm(committed, Change::Booked(id, order.event.id)).await?;
        Ok(Some(Outcome::Booked(made)))
    }

    /// Cancels.
    ///
    /// # Errors
    /// [`Refusal`]
    pub async fn cancel(&self, cancel: &Cancel) -> Result<Cancellation, Refusal> {
        again_if_rolled_back(cancel.deadline, || self.try_cancel(cancel)).await
    }

    async fn try_cancel(&self, cancel: &Cancel) -> Result<Cancellation, Refusal> {
        let mut db = limit::acquire(&self.store.waiting, cancel.deadline).await?;
        let mut transaction = db.begin().await?;
        limit::until(&mut transaction, cancel.deadline).await?;
        let cancellation =
            bookings::cancel(&mut transaction, cancel.booking, &cancel.expected).await.map_err(limit::late)?;
        let Cancellation::Cancelled { .. } = cancellation else { return Ok(cancellation) };
        give_back(&mut transaction, cancel).await.map_err(limit::late)?;
        let committed = transaction.commit().await;
        drop(db);
        self.store.confirm(committed, Change::Cancelled(cancel.booking)).await?;
        Ok(cancellation)
    }

    /// How many seats of these events are booked; an event without any may be left out.
    ///
    /// # Errors
    /// The database's.
    pub async fn booked(db: &mut PgConnection, events: &[EventId]) -> Result<HashMap<EventId, i64>, sqlx::Error> {
        let ids: Vec<i64> = events.iter().map(|id| id.get()).collect();
        let rows = sqlx::query!(
            r#"select event_id, count(*) as "booked!" from booking.units
               where event_id = any($1) and booking_id is not null
               group by event_id"#,
            &ids
        )
        .fetch_all(db)
        .await?;
        Ok(rows.into_iter().map(|row| (EventId::of_row(row.event_id), row.booked)).collect())
    }
}

fn count(seats: &[i32]) -> i32 {
    i32::try_from(seats.len()).unwrap_or(i32::MAX)
}

/// Locks free seats, as many as there are of those wanted, without waiting for anybody.
async fn take_any(db: &mut PgConnection, order: &Order) -> Result<Vec<i32>, Refusal> {
    let capacity = order.event.capacity.get();
    let start = fastrand::i32(1..=capacity);
    let mut seats = take(db, order, start, capacity, order.seats.get()).await?;
    if count(&seats) < order.seats.get() && start > 1 {
        seats.extend(take(db, order, 1, start - 1, order.seats.get() - count(&seats)).await?);
    }
    Ok(seats)
}

async fn take(db: &mut PgConnection, order: &Order, from: i32, to: i32, most: i32) -> Result<Vec<i32>, sqlx::Error> {
    sqlx::query_scalar!(
        "select seat from booking.units
         where event_id = $1 and booking_id is null and seat between $2 and $3
         order by seat
         limit $4
         for update skip locked",
        order.event.id.get(),
        from,
        to,
        i64::from(most)
    )
    .fetch_all(db)
    .await
}

/// Locks the first free seats, waiting for whoever has them locked.
async fn wait_for(db: &mut PgConnection, order: &Order) -> Result<Vec<i32>, Refusal> {
    limit::until(db, order.deadline).await?;
    let seats = sqlx::query_scalar!(
        "select seat from booking.units
         where event_id = $1 and booking_id is null
         order by seat
         limit $2
         for update",
        order.event.id.get(),
        i64::from(order.seats.get())
    )
    .fetch_all(&mut *db)
    .await
    .map_err(limit::late)?;
    limit::lift(db).await?;
    Ok(seats)
}

/// How many seats are free by what is committed (and by this transaction, which has sold none), up to those wanted.
async fn free(db: &mut PgConnection, order: &Order) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select count(*) as "free!"
           from (select from booking.units where event_id = $1 and booking_id is null limit $2) free"#,
        order.event.id.get(),
        i64::from(order.seats.get())
    )
    .fetch_one(db)
    .await
}

/// Sells locked seats; returns how many.
///
/// That a row is free is asked in a way that the index of the free ones does not answer: the planner would take it, not knowing
/// that few rows are asked for, and walk over all the free seats of the event.
async fn assign(db: &mut PgConnection, event: EventId, seats: &[i32], booking: BookingId) -> Result<u64, sqlx::Error> {
    let sold = sqlx::query!(
        "update booking.units set booking_id = $3
         where event_id = $1 and seat = any($2) and coalesce(booking_id, 0) = 0",
        event.get(),
        seats,
        booking.get()
    )
    .execute(db)
    .await?;
    Ok(sold.rows_affected())
}

/// Frees a booking's seats, in the transaction that has cancelled it.
///
/// In the order in which buyers wait: one of them may have locked a seat while it was being sold to this booking.
async fn give_back(db: &mut PgConnection, cancel: &Cancel) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "with sold as (
             select seat from booking.units
             where event_id = $1
               and seat = any((select seat_numbers from booking.bookings where id = $2)::integer[])
               and booking_id = $2
             order by seat
             for update)
         update booking.units u set booking_id = null from sold where u.event_id = $1 and u.seat = sold.seat",
        cancel.event.id.get(),
        cancel.booking.get()
    )
    .execute(db)
    .await?;
    Ok(())
}
