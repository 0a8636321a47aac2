//! Which of many things is asked for: a few often, most of them hardly ever.

use super::latencies::as_f64;

/// A small generator of pseudo-random numbers (splitmix64, Steele, Lea and Flood 2014). The lab seeds it
/// with constants, so two runs ask for the same things in the same order.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Uniform in `0..bound`; 0 when `bound` is 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        let product = u128::from(self.next_u64()) * bound as u128;
        usize::try_from(product >> 64).unwrap_or(0)
    }

    /// Uniform in `[0, 1)`.
    pub(crate) fn unit(&mut self) -> f64 {
        as_f64(self.next_u64() >> 11) / as_f64(1 << 53)
    }

    /// Fisher-Yates.
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for end in (1..items.len()).rev() {
            items.swap(end, self.below(end + 1));
        }
    }
}

/// Draws ranks with a probability proportional to `1 / (rank + 1) ^ exponent`.
#[derive(Debug, Clone)]
pub(crate) struct Zipf {
    cumulative: Vec<f64>,
}

impl Zipf {
    /// Over the ranks `0..count`; `count` is at least 1.
    pub(crate) fn new(count: usize, exponent: f64) -> Self {
        let mut total = 0.0;
        let cumulative = (1..=count.max(1))
            .map(|rank| {
                total += as_f64(rank as u64).powf(-exponent);
                total
            })
            .collect();
        Self { cumulative }
    }

    pub(crate) fn draw(&self, random: &mut Random) -> usize {
        let total = self.cumulative.last().copied().unwrap_or_default();
        let at = random.unit() * total;
        self.cumulative.partition_point(|upto| *upto <= at).min(self.cumulative.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::{Random, Zipf};

    #[test]
    fn ranks_come_as_often_as_the_law_says() {
        let zipf = Zipf::new(1_000, 1.0);
        let mut random = Random::new(1);
        let mut counts = vec![0_u32; 1_000];
        for _ in 0..200_000 {
            counts[zipf.draw(&mut random)] += 1;
        }
        // The harmonic number of 1,000 is 7.485, so rank 0 has 13.36 % of the draws and rank 9 a tenth of that.
        assert!((26_000..27_500).contains(&counts[0]), "{}", counts[0]);
        assert!((2_400..2_950).contains(&counts[9]), "{}", counts[9]);
        assert!(counts[900..].iter().sum::<u32>() > 0);
    }

    #[test]
    fn one_thing_is_always_drawn() {
        let zipf = Zipf::new(1, 0.99);
        let mut random = Random::new(1);
        assert!((0..100).all(|_| zipf.draw(&mut random) == 0));
    }

    #[test]
    fn a_shuffle_keeps_every_item() {
        let mut items: Vec<usize> = (0..1_000).collect();
        Random::new(7).shuffle(&mut items);
        assert_ne!(items[..10], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        items.sort_unstable();
        assert!(items.into_iter().eq(0..1_000));
    }

    #[test]
    fn bounds_are_kept() {
        let mut random = Random::new(3);
        assert!((0..10_000).all(|_| random.below(7) < 7 && (0.0..1.0).contains(&random.unit())));
        assert_eq!(random.below(0), 0);
    }
}
