//! Few numbers out of many: medians, spreads, and ratios of pairs.

/// The median; `None` of nothing. Values must not be NaN.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(sorted[middle]),
        _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
    }
}

/// A figure taken several times in one run.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) rounds: usize,
}

impl Spread {
    /// `None` of nothing.
    pub(crate) fn of(values: &[f64]) -> Option<Self> {
        Some(Self {
            median: median(values)?,
            min: values.iter().copied().fold(f64::INFINITY, f64::min),
            max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            rounds: values.len(),
        })
    }
}

/// The ratio of two figures that were taken in turns. Each round's own ratio is formed first: what
/// slows the whole machine for one round slows both sides of it and cancels out, where the ratio of
/// two medians would keep it. Rounds without a counterpart, or over zero, are left out.
pub(crate) fn paired_ratio(over: &[f64], under: &[f64]) -> Option<Spread> {
    let ratios: Vec<f64> =
        over.iter().zip(under).filter(|(_, under)| **under > 0.0).map(|(over, under)| over / under).collect();
    Spread::of(&ratios)
}

/// Jain's index of fairness (Jain, Chiu and Hawe 1984): 1 when all have the same, 1/n when one has everything. `None` when
/// there is nobody, or nothing to have.
pub(crate) fn jain(shares: &[f64]) -> Option<f64> {
    let (sum, squares) = shares.iter().fold((0.0, 0.0), |(sum, squares), share| (sum + share, squares + share * share));
    (squares > 0.0).then(|| sum * sum / (super::latencies::as_f64(shares.len() as u64) * squares))
}

#[cfg(test)]
mod tests {
    use super::{Spread, jain, median, paired_ratio};

    #[test]
    fn fairness_is_between_one_of_n_and_one() {
        assert_eq!((jain(&[]), jain(&[0.0, 0.0])), (None, None));
        assert_eq!((jain(&[5.0, 5.0, 5.0]), jain(&[1.0, 0.0, 0.0, 0.0])), (Some(1.0), Some(0.25)));
    }

    #[test]
    fn medians() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[9.0, 1.0, 5.0]), Some(5.0));
        assert_eq!(median(&[9.0, 1.0, 5.0, 2.0]), Some(3.5));
    }

    #[test]
    fn a_spread_keeps_the_extremes() {
        let spread = Spread::of(&[2.0, 8.0, 4.0]).unwrap();
        assert_eq!(spread, Spread { median: 4.0, min: 2.0, max: 8.0, rounds: 3 });
        assert_eq!(Spread::of(&[]), None);
    }

    #[test]
    fn a_slow_round_cancels_out_of_the_ratio() {
        // The second round had half the machine. The medians alone would say 100 / 150.
        let ratio = paired_ratio(&[100.0, 50.0, 110.0], &[200.0, 100.0, 220.0]).unwrap();
        assert_eq!(ratio, Spread { median: 0.5, min: 0.5, max: 0.5, rounds: 3 });
    }

    #[test]
    fn rounds_without_a_counterpart_are_left_out() {
        assert_eq!(paired_ratio(&[1.0, 2.0], &[0.0]), None);
        assert_eq!(paired_ratio(&[1.0, 2.0], &[4.0]).unwrap().rounds, 1);
    }
}
