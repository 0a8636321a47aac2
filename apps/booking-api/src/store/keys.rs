//! Idempotency keys.

use std::time::Duration;

use sqlx::{PgConnection, PgPool};

use super::bookings::BookingRow;
use super::violated;
use crate::model::Booking;
use crate::strategies::{Idempotency, Outcome};

/// Whether a booking was refused because its key is there already: somebody was faster with the same one. The
/// transaction is over; roll it back and ask for the [`stored`] outcome.
#[must_use]
pub fn is_taken(error: &sqlx::Error) -> bool {
    violated(error) == Some("idempotency_keys_pkey")
}

/// The outcome that the key has already: [`Outcome::Replayed`] or [`Outcome::KeyReused`]; `None` if the key is new.
///
/// # Errors
/// The database's.
pub async fn stored(db: &mut PgConnection, key: &Idempotency) -> Result<Option<Outcome>, sqlx::Error> {
    let row = sqlx::query!(
        "select k.fingerprint, b.id, b.event_id, b.seats, b.buyer, b.seat_numbers, b.fence, b.created_at
         from booking.idempotency_keys k
         join booking.bookings b on b.id = k.booking_id
         where k.key = $1",
        key.key.as_str()
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| {
        let booking = BookingRow {
            id: row.id,
            event_id: row.event_id,
            seats: row.seats,
            buyer: row.buyer,
            seat_numbers: row.seat_numbers,
            fence: row.fence,
            created_at: row.created_at,
            cancelled_at: None,
        };
        outcome(key, &row.fingerprint, booking.into())
    }))
}

/// What the key of a booking that is there means for a request.
pub(crate) fn outcome(key: &Idempotency, fingerprint: &[u8], booking: Booking) -> Outcome {
    if fingerprint != key.fingerprint.as_bytes() {
        return Outcome::KeyReused;
    }
    // As it was answered then: what has become of it since, its own page says.
    Outcome::Replayed(Booking { cancelled_at: None, ..booking })
}

/// Removes keys that are older than they are kept, some at a time; how many.
///
/// # Errors
/// The database's.
pub async fn prune(pool: &PgPool, retention: Duration) -> Result<u64, sqlx::Error> {
    let pruned = sqlx::query!(
        "delete from booking.idempotency_keys where key in (
             select key from booking.idempotency_keys
             where created_at < now() - make_interval(secs => $1)
             order by created_at
             limit $2
             for update skip locked)",
        retention.as_secs_f64(),
        PRUNED_AT_ONCE
    )
    .execute(pool)
    .await?;
    Ok(pruned.rows_affected())
}

/// Most keys that one statement of [`prune`] removes.
pub const PRUNED_AT_ONCE: i64 = 1_000;
