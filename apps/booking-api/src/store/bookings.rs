//! Bookings: made, found, cancelled.

use service::conditional::IfMatch;
use sqlx::{Connection as _, PgConnection};
use time::OffsetDateTime;

use crate::domain::{BookingId, EventId};
use crate::model::Booking;
use crate::strategies::{Cancellation, Order};

/// A row that is a [`Booking`].
pub(crate) struct BookingRow {
    pub(crate) id: i64,
    pub(crate) event_id: i64,
    pub(crate) seats: i32,
    pub(crate) buyer: Option<String>,
    pub(crate) seat_numbers: Option<Vec<i32>>,
    pub(crate) fence: Option<i64>,
    pub(crate) created_at: OffsetDateTime,
    pub(crate) cancelled_at: Option<OffsetDateTime>,
}

impl From<BookingRow> for Booking {
    fn from(row: BookingRow) -> Self {
        Self {
            id: row.id,
            event_id: row.event_id,
            seats: row.seats,
            buyer: row.buyer,
            seat_numbers: row.seat_numbers,
            fence: row.fence,
            created_at: row.created_at,
            cancelled_at: row.cancelled_at,
        }
    }
}

/// Writes a booking and its key in one statement, within the transaction of the caller, who counts its seats.
///
/// # Errors
/// The database's; see [`is_taken`](super::keys::is_taken).
pub async fn insert(
    db: &mut PgConnection,
    order: &Order,
    seat_numbers: Option<&[i32]>,
    fence: Option<i64>,
) -> Result<Booking, sqlx::Error> {
    let row = sqlx::query_as!(
        BookingRow,
        "with made as (
             insert into booking.bookings (event_id, seats, buyer, seat_numbers, idempotency_key, fence)
             values ($1, $2, $3, $4, $5, $6)
             returning id, event_id, seats, buyer, seat_numbers, fence, created_at, cancelled_at),
         key as (
             insert into booking.idempotency_keys (key, fingerprint, booking_id)
             select $5, $7, id from made where $5::text is not null)
         select * from made",
        order.event.id.get(),
        order.seats.get(),
        order.buyer(),
        seat_numbers,
        order.key(),
        fence,
        order.fingerprint()
    )
    .fetch_one(db)
    .await?;
    Ok(row.into())
}

/// As [`insert`], and counts the seats in the event's row, whatever it says: what there is room for, the caller has found out
/// under its lock.
///
/// # Errors
/// The database's; see [`is_taken`](super::keys::is_taken).
pub async fn insert_counted(db: &mut PgConnection, order: &Order, fence: Option<i64>) -> Result<Booking, sqlx::Error> {
    let row = sqlx::query_as!(
        BookingRow,
        "with counted as (
             update booking.events set booked = booked + $2 where id = $1),
         made as (
             insert into booking.bookings (event_id, seats, buyer, idempotency_key, fence)
             values ($1, $2, $3, $4, $5)
             returning id, event_id, seats, buyer, seat_numbers, fence, created_at, cancelled_at),
         key as (
             insert into booking.idempotency_keys (key, fingerprint, booking_id)
             select $4, $6, id from made where $4::text is not null)
         select * from made",
        order.event.id.get(),
        order.seats.get(),
        order.buyer(),
        order.key(),
        fence,
        order.fingerprint()
    )
    .fetch_one(db)
    .await?;
    Ok(row.into())
}

/// As [`insert_counted`], if there is room: the guard is in the statement. `None` if there is none, or no such event.
///
/// # Errors
/// The database's; see [`is_taken`](super::keys::is_taken).
pub async fn insert_if_room(db: &mut PgConnection, order: &Order) -> Result<Option<Booking>, sqlx::Error> {
    let row = sqlx::query_as!(
        BookingRow,
        "with room as (
             update booking.events set booked = booked + $2 where id = $1 and booked + $2 <= capacity
             returning id),
         made as (
             insert into booking.bookings (event_id, seats, buyer, idempotency_key)
             select id, $2, $3, $4 from room
             returning id, event_id, seats, buyer, seat_numbers, fence, created_at, cancelled_at),
         key as (
             insert into booking.idempotency_keys (key, fingerprint, booking_id)
             select $4, $5, id from made where $4::text is not null)
         select * from made",
        order.event.id.get(),
        order.seats.get(),
        order.buyer(),
        order.key(),
        order.fingerprint()
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(Booking::from))
}

/// The booking with this id.
///
/// # Errors
/// The database's.
pub async fn find(db: &mut PgConnection, id: BookingId) -> Result<Option<Booking>, sqlx::Error> {
    let row = sqlx::query_as!(
        BookingRow,
        "select id, event_id, seats, buyer, seat_numbers, fence, created_at, cancelled_at
         from booking.bookings where id = $1",
        id.get()
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(Booking::from))
}

/// Marks a booking as cancelled, once, within the transaction of the caller, who gives the seats back if it was.
///
/// # Errors
/// The database's; [`sqlx::Error::RowNotFound`] if there is no such booking.
pub async fn cancel(db: &mut PgConnection, id: BookingId, expected: &IfMatch) -> Result<Cancellation, sqlx::Error> {
    let row = sqlx::query!(
        r#"select seats, cancelled_at is not null as "cancelled!" from booking.bookings where id = $1 for no key update"#,
        id.get()
    )
    .fetch_one(&mut *db)
    .await?;
    if let Err(mismatch) = expected.check(if row.cancelled { 2 } else { 1 }) {
        return Ok(Cancellation::Mismatch(mismatch));
    }
    if row.cancelled {
        return Ok(Cancellation::Already);
    }
    sqlx::query!("update booking.bookings set cancelled_at = now() where id = $1", id.get()).execute(db).await?;
    Ok(Cancellation::Cancelled { seats: row.seats })
}

/// Whether the booking is cancelled. Waits for whoever is cancelling it now, so it is also the question after a COMMIT that
/// was not answered.
///
/// # Errors
/// The database's.
pub async fn is_cancelled(db: &mut PgConnection, id: BookingId) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select cancelled_at is not null as "cancelled!" from booking.bookings where id = $1 for no key update"#,
        id.get()
    )
    .fetch_one(db)
    .await
}

/// Whether the transaction that made this booking was committed, where its COMMIT was not answered: waits until
/// that transaction has ended. The id must have been returned by its insert.
///
/// Asks by inserting the same id, which waits for whoever has inserted it; a plain look could say 'not there' and be
/// wrong a moment later. Nothing of this stays.
///
/// # Errors
/// The database's: then it is still in doubt.
pub async fn was_made(db: &mut PgConnection, id: BookingId, event: EventId) -> Result<bool, sqlx::Error> {
    let mut asking = db.begin().await?;
    let asked = sqlx::query!(
        "insert into booking.bookings (id, event_id, seats) overriding system value values ($1, $2, 1)",
        id.get(),
        event.get()
    )
    .execute(&mut *asking)
    .await;
    asking.rollback().await?;
    match asked {
        Ok(_) => Ok(false),
        Err(error) if super::violated(&error) == Some("bookings_pkey") => Ok(true),
        Err(error) => Err(error),
    }
}
