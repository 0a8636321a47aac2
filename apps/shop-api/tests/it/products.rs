//! What the routes take, what they answer, and what they refuse.

use ::http::Method;
use serde_json::json;

use crate::stage::{Stage, price, product, replacement};

/// All strategies, as `/strategies` has them.
const ALL: [&str; 7] = ["ttl", "explicit", "write-through", "event", "swr", "tags", "combined"];

#[tokio::test]
async fn strategies_say_what_they_are() {
    let stage = Stage::set().await;
    let replica = stage.replica().await;
    let list = replica.get("/strategies").await.expect(200).json();
    let items = list["items"].as_array().unwrap();
    let names: Vec<&str> = items.iter().map(|item| item["name"].as_str().unwrap()).collect();
    assert_eq!(names, ALL);
    for item in items {
        for field in ["guarantee", "cost", "choose_when"] {
            assert!(item[field].as_str().unwrap().len() > 20, "{item}");
        }
        assert_eq!(item["prefix"], format!("shop:{}:", item["name"].as_str().unwrap()));
    }
}

#[tokio::test]
async fn a_product_is_added_read_changed_and_deleted_under_every_strategy() {
    let stage = Stage::set().await;
    let replica = stage.replica().await;
    for strategy in ALL {
        let new = json!({"category_id": 2, "name": "Brass lamp", "description": "Warm light.",
                         "price": {"amount": 4_999, "currency": "EUR"}, "stock": 7});
        let added = replica.post(&format!("/s/{strategy}/products"), &new).await.expect(201);
        let written = if ["ttl", "event"].contains(&strategy) { "deferred" } else { "applied" };
        assert_eq!((added.header("etag"), added.header("x-cache-write")), ("\"1\"", written), "{strategy}");
        let shown = added.json();
        for field in ["category_id", "name", "description", "price", "stock"] {
            assert_eq!(shown[field], new[field], "{field}");
        }
        let path = format!("/s/{strategy}/products/{}", shown["id"]);
        assert_eq!(added.header("location"), path);

        let read = replica.get(&path).await.expect(200);
        assert_eq!((read.json(), read.header("etag")), (shown.clone(), "\"1\""));
        assert_eq!((read.header("content-type"), read.header("cache-control")), ("application/json", "no-cache"));
        let head = replica.request(Method::HEAD, &path).send().await.expect(200);
        assert!(head.body.is_empty() && head.header("content-length") == read.header("content-length"));

        let changed = replica.put(&path, &replacement("Brass lantern")).await.expect(200);
        assert_eq!((changed.header("etag"), changed.header("x-cache-write")), ("\"2\"", written));
        assert_eq!((&changed.json()["name"], &changed.json()["category_id"]), (&json!("Brass lantern"), &json!(2)));
        let cheaper = replica.patch(&format!("{path}/price"), &price(1)).await.expect(200);
        assert_eq!((cheaper.header("etag"), &cheaper.json()["price"]["amount"]), ("\"3\"", &json!(1)));
        assert_eq!(cheaper.json()["name"], "Brass lantern");

        assert_eq!(replica.delete(&path).await.expect(204).header("x-cache-write"), written);
        replica.delete(&path).await.problem(404);
    }
}

#[tokio::test]
async fn an_unknown_strategy_is_404_with_the_list() {
    let stage = Stage::set().await;
    let replica = stage.replica().await;
    let paths = [
        (Method::GET, "/products/1"),
        (Method::GET, "/products/x"),
        (Method::GET, "/products/search?q=x"),
        (Method::GET, "/categories/1/products"),
        (Method::PUT, "/products/1"),
        (Method::PATCH, "/products/1/price"),
        (Method::POST, "/categories/1/reprice"),
        (Method::POST, "/products"),
        (Method::DELETE, "/products/1"),
    ];
    for strategy in ["none", "TTL", "write_through", "ttl%20", "%00", "combined'--"] {
        for (method, path) in paths.clone() {
            let problem = replica.request(method, &format!("/s/{strategy}{path}")).send().await.problem(404);
            assert_eq!(problem["strategies"], json!(ALL), "{problem}");
            assert_eq!(problem["type"], "urn:problem:unknown-strategy");
        }
    }
}

#[tokio::test]
async fn pages_show_each_product_once_by_id() {
    let stage = Stage::set().await;
    let replica = stage.replica().await;
    let mut added = Vec::new();
    for n in 0..7 {
        let id = replica.add("tags", 1 + n % 2, &format!("Product {n}")).await;
        if n % 2 == 0 {
            added.push(id);
        }
    }
    for (strategy, limit) in ALL.into_iter().flat_map(|strategy| [1, 2, 4, 100].map(|limit| (strategy, limit))) {
        let (mut ids, mut after, mut pages) = (Vec::new(), String::new(), 0);
        loop {
            let path = format!("/s/{strategy}/categories/1/products?limit={limit}{after}");
            let page = replica.get(&path).await.expect(200).json();
            ids.extend(page["items"].as_array().unwrap().iter().map(|item| item["id"].as_i64().unwrap()));
            pages += 1;
            match page["next"].as_i64() {
                Some(last) => after = format!("&after={last}"),
                None => break,
            }
        }
        assert_eq!((&ids, pages), (&added, added.len().div_ceil(limit)), "{strategy} by {limit}: no empty last page");
    }
    let empty = replica.get("/s/tags/categories/3/products").await.expect(200).json();
    assert_eq!(empty, json!({"items": [], "next": null}));
    replica.get("/s/tags/categories/99/products").await.problem(404);
    let beyond = replica.get("/s/tags/categories/1/products?after=9223372036854775807").await.expect(200);
    assert_eq!(beyond.json()["items"], json!([]));
}

#[tokio::test]
async fn searches_find_words_in_any_form() {
    let stage = Stage::set().await;
    let replica = stage.replica().await;
    for (category, name) in [(1, "Oak table"), (1, "Round oak tables"), (2, "Brass lamp"), (2, "Lamp of oak")] {
        replica.add("tags", category, name).await;
    }
    for strategy in ALL {
        let found = async |query: &str| -> Vec<i64> {
            let path = format!("/s/{strategy}/products/search?q={query}");
            let found = replica.get(&path).await.expect(200).json();
            found["items"].as_array().unwrap().iter().map(|item| item["id"].as_i64().unwrap()).collect()
        };
        let sorted = async |query| {
            let mut ids = found(query).await;
            ids.sort_unstable();
            ids
        };
        assert_eq!(sorted("oak").await, [1, 2, 4], "{strategy}");
        assert_eq!(sorted("OAK%20%20table").await, [1, 2]);
        assert_eq!(found("oak%20-round%20-lamp").await, [1]);
        assert_eq!(sorted("brass%20or%20round").await, [2, 3]);
        assert_eq!(found("oak&limit=1").await.len(), 1);
        for nothing in ["steel", "the", "%22", "-", "&%7C%21%28%29", "'%3Bdrop%20table", "%E2%82%AC"] {
            let nothing = if nothing.starts_with('&') { "%26%7C%21%28%29" } else { nothing };
            assert_eq!(found(nothing).await, [0; 0], "{nothing}");
        }
    }
}

#[tokio::test]
async fn a_search_that_is_too_long_is_refused() {
    let stage = Stage::set().await;
    let replica = stage.replica().await;
    let search = |q: &str| format!("/s/combined/products/search?q={q}");
    replica.get(&search(&"x".repeat(200))).await.expect(200);
    for odd in ["", "%20", "a%00b", "a%0Ab", &"x".repeat(201), &"x".repeat(10_000), &"%F0%9F%A6%80".repeat(201)] {
        replica.get(&search(odd)).await.wrong_fields(400, &["q"]);
    }
    replica.get("/s/combined/products/search").await.problem(400);
    replica.get("/s/combined/products/search?q=x&p=1").await.problem(400);
    replica.get("/s/combined/products/search?q=x&limit=0").await.wrong_fields(400, &["limit"]);
    replica.get("/s/combined/categories/1/products?limit=101").await.wrong_fields(400, &["limit"]);
    replica.get("/s/combined/categories/1/products?after=x").await.wrong_fields(400, &["after"]);
}

#[tokio::test]
async fn malformed_paths_are_400_and_name_the_parameter() {
    let stage = Stage::set().await;
    let replica = stage.replica().await;
    for id in ["0", "-1", "+1", "01", "1.5", "x", "9223372036854775808", "1%20", "%00", "1;drop", "%E2%91%A0"] {
        let path = format!("/s/ttl/products/{id}");
        replica.get(&path).await.wrong_fields(400, &["id"]);
        replica.put(&path, &replacement("x")).await.wrong_fields(400, &["id"]);
        replica.delete(&path).await.wrong_fields(400, &["id"]);
        replica.patch(&format!("{path}/price"), &price(1)).await.wrong_fields(400, &["id"]);
        let category = format!("/s/ttl/categories/{id}");
        replica.get(&format!("{category}/products")).await.wrong_fields(400, &["id"]);
        replica.post(&format!("{category}/reprice"), &json!({"percent": 1})).await.wrong_fields(400, &["id"]);
    }
    replica.get("/s/ttl/products/%ff").await.problem(400);
    replica.get("/s/ttl/products").await.problem(405);
    replica.post("/s/ttl/products/search", &json!({})).await.problem(405);
    replica.get("/s/ttl/nothing").await.problem(404);
}

#[tokio::test]
async fn wrong_values_are_named_all_at_once() {
    let stage = Stage::set().await;
    let replica = stage.replica().await;
    let id = replica.add("explicit", 1, "Oak table").await;
    let path = format!("/s/explicit/products/{id}");
    let wrong = json!({"category_id": 0, "name": " ", "description": "x\u{0}",
                       "price": {"amount": -1, "currency": "euro"}, "stock": -1});
    let fields = ["/category_id", "/name", "/description", "/price/amount", "/price/currency", "/stock"];
    replica.post("/s/explicit/products", &wrong).await.wrong_fields(422, &fields);
    let mut wrong = wrong;
    wrong.as_object_mut().unwrap().remove("category_id");
    replica.put(&path, &wrong).await.wrong_fields(422, &fields[1..]);
    for amount in [-1, i64::MIN, 1_000_000_000_001] {
        replica.patch(&format!("{path}/price"), &price(amount)).await.wrong_fields(422, &["/price/amount"]);
    }
    for percent in [-100, 0, 901] {
        let body = json!({"percent": percent});
        replica.post("/s/explicit/categories/1/reprice", &body).await.wrong_fields(422, &["/percent"]);
    }
    // Another shape: a number with a fraction, a text for a number, an unknown field.
    let odd = json!({"price": {"amount": 9.99, "currency": "EUR"}});
    replica.patch(&format!("{path}/price"), &odd).await.wrong_fields(422, &["/price/amount"]);
    replica.post("/s/explicit/categories/1/reprice", &json!({"percent": "10"})).await.wrong_fields(422, &["/percent"]);
    let mut moved = replacement("x");
    moved["category_id"] = json!(2);
    replica.put(&path, &moved).await.wrong_fields(422, &["/category_id"]);
    replica.post("/s/explicit/products", &product(99, "x")).await.wrong_fields(422, &["/category_id"]);
    // Nothing of this has changed anything.
    assert_eq!(replica.get(&path).await.expect(200).header("etag"), "\"1\"");
}

#[tokio::test]
async fn a_product_keeps_its_currency() {
    let stage = Stage::set().await;
    let replica = stage.replica().await;
    let id = replica.add("combined", 1, "Oak table").await;
    let path = format!("/s/combined/products/{id}");
    let dollars = json!({"price": {"amount": 1, "currency": "USD"}});
    replica.patch(&format!("{path}/price"), &dollars).await.wrong_fields(422, &["/price/currency"]);
    let mut other = replacement("x");
    other["price"]["currency"] = json!("USD");
    let refused = replica.put(&path, &other).await;
    let problem = refused.clone().problem(422);
    assert!(problem["errors"][0]["detail"].as_str().unwrap().contains("EUR"), "{problem}");
    assert_eq!(replica.get(&path).await.expect(200).header("etag"), "\"1\"");
}

#[tokio::test]
async fn new_prices_are_rounded_and_bounded() {
    let stage = Stage::set().await;
    let replica = stage.replica().await;
    let mut ids = Vec::new();
    for amount in [0, 1, 5, 15, 999, 1_000_000_000_000_i64] {
        let mut new = product(1, "Oak table");
        new["price"]["amount"] = json!(amount);
        let added = replica.post("/s/tags/products", &new).await.expect(201);
        ids.push(added.json()["id"].as_i64().unwrap());
    }
    let other = replica.add("tags", 2, "Brass lamp").await;
    let done = replica.post("/s/tags/categories/1/reprice", &json!({"percent": -10})).await.expect(200);
    assert_eq!(done.json()["products"], 6);
    let shown = async |id: i64| {
        replica.get(&format!("/s/tags/products/{id}")).await.expect(200).json()["price"]["amount"].as_i64().unwrap()
    };
    for (id, amount) in ids.iter().zip([0, 1, 5, 14, 899, 900_000_000_000]) {
        assert_eq!(shown(*id).await, amount);
    }
    assert_eq!(shown(other).await, 1_000, "of another category");
    // One price that gets too high, and none is changed.
    let refused = replica.post("/s/tags/categories/1/reprice", &json!({"percent": 900})).await;
    refused.wrong_fields(422, &["/price/amount"]);
    assert_eq!(shown(ids[4]).await, 899);
    let nothing = replica.post("/s/tags/categories/3/reprice", &json!({"percent": 10})).await.expect(200);
    assert_eq!(nothing.json()["products"], 0);
}
