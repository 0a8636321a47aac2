//! The floor of a booking under a lock: its statements under the event's row lock, sent by pgbench. There is no HTTP in
//! it, no JSON and no lock but PostgreSQL's own.

use super::ConcurrentArgs;
use crate::booking::api::create_event;
use crate::booking::ledger::new_run;
use crate::booking::strategy::Strategy;
use crate::booking::system::System;
use crate::measure::postgres::Pgbench;

/// The floor is taken with so few clients too. A service's pools let its buyers queue in front of the database; all of
/// pgbench's 64 clients queue in it, which is slower.
pub(crate) const FEW: u32 = 8;

/// Bookings a second of one turn. `None` where there is no pgbench, or no event for it.
///
/// # Errors
/// pgbench was found and failed.
pub(crate) async fn row_lock(system: &System, args: &ConcurrentArgs, clients: u32) -> anyhow::Result<Option<f64>> {
    let made = create_event(system.replicas[0], "lab: the floor", 100_000, Strategy::PgRow).await?;
    let Ok(event) = made else { return Ok(None) };
    // pgbench takes whole seconds.
    let seconds = u32::try_from(args.turn_ms.div_ceil(1_000)).unwrap_or(u32::MAX);
    let script = script(event, &new_run()?);
    let pgbench = Pgbench { database_url: &system.stores.database_url, script: &script, clients, seconds };
    pgbench.run().await
}

/// One booking: lock, read, write the booking with its key, count it.
fn script(event: i64, run: &str) -> String {
    format!(
        "\\set order random(1, 9000000000000000000)\n\
         begin;\n\
         select capacity, booked from booking.events where id = {event} for no key update;\n\
         with made as (insert into booking.bookings (event_id, seats, buyer, idempotency_key) \
         values ({event}, 1, 'pgbench', '{run}-' || :order) returning id) \
         insert into booking.idempotency_keys (key, fingerprint, booking_id) \
         select '{run}-' || :order, decode(repeat('00', 32), 'hex'), id from made;\n\
         update booking.events set booked = booked + 1 where id = {event};\n\
         commit;\n"
    )
}
