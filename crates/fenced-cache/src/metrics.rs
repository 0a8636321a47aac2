//! Every metric of this crate: names, units, buckets and descriptions. Recorded through the `metrics` facade;
//! install the recorder before the cache is started, or the handles made then record nothing.

use std::time::Duration;

use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};

use crate::near::Flushed;
use crate::outcome::{Outcome, WriteOutcome};

/// Reads, by `policy` and `outcome` (see [`Outcome`]; `error` for a read without an answer).
pub const READS: &str = "cache_reads_total";
/// Time of one read, by `policy` and `outcome`, in seconds.
pub const READ_DURATION: &str = "cache_read_duration_seconds";
/// Loads under a lease or by bypass, by `policy` and `result` (`ok`, `error`, `timeout`, `panic`).
pub const LOADS: &str = "cache_loads_total";
/// Time of one load, by `policy`, in seconds.
pub const LOAD_DURATION: &str = "cache_load_duration_seconds";
/// Fills, by `policy` and `result` (`stored`, `refused`, `epoch_changed`, `too_large`, `error`).
pub const FILLS: &str = "cache_fills_total";
/// ACQUIREs, by `policy` and `result` (`granted`, `held`, `changed`, `error`).
pub const LEASES: &str = "cache_leases_total";
/// Background refreshes begun, by `policy` and `reason` (`early`, `stale`).
pub const REFRESHES: &str = "cache_refreshes_total";
/// Stored values that could not be decoded and were loaded again, by `policy`.
pub const UNDECODABLE: &str = "cache_undecodable_total";
/// Cached answers that were older than what the reader had seen, by `policy` and `tier` (`near`, `redis`).
pub const BEHIND: &str = "cache_behind_total";
/// Writes by `outcome` (see [`WriteOutcome`]).
pub const WRITES: &str = "cache_writes_total";
/// Time from COMMIT to the last confirmed invalidation of a write, in seconds.
pub const APPLY_DURATION: &str = "cache_apply_duration_seconds";
/// PUTs by `result` (`stored`, `newer`, `killed`, `error`).
pub const PUTS: &str = "cache_puts_total";
/// Names invalidated by replays after a connection was lost.
pub const REPLAYED: &str = "cache_replayed_names_total";
/// Redis connections lost.
pub const CONNECTIONS_LOST: &str = "cache_connections_lost_total";
/// 1 while there is a connection to Redis.
pub const CONNECTED: &str = "cache_connected";
/// 1 while reads trust that connection.
pub const TRUSTED: &str = "cache_trusted";
/// The breaker: 0 closed, 1 half-open, 2 open.
pub const BREAKER: &str = "cache_breaker_state";
/// Bypass loads in progress at the gate.
pub const GATE_BUSY: &str = "cache_gate_loads";
/// Distinct keys queued at the gate.
pub const GATE_QUEUE: &str = "cache_gate_queue";
/// Reads refused because the gate was full.
pub const GATE_REFUSED: &str = "cache_gate_refused_total";
/// Fresh replies on their way into the near cache, by `result` (`kept`, `overtaken` by an invalidation, `too_large`).
pub const NEAR_REPLIES: &str = "cache_near_replies_total";
/// Names removed from the near cache, by `source` (`push` of Redis, own `write`).
pub const NEAR_REMOVED: &str = "cache_near_removed_total";
/// Flushes of the near cache, by `reason` (`connection`, `lagged`, `canary`, `silent`).
pub const NEAR_FLUSHES: &str = "cache_near_flushes_total";
/// What the near cache holds, in bytes.
pub const NEAR_BYTES: &str = "cache_near_bytes";
/// How many entries and epochs of tags the near cache holds.
pub const NEAR_ENTRIES: &str = "cache_near_entries";
/// 1 while what is near is believed.
pub const NEAR_PROVED: &str = "cache_near_proved";

/// Buckets for the duration histograms, in seconds: 50 µs to 10 s.
pub const BUCKETS: &[f64] = &[
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// The histograms, for a recorder that wants their buckets set: each takes [`BUCKETS`].
pub const HISTOGRAMS: &[&str] = &[READ_DURATION, LOAD_DURATION, APPLY_DURATION];

pub(crate) fn describe() {
    describe_counter!(READS, Unit::Count, "Reads, by how they were answered");
    describe_histogram!(READ_DURATION, Unit::Seconds, "Time of one read, by how it was answered");
    describe_counter!(LOADS, Unit::Count, "Loads from the database, by how they ended");
    describe_histogram!(LOAD_DURATION, Unit::Seconds, "Time of one load from the database");
    describe_counter!(FILLS, Unit::Count, "Fills, by how they ended; refused: something was invalidated meanwhile");
    describe_counter!(LEASES, Unit::Count, "Leases asked for, by the answer");
    describe_counter!(REFRESHES, Unit::Count, "Background refreshes begun, by reason");
    describe_counter!(UNDECODABLE, Unit::Count, "Stored values that could not be decoded and were loaded again");
    describe_counter!(BEHIND, Unit::Count, "Cached answers older than what the reader had seen, and not given to it");
    describe_counter!(WRITES, Unit::Count, "Writes, by how they ended");
    describe_histogram!(APPLY_DURATION, Unit::Seconds, "Time from COMMIT to the last confirmed invalidation");
    describe_counter!(PUTS, Unit::Count, "Puts, by Redis' answer");
    describe_counter!(REPLAYED, Unit::Count, "Names invalidated by replays after a lost connection");
    describe_counter!(CONNECTIONS_LOST, Unit::Count, "Redis connections lost");
    describe_gauge!(CONNECTED, Unit::Count, "1 while there is a connection to Redis");
    describe_gauge!(TRUSTED, Unit::Count, "1 while reads trust the connection to Redis");
    describe_gauge!(BREAKER, Unit::Count, "The breaker: 0 closed, 1 half-open, 2 open");
    describe_gauge!(GATE_BUSY, Unit::Count, "Loads past the cache in progress");
    describe_gauge!(GATE_QUEUE, Unit::Count, "Keys queued for a load past the cache");
    describe_counter!(GATE_REFUSED, Unit::Count, "Reads refused because the gate to the database was full");
    describe_counter!(
        NEAR_REPLIES,
        Unit::Count,
        "Fresh replies on their way into the near cache, by what became of them"
    );
    describe_counter!(NEAR_REMOVED, Unit::Count, "Names removed from the near cache, by who changed them");
    describe_counter!(NEAR_FLUSHES, Unit::Count, "Flushes of the whole near cache, by reason");
    describe_gauge!(NEAR_BYTES, Unit::Bytes, "What the near cache holds");
    describe_gauge!(NEAR_ENTRIES, Unit::Count, "Entries and tags' epochs in the near cache");
    describe_gauge!(NEAR_PROVED, Unit::Count, "1 while what is near is believed");
}

/// The handles of one policy, looked up once.
#[derive(Debug)]
pub(crate) struct ReadMetrics {
    reads: [(Counter, Histogram); Outcome::ALL.len()],
    pub(crate) errors: Counter,
    pub(crate) load_duration: Histogram,
    pub(crate) undecodable: Counter,
    pub(crate) behind_near: Counter,
    pub(crate) behind_redis: Counter,
    pub(crate) early: Counter,
    pub(crate) stale: Counter,
    pub(crate) loads: LoadCounters,
    pub(crate) fills: FillCounters,
    pub(crate) leases: LeaseCounters,
}

#[derive(Debug)]
pub(crate) struct LoadCounters {
    pub(crate) ok: Counter,
    pub(crate) error: Counter,
    pub(crate) timeout: Counter,
    pub(crate) panic: Counter,
}

#[derive(Debug)]
pub(crate) struct FillCounters {
    pub(crate) stored: Counter,
    pub(crate) refused: Counter,
    pub(crate) epoch_changed: Counter,
    pub(crate) too_large: Counter,
    pub(crate) error: Counter,
}

#[derive(Debug)]
pub(crate) struct LeaseCounters {
    pub(crate) granted: Counter,
    pub(crate) held: Counter,
    pub(crate) changed: Counter,
    pub(crate) error: Counter,
}

impl ReadMetrics {
    pub(crate) fn register(policy: &'static str) -> Self {
        let load = |result: &'static str| counter!(LOADS, "policy" => policy, "result" => result);
        let fill = |result: &'static str| counter!(FILLS, "policy" => policy, "result" => result);
        let lease = |result: &'static str| counter!(LEASES, "policy" => policy, "result" => result);
        Self {
            reads: Outcome::ALL.map(|outcome| {
                (
                    counter!(READS, "policy" => policy, "outcome" => outcome.as_str()),
                    histogram!(READ_DURATION, "policy" => policy, "outcome" => outcome.as_str()),
                )
            }),
            errors: counter!(READS, "policy" => policy, "outcome" => "error"),
            load_duration: histogram!(LOAD_DURATION, "policy" => policy),
            undecodable: counter!(UNDECODABLE, "policy" => policy),
            behind_near: counter!(BEHIND, "policy" => policy, "tier" => "near"),
            behind_redis: counter!(BEHIND, "policy" => policy, "tier" => "redis"),
            early: counter!(REFRESHES, "policy" => policy, "reason" => "early"),
            stale: counter!(REFRESHES, "policy" => policy, "reason" => "stale"),
            loads: LoadCounters {
                ok: load("ok"),
                error: load("error"),
                timeout: load("timeout"),
                panic: load("panic"),
            },
            fills: FillCounters {
                stored: fill("stored"),
                refused: fill("refused"),
                epoch_changed: fill("epoch_changed"),
                too_large: fill("too_large"),
                error: fill("error"),
            },
            leases: LeaseCounters {
                granted: lease("granted"),
                held: lease("held"),
                changed: lease("changed"),
                error: lease("error"),
            },
        }
    }

    pub(crate) fn read(&self, outcome: Outcome, took: Duration) {
        let (reads, duration) = &self.reads[outcome as usize];
        reads.increment(1);
        duration.record(took);
    }
}

/// The handles of one cache.
#[derive(Debug)]
pub(crate) struct CacheMetrics {
    writes: [Counter; 4],
    pub(crate) apply_duration: Histogram,
    pub(crate) put_stored: Counter,
    pub(crate) put_newer: Counter,
    pub(crate) put_killed: Counter,
    pub(crate) put_error: Counter,
    pub(crate) replayed: Counter,
    pub(crate) connections_lost: Counter,
    pub(crate) connected: Gauge,
    pub(crate) trusted: Gauge,
    pub(crate) breaker: Gauge,
    pub(crate) gate_busy: Gauge,
    pub(crate) gate_queue: Gauge,
    pub(crate) gate_refused: Counter,
    pub(crate) near: NearMetrics,
}

impl CacheMetrics {
    pub(crate) fn register() -> Self {
        describe();
        let write = |outcome: WriteOutcome| counter!(WRITES, "outcome" => outcome.as_str());
        let put = |result: &'static str| counter!(PUTS, "result" => result);
        Self {
            writes: [
                write(WriteOutcome::Applied),
                write(WriteOutcome::Pending),
                write(WriteOutcome::Unknown),
                write(WriteOutcome::Deferred),
            ],
            apply_duration: histogram!(APPLY_DURATION),
            put_stored: put("stored"),
            put_newer: put("newer"),
            put_killed: put("killed"),
            put_error: put("error"),
            replayed: counter!(REPLAYED),
            connections_lost: counter!(CONNECTIONS_LOST),
            connected: gauge!(CONNECTED),
            trusted: gauge!(TRUSTED),
            breaker: gauge!(BREAKER),
            gate_busy: gauge!(GATE_BUSY),
            gate_queue: gauge!(GATE_QUEUE),
            gate_refused: counter!(GATE_REFUSED),
            near: NearMetrics::register(),
        }
    }

    pub(crate) fn write(&self, outcome: WriteOutcome) {
        self.writes[outcome as usize].increment(1);
    }
}

/// The handles of the near cache.
#[derive(Clone, Debug)]
pub(crate) struct NearMetrics {
    pub(crate) kept: Counter,
    pub(crate) overtaken: Counter,
    pub(crate) too_large: Counter,
    pub(crate) removed_by_push: Counter,
    pub(crate) removed_by_write: Counter,
    flushes: [Counter; Flushed::ALL.len()],
    bytes: Gauge,
    entries: Gauge,
    proved: Gauge,
}

impl NearMetrics {
    pub(crate) fn register() -> Self {
        let reply = |result: &'static str| counter!(NEAR_REPLIES, "result" => result);
        let removed = |source: &'static str| counter!(NEAR_REMOVED, "source" => source);
        Self {
            kept: reply("kept"),
            overtaken: reply("overtaken"),
            too_large: reply("too_large"),
            removed_by_push: removed("push"),
            removed_by_write: removed("write"),
            flushes: Flushed::ALL.map(|reason| counter!(NEAR_FLUSHES, "reason" => reason.as_str())),
            bytes: gauge!(NEAR_BYTES),
            entries: gauge!(NEAR_ENTRIES),
            proved: gauge!(NEAR_PROVED),
        }
    }

    pub(crate) fn flushed(&self, reason: Flushed) {
        self.flushes[reason as usize].increment(1);
    }

    pub(crate) fn holds(&self, bytes: u64, entries: usize, proved: bool) {
        // Exact up to 2^53, in a gauge that is for people.
        self.bytes.set(bytes as f64);
        self.entries.set(entries as f64);
        self.proved.set(f64::from(u8::from(proved)));
    }
}
