//! `If-None-Match` and `If-Match`.

use ::http::Method;
use serde_json::json;

use crate::stage::{Stage, price, replacement};

#[tokio::test]
async fn a_client_that_has_it_gets_304_with_the_same_headers() {
    let stage = Stage::set().await;
    let replica = stage.replica().await;
    for strategy in ["explicit", "tags", "combined", "ttl"] {
        let id = replica.add(strategy, 1, "Oak table").await;
        let product = format!("/s/{strategy}/products/{id}");
        let (page, search) =
            (format!("/s/{strategy}/categories/1/products"), format!("/s/{strategy}/products/search?q=oak"));
        for path in [&product, &page, &search] {
            let full = replica.get(path).await.expect(200);
            let tag = full.header("etag");
            assert!(tag.starts_with('"') && tag.ends_with('"') && tag.len() > 2, "{tag}");
            let ask = |tags: &str| replica.request(Method::GET, path).header("if-none-match", tags).send();
            for same in [tag.to_owned(), format!("W/{tag}"), "*".to_owned(), format!("\"other\", {tag}")] {
                let unchanged = ask(&same).await.expect(304);
                assert!(unchanged.body.is_empty() && !unchanged.headers.contains_key("content-type"));
                for header in ["etag", "cache-control"] {
                    assert_eq!(unchanged.header(header), full.header(header), "{path}");
                }
            }
            assert_eq!(ask("\"other\"").await.expect(200).body, full.body);
        }
        // What changes has another tag; a miss answers 304 as well.
        if strategy != "ttl" {
            let before = replica.get(&page).await.header("etag").to_owned();
            replica.price(strategy, id, 900).await;
            assert_ne!(replica.get(&page).await.expect(200).header("etag"), before);
            let ask = replica.request(Method::GET, &product).header("if-none-match", "\"2\"");
            ask.send().await.expect(304);
        }
    }
}

#[tokio::test]
async fn a_change_is_made_only_to_the_version_that_was_meant() {
    let stage = Stage::set().await;
    let replica = stage.replica().await;
    let id = replica.add("combined", 1, "Oak table").await;
    let path = format!("/s/combined/products/{id}");
    let price_path = format!("{path}/price");
    let send = |method: Method, path: &str, tags: &str, body: &serde_json::Value| {
        replica.request(method, path).header("if-match", tags).json(body).send()
    };
    send(Method::PUT, &path, "\"1\"", &replacement("x")).await.expect(200);
    send(Method::PATCH, &price_path, "\"2\"", &price(1)).await.expect(200);
    for stale in ["\"1\"", "W/\"3\"", "\"03\"", "\"\"", "\"1\", \"4\""] {
        for (method, path, body) in [
            (Method::PUT, &path, replacement("y")),
            (Method::PATCH, &price_path, price(2)),
            (Method::DELETE, &path, json!({})),
        ] {
            let refused = send(method, path, stale, &body).await;
            assert_eq!(refused.header("etag"), "\"3\"", "{stale}");
            refused.problem(412);
        }
    }
    for malformed in ["3", "\"3", "**"] {
        send(Method::PATCH, &price_path, malformed, &price(2)).await.problem(400);
    }
    send(Method::PATCH, &price_path, "*", &price(2)).await.expect(200);
    send(Method::DELETE, &path, "\"4\"", &json!({})).await.expect(204);
    send(Method::PATCH, &price_path, "*", &price(2)).await.problem(404);
}

#[tokio::test]
async fn of_many_who_mean_the_same_version_one_wins() {
    let stage = Stage::set().await;
    let (one, other) = (stage.replica().await, stage.replica().await);
    let id = one.add("combined", 1, "Oak table").await;
    let path = format!("/s/combined/products/{id}");
    let puts = (0..16).map(|n| {
        let replica = if n % 2 == 0 { &one } else { &other };
        replica.request(Method::PUT, &path).header("if-match", "\"1\"").json(&replacement(&format!("{n}"))).send()
    });
    let answers = futures_util::future::join_all(puts).await;
    let won: Vec<_> = answers.iter().filter(|answer| answer.status == 200).collect();
    assert_eq!(won.len(), 1);
    assert!(answers.iter().all(|answer| answer.status == 200 || answer.status == 412));
    let read = other.get(&path).await.expect(200);
    assert_eq!((read.header("etag"), read.json()), ("\"2\"", won[0].json()));
}
