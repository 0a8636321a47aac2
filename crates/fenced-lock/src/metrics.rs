//! Every metric of this crate: names, units, buckets and descriptions. Recorded through the `metrics` facade;
//! install the recorder before the lock is made, or the handles made then record nothing. All carry `backend`.

use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};
use tokio::time::Instant;

use crate::backend::Kind;
use crate::error::LockError;
use crate::guard::Guard;

/// Time of one acquisition from the call to its end, in seconds, by `outcome`: `acquired`, `contended`, `timeout`,
/// `backend` (the store failed), `missing` (there is no such row), `cancelled` (the caller's future was dropped).
pub const ACQUIRE_DURATION: &str = "lock_acquire_duration_seconds";
/// Time from the grant to the release or the loss, in seconds.
pub const HOLD_DURATION: &str = "lock_hold_duration_seconds";
/// Callers inside of an acquisition.
pub const WAITERS: &str = "lock_waiters";
/// Grants handed to a waiter of this process, by `path`: `reply` (of a release in this process), `push`, `poll`.
pub const HANDOFFS: &str = "lock_handoffs_total";
/// Grants that came too late to be believed, or for nobody, by `reason`: `expired`, `stray`.
pub const GRANTS_REFUSED: &str = "lock_grants_refused_total";
/// Renewals of a lease, by `result`: `ok`, `refused`, `error`.
pub const EXTENSIONS: &str = "lock_extensions_total";
/// Locks that were lost while they were held.
pub const LOST: &str = "lock_lost_total";
/// Fences that PostgreSQL refused, by `at`: `enter` (somebody newer has entered, or the fence went back), `guard` (a
/// write that was not entitled any more).
pub const FENCE_REFUSALS: &str = "lock_fence_refusals_total";
/// Fences that had gone back and were raised above PostgreSQL's.
pub const FENCES_MENDED: &str = "lock_fences_mended_total";
/// Connections to Redis lost.
pub const CONNECTIONS_LOST: &str = "lock_connections_lost_total";

/// Buckets for the duration histograms, in seconds: 50 µs to 60 s.
pub const BUCKETS: &[f64] = &[
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
    10.0, 30.0, 60.0,
];

/// The histograms, for a recorder that wants their buckets set: each takes [`BUCKETS`].
pub const HISTOGRAMS: &[&str] = &[ACQUIRE_DURATION, HOLD_DURATION];

fn describe() {
    describe_histogram!(ACQUIRE_DURATION, Unit::Seconds, "Time of one acquisition, by how it ended");
    describe_histogram!(HOLD_DURATION, Unit::Seconds, "Time from the grant to the release or the loss");
    describe_gauge!(WAITERS, Unit::Count, "Callers inside of an acquisition");
    describe_counter!(HANDOFFS, Unit::Count, "Grants handed to a waiter of this process, by the way they came");
    describe_counter!(GRANTS_REFUSED, Unit::Count, "Grants that came too late to be believed, or for nobody");
    describe_counter!(EXTENSIONS, Unit::Count, "Renewals of a lease, by result");
    describe_counter!(LOST, Unit::Count, "Locks lost while they were held");
    describe_counter!(FENCE_REFUSALS, Unit::Count, "Fences that PostgreSQL refused");
    describe_counter!(FENCES_MENDED, Unit::Count, "Fences that had gone back and were raised again");
    describe_counter!(CONNECTIONS_LOST, Unit::Count, "Connections to Redis lost");
}

const OUTCOMES: [&str; 6] = ["acquired", "contended", "timeout", "backend", "missing", "cancelled"];
const CANCELLED: usize = 5;

/// The handles of one lock, looked up once.
#[derive(Debug)]
pub(crate) struct LockMetrics {
    acquire: [Histogram; OUTCOMES.len()],
    waiters: Gauge,
    pub(crate) hold: Histogram,
    pub(crate) extension_ok: Counter,
    pub(crate) extension_refused: Counter,
    pub(crate) extension_error: Counter,
    pub(crate) lost: Counter,
    #[cfg_attr(not(feature = "postgres"), expect(dead_code, reason = "only the sections refuse fences"))]
    pub(crate) refused_at_enter: Counter,
    #[cfg_attr(not(feature = "postgres"), expect(dead_code, reason = "only the sections refuse fences"))]
    pub(crate) refused_at_guard: Counter,
    #[cfg_attr(not(feature = "postgres"), expect(dead_code, reason = "only the sections refuse fences"))]
    pub(crate) mended: Counter,
}

impl LockMetrics {
    pub(crate) fn register(kind: Kind) -> Self {
        describe();
        let backend = kind.as_str();
        let extension = |result: &'static str| counter!(EXTENSIONS, "backend" => backend, "result" => result);
        let refusal = |at: &'static str| counter!(FENCE_REFUSALS, "backend" => backend, "at" => at);
        Self {
            acquire: OUTCOMES.map(|outcome| histogram!(ACQUIRE_DURATION, "backend" => backend, "outcome" => outcome)),
            waiters: gauge!(WAITERS, "backend" => backend),
            hold: histogram!(HOLD_DURATION, "backend" => backend),
            extension_ok: extension("ok"),
            extension_refused: extension("refused"),
            extension_error: extension("error"),
            lost: counter!(LOST, "backend" => backend),
            refused_at_enter: refusal("enter"),
            refused_at_guard: refusal("guard"),
            mended: counter!(FENCES_MENDED, "backend" => backend),
        }
    }

    /// Observes one acquisition, however it ends.
    pub(crate) fn acquiring(&self, began: Instant) -> Observed<'_> {
        self.waiters.increment(1.0);
        Observed { metrics: self, began, outcome: CANCELLED }
    }
}

/// One acquisition in progress; a drop without [`finish`](Self::finish) is a cancellation.
#[derive(Debug)]
pub(crate) struct Observed<'a> {
    metrics: &'a LockMetrics,
    began: Instant,
    outcome: usize,
}

impl Observed<'_> {
    pub(crate) fn finish(&mut self, result: &Result<Guard, LockError>) -> &'static str {
        self.outcome = match result {
            Ok(_) => 0,
            Err(LockError::Contended) => 1,
            Err(LockError::Timeout) => 2,
            Err(LockError::Lost | LockError::Backend(_)) => 3,
            Err(LockError::Missing) => 4,
        };
        OUTCOMES[self.outcome]
    }
}

impl Drop for Observed<'_> {
    fn drop(&mut self) {
        self.metrics.waiters.decrement(1.0);
        self.metrics.acquire[self.outcome].record(self.began.elapsed());
    }
}

/// The counter of lost connections; one per connection and not per lock.
pub(crate) fn connections_lost(kind: Kind) -> Counter {
    counter!(CONNECTIONS_LOST, "backend" => kind.as_str())
}

/// The handles of a lock whose store grants by itself.
#[derive(Debug)]
pub(crate) struct GrantMetrics {
    pub(crate) reply: Counter,
    pub(crate) push: Counter,
    pub(crate) poll: Counter,
    pub(crate) expired: Counter,
    pub(crate) stray: Counter,
}

impl GrantMetrics {
    pub(crate) fn register(kind: Kind) -> Self {
        let backend = kind.as_str();
        let handoff = |path: &'static str| counter!(HANDOFFS, "backend" => backend, "path" => path);
        let refused = |reason: &'static str| counter!(GRANTS_REFUSED, "backend" => backend, "reason" => reason);
        Self {
            reply: handoff("reply"),
            push: handoff("push"),
            poll: handoff("poll"),
            expired: refused("expired"),
            stray: refused("stray"),
        }
    }
}
