//! Every metric of this program: its name, unit and meaning.

use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};

/// 1 while this process leads, else 0. The sum over all workers is 1.
pub const LEADER: &str = "shop_worker_leader";
/// The number up to which every event is applied, as the leader knows it.
pub const POSITION: &str = "shop_worker_position";
/// Events that the leader knows of and has not applied.
pub const LAG: &str = "shop_worker_lag_events";
/// For how long the leader has been behind, in seconds: the age of the oldest event that is known and not applied; 0 if there is none.
pub const LAG_SECONDS: &str = "shop_worker_lag_seconds";
/// Events applied: each of their deletions is confirmed.
pub const APPLIED: &str = "shop_worker_events_applied_total";
/// From an event's insert to its last deletion's confirmation, in seconds, by the clocks of the database and this process. Events
/// of the channel only: what is caught up from the table has its own delay, an absence.
pub const DELAY: &str = "shop_worker_event_delay_seconds";
/// Names deleted, each once per batch.
pub const NAMES: &str = "shop_worker_names_deleted_total";
/// Messages with a number that was applied before.
pub const DUPLICATES: &str = "shop_worker_duplicates_total";
/// Gaps noticed, by `how`: `number` (the next one is missing), `heartbeat` (the last one is), `lagged` (messages came too fast),
/// `connection` (there was none for a while), `silence` (nothing was heard).
pub const GAPS_NOTICED: &str = "shop_worker_gaps_noticed_total";
/// Gaps closed from the table, by `how`. Stays behind the former only while a repair is under way, or where it is switched off.
pub const GAPS_REPAIRED: &str = "shop_worker_gaps_repaired_total";
/// Events read from the table because the channel had lost them.
pub const EVENTS_REPAIRED: &str = "shop_worker_events_repaired_total";
/// Events skipped because repair is switched off.
pub const EVENTS_SKIPPED: &str = "shop_worker_events_skipped_total";
/// Events that were pruned before they were applied, because no worker was there for too long.
pub const EVENTS_LOST: &str = "shop_worker_events_lost_total";
/// Heartbeats that did not come in time.
pub const HEARTBEATS_MISSED: &str = "shop_worker_heartbeats_missed_total";
/// What was not understood and kept aside, by `what` (`event`: a committed one; `message`: what came over the channel) and `reason`.
pub const KEPT_ASIDE: &str = "shop_worker_kept_aside_total";
/// Batches whose deletions were not all confirmed; they are tried again until they are.
pub const UNCONFIRMED: &str = "shop_worker_unconfirmed_total";
/// 1 while there is a subscription, else 0.
pub const SUBSCRIBED: &str = "shop_worker_subscribed";

/// Every `how` of a gap.
const HOWS: [&str; 5] = ["number", "heartbeat", "lagged", "connection", "silence"];
/// Every `what` and `reason` of what is kept aside; `number`: published under a number that the table does not have.
const ASIDE: [(&str, &str); 9] = [
    ("event", "version"),
    ("event", "kind"),
    ("event", "malformed"),
    ("event", "too_long"),
    ("message", "version"),
    ("message", "kind"),
    ("message", "malformed"),
    ("message", "too_long"),
    ("message", "number"),
];

/// The histograms, for a recorder that wants their buckets set: each takes [`BUCKETS`].
pub const HISTOGRAMS: &[&str] = &[DELAY];
/// Buckets in seconds: 1 ms to 30 s.
pub const BUCKETS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) applied: Counter,
    pub(crate) delay: Histogram,
    pub(crate) names: Counter,
    pub(crate) duplicates: Counter,
    pub(crate) events_repaired: Counter,
    pub(crate) events_skipped: Counter,
    pub(crate) events_lost: Counter,
    pub(crate) heartbeats_missed: Counter,
    pub(crate) unconfirmed: Counter,
    pub(crate) gauges: Gauges,
}

/// What [`Status`](crate::status::Status) sets.
#[derive(Clone, Debug)]
pub(crate) struct Gauges {
    pub(crate) leader: Gauge,
    pub(crate) position: Gauge,
    pub(crate) lag: Gauge,
    pub(crate) lag_seconds: Gauge,
    pub(crate) subscribed: Gauge,
}

impl Metrics {
    pub(crate) fn register() -> Self {
        describe_gauge!(LEADER, "1 while this process leads, else 0");
        describe_gauge!(POSITION, Unit::Count, "The number up to which every event is applied");
        describe_gauge!(LAG, Unit::Count, "Events that the leader knows of and has not applied");
        describe_gauge!(LAG_SECONDS, Unit::Seconds, "Age of the oldest event known and not applied");
        describe_gauge!(SUBSCRIBED, "1 while there is a subscription to the channel, else 0");
        describe_counter!(APPLIED, Unit::Count, "Events whose deletions are all confirmed");
        describe_histogram!(DELAY, Unit::Seconds, "From an event's insert to its last confirmed deletion");
        describe_counter!(NAMES, Unit::Count, "Names deleted, each once per batch");
        describe_counter!(DUPLICATES, Unit::Count, "Messages with a number that was applied before");
        describe_counter!(GAPS_NOTICED, Unit::Count, "Gaps noticed, by how");
        describe_counter!(GAPS_REPAIRED, Unit::Count, "Gaps closed from the table, by how they were noticed");
        describe_counter!(EVENTS_REPAIRED, Unit::Count, "Events read from the table because the channel lost them");
        describe_counter!(EVENTS_SKIPPED, Unit::Count, "Events skipped because repair is switched off");
        describe_counter!(EVENTS_LOST, Unit::Count, "Events pruned before any worker applied them");
        describe_counter!(HEARTBEATS_MISSED, Unit::Count, "Heartbeats that did not come in time");
        describe_counter!(KEPT_ASIDE, Unit::Count, "Events and messages that were not understood");
        describe_counter!(UNCONFIRMED, Unit::Count, "Batches whose deletions were not all confirmed at once");
        // What should stay 0 is visible as 0, and the first one of its kind counts as an increase.
        for how in HOWS {
            counter!(GAPS_NOTICED, "how" => how).increment(0);
            counter!(GAPS_REPAIRED, "how" => how).increment(0);
        }
        for (what, reason) in ASIDE {
            counter!(KEPT_ASIDE, "what" => what, "reason" => reason).increment(0);
        }
        let gauges = Gauges {
            leader: gauge!(LEADER),
            position: gauge!(POSITION),
            lag: gauge!(LAG),
            lag_seconds: gauge!(LAG_SECONDS),
            subscribed: gauge!(SUBSCRIBED),
        };
        Self {
            applied: counter!(APPLIED),
            delay: histogram!(DELAY),
            names: counter!(NAMES),
            duplicates: counter!(DUPLICATES),
            events_repaired: counter!(EVENTS_REPAIRED),
            events_skipped: counter!(EVENTS_SKIPPED),
            events_lost: counter!(EVENTS_LOST),
            heartbeats_missed: counter!(HEARTBEATS_MISSED),
            unconfirmed: counter!(UNCONFIRMED),
            gauges,
        }
    }

    pub(crate) fn gap_noticed(&self, how: &'static str) {
        counter!(GAPS_NOTICED, "how" => how).increment(1);
    }

    pub(crate) fn gap_repaired(&self, how: &'static str) {
        counter!(GAPS_REPAIRED, "how" => how).increment(1);
    }

    pub(crate) fn kept_aside(&self, what: &'static str, reason: &'static str) {
        counter!(KEPT_ASIDE, "what" => what, "reason" => reason).increment(1);
    }
}
