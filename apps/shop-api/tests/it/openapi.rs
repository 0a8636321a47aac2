//! The OpenAPI document against the real answers. Every answer of every test here is held against it (`contract`); this asks
//! for each documented one at least once, and compares the document with the router.

use ::http::Method;
use serde_json::json;

use crate::stage::{Stage, contract, price, product, replacement, settings};

#[tokio::test]
async fn every_documented_answer_is_really_given() {
    let stage = Stage::set().await;
    let replica = stage.replica().await;
    let id = replica.add("combined", 1, "Oak table").await;
    let (path, products) = (format!("/s/combined/products/{id}"), "/s/combined/products");
    let (price_path, reprice) = (format!("{path}/price"), "/s/combined/categories/1/reprice");
    let (page, search) = ("/s/combined/categories/1/products", "/s/combined/products/search?q=oak");

    for get in [&*path, page, search, "/strategies", "/noop", "/openapi.json"] {
        replica.get(get).await.expect(200);
    }
    for get in [&*path, page, search] {
        replica.request(Method::GET, get).header("if-none-match", "*").send().await.expect(304);
    }
    for get in
        ["/s/ttl/products/x", "/s/ttl/products/search?q=", "/s/ttl/categories/1/products?limit=x", "/noop?bytes=x"]
    {
        replica.get(get).await.problem(400);
    }
    for get in ["/s/ttl/products/99", "/s/none/products/search?q=x", "/s/ttl/categories/99/products"] {
        replica.get(get).await.problem(404);
    }
    replica.put("/s/ttl/products/99", &replacement("x")).await.problem(404);
    replica.patch("/s/ttl/products/99/price", &price(1)).await.problem(404);
    replica.delete("/s/ttl/products/99").await.problem(404);
    replica.delete("/s/ttl/products/x").await.problem(400);
    replica.post("/s/none/products", &product(1, "x")).await.problem(404);
    replica.post("/s/ttl/categories/99/reprice", &json!({"percent": 1})).await.problem(404);
    for (method, path) in
        [(Method::PUT, &*path), (Method::PATCH, &*price_path), (Method::POST, products), (Method::POST, reprice)]
    {
        let json = |body: String| {
            replica.request(method.clone(), path).header("content-type", "application/json").body(body).send()
        };
        json("{".into()).await.problem(400);
        json("{}".into()).await.problem(422);
        json(format!("\"{}\"", "x".repeat(1 << 20))).await.problem(413);
        replica.request(method.clone(), path).send().await.problem(415);
    }
    for (method, path, body) in [
        (Method::PUT, &path, replacement("x")),
        (Method::PATCH, &price_path, price(1)),
        (Method::DELETE, &path, json!({})),
    ] {
        replica.request(method, path).header("if-match", "\"0\"").json(&body).send().await.problem(412);
    }
    replica.put(&path, &replacement("x")).await.expect(200);
    replica.patch(&price_path, &price(1)).await.expect(200);
    replica.post(reprice, &json!({"percent": 1})).await.expect(200);
    replica.delete(&path).await.expect(204);
    // Failures have tests of their own.
    let missing: Vec<String> = contract().unseen().into_iter().filter(|answer| !answer.contains(" 50")).collect();
    assert!(missing.is_empty(), "documented and never given: {missing:?}");
}

#[tokio::test]
async fn the_router_and_the_document_have_the_same_paths() {
    let settings = settings("postgres://127.0.0.1:1/none", "redis://127.0.0.1:1");
    let telemetry = shop_api::telemetry(&settings.log).unwrap();
    let app = format!("{:?}", shop_api::build(&settings, &telemetry).await.unwrap());
    contract().has_the_paths_of(&app);
}

#[test]
fn the_document_describes_itself_rightly() {
    contract().describes_itself(env!("CARGO_PKG_VERSION"));
}

#[tokio::test]
async fn the_page_to_try_it_is_served_from_here() {
    let stage = Stage::set().await;
    let replica = stage.replica().await;
    let page = replica.get("/docs/").await.expect(200);
    assert_eq!(page.header("content-type"), "text/html");
    assert_eq!(replica.get("/openapi.json").await.expect(200).json(), *contract().document());
}
