//! What `ttl`, `swr` and `event` promise: old, and for how long.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fenced_cache::{Cache, Keyspace, NoJournal, Settings, WriteOutcome};
use outbox::Outbox;
use serde_json::json;
use shop_events::{Names, ShopEvent};
use testbed::api::{Answer, until};
use testbed::{Direction, FaultProxy};

use crate::stage::{Replica, Stage, product, replacement, settings};

fn amount(answer: &Answer) -> i64 {
    answer.json()["price"]["amount"].as_i64().unwrap()
}

#[tokio::test]
async fn ttl_is_stale_until_its_ttl_and_not_longer() {
    let stage = Stage::set().await;
    let ttl = Duration::from_secs(3);
    let one = stage.replica_with(|cache| cache.ttl = ttl).await;
    let other = stage.replica_with(|cache| cache.ttl = ttl).await;
    let id = one.add("ttl", 1, "Oak table").await;
    let paths =
        [format!("/s/ttl/products/{id}"), "/s/ttl/categories/1/products".into(), "/s/ttl/products/search?q=oak".into()];
    let mut stored = Vec::new();
    for path in &paths {
        one.get(path).await.expect(200);
        // It was stored before this moment.
        stored.push(Instant::now());
    }
    let written = one.price("ttl", id, 900).await;
    assert_eq!(written.header("x-cache-write"), "deferred");
    let read = other.get(&paths[0]).await.expect(200);
    assert_eq!((read.header("x-cache"), amount(&read)), ("HIT", 1_000), "nobody has told the cache");
    for (path, stored) in paths.iter().zip(stored) {
        let mut last_old = stored;
        loop {
            // What is answered was chosen after this moment.
            let asked = Instant::now();
            let shown = other.get(path).await.expect(200).json();
            let price = shown["price"]["amount"].as_i64().or_else(|| shown["items"][0]["price"]["amount"].as_i64());
            if price == Some(900) {
                break;
            }
            assert_eq!(price, Some(1_000));
            last_old = asked;
        }
        let age = last_old - stored;
        assert!(age <= ttl.mul_f64(1.1) + Duration::from_millis(20), "{path} was old for {age:?}");
    }
}

#[tokio::test]
async fn swr_answers_with_the_old_and_then_with_the_new() {
    let stage = Stage::set().await;
    // The readers' database answers only when it is told.
    let proxy = FaultProxy::start(stage.database.url()).await.unwrap();
    let reader = Replica::start(settings(&proxy.url(), &stage.redis.url())).await;
    let writer = stage.replica().await;
    let id = writer.add("swr", 1, "Oak table").await;
    let product = format!("/s/swr/products/{id}");
    for path in [&*product, "/s/swr/categories/1/products"] {
        reader.get(path).await.expect(200);
        assert_eq!(writer.get(path).await.header("x-cache"), "HIT");
    }

    let written = writer.put(&product, &replacement("Oak desk")).await.expect(200);
    assert_eq!(written.header("x-cache-write"), "applied");
    let held = proxy.hold_when(Direction::ServerToClient, "Oak desk");
    let old = reader.get(&product).await.expect(200);
    assert_eq!((old.header("x-cache"), amount(&old)), ("STALE", 1_000), "nobody waits for the refresh");
    held.reached().await;
    // One refreshes, all others are answered.
    for replica in [&reader, &writer] {
        let old = replica.get(&product).await.expect(200);
        assert_eq!((old.header("x-cache"), amount(&old)), ("STALE", 1_000));
    }
    held.release();
    for replica in [&writer, &reader] {
        until("the refresh is stored", async || {
            let read = replica.get(&product).await.expect(200);
            (read.header("x-cache") == "HIT" && amount(&read) == 1_100).then_some(())
        })
        .await;
    }
    let page = writer.get("/s/swr/categories/1/products").await.expect(200);
    assert_eq!((page.header("x-cache"), &page.json()["items"][0]["name"]), ("STALE", &json!("Oak table")));
    until("the page is refreshed", async || {
        let page = reader.get("/s/swr/categories/1/products").await.expect(200);
        (page.json()["items"][0]["name"] == "Oak desk").then_some(())
    })
    .await;
}

#[tokio::test]
async fn swr_does_not_answer_with_what_is_gone() {
    let stage = Stage::set().await;
    let replica = stage.replica().await;
    let id = replica.add("swr", 1, "Oak table").await;
    let path = format!("/s/swr/products/{id}");
    replica.get(&path).await.expect(200);
    assert_eq!(replica.delete(&path).await.expect(204).header("x-cache-write"), "applied");
    replica.get(&path).await.problem(404);
    // And what was not there is there once it is.
    let next = format!("/s/swr/products/{}", id + 1);
    replica.get(&next).await.problem(404);
    assert_eq!(replica.add("swr", 1, "Elm table").await, id + 1);
    replica.get(&next).await.expect(200);
}

#[tokio::test]
async fn swr_refreshes_all_that_a_bulk_change_touched() {
    let stage = Stage::set().await;
    let replica = stage.replica().await;
    let ids = [replica.add("swr", 1, "Oak table").await, replica.add("swr", 1, "Elm table").await];
    for id in ids {
        replica.get(&format!("/s/swr/products/{id}")).await.expect(200);
    }
    let done = replica.post("/s/swr/categories/1/reprice", &json!({"percent": 50})).await.expect(200);
    assert_eq!((done.header("x-cache-write"), &done.json()["products"]), ("applied", &json!(2)));
    for id in ids {
        let path = format!("/s/swr/products/{id}");
        assert_eq!(replica.get(&path).await.header("x-cache"), "STALE");
        until("it is refreshed", async || (amount(&replica.get(&path).await) == 1_500).then_some(())).await;
    }
}

/// The part of the API: each change commits with one event, in the order of the versions, and a worker that does what the events
/// mean makes every document new.
#[tokio::test]
async fn event_is_stale_until_what_its_events_mean_is_done() {
    let stage = Stage::set().await;
    let (one, other) = (stage.replica().await, stage.replica().await);
    let table = one.add("event", 1, "Oak table").await;
    let next = table + 1;
    let documents = [
        format!("/s/event/products/{table}"),
        format!("/s/event/products/{next}"),
        "/s/event/categories/1/products".into(),
        "/s/event/categories/1/products?limit=1".into(),
        "/s/event/products/search?q=oak".into(),
    ];
    let shown = async |replica: &Replica| {
        let mut all = Vec::new();
        for document in &documents {
            let read = replica.get(document).await;
            // A 404 names its request.
            all.push((read.status, if read.status == 200 { read.body } else { bytes::Bytes::new() }));
        }
        all
    };
    let old = shown(&one).await;

    assert_eq!(one.put(&documents[0], &replacement("Oak desk")).await.header("x-cache-write"), "deferred");
    other.post("/s/event/products", &product(1, "Oak shelf")).await.expect(201);
    one.post("/s/event/categories/1/reprice", &json!({"percent": 50})).await.expect(200);
    one.delete(&documents[0]).await.expect(204);
    assert_eq!((shown(&one).await, shown(&other).await), (old.clone(), old), "nobody has told the cache");

    let pool = stage.pool().await;
    let outbox = Outbox::new(pool.clone(), shop_api::SCHEMA).unwrap();
    let events = until("all are numbered", async || {
        let page = outbox.events_after(&mut pool.acquire().await.unwrap(), 0, 100).await.unwrap();
        (page.events.len() == 5).then_some(page.events)
    })
    .await;
    let meant: Vec<ShopEvent> = events.iter().map(|event| ShopEvent::parse(&event.payload).unwrap()).collect();
    let category_id = 1;
    let expected = [
        ShopEvent::ProductCreated { product_id: table, category_id, version: 1 },
        ShopEvent::ProductChanged { product_id: table, category_id, version: 2 },
        ShopEvent::ProductCreated { product_id: next, category_id, version: 1 },
        ShopEvent::CategoryRepriced { category_id },
        ShopEvent::ProductDeleted { product_id: table, category_id, version: 3 },
    ];
    assert_eq!(meant, expected);

    let keyspace = Keyspace::new(shop_events::NAMESPACE).unwrap();
    let worker = Cache::start(Settings::new(stage.redis.url(), keyspace), Arc::new(NoJournal)).unwrap();
    until("the worker is connected", async || worker.health().trusted.then_some(())).await;
    for event in &meant {
        let done = worker.invalidate(Names::of_events().unwrap().effects(event)).await;
        assert_eq!(done, WriteOutcome::Applied);
    }
    for replica in [&other, &one] {
        replica.get(&documents[0]).await.problem(404);
        let shelf = replica.get(&documents[1]).await.expect(200);
        assert_eq!((amount(&shelf), shelf.header("etag")), (1_500, "\"2\""));
        for list in &documents[2..] {
            let items = replica.get(list).await.expect(200).json()["items"].clone();
            assert_eq!((items.as_array().unwrap().len(), &items[0]["price"]["amount"]), (1, &json!(1_500)), "{list}");
        }
    }
}

/// A write that is refused records nothing.
#[tokio::test]
async fn no_event_without_its_change() {
    let stage = Stage::set().await;
    let replica = stage.replica().await;
    let id = replica.add("event", 1, "Oak table").await;
    let other = json!({"price": {"amount": 1, "currency": "USD"}});
    replica.patch(&format!("/s/event/products/{id}/price"), &other).await.problem(422);
    replica.delete("/s/event/products/77").await.problem(404);
    replica.price("tags", id, 900).await;
    replica.price("event", id, 800).await;
    let pool = stage.pool().await;
    let outbox = Outbox::new(pool.clone(), shop_api::SCHEMA).unwrap();
    let versions = until("both are numbered", async || {
        let page = outbox.events_after(&mut pool.acquire().await.unwrap(), 0, 100).await.unwrap();
        let version = |payload: &[u8]| match ShopEvent::parse(payload).unwrap() {
            ShopEvent::ProductCreated { version, .. } | ShopEvent::ProductChanged { version, .. } => version,
            event => panic!("{event:?}"),
        };
        let versions: Vec<i64> = page.events.iter().map(|event| version(&event.payload)).collect();
        (versions.len() > 1).then_some(versions)
    })
    .await;
    assert_eq!(versions, [1, 3]);
}

/// A write tells only the cache of its own strategy: that is what the prefixes are for.
#[tokio::test]
async fn other_strategies_are_not_told() {
    let stage = Stage::set().await;
    let replica = stage.replica().await;
    let id = replica.add("explicit", 1, "Oak table").await;
    for strategy in ["explicit", "tags", "combined", "write-through", "event"] {
        replica.get(&format!("/s/{strategy}/products/{id}")).await.expect(200);
    }
    assert_eq!(replica.price("explicit", id, 900).await.header("x-cache-write"), "applied");
    assert_eq!(amount(&replica.get(&format!("/s/explicit/products/{id}")).await), 900);
    for strategy in ["tags", "combined", "write-through", "event"] {
        let read = replica.get(&format!("/s/{strategy}/products/{id}")).await;
        assert_eq!((read.header("x-cache"), amount(&read)), ("HIT", 1_000), "{strategy}");
    }
}
