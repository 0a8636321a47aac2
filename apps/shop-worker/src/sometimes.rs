//! Log lines of things that may happen thousands of times a second.

use std::time::{Duration, Instant};

/// Lets one line through per period, with the count of those that were held back.
#[derive(Debug)]
pub(crate) struct Sometimes {
    period: Duration,
    next: Option<Instant>,
    held_back: u64,
}

impl Sometimes {
    pub(crate) fn every(period: Duration) -> Self {
        Self { period, next: None, held_back: 0 }
    }

    /// Whether to write a line now: how many there were since the last one.
    pub(crate) fn now(&mut self, now: Instant) -> Option<u64> {
        self.held_back += 1;
        if self.next.is_some_and(|next| next > now) {
            return None;
        }
        self.next = Some(now + self.period);
        Some(std::mem::take(&mut self.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_per_period_counts_those_between() {
        let mut lines = Sometimes::every(Duration::from_secs(1));
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(lines.now(at(0)), Some(1));
        assert_eq!((lines.now(at(10)), lines.now(at(999))), (None, None));
        assert_eq!(lines.now(at(1_000)), Some(3));
        assert_eq!(lines.now(at(5_000)), Some(1));
    }
}
