//! How much of everything a run does.

use std::time::Duration;

/// The amounts that make a run take about a minute, or a few seconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// Reads from the cache per endpoint in the latency section.
    pub(crate) serial_hits: usize,
    /// Reads past the cache per endpoint.
    pub(crate) serial_misses: usize,
    /// The same for the most expensive endpoint.
    pub(crate) popular_misses: usize,
    /// Turns that all rows of the throughput section take.
    pub(crate) rounds: usize,
    /// One turn of one row.
    pub(crate) turn: Duration,
    /// Before each turn, uncounted.
    pub(crate) warm_up: Duration,
    pub(crate) open_loop: Duration,
    /// Stampedes per endpoint.
    pub(crate) stampedes: usize,
    /// The same for the most expensive endpoint.
    pub(crate) popular_stampedes: usize,
    /// Turns of writing with a full and an empty cache.
    pub(crate) write_pairs: usize,
    /// Writes in one of them.
    pub(crate) write_samples: usize,
    /// Entries of a full cache.
    pub(crate) entries: usize,
}

impl Pace {
    pub(crate) const DEFAULT: Self = Self {
        serial_hits: 1_000,
        serial_misses: 150,
        popular_misses: 4,
        rounds: 3,
        turn: Duration::from_millis(700),
        warm_up: Duration::from_millis(200),
        open_loop: Duration::from_secs(5),
        stampedes: 3,
        popular_stampedes: 2,
        write_pairs: 3,
        write_samples: 250,
        entries: 100_000,
    };

    pub(crate) const QUICK: Self = Self {
        serial_hits: 200,
        serial_misses: 40,
        popular_misses: 2,
        rounds: 1,
        turn: Duration::from_millis(400),
        warm_up: Duration::from_millis(100),
        open_loop: Duration::from_secs(2),
        stampedes: 1,
        popular_stampedes: 1,
        write_pairs: 1,
        write_samples: 100,
        entries: 20_000,
    };
}
