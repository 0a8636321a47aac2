//! What came back during one measurement.

use std::time::Duration;

use super::connection::ExchangeError;
use super::latencies::{Latencies, as_f64};

/// Answers by a label that the experiment chooses, each with its times.
#[derive(Debug, Clone)]
pub(crate) struct Tally<L> {
    by_label: Vec<(L, Latencies)>,
    failures: u64,
    first_failure: Option<String>,
    body_bytes: u64,
    /// How long answers were counted.
    pub(crate) counted: Duration,
}

impl<L> Default for Tally<L> {
    fn default() -> Self {
        Self { by_label: Vec::new(), failures: 0, first_failure: None, body_bytes: 0, counted: Duration::ZERO }
    }
}

impl<L: Copy + Eq> Tally<L> {
    pub(crate) fn answer(&mut self, label: L, time: Duration, body_bytes: usize) {
        self.body_bytes += body_bytes as u64;
        self.of(label).record(time);
    }

    /// A request that got no answer.
    pub(crate) fn failure(&mut self, error: &ExchangeError) {
        self.failures += 1;
        self.first_failure.get_or_insert_with(|| error.to_string());
    }

    fn of(&mut self, label: L) -> &mut Latencies {
        // A handful of labels: looking through them is cheaper than any map.
        let at = self.by_label.iter().position(|(known, _)| *known == label).unwrap_or_else(|| {
            self.by_label.push((label, Latencies::default()));
            self.by_label.len() - 1
        });
        &mut self.by_label[at].1
    }

    /// Answers under labels for which `wanted` is true.
    pub(crate) fn count(&self, wanted: impl Fn(L) -> bool) -> u64 {
        self.labels().filter(|(label, _)| wanted(*label)).map(|(_, count)| count).sum()
    }

    /// Times of the answers under labels for which `wanted` is true.
    pub(crate) fn latencies(&self, wanted: impl Fn(L) -> bool) -> Latencies {
        let mut all = Latencies::default();
        for (_, latencies) in self.by_label.iter().filter(|(label, _)| wanted(*label)) {
            all.merge(latencies);
        }
        all
    }

    pub(crate) fn labels(&self) -> impl Iterator<Item = (L, u64)> {
        self.by_label.iter().map(|(label, latencies)| (*label, latencies.count()))
    }

    /// Requests without an answer.
    pub(crate) fn failures(&self) -> u64 {
        self.failures
    }

    /// What the first of the failures was.
    pub(crate) fn first_failure(&self) -> Option<&str> {
        self.first_failure.as_deref()
    }

    /// Mean size of a body, in bytes; 0 of none.
    pub(crate) fn mean_body(&self) -> u64 {
        self.body_bytes.checked_div(self.count(|_| true)).unwrap_or(0)
    }

    /// Answers under the wanted labels per second.
    pub(crate) fn per_second(&self, wanted: impl Fn(L) -> bool) -> f64 {
        if self.counted.is_zero() {
            return 0.0;
        }
        as_f64(self.count(wanted)) / self.counted.as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::Tally;
    use crate::measure::connection::ExchangeError;
    use std::time::Duration;

    #[test]
    fn answers_are_counted_by_their_label() {
        let mut all = Tally { counted: Duration::from_secs(2), ..Tally::default() };
        all.answer('h', Duration::from_micros(100), 10);
        all.answer('m', Duration::from_micros(900), 30);
        all.answer('h', Duration::from_micros(300), 20);
        all.failure(&ExchangeError::Closed);
        assert_eq!((all.count(|label| label == 'h'), all.count(|_| true), all.failures()), (2, 3, 1));
        assert_eq!((all.mean_body(), all.per_second(|label| label == 'h')), (20, 1.0));
        assert_eq!(all.latencies(|label| label == 'h').percentiles().unwrap().count, 2);
        assert!(all.first_failure().unwrap().contains("closed"));
    }

    #[test]
    fn an_empty_tally_has_no_rate() {
        let empty = Tally::<char>::default();
        assert_eq!((empty.per_second(|_| true), empty.mean_body()), (0.0, 0));
    }
}
