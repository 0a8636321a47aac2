//! The judgement of a sale, by the rows in PostgreSQL and SQL of the lab's own.

use serde::Serialize;
use sqlx::PgPool;

use super::api::Audit;
use super::ledger::{Ledger, name};
use super::strategy::{Promise, Strategy};

/// What an event's rows say, and what they say of the answers that its buyers were given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Judgement {
    pub(crate) rows: Rows,
    /// Bookings that were answered 201 and are not there, for that buyer and under that key.
    pub(crate) lost: i64,
    /// Live bookings beyond the first of the same buyer and key.
    pub(crate) doubled: i64,
    /// Answers 201 that name a booking which another order was answered with too.
    pub(crate) shared: i64,
    /// Live bookings whose buyer was told that nothing was booked.
    pub(crate) sold_in_secret: i64,
    /// Live bookings of nobody's order.
    pub(crate) unordered: i64,
}

/// What an event's rows say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub(crate) struct Rows {
    pub(crate) capacity: i64,
    /// Live bookings.
    pub(crate) bookings: i64,
    pub(crate) cancelled: i64,
    pub(crate) seats_sold: i64,
    /// Seats sold beyond the capacity.
    pub(crate) oversold: i64,
    /// What the service counts by: the event's row, or the rows of its seats.
    pub(crate) counted: i64,
    /// Numbered seats that several live bookings have.
    pub(crate) duplicate_seats: i64,
    /// Bookings whose fence is not above that of the booking before them.
    pub(crate) fences_out_of_order: i64,
}

/// Of one event: the truth is in the bookings, and everything else is compared with it.
const ROWS: &str = "\
with live as (select * from booking.bookings where event_id = $1 and cancelled_at is null),
sold as (select count(*) as bookings, coalesce(sum(seats), 0)::bigint as seats from live)
select e.capacity::bigint as capacity, sold.bookings, sold.seats as seats_sold,
    greatest(sold.seats - e.capacity, 0) as oversold,
    (select count(*) from booking.bookings b where b.event_id = e.id and b.cancelled_at is not null) as cancelled,
    case e.strategy
        when 'pg-units' then (select count(*) from booking.units u where u.event_id = e.id and u.booking_id is not null)
        when 'redis-reserve' then (select count(*) from booking.claims c where c.event_id = e.id)
        else e.booked
    end as counted,
    (select coalesce(sum(n - 1), 0)::bigint from
        (select count(*) as n from live, unnest(live.seat_numbers) as seat group by seat) as seats) as duplicate_seats,
    (select count(*) from
        (select fence, lag(fence) over (order by id) as before from booking.bookings where event_id = e.id) as fences
        where fence <= before) as fences_out_of_order
from booking.events e, sold where e.id = $1";

const LOST: &str = "\
select count(*) from unnest($2::bigint[], $3::text[], $4::text[]) as answered (id, key, buyer)
where not exists (select from booking.bookings b
    where b.id = answered.id and b.event_id = $1 and b.idempotency_key = answered.key and b.buyer = answered.buyer
    and b.cancelled_at is null)";

const DOUBLED: &str = "\
select coalesce(sum(n - 1), 0)::bigint from
    (select count(*) as n from booking.bookings where event_id = $1 and cancelled_at is null and idempotency_key is not null
     group by buyer, idempotency_key) as orders";

const WITH_KEYS: &str = "\
select count(*) from booking.bookings where event_id = $1 and cancelled_at is null and idempotency_key = any($2)";

/// Reads the rows of an event.
///
/// # Errors
/// The database does not answer, or has no such event.
pub(crate) async fn rows(database: &PgPool, event: i64) -> Result<Rows, sqlx::Error> {
    sqlx::query_as(ROWS).bind(event).fetch_one(database).await
}

/// Judges what the buyers of one event did, in one sale or several. They must be over: what is still under way would be
/// judged as lost.
///
/// # Errors
/// The database does not answer, or has no such event.
pub(crate) async fn judge(database: &PgPool, event: i64, sales: &[Ledger]) -> Result<Judgement, sqlx::Error> {
    let rows = rows(database, event).await?;
    let booked = || sales.iter().flat_map(|sale| sale.booked.iter().map(move |booked| (sale, booked)));
    let ids: Vec<i64> = booked().map(|(_, booked)| booked.id).collect();
    let keys: Vec<String> = booked().map(|(sale, booked)| sale.key(booked.order)).collect();
    let buyers: Vec<String> = booked().map(|(_, booked)| name(booked.order.buyer)).collect();
    let refused: Vec<String> =
        sales.iter().flat_map(|sale| sale.refused.iter().map(|&order| sale.key(order))).collect();
    let open: Vec<String> = sales.iter().flat_map(|sale| sale.open.iter().map(|&order| sale.key(order))).collect();
    let lost = sqlx::query_scalar(LOST).bind(event).bind(&ids).bind(&keys).bind(buyers).fetch_one(database).await?;
    let doubled = sqlx::query_scalar(DOUBLED).bind(event).fetch_one(database).await?;
    let with = async |keys: &[String]| {
        sqlx::query_scalar::<_, i64>(WITH_KEYS).bind(event).bind(keys).fetch_one(database).await
    };
    let sold_in_secret = with(&refused).await?;
    let ordered = sold_in_secret + with(&keys).await? + with(&open).await?;
    Ok(Judgement { lost, doubled, shared: shared(ids), sold_in_secret, unordered: rows.bookings - ordered, rows })
}

/// How many of the answers name a booking that an earlier one named.
fn shared(mut ids: Vec<i64>) -> i64 {
    let answers = ids.len();
    ids.sort_unstable();
    ids.dedup();
    i64::try_from(answers - ids.len()).unwrap_or(i64::MAX)
}

impl Judgement {
    /// Seats that nobody has.
    pub(crate) fn unsold(&self) -> i64 {
        (self.rows.capacity - self.rows.seats_sold).max(0)
    }

    /// One line for each promise that is broken; `what` names the sale. `undisturbed`: nothing was paused, killed or cut
    /// off. `sold_out`: each buyer was told in the end that there are no more seats.
    pub(crate) fn broken(&self, strategy: Strategy, what: &str, undisturbed: bool, sold_out: bool) -> Vec<String> {
        let promised = match strategy.promise() {
            Promise::Always => true,
            Promise::Undisturbed => undisturbed,
            Promise::Nothing => false,
        };
        let rows = &self.rows;
        let mut broken = Vec::new();
        let mut must_be_none = |count: i64, of: &str| {
            if count != 0 {
                broken.push(format!("{strategy}, {what}: {count} {of}"));
            }
        };
        if promised {
            must_be_none(
                rows.oversold,
                &format!("seats oversold ({} sold, {} there are)", rows.seats_sold, rows.capacity),
            );
            must_be_none(rows.duplicate_seats, "numbered seats sold twice");
            if sold_out {
                must_be_none(self.unsold(), "seats left although every buyer was told that all are sold");
            }
        }
        if strategy.has_fences() {
            must_be_none(rows.fences_out_of_order, "bookings with a fence that does not rise");
        }
        must_be_none(self.lost, "bookings lost: answered 201 and absent");
        must_be_none(self.doubled, "bookings doubled: the same buyer and key again");
        must_be_none(self.shared, "answers with a booking that is another order's");
        must_be_none(self.sold_in_secret, "bookings of buyers who were told that nothing was booked");
        must_be_none(self.unordered, "bookings that nobody ordered");
        if rows.counted != rows.seats_sold {
            let Rows { counted, seats_sold, .. } = rows;
            broken.push(format!("{strategy}, {what}: the service counts {counted} seats, and {seats_sold} are booked"));
        }
        broken
    }

    /// Where the service's own audit says something else: it must not be believed then, by anybody.
    pub(crate) fn differences(&self, audit: &Audit) -> Vec<String> {
        let rows = &self.rows;
        [
            ("bookings", rows.bookings, audit.bookings),
            ("cancelled", rows.cancelled, audit.cancelled),
            ("seats sold", rows.seats_sold, audit.seats_sold),
            ("oversold", rows.oversold, audit.oversold),
            ("booked", rows.counted, audit.booked),
            ("duplicate keys", self.doubled, audit.duplicate_keys),
            ("duplicate seats", rows.duplicate_seats, audit.duplicate_seats),
            ("fences out of order", rows.fences_out_of_order, audit.fences.out_of_order),
        ]
        .into_iter()
        .filter(|(_, rows, audit)| rows != audit)
        .map(|(what, rows, audit)| format!("{what}: the rows say {rows}, the audit {audit}"))
        .collect()
    }
}

#[cfg(test)]
mod tests;
