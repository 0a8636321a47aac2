//! What a TTL does to hits and to staleness, by arithmetic.
//!
//! One key. Reads arrive as a Poisson process of rate `r`, writes as another one of rate `w`, and nobody tells the cache of
//! them. An entry lives for `T` from its load. The cache goes through cycles: a miss that loads, `T` seconds in which every
//! read is a hit, and a wait for the next read, which is a miss again. By the elementary renewal theorem, the share of a kind
//! of reads is their expected number in a cycle over the expected number of all reads in a cycle, which is `1 + rT`.
//!
//! - Hits: `rT` of them, so `h = rT / (1 + rT)` (Jung, Berger and Balakrishnan, Modeling TTL-based Internet caches, INFOCOM
//!   2003, for Poisson arrivals).
//! - Stale reads: a hit at the age `a` of its entry is stale if there was a write in the last `a` seconds, with the probability
//!   `1 - exp(-wa)`. The hits of a cycle are spread evenly over the ages from 0 to `T`, `r` a second, so there are
//!   `r (T - (1 - exp(-wT)) / w)` stale ones. The second factor over `T` is the freshness that Cho and Garcia-Molina have for
//!   copies that are refreshed every `T` (Effective page refresh policies for Web crawlers, TODS 2003).
//!
//! The service spreads its TTLs evenly by a tenth in both directions. Hits depend on the mean alone; of `exp(-wT)` the mean over
//! `T (1 ± j)` is `(exp(-wT (1 - j)) - exp(-wT (1 + j))) / (2jwT)`.
//!
//! Over all keys, each has the weight of its reads. Where writes are as popular as reads, key `i` with the weight `p` has
//! `r = pR` and `w = pW`.

use crate::measure::latencies::as_f64;
use crate::shop::reads::EXPONENT;

/// By how much the service spreads its TTLs.
const JITTER: f64 = 0.1;

/// What is expected.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub(crate) struct Expected {
    pub(crate) hit_ratio: f64,
    /// Of all reads.
    pub(crate) stale_share: f64,
}

/// Of one key.
pub(crate) fn of_key(reads: f64, writes: f64, ttl: f64) -> Expected {
    let all = 1.0 + reads * ttl;
    Expected { hit_ratio: reads * ttl / all, stale_share: reads * stale_time(writes, ttl) / all }
}

/// Of the `ttl` seconds that an entry lives on average, those in which it is stale.
fn stale_time(writes: f64, ttl: f64) -> f64 {
    let x = writes * ttl;
    // Below this the difference of two numbers near T has lost its digits; the first terms of the series have not.
    if x < 1e-3 {
        return ttl * (x * (1.0 + JITTER * JITTER / 3.0) / 2.0 - x * x * (1.0 + JITTER * JITTER) / 6.0);
    }
    let mean = ((-(1.0 - JITTER) * x).exp() - (-(1.0 + JITTER) * x).exp()) / (2.0 * JITTER * x);
    ttl - (1.0 - mean) / writes
}

/// Of all keys, when the one of rank `i` has a share of reads and of writes that is proportional to `1 / i ^ EXPONENT`.
pub(crate) fn of_all(products: usize, reads: f64, writes: f64, ttl: f64) -> Expected {
    let weights: Vec<f64> = (1..=products).map(|rank| as_f64(rank as u64).powf(-EXPONENT)).collect();
    let total: f64 = weights.iter().sum();
    weights.iter().map(|weight| weight / total).fold(Expected { hit_ratio: 0.0, stale_share: 0.0 }, |sum, share| {
        let key = of_key(share * reads, share * writes, ttl);
        Expected {
            hit_ratio: sum.hit_ratio + share * key.hit_ratio,
            stale_share: sum.stale_share + share * key.stale_share,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::{Expected, JITTER, of_all, of_key, stale_time};
    use crate::measure::latencies::as_f64;
    use crate::measure::zipf::Random;

    fn close(a: f64, b: f64, within: f64) -> bool {
        (a - b).abs() <= within
    }

    #[test]
    fn one_read_a_lifetime_is_a_hit_in_two() {
        assert!(close(of_key(0.5, 0.0, 2.0).hit_ratio, 0.5, 1e-12));
        assert!(close(of_key(99.0, 0.0, 1.0).hit_ratio, 0.99, 1e-12));
        let none = of_key(99.0, 0.0, 1.0).stale_share;
        assert!(close(none, 0.0, 1e-12), "{none}");
    }

    #[test]
    fn many_writes_make_every_hit_stale_and_few_half_as_many_as_there_are() {
        let many = of_key(10.0, 1e4, 2.0);
        assert!(close(many.stale_share, many.hit_ratio, 1e-3));
        // With one write in a thousand lifetimes, it comes in the middle of one.
        assert!(close(stale_time(0.001, 1.0), 0.000_5, 1e-5));
        // The series and the formula meet.
        assert!(close(stale_time(0.99e-3, 1.0) / 0.99, stale_time(1.01e-3, 1.0) / 1.01, 1e-8));
    }

    #[test]
    fn longer_lives_have_more_hits_and_are_staler() {
        let all: Vec<Expected> = [1.0, 2.0, 5.0, 10.0, 30.0].map(|ttl| of_all(1_000, 300.0, 20.0, ttl)).into();
        assert!(all.windows(2).all(|pair| pair[0].hit_ratio < pair[1].hit_ratio), "{all:?}");
        assert!(all.windows(2).all(|pair| pair[0].stale_share < pair[1].stale_share), "{all:?}");
        assert!(all.iter().all(|one| one.stale_share < one.hit_ratio && one.hit_ratio < 1.0), "{all:?}");
        // With one key there is nothing to weigh.
        assert_eq!(of_all(1, 3.0, 2.0, 5.0), of_key(3.0, 2.0, 5.0));
    }

    /// The cache itself, played through: reads and writes at random, an entry that ends.
    #[test]
    fn the_formula_is_what_a_simulation_shows() {
        for (reads, writes, ttl) in [(2.0, 0.3, 1.0), (0.4, 0.5, 5.0), (4.0, 0.5, 3.0)] {
            let mut random = Random::new(42);
            let mut next = |rate: f64| -(1.0 - random.unit()).ln() / rate;
            let (mut now, mut written, mut loaded, mut ends) = (0.0, 0.0_f64, 0.0, 0.0);
            let mut write_at = next(writes);
            let (mut hits, mut stale) = (0_u64, 0_u64);
            const READS: u64 = 400_000;
            for number in 0..READS {
                now += next(reads);
                while write_at <= now {
                    written = write_at;
                    write_at += next(writes);
                }
                if now < ends {
                    hits += 1;
                    stale += u64::from(written > loaded);
                } else {
                    loaded = now;
                    // Evenly from 1 - j to 1 + j.
                    let place = as_f64(number.wrapping_mul(0x9e37_79b9) % 10_007) / 10_007.0;
                    ends = now + ttl * (1.0 + JITTER * (2.0 * place - 1.0));
                }
            }
            let expected = of_key(reads, writes, ttl);
            let [hits, stale] = [hits, stale].map(|count| as_f64(count) / as_f64(READS));
            assert!(close(hits, expected.hit_ratio, 0.005), "{hits} hits, {expected:?}");
            assert!(close(stale, expected.stale_share, 0.01), "{stale} stale, {expected:?}");
        }
    }
}
