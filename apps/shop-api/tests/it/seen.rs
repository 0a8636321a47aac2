//! `X-Seen-Version`: own writes are read under every strategy, and nobody makes a version up.

use ::http::Method;

use crate::stage::{Replica, Stage};

async fn get(replica: &Replica, path: &str, seen: &str) -> testbed::api::Answer {
    replica.request(Method::GET, path).header("x-seen-version", seen).send().await.expect(200)
}

#[tokio::test]
async fn who_hands_it_on_is_shown_nothing_older() {
    let stage = Stage::set().await;
    let (one, other) = (stage.replica().await, stage.replica().await);
    for strategy in ["ttl", "event", "swr", "explicit", "combined"] {
        let id = one.add(strategy, 1, "Oak table").await;
        let path = format!("/s/{strategy}/products/{id}");
        other.get(&path).await.expect(200);
        // Under another strategy, so that this one is not told.
        let written = one.price("tags", id, 900).await;
        let seen = written.header("x-seen-version").to_owned();
        let old = other.get(&path).await;
        assert_eq!((old.header("x-cache"), old.header("etag")), ("HIT", "\"1\""), "{strategy}");
        assert_eq!(old.header("x-seen-version"), "", "only for those who take part");

        let new = get(&other, &path, &seen).await;
        assert_eq!((new.header("etag"), new.header("x-cache")), ("\"2\"", "MISS"), "{strategy}");
        assert_eq!(new.header("x-seen-version"), seen, "as every replica signs it");
        assert_eq!(other.get(&path).await.header("etag"), "\"2\"", "what was loaded is stored");
        assert_eq!(get(&other, &path, &seen).await.header("x-cache"), "HIT");
    }
}

#[tokio::test]
async fn what_was_not_given_out_asks_for_nothing() {
    let stage = Stage::set().await;
    let replica = stage.replica().await;
    let (id, neighbour) = (replica.add("ttl", 1, "Oak table").await, replica.add("ttl", 1, "Elm table").await);
    let path = format!("/s/ttl/products/{id}");
    replica.get(&path).await.expect(200);
    for _ in 0..3 {
        replica.price("tags", neighbour, 900).await;
    }
    let of_neighbour = replica.price("tags", neighbour, 800).await.header("x-seen-version").to_owned();
    let own = replica.price("tags", id, 900).await.header("x-seen-version").to_owned();
    let higher = own.replacen('2', "3", 1);
    for made_up in ["", "2", "2-", "99999-0000000000000000", &of_neighbour, &higher, &own[..own.len() - 1], "2-\u{e9}"]
    {
        let read = get(&replica, &path, made_up).await;
        assert_eq!((read.header("x-cache"), read.header("etag")), ("HIT", "\"1\""), "{made_up}");
    }
    assert_eq!(get(&replica, &path, &own).await.header("etag"), "\"2\"");
}

#[tokio::test]
async fn a_new_product_is_found_by_who_has_added_it() {
    let stage = Stage::set().await;
    let (one, other) = (stage.replica().await, stage.replica().await);
    for strategy in ["ttl", "event", "tags"] {
        let next = one.add(strategy, 1, "Oak table").await + 1;
        let path = format!("/s/{strategy}/products/{next}");
        other.get(&path).await.problem(404);
        // Under another strategy, so that this one is not told.
        let added = one.post("/s/explicit/products", &crate::stage::product(1, "Elm table")).await.expect(201);
        other.get(&path).await.problem(404);
        assert_eq!(get(&other, &path, added.header("x-seen-version")).await.header("etag"), "\"1\"", "{strategy}");
    }
}
