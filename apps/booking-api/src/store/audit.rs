//! An event's bookings against its capacity.

use service::postgres::again_if_cut;
use sqlx::PgPool;

use super::events;
use crate::domain::EventId;
use crate::model::{Audit, FenceOrder};

/// Counts an event's bookings, all of one moment.
///
/// # Errors
/// The database's.
pub async fn audit(pool: &PgPool, id: EventId) -> Result<Option<Audit>, sqlx::Error> {
    again_if_cut(|| counted(pool, id)).await
}

async fn counted(pool: &PgPool, id: EventId) -> Result<Option<Audit>, sqlx::Error> {
    // One snapshot for all statements: what two moments say differs while somebody books.
    let mut moment = pool.begin_with("begin isolation level repeatable read read only").await?;
    let row = sqlx::query!(
        r#"select e.strategy, e.capacity, e.booked, s.bookings as "bookings!", s.cancelled as "cancelled!",
                  s.seats_sold as "seats_sold!", k.duplicates as "duplicate_keys!", n.duplicates as "duplicate_seats!",
                  f.checked as "fences_checked!", f.out_of_order as "fences_out_of_order!"
           from booking.events e
           cross join lateral (
               select count(*) as bookings, count(cancelled_at) as cancelled,
                      coalesce(sum(seats) filter (where cancelled_at is null), 0)::bigint as seats_sold
               from booking.bookings where event_id = e.id) s
           cross join lateral (
               select count(*) as duplicates
               from (select from booking.bookings where event_id = e.id and idempotency_key is not null
                     group by idempotency_key having count(*) > 1) d) k
           cross join lateral (
               select count(*) - count(distinct seat) as duplicates
               from booking.bookings b cross join lateral unnest(b.seat_numbers) seat
               where b.event_id = e.id and b.cancelled_at is null) n
           cross join lateral (
               select count(*) as checked, count(*) filter (where fence <= before) as out_of_order
               from (select fence, lag(fence) over (order by id) as before
                     from booking.bookings where event_id = e.id and fence is not null) o) f
           where e.id = $1"#,
        id.get()
    )
    .fetch_optional(&mut *moment)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let booked = events::booked(&mut moment, id, &row.strategy, row.booked).await?;
    moment.rollback().await?;
    Ok(Some(Audit {
        event_id: id.get(),
        oversold: (row.seats_sold - i64::from(row.capacity)).max(0),
        drift: booked - row.seats_sold,
        strategy: row.strategy,
        capacity: row.capacity,
        bookings: row.bookings,
        cancelled: row.cancelled,
        seats_sold: row.seats_sold,
        booked,
        duplicate_keys: row.duplicate_keys,
        duplicate_seats: row.duplicate_seats,
        fences: FenceOrder { checked: row.fences_checked, out_of_order: row.fences_out_of_order },
    }))
}
