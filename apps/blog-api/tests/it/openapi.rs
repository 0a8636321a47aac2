//! The OpenAPI document against the real answers. Every answer of every test here is held against it (`contract`); this asks
//! for each documented one at least once, and compares the document with the router.

use std::collections::BTreeSet;

use ::http::Method;
use blog_api::App;
use blog_api::config::CacheMode;
use serde_json::{Value, json};

use crate::contract;
use crate::stage::{Stage, settings};

#[tokio::test]
async fn every_documented_answer_is_really_given() {
    let stage = Stage::set().await;
    let replica = stage.replica().await;
    let id = replica.write("ann", "t", &["x"]).await;
    let (post, comments) = (format!("/posts/{id}"), format!("/posts/{id}/comments"));
    let fine = json!({"author": "ann", "title": "t", "body": "b", "tags": []});
    let comment = json!({"author": "a", "body": "b"});
    replica.post(&comments, &comment).await.expect(201);

    for path in [&*post, "/posts", "/posts/popular", "/authors/ann", "/noop", "/openapi.json"] {
        replica.get(path).await.expect(200);
    }
    for path in [&*post, "/posts", "/posts/popular", "/authors/ann"] {
        replica.request(Method::GET, path).header("if-none-match", "*").send().await.expect(304);
    }
    for path in ["/posts/x", "/posts?limit=x", "/posts/popular?limit=x", "/authors/X", "/noop?bytes=x"] {
        replica.get(path).await.problem(400);
    }
    for path in ["/posts/99", "/authors/nobody"] {
        replica.get(path).await.problem(404);
    }
    replica.put("/posts/99", &fine).await.problem(404);
    replica.delete("/posts/99").await.problem(404);
    replica.delete("/posts/x").await.problem(400);
    replica.post("/posts/99/comments", &comment).await.problem(404);
    for (method, path) in [(Method::PUT, &*post), (Method::POST, "/posts"), (Method::POST, &*comments)] {
        let json = |body: String| {
            replica.request(method.clone(), path).header("content-type", "application/json").body(body).send()
        };
        json("{".into()).await.problem(400);
        json("{}".into()).await.problem(422);
        json(format!("\"{}\"", "x".repeat(1 << 20))).await.problem(413);
        replica.request(method.clone(), path).send().await.problem(415);
    }
    for method in [Method::PUT, Method::DELETE] {
        replica.request(method, &post).header("if-match", "\"0\"").json(&fine).send().await.problem(412);
    }
    replica.put(&post, &fine).await.expect(200);
    replica.delete(&post).await.expect(204);
    // Failures have tests of their own.
    let documented = contract::documented();
    let seen = contract::seen();
    let missing: Vec<&String> =
        documented.iter().filter(|answer| !answer.contains(" 50") && !seen.contains(*answer)).collect();
    assert!(missing.is_empty(), "documented and never given: {missing:?}");
}

/// axum shows the paths of a router only in its `Debug`.
#[tokio::test]
async fn the_router_and_the_document_have_the_same_paths() {
    let settings = settings("postgres://127.0.0.1:1/none", "redis://127.0.0.1:1", CacheMode::Off);
    let telemetry = blog_api::telemetry(&settings.log).unwrap();
    let app = format!("{:?}", App::build(&settings, &telemetry).await.unwrap());
    let routed: BTreeSet<&str> = app
        .split("RouteId(")
        .filter_map(|part| part.split_once("): \"/"))
        .map(|(_, path)| &path[..path.find('"').unwrap()])
        // How axum answers what no route matches.
        .filter(|path| !path.is_empty() && !path.contains("__private__"))
        .collect();
    let document = contract::document()["paths"].as_object().unwrap();
    let documented: BTreeSet<&str> = document.keys().map(|path| &path[1..]).collect();
    // A page for people, and its files.
    let page = ["docs", "docs/", "docs/{*file}"];
    assert_eq!(routed, documented.iter().copied().chain(page).collect());
}

#[tokio::test]
async fn the_document_describes_itself_rightly() {
    let document = contract::document();
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    let mut ids = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let id = operation["operationId"].as_str().unwrap();
            assert!(ids.insert(id.to_owned()), "{id} is there twice");
            assert!(!operation["summary"].as_str().unwrap().is_empty());
            let parameters: Vec<&Value> = operation["parameters"].as_array().into_iter().flatten().collect();
            for name in path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
                assert!(
                    parameters.iter().any(|parameter| parameter["name"] == name && parameter["in"] == "path"),
                    "{method} {path}"
                );
            }
            for (status, response) in operation["responses"].as_object().unwrap() {
                let problem = status.starts_with('4') || status.starts_with('5');
                let is_problem =
                    response["content"]["application/problem+json"]["schema"]["$ref"] == "#/components/schemas/Problem";
                assert_eq!(problem, is_problem, "{method} {path} {status}");
            }
        }
    }
}

#[tokio::test]
async fn the_page_to_try_it_is_served_from_here() {
    let stage = Stage::set().await;
    let replica = stage.replica().await;
    let page = replica.get("/docs/").await.expect(200);
    assert_eq!(page.header("content-type"), "text/html");
    let text = String::from_utf8(page.body.to_vec()).unwrap();
    assert!(!text.contains("https://") && !text.contains("http://"), "{text}");
    let files = text.split('"').filter(|part| part.starts_with("./") && part.contains('.'));
    let mut found = 0;
    for file in files {
        replica.get(&format!("/docs/{}", file.trim_start_matches("./"))).await.expect(200);
        found += 1;
    }
    assert!(found >= 3, "{text}");
    assert_eq!(replica.get("/docs").await.status, 303);
    assert_eq!(replica.get("/openapi.json").await.expect(200).json(), *contract::document());
}
