//! Every metric of this crate: names, units, buckets and descriptions. Recorded through the `metrics` facade; install
//! the recorder before the outbox is made, or the handles made then record nothing.

use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};

/// Rows that are not marked as applied, those of writes in progress among them; counted up to 100,000. Every process
/// reports the whole schema's: take the maximum, not the sum.
pub const UNAPPLIED: &str = "outbox_unapplied";
/// Age of the oldest such row, in seconds; 0 if there is none. Over `relay_after` plus a few seconds: the relay does not
/// reach Redis.
pub const UNAPPLIED_AGE: &str = "outbox_unapplied_age_seconds";
/// COMMITs whose answer was lost.
pub const IN_DOUBT: &str = "outbox_commits_in_doubt_total";
/// Rows marked as applied after their writer applied them.
pub const MARKED: &str = "outbox_marked_total";
/// Marks dropped because their queue was full; the relay repeats those rows.
pub const MARK_DROPPED: &str = "outbox_mark_dropped_total";
/// Rows that the relay applied.
pub const RELAYED: &str = "outbox_relayed_total";
/// Tries of the relay that failed, by `reason`: `database`, or `invalidation` (Redis).
pub const RELAY_ERRORS: &str = "outbox_relay_errors_total";
/// Tries of the relay that found the lock with another process.
pub const RELAY_STANDBY: &str = "outbox_relay_standby_total";
/// Time of one batch of the relay, from BEGIN to COMMIT, in seconds.
pub const RELAY_DURATION: &str = "outbox_relay_duration_seconds";
/// Applied rows deleted.
pub const PRUNED: &str = "outbox_pruned_total";

/// Events without a number, counted up to 100,000. Every process that leads or has led reports the whole schema's.
pub const EVENTS_PENDING: &str = "outbox_events_pending";
/// Age of the oldest such event, in seconds; 0 if there is none. Over a second: no relay numbers.
pub const EVENTS_PENDING_AGE: &str = "outbox_events_pending_age_seconds";
/// Numbers given out that the slowest reader has not applied yet.
pub const EVENTS_READER_LAG: &str = "outbox_events_reader_lag";
/// 1 while this process numbers and publishes events, else 0. The sum over all processes is 1; 2 for a moment at most.
pub const EVENTS_LEADING: &str = "outbox_events_leading";
/// The last number that this process gave out, or found given out.
pub const EVENTS_LAST: &str = "outbox_events_last_number";
/// Events numbered.
pub const EVENTS_NUMBERED: &str = "outbox_events_numbered_total";
/// Events that the channel has taken. What it has not, readers find in the table.
pub const EVENTS_PUBLISHED: &str = "outbox_events_published_total";
/// From an event's insert to its number, in seconds, by the database's clock; the writer's COMMIT lies in between.
pub const EVENT_DELAY: &str = "outbox_event_delay_seconds";
/// Tries of the event relay that failed, by `reason`: `database`, or `publish` (the channel).
pub const EVENT_RELAY_ERRORS: &str = "outbox_event_relay_errors_total";
/// Events deleted after every reader had applied them.
pub const EVENTS_PRUNED: &str = "outbox_events_pruned_total";

/// Buckets for the duration histograms, in seconds: 1 ms to 10 s.
pub const BUCKETS: &[f64] = &[0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// The histograms, for a recorder that wants their buckets set: each takes [`BUCKETS`].
pub const HISTOGRAMS: &[&str] = &[RELAY_DURATION, EVENT_DELAY];

#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) unapplied: Gauge,
    pub(crate) unapplied_age: Gauge,
    pub(crate) in_doubt: Counter,
    pub(crate) marked: Counter,
    pub(crate) mark_dropped: Counter,
    pub(crate) relayed: Counter,
    pub(crate) database_errors: Counter,
    pub(crate) invalidation_errors: Counter,
    pub(crate) standby: Counter,
    pub(crate) relay_duration: Histogram,
    pub(crate) pruned: Counter,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        describe_gauge!(UNAPPLIED, Unit::Count, "Rows not marked as applied (whole schema, up to 100,000)");
        describe_gauge!(UNAPPLIED_AGE, Unit::Seconds, "Age of the oldest row not marked as applied");
        describe_counter!(IN_DOUBT, Unit::Count, "COMMITs whose answer was lost");
        describe_counter!(MARKED, Unit::Count, "Rows marked as applied after their writer applied them");
        describe_counter!(MARK_DROPPED, Unit::Count, "Marks dropped because their queue was full");
        describe_counter!(RELAYED, Unit::Count, "Rows that the relay applied");
        describe_counter!(RELAY_ERRORS, Unit::Count, "Tries of the relay that failed, by reason");
        describe_counter!(RELAY_STANDBY, Unit::Count, "Tries of the relay that found another process relaying");
        describe_histogram!(RELAY_DURATION, Unit::Seconds, "Time of one batch of the relay");
        describe_counter!(PRUNED, Unit::Count, "Applied rows deleted");
        Self {
            unapplied: gauge!(UNAPPLIED),
            unapplied_age: gauge!(UNAPPLIED_AGE),
            in_doubt: counter!(IN_DOUBT),
            marked: counter!(MARKED),
            mark_dropped: counter!(MARK_DROPPED),
            relayed: counter!(RELAYED),
            database_errors: counter!(RELAY_ERRORS, "reason" => "database"),
            invalidation_errors: counter!(RELAY_ERRORS, "reason" => "invalidation"),
            standby: counter!(RELAY_STANDBY),
            relay_duration: histogram!(RELAY_DURATION),
            pruned: counter!(PRUNED),
        }
    }
}
