//! Randomness that is a function of what it is for.
//!
//! The text of post 17 is the same on every machine and in every run, whichever chunk it is loaded
//! in: so an interrupted seeding can go on anywhere, and two runs can be compared.

/// splitmix64 (Steele, Lea, Flood: *Fast splittable pseudorandom number generators*, 2014): one
/// addition and one mixing step per number, and any 64-bit value is a good start.
#[derive(Debug, Clone)]
pub(crate) struct SplitMix64(u64);

const GOLDEN_GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

impl SplitMix64 {
    /// The sequence that belongs to the thing `id` of the kind `kind`.
    pub(crate) fn of(kind: u64, id: u64) -> Self {
        Self(mix(kind.wrapping_mul(GOLDEN_GAMMA) ^ mix(id)))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN_GAMMA);
        mix(self.0)
    }

    /// A number below `bound`, which is not zero. Multiplied and not divided (Lemire, 2019), without
    /// the rejection step: the bias is below `bound / 2^32`.
    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        let high = self.next() >> 32;
        u32::try_from((high * u64::from(bound)) >> 32).expect("the product of two 32-bit numbers, shifted by 32")
    }

    /// One of `items`, which is not empty.
    pub(crate) fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        let len = u32::try_from(items.len()).expect("a list in memory here is short");
        &items[self.below(len) as usize]
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Popularity by rank: rank `r` is drawn with a weight of `1 / (r + flat)` (Zipf and Mandelbrot).
/// The larger `flat`, the less the first ranks stand out. Built with integers only, so that it is
/// the same on every machine.
#[derive(Debug)]
pub(crate) struct Zipf {
    cumulative: Vec<u64>,
}

impl Zipf {
    pub(crate) fn new(ranks: u32, flat: u32) -> Self {
        let mut total = 0;
        let cumulative = (1..=ranks)
            .map(|rank| {
                total += (1 << 32) / u64::from(rank + flat);
                total
            })
            .collect();
        Self { cumulative }
    }

    /// A rank, the first being 0.
    pub(crate) fn draw(&self, random: &mut SplitMix64) -> usize {
        let total = u128::from(*self.cumulative.last().expect("there is at least one rank"));
        let point =
            u64::try_from((u128::from(random.next()) * total) >> 64).expect("below the total, which is 64 bits");
        self.cumulative.partition_point(|&upper| upper <= point)
    }
}

#[cfg(test)]
mod tests {
    use super::{SplitMix64, Zipf};

    #[test]
    fn the_sequence_is_the_published_one() {
        // First outputs of splitmix64 for the state 1234567, as its authors' code gives them.
        let mut random = SplitMix64(1_234_567);
        assert_eq!(
            [random.next(), random.next(), random.next()],
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]
        );
    }

    #[test]
    fn ranks_are_drawn_by_their_weight() {
        let zipf = Zipf::new(4, 0);
        let mut random = SplitMix64::of(1, 1);
        let mut seen = [0_u32; 4];
        for _ in 0..100_000 {
            seen[zipf.draw(&mut random)] += 1;
        }
        // Weights 12, 6, 4, 3 of 25; three standard deviations are below 500.
        for (count, expected) in seen.into_iter().zip([48_000_u32, 24_000, 16_000, 12_000]) {
            assert!(count.abs_diff(expected) < 700, "{seen:?}");
        }
    }

    #[test]
    fn a_bound_is_kept() {
        let mut random = SplitMix64::of(2, 2);
        assert!((0..10_000).all(|_| random.below(3) < 3));
        assert_eq!(random.below(1), 0);
    }
}
