//! The OpenAPI document against the real answers. Every answer of every test here is held against it (`contract`); this asks
//! for each documented one at least once, and compares the document with the router.

use ::http::Method;
use blog_api::config::CacheMode;
use serde_json::json;

use crate::stage::{Stage, contract, settings};

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
    let missing: Vec<String> = contract().unseen().into_iter().filter(|answer| !answer.contains(" 50")).collect();
    assert!(missing.is_empty(), "documented and never given: {missing:?}");
}

#[tokio::test]
async fn the_router_and_the_document_have_the_same_paths() {
    let settings = settings("postgres://127.0.0.1:1/none", "redis://127.0.0.1:1", CacheMode::Off);
    let telemetry = blog_api::telemetry(&settings.log).unwrap();
    let app = format!("{:?}", blog_api::build(&settings, &telemetry).await.unwrap());
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
    assert_eq!(replica.get("/openapi.json").await.expect(200).json(), *contract().document());
}
