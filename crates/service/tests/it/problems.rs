//! Everything that goes wrong is a problem document, with the id of its request.

use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use serde::Deserialize;
use service::config::ServerArgs;
use service::{Json, Path, Problem, Query};

use crate::client::{Answer, Client};
use crate::server::TestServer;

const LIMIT: usize = 4096;

#[derive(Debug, Deserialize)]
struct Post {
    title: String,
    tags: Vec<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    limit: Option<u8>,
}

fn routes() -> Router {
    async fn create(Json(post): Json<Post>) -> String {
        format!("{}: {}", post.title, post.tags.len())
    }
    Router::new()
        .route("/posts", post(create).get(async |Query(page): Query<Page>| format!("{:?}", page.limit)))
        .route("/posts/{id}", get(async |Path(id): Path<i64>| id.to_string()).put(async || "put"))
        .route("/panic", get(async || -> &'static str { panic!("out of cheese, password=hunter2") }))
        .route("/slow", get(async || std::future::pending::<&'static str>().await))
        .route("/database", get(async || -> Result<(), Problem> { Err(sqlx::Error::PoolTimedOut)? }))
        .route("/sold-out", get(async || Problem::conflict("None is left.").kind("urn:problem:sold-out", "Sold out")))
}

async fn server() -> TestServer {
    let args = ServerArgs { body_limit: LIMIT, request_timeout: Duration::from_millis(200), ..ServerArgs::default() };
    TestServer::start_with(args, |_| routes()).await
}

/// What holds for each problem; returns the document.
#[track_caller]
fn problem(answer: &Answer, status: u16, path: &str) -> serde_json::Value {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.header("content-type"), "application/problem+json");
    let document = answer.json();
    assert_eq!(document["status"], status);
    assert_eq!(document["instance"], path);
    assert_eq!(document["request_id"], answer.header("x-request-id"));
    assert!(!answer.header("x-request-id").is_empty());
    for member in ["type", "title"] {
        assert!(document[member].as_str().is_some_and(|text| !text.is_empty()), "{document}");
    }
    document
}

#[tokio::test]
async fn unmatched_paths_and_methods() {
    let server = server().await;
    problem(&server.get("/nowhere?a=b").await, 404, "/nowhere");
    let mut client = Client::connect(server.api).await;
    let answer = client.exchange("DELETE /posts/1 HTTP/1.1\r\nhost: test\r\n\r\n").await;
    problem(&answer, 405, "/posts/1");
    assert_eq!(answer.header("allow"), "GET,HEAD,PUT");
    // The connection goes on after each of them.
    let answer = client.exchange("BREW /posts/1 HTTP/1.1\r\nhost: test\r\n\r\n").await;
    problem(&answer, 405, "/posts/1");
    assert_eq!(client.get("/posts/1").await.text(), "1");
}

#[tokio::test]
async fn parameters_of_path_and_query() {
    let server = server().await;
    for path in ["/posts/one", "/posts/99999999999999999999", "/posts/1%00", "/posts/%FF", "/posts/-"] {
        let document = problem(&server.get(path).await, 400, path);
        assert_eq!(document["errors"][0]["pointer"], "id", "{document}");
    }
    assert_eq!(server.get("/posts?limit=7").await.text(), "Some(7)");
    for query in ["limit=-1", "limit=256", "limit=", "limit=x", "limit=1&limit=2", "other=1"] {
        problem(&server.get(&format!("/posts?{query}")).await, 400, "/posts");
    }
    let document = server.get("/posts?limit=x").await.json();
    assert_eq!(document["errors"][0]["pointer"], "limit", "{document}");
}

#[tokio::test]
async fn bodies() {
    let server = server().await;
    let answer = server.post("/posts", r#"{"title":"Grüße 👋","tags":[1]}"#).await;
    assert_eq!((answer.status, answer.text()), (200, "Grüße 👋: 1"));
    for malformed in ["", "{", "{\"title\":\"a\",\"tags\":[1,]}", "\u{0}", "{\"title\":\"a\",\"tags\":[]}{}"] {
        problem(&server.post("/posts", malformed).await, 400, "/posts");
    }
    let document = problem(&server.post("/posts", r#"{"title":"a","tags":[1,"two"]}"#).await, 422, "/posts");
    assert_eq!(document["errors"][0]["pointer"], "/tags/1", "{document}");
    for odd in ["null", "[]", "7", "{\"title\":7,\"tags\":[]}"] {
        problem(&server.post("/posts", odd).await, 422, "/posts");
    }
    let mut client = Client::connect(server.api).await;
    for content_type in ["content-type: text/plain\r\n", ""] {
        let head = format!("POST /posts HTTP/1.1\r\nhost: test\r\n{content_type}content-length: 2\r\n\r\n{{}}");
        problem(&client.exchange(&head).await, 415, "/posts");
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_answered_whether_it_is_declared_or_not() {
    let server = server().await;
    let json = |size: usize| format!("{{\"title\":\"{}\",\"tags\":[]}}", "x".repeat(size - 22));
    assert_eq!(json(LIMIT).len(), LIMIT);
    assert_eq!(server.post("/posts", &json(LIMIT)).await.status, 200, "the limit itself");
    // Far more than the sockets' buffers hold: the client reads its answer all the same.
    for size in [LIMIT + 1, 6 << 20] {
        let document = problem(&server.post("/posts", &json(size)).await, 413, "/posts");
        assert_eq!(document["limit_bytes"], LIMIT);
    }
    let mut client = Client::connect(server.api).await;
    client.send(b"POST /posts HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n").await;
    for _ in 0..1000 {
        client.send(format!("{:x}\r\n{}\r\n", LIMIT, "x".repeat(LIMIT)).as_bytes()).await;
    }
    client.send(b"0\r\n\r\n").await;
    problem(&client.answer().await, 413, "/posts");
    assert_eq!(client.get("/posts/1").await.status, 200, "and the connection goes on");
}

#[tokio::test]
async fn the_limit_may_be_larger_than_that_of_axum() {
    let args = ServerArgs { body_limit: 4 << 20, ..ServerArgs::default() };
    let server = TestServer::start_with(args, |_| routes()).await;
    let body = format!("{{\"title\":\"{}\",\"tags\":[]}}", "x".repeat(3 << 20));
    assert_eq!(server.post("/posts", &body).await.status, 200);
}

#[tokio::test]
async fn an_absurd_declared_length_is_refused_without_reading_it() {
    let server = server().await;
    let mut client = Client::connect(server.api).await;
    let head =
        "POST /posts HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\ncontent-length: 1000000000000\r\n\r\n";
    problem(&client.exchange(head).await, 413, "/posts");
    assert!(client.is_closed().await);

    // A client that asks first is told before it sends anything.
    let mut client = Client::connect(server.api).await;
    let size = LIMIT + 1;
    let head = "POST /posts HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\nexpect: 100-continue";
    problem(&client.exchange(&format!("{head}\r\ncontent-length: {size}\r\n\r\n")).await, 413, "/posts");
}

#[tokio::test]
async fn a_handler_that_takes_too_long_is_503() {
    let server = server().await;
    let answer = server.get("/slow").await;
    problem(&answer, 503, "/slow");
    assert_eq!(answer.header("retry-after"), "1");
    // A body that never comes is the same to the server.
    let mut client = Client::connect(server.api).await;
    client
        .send(b"POST /posts HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\ncontent-length: 10\r\n\r\n{")
        .await;
    problem(&client.answer().await, 503, "/posts");
}

#[tokio::test]
async fn a_panic_is_500_and_tells_nothing() {
    let server = server().await;
    let mut client = Client::connect(server.api).await;
    let answer = client.get("/panic").await;
    problem(&answer, 500, "/panic");
    assert!(!answer.text().contains("cheese"));
    assert_eq!(client.get("/posts/1").await.status, 200, "the connection goes on");
    let metrics = server.ask_admin("/metrics").await;
    assert!(metrics.text().contains("http_handler_panics_total{route=\"/panic\"} 1"));
}

#[tokio::test]
async fn what_a_handler_returns() {
    let server = server().await;
    let document = problem(&server.get("/sold-out").await, 409, "/sold-out");
    assert_eq!((&document["type"], &document["title"]), (&"urn:problem:sold-out".into(), &"Sold out".into()));
    let answer = server.get("/database").await;
    problem(&answer, 503, "/database");
    assert_eq!(answer.header("retry-after"), "1");
    assert!(!answer.text().to_lowercase().contains("pool"), "{}", answer.text());
}
