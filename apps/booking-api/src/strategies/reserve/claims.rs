//! Claims: PostgreSQL's side, which decides.

use std::collections::HashMap;

use sqlx::PgConnection;

use crate::domain::{BookingId, Event, EventId};

/// Claims seats for a booking that this transaction has made; returns those that it has got. Waits for whoever is claiming one
/// of them now.
///
/// In the order of the seats: two orders that were handed some of the same ones could else wait for each other.
pub(super) async fn insert(
    db: &mut PgConnection,
    event: &Event,
    booking: BookingId,
    seats: &[i32],
) -> Result<Vec<i32>, sqlx::Error> {
    sqlx::query_scalar!(
        "insert into booking.claims (event_id, seat, capacity, booking_id)
         select $1, seat, $2, $3 from unnest($4::integer[]) seat order by seat
         on conflict (event_id, seat) do nothing
         returning seat",
        event.id.get(),
        event.capacity.get(),
        booking.get(),
        seats
    )
    .fetch_all(db)
    .await
}

/// Deletes the claims of a booking that this transaction has cancelled; returns their seats.
pub(super) async fn delete(db: &mut PgConnection, event: EventId, booking: BookingId) -> Result<Vec<i32>, sqlx::Error> {
    sqlx::query_scalar!(
        "delete from booking.claims
         where event_id = $1
           and seat = any((select seat_numbers from booking.bookings where id = $2)::integer[])
           and booking_id = $2
         returning seat",
        event.get(),
        booking.get()
    )
    .fetch_all(db)
    .await
}

/// Locks the event's row as a claim does, by which a rebuild waits for this transaction, and this one for a rebuild.
pub(super) async fn share_event(db: &mut PgConnection, event: EventId) -> Result<(), sqlx::Error> {
    sqlx::query!("select from booking.events where id = $1 for key share", event.get()).execute(db).await?;
    Ok(())
}

/// Locks the event's row so that no claim is in flight, and none comes or goes until the end of this transaction. False if
/// there is no such event.
pub(super) async fn lock_event(db: &mut PgConnection, event: EventId) -> Result<bool, sqlx::Error> {
    let locked = sqlx::query!("select from booking.events where id = $1 for update", event.get()).execute(db).await?;
    Ok(locked.rows_affected() > 0)
}

/// The claimed seats.
pub(super) async fn all(db: &mut PgConnection, event: EventId) -> Result<Vec<i32>, sqlx::Error> {
    // In one value, not in a row for each of up to 100,000 seats.
    sqlx::query_scalar!(
        r#"select coalesce(array_agg(seat), '{}') as "seats!" from booking.claims where event_id = $1"#,
        event.get()
    )
    .fetch_one(db)
    .await
}

/// Those of these seats that are claimed.
pub(super) async fn among(db: &mut PgConnection, event: EventId, seats: &[i32]) -> Result<Vec<i32>, sqlx::Error> {
    sqlx::query_scalar!("select seat from booking.claims where event_id = $1 and seat = any($2)", event.get(), seats)
        .fetch_all(db)
        .await
}

/// How many seats of these events are claimed; an event without any is left out.
pub(super) async fn count(db: &mut PgConnection, events: &[EventId]) -> Result<HashMap<EventId, i64>, sqlx::Error> {
    let ids: Vec<i64> = events.iter().map(|id| id.get()).collect();
    let rows = sqlx::query!(
        r#"select event_id, count(*) as "claimed!" from booking.claims where event_id = any($1) group by event_id"#,
        &ids
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|row| (EventId::of_row(row.event_id), row.claimed)).collect())
}
