//! Times of many requests, in a histogram that merges without losing its tail.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Shortest time told apart from zero, in nanoseconds. Finer is noise, and costs memory.
const LOWEST: u64 = 64;
/// Longest time told apart, in nanoseconds; what takes longer counts as this long.
const HIGHEST: u64 = 120_000_000_000;
/// Three significant digits: a time is known within a thousandth of itself.
const DIGITS: u8 = 3;

/// A distribution of times.
#[derive(Debug, Clone)]
pub(crate) struct Latencies(Histogram<u64>);

/// What is told of a distribution. All times in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Percentiles {
    pub(crate) count: u64,
    pub(crate) mean_us: f64,
    pub(crate) p50_us: f64,
    pub(crate) p90_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
    pub(crate) max_us: f64,
}

impl Default for Latencies {
    fn default() -> Self {
        Self(
            Histogram::new_with_bounds(LOWEST, HIGHEST, DIGITS)
                .unwrap_or_else(|_| unreachable!("the bounds are constants, and a histogram can have them")),
        )
    }
}

impl Latencies {
    pub(crate) fn record(&mut self, time: Duration) {
        self.0.saturating_record(u64::try_from(time.as_nanos()).unwrap_or(HIGHEST));
    }

    /// Adds all of another distribution to this one.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.0.add(&other.0).unwrap_or_else(|_| unreachable!("all of them have the same bounds"));
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    /// The time that the share `quantile` (0 to 1) of all requests did not exceed, in microseconds.
    pub(crate) fn quantile_us(&self, quantile: f64) -> f64 {
        micros(self.0.value_at_quantile(quantile))
    }

    /// `None` when nothing was recorded: no figure is better than a zero.
    pub(crate) fn percentiles(&self) -> Option<Percentiles> {
        (!self.0.is_empty()).then(|| Percentiles {
            count: self.count(),
            mean_us: self.0.mean() / 1_000.0,
            p50_us: self.quantile_us(0.5),
            p90_us: self.quantile_us(0.9),
            p99_us: self.quantile_us(0.99),
            p999_us: self.quantile_us(0.999),
            max_us: micros(self.0.max()),
        })
    }

    /// Points of the curve from quantile to microseconds, denser towards the tail, for a picture.
    pub(crate) fn curve(&self) -> Vec<(f64, f64)> {
        [0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9999]
            .into_iter()
            // A quantile that fewer than one request lies beyond says nothing of its own.
            .filter(|quantile| (1.0 - quantile) * as_f64(self.count()) >= 1.0)
            .map(|quantile| (quantile, self.quantile_us(quantile)))
            .collect()
    }
}

fn micros(nanoseconds: u64) -> f64 {
    as_f64(nanoseconds) / 1_000.0
}

/// Counts and nanoseconds of one run stay far below 2^53, so nothing is lost.
#[expect(clippy::cast_precision_loss, reason = "below 2^53")]
pub(crate) fn as_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::Latencies;
    use std::time::Duration;

    fn of(micros: impl IntoIterator<Item = u64>) -> Latencies {
        let mut latencies = Latencies::default();
        for us in micros {
            latencies.record(Duration::from_micros(us));
        }
        latencies
    }

    fn close(measured: f64, exact: f64) -> bool {
        (measured - exact).abs() <= exact * 0.002
    }

    #[test]
    fn percentiles_are_those_of_the_values() {
        let all = of(1..=1_000).percentiles().unwrap();
        assert_eq!(all.count, 1_000);
        for (measured, exact) in [
            (all.p50_us, 500.0),
            (all.p90_us, 900.0),
            (all.p99_us, 990.0),
            (all.p999_us, 999.0),
            (all.max_us, 1000.0),
            (all.mean_us, 500.5),
        ] {
            assert!(close(measured, exact), "{measured} is not {exact}");
        }
    }

    #[test]
    fn merging_is_the_same_as_recording_together() {
        let mut merged = of((1..=1_000).step_by(2));
        merged.merge(&of((2..=1_000).step_by(2)));
        let together = of(1..=1_000);
        assert_eq!(merged.count(), together.count());
        for quantile in [0.01, 0.5, 0.9, 0.99, 0.999, 1.0] {
            assert!(close(merged.quantile_us(quantile), together.quantile_us(quantile)), "{quantile}");
        }
    }

    #[test]
    fn nothing_recorded_is_no_figure() {
        assert_eq!(Latencies::default().percentiles(), None);
    }

    #[test]
    fn a_time_beyond_the_range_is_counted() {
        let all = of([1, 500_000_000]).percentiles().unwrap();
        assert_eq!(all.count, 2);
        assert!(all.max_us >= 119_000_000.0, "{}", all.max_us);
    }

    #[test]
    fn the_curve_stops_where_there_are_no_requests() {
        assert!(of(1..=50).curve().iter().all(|(quantile, _)| *quantile <= 0.98));
        assert!(of(1..=20_000).curve().last().unwrap().0 > 0.9995);
    }
}
