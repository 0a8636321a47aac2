//! Events: made, shown, looked at under a lock.

use std::collections::HashMap;

use fenced_cache::RecordId;
use service::paging::Limit;
use service::postgres::again_if_cut;
use sqlx::{PgConnection, PgPool};
use time::OffsetDateTime;

use super::{keys, outbox};
use crate::domain::{Capacity, Event, EventId, EventName, Strategy};
use crate::model::{EventDocument, EventPage};
use crate::strategies::reserve::Reserve;
use crate::strategies::units::Units;
use crate::strategies::{Order, Outcome};

/// An event to be made.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// Its name.
    pub name: EventName,
    /// How many seats it has.
    pub capacity: Capacity,
    /// Its strategy.
    pub strategy: Strategy,
}

/// A row that becomes an [`EventDocument`].
struct EventRow {
    id: i64,
    name: String,
    capacity: i32,
    strategy: String,
    booked: i32,
    created_at: OffsetDateTime,
}

impl EventRow {
    /// With `counted` for an event whose row does not say how many seats are booked.
    fn document(self, counted: &HashMap<EventId, i64>) -> EventDocument {
        let booked = counted.get(&EventId::of_row(self.id)).copied().unwrap_or(0) + i64::from(self.booked);
        EventDocument {
            id: self.id,
            name: self.name,
            capacity: self.capacity,
            strategy: self.strategy,
            booked,
            remaining: (i64::from(self.capacity) - booked).max(0),
            created_at: self.created_at,
        }
    }
}

/// Makes an event, with whatever its strategy keeps beside it, and writes the row of the outbox: somebody may have asked for its id
/// before it was there, and the cache remembers that.
///
/// # Errors
/// The database's.
pub async fn create(pool: &PgPool, new: &NewEvent) -> Result<(EventDocument, RecordId), sqlx::Error> {
    let mut transaction = pool.begin().await?;
    let row = sqlx::query_as!(
        EventRow,
        "insert into booking.events (name, capacity, strategy) values ($1, $2, $3)
         returning id, name, capacity, strategy, booked, created_at",
        new.name.as_str(),
        new.capacity.get(),
        new.strategy.as_str()
    )
    .fetch_one(&mut *transaction)
    .await?;
    if new.strategy == Strategy::PgUnits {
        let event = Event { id: EventId::of_row(row.id), capacity: new.capacity, strategy: new.strategy };
        Units::create(&mut transaction, &event).await?;
    }
    let record = outbox::tell(&mut transaction, EventId::of_row(row.id)).await?;
    transaction.commit().await?;
    Ok((row.document(&HashMap::new()), record))
}

/// What a booking has to know of its event.
///
/// # Errors
/// The database's.
pub async fn facts(pool: &PgPool, id: EventId) -> Result<Option<Event>, sqlx::Error> {
    let row = again_if_cut(|| {
        sqlx::query!("select capacity, strategy from booking.events where id = $1", id.get()).fetch_optional(pool)
    })
    .await?;
    row.map(|row| Ok(Event { id, capacity: Capacity::of_row(row.capacity), strategy: strategy(&row.strategy)? }))
        .transpose()
}

/// The strategy of a row, which the schema has checked.
fn strategy(text: &str) -> Result<Strategy, sqlx::Error> {
    text.parse().map_err(|error: crate::domain::Invalid| sqlx::Error::Decode(error.into()))
}

/// An event's page.
///
/// # Errors
/// The database's.
pub async fn find(pool: &PgPool, id: EventId) -> Result<Option<EventDocument>, sqlx::Error> {
    again_if_cut(|| async move {
        let mut db = pool.acquire().await?;
        let row = sqlx::query_as!(
            EventRow,
            "select id, name, capacity, strategy, booked, created_at from booking.events where id = $1",
            id.get()
        )
        .fetch_optional(&mut *db)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let counted = counted(&mut db, std::slice::from_ref(&row)).await?;
        Ok(Some(row.document(&counted)))
    })
    .await
}

/// A page of the events, oldest first.
///
/// # Errors
/// The database's.
pub async fn page(pool: &PgPool, after: Option<EventId>, limit: Limit) -> Result<EventPage, sqlx::Error> {
    again_if_cut(|| async move {
        let mut db = pool.acquire().await?;
        let mut rows = sqlx::query_as!(
            EventRow,
            "select id, name, capacity, strategy, booked, created_at
             from booking.events
             where id > $1
             order by id
             limit $2",
            after.map_or(0, EventId::get),
            limit.rows()
        )
        .fetch_all(&mut *db)
        .await?;
        let next = limit.cut(&mut rows, |last| format!("/events?after={}&limit={limit}", last.id));
        let counted = counted(&mut db, &rows).await?;
        Ok(EventPage { events: rows.into_iter().map(|row| row.document(&counted)).collect(), next })
    })
    .await
}

/// The booked seats of those events whose rows do not say it.
async fn counted(db: &mut PgConnection, rows: &[EventRow]) -> Result<HashMap<EventId, i64>, sqlx::Error> {
    let of = |strategy: Strategy| -> Vec<EventId> {
        let these = rows.iter().filter(|row| row.strategy == strategy.as_str());
        these.map(|row| EventId::of_row(row.id)).collect()
    };
    let mut counted = HashMap::new();
    let units = of(Strategy::PgUnits);
    if !units.is_empty() {
        counted.extend(Units::booked(db, &units).await?);
    }
    let reserved = of(Strategy::RedisReserve);
    if !reserved.is_empty() {
        counted.extend(Reserve::booked(db, &reserved).await?);
    }
    Ok(counted)
}

/// How many seats of one event are booked, by what its page says.
pub(super) async fn booked(
    db: &mut PgConnection,
    id: EventId,
    strategy: &str,
    in_row: i32,
) -> Result<i64, sqlx::Error> {
    let row = EventRow {
        id: id.get(),
        name: String::new(),
        capacity: 0,
        strategy: strategy.to_owned(),
        booked: in_row,
        created_at: OffsetDateTime::UNIX_EPOCH,
    };
    let counted = counted(db, std::slice::from_ref(&row)).await?;
    Ok(row.document(&counted).booked)
}

/// What a section sees under its lock.
#[derive(Debug)]
pub struct Seen {
    /// Seats that are booked.
    pub booked: i64,
    /// What the order's key has become already.
    pub stored: Option<Outcome>,
}

/// Reads, under a lock, what there is room for and whether the order is a repetition. `None` if there is no such event.
///
/// # Errors
/// The database's.
pub async fn look(db: &mut PgConnection, order: &Order) -> Result<Option<Seen>, sqlx::Error> {
    let row = sqlx::query!(
        "select booked, (select booking_id from booking.idempotency_keys where key = $2) as stored
         from booking.events
         where id = $1",
        order.event.id.get(),
        order.key()
    )
    .fetch_optional(&mut *db)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let stored = match (&order.key, row.stored) {
        (Some(key), Some(_)) => keys::stored(db, key).await?,
        _ => None,
    };
    Ok(Some(Seen { booked: row.booked.into(), stored }))
}

/// Seats that are left, by what the event's row says; 0 if there is no such event.
///
/// # Errors
/// The database's.
pub async fn remaining(pool: &PgPool, id: EventId) -> Result<i64, sqlx::Error> {
    let remaining = again_if_cut(|| {
        sqlx::query_scalar!(
            r#"select greatest(capacity - booked, 0) as "remaining!" from booking.events where id = $1"#,
            id.get()
        )
        .fetch_optional(pool)
    })
    .await?;
    Ok(remaining.unwrap_or(0).into())
}

/// Gives seats back to the event's row, in the transaction of the cancellation.
///
/// # Errors
/// The database's.
pub async fn give_back(db: &mut PgConnection, id: EventId, seats: i32) -> Result<(), sqlx::Error> {
    sqlx::query!("update booking.events set booked = booked - $2 where id = $1", id.get(), seats).execute(db).await?;
    Ok(())
}

/// Seats sold beyond the capacity, per strategy that can oversell, by what the events' rows say.
///
/// # Errors
/// The database's.
pub async fn oversold(pool: &PgPool) -> Result<Vec<(String, i64)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select strategy, coalesce(sum(booked - capacity) filter (where booked > capacity), 0)::bigint as "seats!"
           from booking.events
           where strategy in ('none', 'redis', 'redlock')
           group by strategy"#
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(|row| (row.strategy, row.seats)).collect())
}
