//! The circuit breaker: keeps the timeouts of a Redis that does not answer off the hot path.

use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use tokio::sync::Notify;

/// What the breaker lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// Everything.
    Closed,
    /// One probe; readers still go past Redis.
    HalfOpen,
    /// Nothing, until the cooldown is over.
    Open,
}

impl BreakerState {
    /// A word for logs and health pages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half-open",
            Self::Open => "open",
        }
    }
}

/// Opens after so many failures in a row; the connection's own task probes and closes it again.
#[derive(Debug)]
pub(crate) struct Breaker {
    limit: u32,
    failures: AtomicU32,
    state: AtomicU8,
    opened: Notify,
    gauge: metrics::Gauge,
}

impl Breaker {
    pub(crate) fn new(limit: u32, gauge: metrics::Gauge) -> Self {
        gauge.set(0.0);
        Self { limit, failures: AtomicU32::new(0), state: AtomicU8::new(0), opened: Notify::new(), gauge }
    }

    pub(crate) fn state(&self) -> BreakerState {
        match self.state.load(Ordering::Acquire) {
            0 => BreakerState::Closed,
            1 => BreakerState::HalfOpen,
            _ => BreakerState::Open,
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state.load(Ordering::Acquire) == 0
    }

    /// A command was answered, be it with an error.
    pub(crate) fn answered(&self) {
        // A load first: the common case must not write to a cache line that every reader shares.
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
    }

    /// A command was not answered in time, or its connection is gone.
    pub(crate) fn failed(&self) {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if failures >= self.limit && self.state.compare_exchange(0, 2, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            tracing::warn!(failures, "redis does not answer: breaker open");
            self.gauge.set(2.0);
            self.opened.notify_one();
        }
    }

    /// Resolves when the breaker has opened; for the one task that probes.
    pub(crate) async fn opened(&self) {
        while self.is_closed() {
            self.opened.notified().await;
        }
    }

    pub(crate) fn probing(&self) {
        self.set(1);
    }

    pub(crate) fn probe_failed(&self) {
        self.set(2);
    }

    /// The probe was answered, or there is a new connection.
    pub(crate) fn close(&self) {
        self.failures.store(0, Ordering::Relaxed);
        self.set(0);
    }

    fn set(&self, state: u8) {
        if self.state.swap(state, Ordering::AcqRel) != state {
            self.gauge.set(f64::from(state));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaker() -> Breaker {
        Breaker::new(3, metrics::Gauge::noop())
    }

    #[test]
    fn only_failures_in_a_row_open_it() {
        let breaker = breaker();
        for _ in 0..10 {
            breaker.failed();
            breaker.failed();
            breaker.answered();
        }
        assert_eq!(breaker.state(), BreakerState::Closed);
        for _ in 0..3 {
            breaker.failed();
        }
        assert_eq!(breaker.state(), BreakerState::Open);
    }

    #[test]
    fn an_answer_to_an_old_command_does_not_close_it() {
        let breaker = breaker();
        (0..3).for_each(|_| breaker.failed());
        breaker.answered();
        assert_eq!(breaker.state(), BreakerState::Open);
        breaker.probing();
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        breaker.probe_failed();
        assert_eq!(breaker.state(), BreakerState::Open);
        breaker.close();
        assert!(breaker.is_closed());
        breaker.failed();
        assert!(breaker.is_closed());
    }

    #[tokio::test]
    async fn the_prober_is_woken_even_if_it_comes_late() {
        let breaker = breaker();
        (0..3).for_each(|_| breaker.failed());
        breaker.opened().await;
    }
}
