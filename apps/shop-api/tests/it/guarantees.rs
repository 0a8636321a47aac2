//! What `explicit`, `write-through`, `tags` and `combined` promise: after an applied write, no read on any replica is older, and
//! what the write does not touch stays in the cache.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::json;
use testbed::api::Answer;

use crate::stage::{EXACT, Replica, Stage, price, product, replacement};

/// Two replicas, and products 1 to 3 in category 1 and 4 in category 2.
struct Scene {
    strategy: &'static str,
    writer: Replica,
    reader: Replica,
    stage: Stage,
}

/// Each kind of document, below `/s/{strategy}`.
const DOCUMENTS: [&str; 12] = [
    "/products/1",
    "/products/2",
    "/products/3",
    "/products/4",
    "/products/5",
    "/categories/1/products",
    "/categories/1/products?limit=2",
    "/categories/1/products?after=2",
    "/categories/2/products",
    "/categories/3/products",
    "/products/search?q=oak",
    "/products/search?q=oak&limit=1",
];

const OF_CATEGORY_1: [&str; 3] =
    ["/categories/1/products", "/categories/1/products?limit=2", "/categories/1/products?after=2"];
const SEARCHES: [&str; 2] = ["/products/search?q=oak", "/products/search?q=oak&limit=1"];

impl Scene {
    async fn set(strategy: &'static str) -> Self {
        let stage = Stage::set().await;
        let scene = Self { strategy, writer: stage.replica().await, reader: stage.replica().await, stage };
        for (category, name) in [(1, "Oak table"), (1, "Elm table"), (1, "Oak bench"), (2, "Brass lamp")] {
            scene.writer.add(strategy, category, name).await;
        }
        scene.warm().await;
        scene
    }

    fn path(&self, document: &str) -> String {
        format!("/s/{}{document}", self.strategy)
    }

    /// Whether the strategy caches the document at all.
    fn caches(&self, document: &str) -> bool {
        let nameable = !document.contains('?');
        nameable || !["explicit", "write-through"].contains(&self.strategy)
    }

    async fn warm(&self) {
        for document in DOCUMENTS {
            self.reader.get(&self.path(document)).await;
            let warm = self.writer.get(&self.path(document)).await;
            let expected = if self.caches(document) { &["HIT", "NEGATIVE"][..] } else { &["BYPASS"] };
            assert!(expected.contains(&warm.header("x-cache")), "{}: {warm:?}", self.path(document));
        }
    }

    /// After a write: these documents were read anew, all others came from the cache, and each shows what the database has.
    async fn assert_invalidated(&self, expected: impl IntoIterator<Item = &'static str>) {
        let expected: BTreeSet<&str> = expected.into_iter().filter(|document| self.caches(document)).collect();
        let truth = self.truth().await;
        let mut missed = BTreeSet::new();
        for document in DOCUMENTS {
            let read = self.reader.get(&self.path(document)).await;
            match read.header("x-cache") {
                "HIT" | "NEGATIVE" => {}
                "MISS" => assert!(missed.insert(document)),
                "BYPASS" => assert!(!self.caches(document), "{read:?}"),
                _ => panic!("{document}: {read:?}"),
            }
            self.assert_true(&truth, document, &read).await;
        }
        assert_eq!(missed, expected, "{}", self.strategy);
    }

    /// A replica whose cache has never been used for this strategy's entries: another Redis.
    async fn truth(&self) -> (Replica, testbed::RedisServer) {
        let redis = testbed::redis().await;
        let settings = crate::stage::settings(&self.stage.database.url(), &redis.url());
        (Replica::start(settings).await, redis)
    }

    async fn assert_true(&self, truth: &(Replica, testbed::RedisServer), document: &str, read: &Answer) {
        let truth = truth.0.get(&self.path(document)).await;
        assert_eq!(read.status, truth.status, "{document}");
        if read.status == 200 {
            let shown = (&read.body, read.header("etag"));
            assert_eq!(shown, (&truth.body, truth.header("etag")), "{} {document}", self.strategy);
        }
    }
}

#[track_caller]
fn assert_applied(answer: &Answer) {
    assert!(answer.status.is_success(), "{answer:?}");
    assert_eq!(answer.header("x-cache-write"), "applied", "{answer:?}");
}

/// The product itself, if the strategy deletes it; where it is put, readers hit.
fn itself(strategy: &str, document: &'static str) -> Option<&'static str> {
    (!["write-through", "combined"].contains(&strategy)).then_some(document)
}

#[tokio::test]
async fn a_changed_product() {
    for strategy in EXACT {
        let scene = Scene::set(strategy).await;
        assert_applied(&scene.writer.put(&scene.path("/products/1"), &replacement("Oak desk")).await);
        let shown = OF_CATEGORY_1.into_iter().chain(SEARCHES).chain(itself(strategy, "/products/1"));
        scene.assert_invalidated(shown).await;
    }
}

#[tokio::test]
async fn a_changed_price() {
    for strategy in EXACT {
        let scene = Scene::set(strategy).await;
        assert_applied(&scene.writer.price(strategy, 1, 900).await);
        let shown = OF_CATEGORY_1.into_iter().chain(SEARCHES).chain(itself(strategy, "/products/1"));
        scene.assert_invalidated(shown).await;
        let read = scene.reader.get(&scene.path("/products/1")).await.json();
        assert_eq!((&read["price"]["amount"], &read["version"]), (&json!(900), &json!(2)));
    }
}

#[tokio::test]
async fn a_deleted_product() {
    for strategy in EXACT {
        let scene = Scene::set(strategy).await;
        assert_applied(&scene.writer.delete(&scene.path("/products/1")).await);
        scene.assert_invalidated(OF_CATEGORY_1.into_iter().chain(SEARCHES).chain(["/products/1"])).await;
        scene.reader.get(&scene.path("/products/1")).await.problem(404);
    }
}

#[tokio::test]
async fn a_new_product() {
    for strategy in EXACT {
        let scene = Scene::set(strategy).await;
        // The id had been asked for, and it was known that there is no such product.
        let added = scene.writer.post(&scene.path("/products"), &product(1, "Oak shelf")).await.expect(201);
        assert_applied(&added);
        assert_eq!(added.header("location"), scene.path("/products/5"));
        scene.assert_invalidated(OF_CATEGORY_1.into_iter().chain(SEARCHES).chain(["/products/5"])).await;
    }
}

#[tokio::test]
async fn new_prices_for_a_category() {
    for strategy in EXACT {
        let scene = Scene::set(strategy).await;
        let done = scene.writer.post(&scene.path("/categories/1/reprice"), &json!({"percent": -10})).await.expect(200);
        assert_applied(&done);
        assert_eq!(done.json(), json!({"category_id": 1, "percent": -10, "products": 3}));
        // One by one where they are named, at once where they are tagged; put where all of them are put.
        let products =
            ["/products/1", "/products/2", "/products/3"].into_iter().filter(|_| strategy != "write-through");
        scene.assert_invalidated(OF_CATEGORY_1.into_iter().chain(SEARCHES).chain(products)).await;
        let prices: Vec<_> = (1..=4).map(|id| scene.path(&format!("/products/{id}"))).collect();
        for (path, amount) in prices.iter().zip([900, 900, 900, 1_000]) {
            assert_eq!(scene.reader.get(path).await.json()["price"]["amount"], amount, "{path}");
        }
    }
}

#[tokio::test]
async fn a_write_that_is_refused_changes_and_invalidates_nothing() {
    for strategy in EXACT {
        let scene = Scene::set(strategy).await;
        let other = json!({"price": {"amount": 1, "currency": "USD"}});
        scene.writer.patch(&scene.path("/products/1/price"), &other).await.problem(422);
        let stale = scene.writer.request(::http::Method::PATCH, &scene.path("/products/1/price"));
        stale.header("if-match", "\"9\"").json(&price(1)).send().await.problem(412);
        scene.writer.put(&scene.path("/products/77"), &replacement("x")).await.problem(404);
        scene.writer.post(&scene.path("/categories/77/reprice"), &json!({"percent": 10})).await.problem(404);
        scene.writer.post(&scene.path("/products"), &product(77, "x")).await.problem(422);
        scene.assert_invalidated([]).await;
    }
}

/// Writers and readers on two replicas, all at once: what a read shows is never older than what was acknowledged before it
/// began.
#[tokio::test(flavor = "multi_thread")]
async fn no_read_is_older_than_an_acknowledged_write() {
    for strategy in EXACT {
        let stage = Stage::set().await;
        let replicas = [stage.replica().await, stage.replica().await];
        let id = replicas[0].add(strategy, 1, "Oak table").await;
        let load = Load { strategy, id, acknowledged: AtomicU64::new(1), stop: AtomicBool::new(false) };
        let [one, other] = &replicas;
        let readers = futures_util::future::join_all([one, other, one, other].map(|replica| load.read(replica)));
        let writers = async {
            tokio::join!(load.write(one), load.write(other), load.reprice(one));
            load.stop.store(true, Ordering::SeqCst);
        };
        let (reads, ()) = tokio::join!(readers, writers);
        assert!(reads.iter().all(|reads| *reads > 20), "{strategy}: {reads:?}");
    }
}

struct Load {
    strategy: &'static str,
    id: i64,
    acknowledged: AtomicU64,
    stop: AtomicBool,
}

impl Load {
    async fn write(&self, replica: &Replica) {
        for amount in 1..=100 {
            let written = replica.price(self.strategy, self.id, amount).await;
            assert_applied(&written);
            self.acknowledged.fetch_max(written.json()["version"].as_u64().unwrap(), Ordering::SeqCst);
        }
    }

    /// Moves the version as well, by another way; which one it is now, the answer does not say.
    async fn reprice(&self, replica: &Replica) {
        for _ in 0..30 {
            let before = self.acknowledged.load(Ordering::SeqCst);
            let path = format!("/s/{}/categories/1/reprice", self.strategy);
            assert_applied(&replica.post(&path, &json!({"percent": 5})).await.expect(200));
            self.acknowledged.fetch_max(before + 1, Ordering::SeqCst);
        }
    }

    /// Returns how many reads there were.
    async fn read(&self, replica: &Replica) -> u32 {
        let (product, page) = (
            format!("/s/{}/products/{}", self.strategy, self.id),
            format!("/s/{}/categories/1/products", self.strategy),
        );
        let mut reads = 0;
        while !self.stop.load(Ordering::SeqCst) {
            for path in [&product, &page] {
                let acknowledged = self.acknowledged.load(Ordering::SeqCst);
                let read = replica.get(path).await.expect(200);
                let shown = read.json();
                let version = shown["version"].as_u64().or_else(|| shown["items"][0]["version"].as_u64()).unwrap();
                assert!(version >= acknowledged, "{version} after {acknowledged} was acknowledged: {read:?}");
                reads += 1;
            }
        }
        reads
    }
}
