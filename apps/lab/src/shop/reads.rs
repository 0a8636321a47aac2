//! Reads of products by their popularity, each judged by what was acknowledged before it began.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::api::{Cached, Seen};
use super::floors::{Behind, Floors, Promised};
use super::goods::Goods;
use super::strategy::Strategy;
use crate::measure::connection::Response;
use crate::measure::open_loop::{Arrivals, Traffic};
use crate::measure::zipf::{Random, Zipf};

/// The exponent of the law by which products are popular, as in YCSB (Cooper and others 2010).
pub(crate) const EXPONENT: f64 = 0.99;

/// Reads that were behind of which the details are kept.
const KEPT: usize = 10;

/// How an answer is sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Label {
    Product {
        cached: Cached,
        behind: bool,
    },
    /// No product.
    Other(u16),
}

/// A read that was behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sighting {
    pub(crate) product: i64,
    pub(crate) cached: Cached,
    pub(crate) behind: Behind,
}

/// The details of the first reads that were behind. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sightings(Arc<Mutex<Vec<Sighting>>>);

impl Sightings {
    pub(crate) fn note(&self, sighting: Sighting) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT {
            kept.push(sighting);
        }
    }

    pub(crate) fn all(&self) -> Vec<Sighting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl std::fmt::Display for Sighting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { product, cached, behind: Behind { seen, acknowledged, age } } = self;
        write!(
            f,
            "product {product}: version {seen} ({}), {:.1} ms after {acknowledged} was acknowledged",
            cached.as_str(),
            age.as_secs_f64() * 1e3
        )
    }
}

/// The reads of a load.
#[derive(Debug)]
pub(crate) struct Reads {
    goods: Goods,
    requests: Arc<[Vec<u8>]>,
    popularity: Zipf,
    random: Random,
    floors: Arc<Floors>,
    sightings: Sightings,
}

impl Reads {
    /// Two loads with the same `seed` read the same products in the same order.
    pub(crate) fn new(goods: &Goods, strategy: Strategy, seed: u64, floors: Arc<Floors>, sightings: Sightings) -> Self {
        Self {
            requests: goods.reads(strategy),
            popularity: Zipf::new(goods.len(), EXPONENT),
            goods: goods.clone(),
            random: Random::new(seed),
            floors,
            sightings,
        }
    }
}

impl Traffic for Reads {
    type Sent = (usize, Promised);
    type Label = Label;

    fn next(&mut self, into: &mut Vec<u8>) -> Self::Sent {
        let at = self.popularity.draw(&mut self.random);
        into.extend_from_slice(&self.requests[at]);
        (at, self.floors.promised(at))
    }

    fn answered(&mut self, (at, promised): Self::Sent, response: &Response<'_>) -> Label {
        let Some(Seen { version, cached }) = Seen::of(response) else { return Label::Other(response.status) };
        let behind = self.floors.behind(promised, version);
        if let Some(behind) = behind {
            self.sightings.note(Sighting { product: self.goods.get(at).id, cached, behind });
        }
        Label::Product { cached, behind: behind.is_some() }
    }
}

/// What came of a load's reads, in numbers.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
pub(crate) struct Counts {
    /// Answers that show a product.
    pub(crate) reads: u64,
    /// Those that did not wait for the database.
    pub(crate) hits: u64,
    /// By `X-Cache`.
    pub(crate) outcomes: BTreeMap<&'static str, u64>,
    /// Those that showed an older version than was acknowledged before they began, but for the next.
    pub(crate) behind: u64,
    /// The same from a replica's own memory, where they may be by the near cache's bound.
    pub(crate) behind_near: u64,
    /// Requests without an answer, or with another one than a product.
    pub(crate) failed: u64,
    /// What the first of them was.
    pub(crate) failure: Option<String>,
}

impl Counts {
    pub(crate) fn of(arrivals: &Arrivals<Label>) -> Self {
        let tally = &arrivals.tally;
        let mut counts =
            Self { failed: tally.failures(), failure: tally.first_failure().map(str::to_owned), ..Self::default() };
        for (label, count) in tally.labels() {
            match label {
                Label::Product { cached, behind } => {
                    counts.reads += count;
                    counts.hits += if cached.is_hit() { count } else { 0 };
                    *counts.outcomes.entry(cached.as_str()).or_default() += count;
                    match (behind, cached) {
                        (false, _) => {}
                        (true, Cached::NearHit) => counts.behind_near += count,
                        (true, _) => counts.behind += count,
                    }
                }
                Label::Other(status) => {
                    counts.failed += count;
                    counts.failure.get_or_insert_with(|| format!("status {status}"));
                }
            }
        }
        counts
    }

    /// The share of reads that were answered without the database; 0 of none.
    pub(crate) fn hit_ratio(&self) -> f64 {
        share(self.hits, self.reads)
    }

    /// The share of reads that were behind, wherever they came from; 0 of none.
    pub(crate) fn stale_share(&self) -> f64 {
        share(self.behind + self.behind_near, self.reads)
    }
}

fn share(part: u64, of: u64) -> f64 {
    use crate::measure::latencies::as_f64;
    if of == 0 { 0.0 } else { as_f64(part) / as_f64(of) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::latencies::Latencies;
    use crate::measure::tally::Tally;
    use crate::shop::api::tests::answering;
    use crate::shop::goods::Product;
    use std::time::Duration;

    fn goods() -> Goods {
        Goods::of(vec![Product { id: 42, category_id: 1, price_cents: 1, currency: "EUR".into() }])
    }

    #[tokio::test]
    async fn a_read_is_judged_by_what_was_acknowledged_when_it_was_sent() {
        let floors = Arc::new(Floors::new([1]));
        let sightings = Sightings::default();
        let mut reads = Reads::new(&goods(), Strategy::Tags, 1, floors.clone(), sightings.clone());
        let mut request = Vec::new();
        let before = reads.next(&mut request);
        assert!(request.starts_with(b"GET /s/tags/products/42 "));
        floors.raise(0, 2);
        let after = reads.next(&mut Vec::new());
        let mut connection =
            answering("HTTP/1.1 200 OK\r\nETag: \"1\"\r\nX-Cache: HIT\r\ncontent-length: 0\r\n\r\n").await;
        let response = connection.exchange(&request).await.unwrap();
        let product = |behind| Label::Product { cached: Cached::Hit, behind };
        assert_eq!(reads.answered(before, &response), product(false));
        assert!(sightings.all().is_empty());
        assert_eq!(reads.answered(after, &response), product(true));
        let text = sightings.all()[0].to_string();
        assert!(
            text.starts_with("product 42: version 1 (hit), ") && text.ends_with("after 2 was acknowledged"),
            "{text}"
        );
    }

    #[test]
    fn counts_tell_what_is_near_from_what_is_not() {
        let mut tally = Tally::default();
        for (cached, behind, count) in [
            (Cached::Hit, false, 6),
            (Cached::Hit, true, 1),
            (Cached::NearHit, true, 2),
            (Cached::Stale, true, 3),
            (Cached::Miss, false, 4),
        ] {
            (0..count).for_each(|_| tally.answer(Label::Product { cached, behind }, Duration::ZERO, 0));
        }
        tally.answer(Label::Other(503), Duration::ZERO, 0);
        let arrivals = Arrivals { tally, own_delay: Latencies::default(), scheduled: 17, took: Duration::ZERO };
        let counts = Counts::of(&arrivals);
        assert_eq!((counts.reads, counts.hits, counts.behind, counts.behind_near), (16, 12, 4, 2));
        assert_eq!((counts.failed, counts.failure.as_deref()), (1, Some("status 503")));
        assert_eq!((counts.hit_ratio(), counts.stale_share()), (0.75, 0.375));
        assert_eq!((Counts::default().hit_ratio(), Counts::default().stale_share()), (0.0, 0.0));
    }
}
