//! The events' metrics; their names are in [`crate::metrics`].

use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};

use crate::metrics::{
    EVENT_DELAY, EVENT_RELAY_ERRORS, EVENTS_LAST, EVENTS_LEADING, EVENTS_NUMBERED, EVENTS_PENDING, EVENTS_PENDING_AGE,
    EVENTS_PRUNED, EVENTS_PUBLISHED, EVENTS_READER_LAG,
};

/// The most pending events that are counted.
pub(crate) const COUNT_MOST: i64 = 100_000;

#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) pending: Gauge,
    pub(crate) pending_age: Gauge,
    pub(crate) reader_lag: Gauge,
    pub(crate) leading: Gauge,
    pub(crate) last: Gauge,
    pub(crate) numbered: Counter,
    pub(crate) published: Counter,
    pub(crate) delay: Histogram,
    pub(crate) database_errors: Counter,
    pub(crate) publish_errors: Counter,
    pub(crate) pruned: Counter,
}

impl Metrics {
    /// Made when the relay starts: an outbox without events shows none of these.
    pub(crate) fn new() -> Self {
        describe_gauge!(EVENTS_PENDING, Unit::Count, "Events without a number (whole schema, up to 100,000)");
        describe_gauge!(EVENTS_PENDING_AGE, Unit::Seconds, "Age of the oldest event without a number");
        describe_gauge!(EVENTS_READER_LAG, Unit::Count, "Numbers that the slowest reader has not applied yet");
        describe_gauge!(EVENTS_LEADING, "1 while this process numbers and publishes events, else 0");
        describe_gauge!(EVENTS_LAST, Unit::Count, "The last number that this process gave out or found given out");
        describe_counter!(EVENTS_NUMBERED, Unit::Count, "Events numbered");
        describe_counter!(EVENTS_PUBLISHED, Unit::Count, "Events that the channel has taken");
        describe_histogram!(EVENT_DELAY, Unit::Seconds, "From the event's insert to its number");
        describe_counter!(EVENT_RELAY_ERRORS, Unit::Count, "Tries of the event relay that failed, by reason");
        describe_counter!(EVENTS_PRUNED, Unit::Count, "Events deleted after every reader had applied them");
        Self {
            pending: gauge!(EVENTS_PENDING),
            pending_age: gauge!(EVENTS_PENDING_AGE),
            reader_lag: gauge!(EVENTS_READER_LAG),
            leading: gauge!(EVENTS_LEADING),
            last: gauge!(EVENTS_LAST),
            numbered: counter!(EVENTS_NUMBERED),
            published: counter!(EVENTS_PUBLISHED),
            delay: histogram!(EVENT_DELAY),
            database_errors: counter!(EVENT_RELAY_ERRORS, "reason" => "database"),
            publish_errors: counter!(EVENT_RELAY_ERRORS, "reason" => "publish"),
            pruned: counter!(EVENTS_PRUNED),
        }
    }
}
