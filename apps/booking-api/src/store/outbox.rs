//! What every change of an event writes beside itself: a row of the outbox, which names the entry of the event's page.
//!
//! Bookings write the row in the statement that makes them, and in the same columns: a statement of its own would be one more
//! round trip while the event's row is locked, or its lease runs.

use fenced_cache::RecordId;
use sqlx::PgConnection;

use crate::domain::EventId;
use crate::pages;

/// The name of the entry, as the outbox keeps it.
pub(super) fn page_of(event: EventId) -> Vec<u8> {
    pages::key(event).name().to_vec()
}

/// Writes the row, in the transaction of the change.
pub(super) async fn tell(db: &mut PgConnection, event: EventId) -> Result<RecordId, sqlx::Error> {
    let id =
        sqlx::query_scalar!("insert into booking.outbox (keys) values (array[$1::bytea]) returning id", page_of(event))
            .fetch_one(db)
            .await?;
    Ok(RecordId(id))
}
