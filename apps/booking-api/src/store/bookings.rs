//! Bookings: made, found, cancelled.

use fenced_cache::RecordId;
use service::conditional::IfMatch;
use sqlx::{Connection as _, PgConnection};
use time::OffsetDateTime;

use super::outbox::page_of;
use crate::domain::{BookingId, EventId};
use crate::model::Booking;
use crate::strategies::{Cancellation, Made, Order};

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

/// A row that is a [`Made`].
struct MadeRow {
    id: i64,
    event_id: i64,
    seats: i32,
    buyer: Option<String>,
    seat_numbers: Option<Vec<i32>>,
    fence: Option<i64>,
    created_at: OffsetDateTime,
    cancelled_at: Option<OffsetDateTime>,
    record: i64,
}

impl From<MadeRow> for Made {
    fn from(row: MadeRow) -> Self {
        let MadeRow { id, event_id, seats, buyer, seat_numbers, fence, created_at, cancelled_at, record } = row;
        let booking = BookingRow { id, event_id, seats, buyer, seat_numbers, fence, created_at, cancelled_at };
        Self { booking: booking.into(), record: RecordId(record) }
    }
}

/// Writes a booking, its key and its row of the outbox in one statement, within the transaction of the caller, who counts its
/// seats.
///
/// # Errors
/// The database's; see [`is_taken`](super::keys::is_taken).
pub async fn insert(
    db: &mut PgConnection,
    order: &Order,
    seat_numbers: Option<&[i32]>,
    fence: Option<i64>,
) -> Result<Made, sqlx::Error> {
    let row = sqlx::query_as!(
        MadeRow,
        "with made as (
             insert into booking.bookings (event_id, seats, buyer, seat_numbers, idempotency_key, fence)
             values ($1, $2, $3, $4, $5, $6)
             returning id, event_id, seats, buyer, seat_numbers, fence, created_at, cancelled_at),
         key as (
             insert into booking.idempotency_keys (key, fingerprint, booking_id)
             select $5, $7, id from made where $5::text is not null),
         told as (
             insert into booking.outbox (keys)
             select array[$8::bytea] from made
             returning id)
         select made.*, told.id as record from made cross join told",
        order.event.id.get(),
        order.seats.get(),
        order.buyer(),
        seat_numbers,
        order.key(),
        fence,
        order.fingerprint(),
        page_of(order.event.id)
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
pub async fn insert_counted(db: &mut PgConnection, order: &Order, fence: Option<i64>) -> Result<Made, sqlx::Error> {
    let row = sqlx::query_as!(
        MadeRow,
        "with counted as (
             update booking.events set booked = booked + $2 where id = $1),
         made as (
             insert into booking.bookings (event_id, seats, buyer, idempotency_key, fence)
             values ($1, $2, $3, $4, $5)
             returning id, event_id, seats, buyer, seat_numbers, fence, created_at, cancelled_at),
         key as (
             insert into booking.idempotency_keys (key, fingerprint, booking_id)
             select $4, $6, id from made where $4::text is not null),
         told as (
             insert into booking.outbox (keys)
             select array[$7::bytea] from made
             returning id)
         select made.*, told.id as record from made cross join told",
        order.event.id.get(),
        order.seats.get(),
        order.buyer(),
        order.key(),
        fence,
        order.fingerprint(),
        page_of(order.event.id)
    )
    .fetch_one(db)
    .await?;
    Ok(row.into())
}

/// As [`insert_counted`], if there is room: the guard is in the statement. `None` if there is none, or no such event.
///
/// # Errors
/// The database's; see [`is_taken`](super::keys::is_taken).
pub async fn insert_if_room(db: &mut PgConnection, order: &Order) -> Result<Option<Made>, sqlx::Error> {
    let row = sqlx::query_as!(
        MadeRow,
        "with room as (
             update booking.events set booked = booked + $2 where id = $1 and booked + $2 <= capacity
             returning id),
         made as (
             insert into booking.bookings (event_id, seats, buyer, idempotency_key)
             select id, $2, $3, $4 from room
             returning id, event_id, seats, buyer, seat_numbers, fence, created_at, cancelled_at),
         key as (
             insert into booking.idempotency_keys (key, fingerprint, booking_id)
             select $4, $5, id from made where $4::text is not null),
         told as (
             insert into booking.outbox (keys)
             select array[$6::bytea] from made
             returning id)
         select made.*, told.id as record from made cross join told",
        order.event.id.get(),
        order.seats.get(),
        order.buyer(),
        order.key(),
        order.fingerprint(),
        page_of(order.event.id)
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(Made::from))
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

/// Marks a booking as cancelled, once, and writes the row of the outbox, within the transaction of the caller, who gives the seats
/// back if it was.
///
/// # Errors
/// The database's; [`sqlx::Error::RowNotFound`] if there is no such booking.
pub async fn cancel(db: &mut PgConnection, id: BookingId, expected: &IfMatch) -> Result<Cancellation, sqlx::Error> {
    let row = sqlx::query!(
        r#"select event_id, seats, cancelled_at is not null as "cancelled!"
           from booking.bookings where id = $1 for no key update"#,
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
    let record = sqlx::query_scalar!(
        "with cancelled as (
             update booking.bookings set cancelled_at = now() where id = $1)
         insert into booking.outbox (keys) values (array[$2::bytea]) returning id",
        id.get(),
        page_of(EventId::of_row(row.event_id))
    )
    .fetch_one(db)
    .await?;
    Ok(Cancellation::Cancelled { seats: row.seats, record: RecordId(record) })
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
