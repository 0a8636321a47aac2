//! Every metric of this service's own: its name, labels, unit and meaning. The lock library adds its own.

use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use crate::domain::Strategy;

/// Orders and cancellations that have ended. Labels: `strategy`, `outcome` (`booked`, `replayed`, `sold_out`, `locked`,
/// `lost`, `unavailable`, `in_doubt`, `key_reused`, `cancelled`, `error`).
pub const BOOKINGS: &str = "bookings_total";
/// Time of one order, the wait for the lock and the payment included. Label: `strategy`.
pub const BOOKING_DURATION: &str = "booking_duration_seconds";
/// Sections that were begun again because their lock was lost. Label: `strategy`.
pub const RESTARTS: &str = "booking_restarts_total";
/// Bookings that only the schema kept from overselling: must stay 0. Label: `strategy`.
pub const SCHEMA_REFUSALS: &str = "booking_schema_refusals_total";
/// Seats sold beyond the capacity, by what the events' rows say. Label: `strategy`.
pub const OVERSOLD_SEATS: &str = "booking_oversold_seats";
/// Reservations of `redis-reserve` that nobody claimed or gave back.
pub const RESERVATIONS_LEAKED: &str = "booking_reservations_leaked_total";
/// Claims of `redis-reserve` that PostgreSQL refused, because the seat was somebody else's.
pub const RESERVATION_CONFLICTS: &str = "booking_reservation_conflicts_total";
/// Idempotency keys that were older than they are kept.
pub const KEYS_PRUNED: &str = "idempotency_keys_pruned_total";

/// The histograms, for a recorder that wants their buckets set: each takes [`BUCKETS`].
pub const HISTOGRAMS: &[&str] = &[BOOKING_DURATION];

/// Buckets for the duration of a booking, in seconds: 500 µs to 60 s.
pub const BUCKETS: &[f64] =
    &[0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// Tells the recorder units and meanings, and makes the counters that must stay 0 visible as 0.
pub fn describe() {
    describe_counter!(BOOKINGS, Unit::Count, "Orders and cancellations that have ended, by how");
    describe_histogram!(BOOKING_DURATION, Unit::Seconds, "Time of one order, wait and payment included");
    describe_counter!(RESTARTS, Unit::Count, "Sections begun again because their lock was lost");
    describe_counter!(SCHEMA_REFUSALS, Unit::Count, "Bookings that only the schema kept from overselling: must stay 0");
    describe_gauge!(OVERSOLD_SEATS, Unit::Count, "Seats sold beyond the capacity");
    describe_counter!(RESERVATIONS_LEAKED, Unit::Count, "Reservations that nobody claimed or gave back");
    describe_counter!(RESERVATION_CONFLICTS, Unit::Count, "Claims that PostgreSQL refused");
    describe_counter!(KEYS_PRUNED, Unit::Count, "Idempotency keys older than they are kept");
    for strategy in Strategy::ALL.map(Strategy::as_str) {
        counter!(SCHEMA_REFUSALS, "strategy" => strategy).increment(0);
        counter!(RESTARTS, "strategy" => strategy).increment(0);
        gauge!(OVERSOLD_SEATS, "strategy" => strategy).set(0.0);
    }
    for total in [RESERVATIONS_LEAKED, RESERVATION_CONFLICTS, KEYS_PRUNED] {
        counter!(total).increment(0);
    }
}

/// Counts one order or cancellation that has ended.
pub(crate) fn ended(strategy: Strategy, outcome: &'static str) {
    counter!(BOOKINGS, "strategy" => strategy.as_str(), "outcome" => outcome).increment(1);
}

/// Records how long an order took.
pub(crate) fn took(strategy: Strategy, time: Duration) {
    histogram!(BOOKING_DURATION, "strategy" => strategy.as_str()).record(time);
}

/// Counts a section that is begun again.
pub(crate) fn restarted(strategy: Strategy) {
    counter!(RESTARTS, "strategy" => strategy.as_str()).increment(1);
}

/// Counts a booking that the schema refused.
pub(crate) fn refused_by_schema(strategy: Strategy) {
    counter!(SCHEMA_REFUSALS, "strategy" => strategy.as_str()).increment(1);
}
