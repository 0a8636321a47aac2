//! `/posts/{id}`, `POST /posts`, `/posts/{id}/comments`: what they take, and what they refuse.

use ::http::Method;
use serde_json::json;

use crate::stage::Stage;

fn new(author: &str) -> serde_json::Value {
    json!({"author": author, "title": "A title", "body": "A text.", "tags": ["rust"]})
}

#[tokio::test]
async fn a_post_is_written_read_changed_and_deleted() {
    let stage = Stage::set().await;
    let replica = stage.replica().await;

    let written = replica
        .post("/posts", &json!({"author": "ann", "title": "Leases", "body": "A fill needs one.", "tags": ["Redis ", "caching", "redis"]}))
        .await
        .expect(201);
    let post = written.json();
    let path = format!("/posts/{}", post["id"]);
    assert_eq!(written.header("location"), path);
    assert_eq!(written.header("etag"), "\"1\"");
    assert_eq!(written.header("x-cache-write"), "applied");
    assert_eq!(post["tags"], json!(["redis", "caching"]));
    assert_eq!(post["author"], json!({"name": "ann", "display_name": "Ann Ahlgren"}));
    assert_eq!((&post["comment_count"], &post["views"], &post["version"]), (&json!(0), &json!(0), &json!(1)));
    assert_eq!(post["created_at"], post["updated_at"]);

    let read = replica.get(&path).await.expect(200);
    assert_eq!(read.json(), post);
    assert_eq!((read.header("etag"), read.header("content-type")), ("\"1\"", "application/json"));
    assert_eq!(read.header("content-length"), read.body.len().to_string());

    let head = replica.request(Method::HEAD, &path).send().await.expect(200);
    assert!(head.body.is_empty());
    assert_eq!((head.header("content-length"), head.header("x-cache")), (read.header("content-length"), "HIT"));

    let changed = replica.put(&path, &json!({"title": "New", "body": "Other.", "tags": []})).await.expect(200);
    assert_eq!((changed.header("etag"), changed.header("x-cache-write")), ("\"2\"", "applied"));
    assert_eq!(changed.json()["author"]["name"], "ann", "the author stays");
    assert_eq!(replica.get(&path).await.expect(200).json(), changed.json());
    assert_eq!(changed.json()["created_at"], post["created_at"]);
    assert_ne!(changed.json()["updated_at"], post["updated_at"]);

    let moved = replica
        .put(&path, &json!({"title": "New", "body": "Other.", "tags": ["a"], "author": "bob"}))
        .await
        .expect(200);
    assert_eq!(moved.json()["author"]["name"], "bob");
    assert_eq!(replica.get(&path).await.expect(200).json(), moved.json());

    let comment =
        replica.post(&format!("{path}/comments"), &json!({"author": "A reader", "body": "Well."})).await.expect(201);
    assert_eq!(comment.header("x-cache-write"), "applied");
    assert_eq!(comment.json()["post_id"], post["id"]);
    let commented = replica.get(&path).await.expect(200);
    assert_eq!((commented.header("etag"), &commented.json()["comment_count"]), ("\"4\"", &json!(1)));

    let gone = replica.delete(&path).await.expect(204);
    assert_eq!(gone.header("x-cache-write"), "applied");
    assert!(replica.get(&path).await.problem(404)["detail"].as_str().unwrap().contains("There is no post"));
    assert_eq!(replica.get(&path).await.expect(404).header("x-cache"), "NEGATIVE");
}

#[tokio::test]
async fn what_is_not_there_is_404() {
    let stage = Stage::set().await;
    let replica = stage.replica().await;
    replica.get("/posts/9223372036854775807").await.problem(404);
    replica.put("/posts/99", &json!({"title": "a", "body": "b", "tags": []})).await.problem(404);
    replica.delete("/posts/99").await.problem(404);
    replica.post("/posts/99/comments", &json!({"author": "a", "body": "b"})).await.problem(404);
    replica.get("/authors/nobody").await.problem(404);
    replica.get("/nothing").await.problem(404);
    replica.get("/posts/1/comments/2").await.problem(404);
    replica.get("/posts/").await.problem(404);
    replica.get("/docs/nothing.js").await.problem(404);
}

#[tokio::test]
async fn malformed_paths_are_400_and_name_the_parameter() {
    let stage = Stage::set().await;
    let replica = stage.replica().await;
    for id in ["0", "-1", "+1", "01", "1.5", "x", "9223372036854775808", "1%20", "%00", "1;drop", "%E2%91%A0"] {
        let path = format!("/posts/{id}");
        replica.get(&path).await.wrong_fields(400, &["id"]);
        replica.put(&path, &json!({"title": "a", "body": "b", "tags": []})).await.wrong_fields(400, &["id"]);
        replica.delete(&path).await.wrong_fields(400, &["id"]);
        let comment = json!({"author": "a", "body": "b"});
        replica.post(&format!("{path}/comments"), &comment).await.wrong_fields(400, &["id"]);
    }
    replica.get("/posts/%ff").await.problem(400);
    for name in ["Ann", "-a", "a%20b", "a'b", "a%2Fb", "%C3%A9", &"x".repeat(64)] {
        replica.get(&format!("/authors/{name}")).await.wrong_fields(400, &["name"]);
    }
}

#[tokio::test]
async fn wrong_methods_are_405_with_allow() {
    let stage = Stage::set().await;
    let replica = stage.replica().await;
    let wrong = [
        (Method::POST, "/posts/1"),
        (Method::PATCH, "/posts/1"),
        (Method::PUT, "/posts"),
        (Method::DELETE, "/posts"),
        (Method::POST, "/posts/popular"),
        (Method::GET, "/posts/1/comments"),
        (Method::POST, "/authors/ann"),
        (Method::POST, "/noop"),
        (Method::DELETE, "/openapi.json"),
        (Method::OPTIONS, "/posts/1"),
    ];
    for (method, path) in wrong {
        let answer = replica.request(method, path).send().await;
        assert!(!answer.header("allow").is_empty(), "{answer:?}");
        answer.problem(405);
    }
}

#[tokio::test]
async fn a_body_that_is_no_json_of_the_right_shape_is_refused() {
    let stage = Stage::set().await;
    let replica = stage.replica().await;
    let id = replica.write("ann", "t", &[]).await;
    let routes = [
        (Method::POST, "/posts".to_owned()),
        (Method::PUT, format!("/posts/{id}")),
        (Method::POST, format!("/posts/{id}/comments")),
    ];
    for (method, path) in &routes {
        let send = |kind: &'static str, body: &'static str| {
            replica.request(method.clone(), path).header("content-type", kind).body(body).send()
        };
        for kind in ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", ""] {
            send(kind, "{}").await.problem(415);
        }
        replica.request(method.clone(), path).body("{}").send().await.problem(415);
        for malformed in ["", "{", "nonsense", "{\"body\":}", "\u{feff}{}"] {
            send("application/json", malformed).await.problem(400);
        }
        // Bytes that are not UTF-8.
        let invalid = replica.request(method.clone(), path).header("content-type", "application/json");
        invalid.body(b"{\"body\":\"\xff\"}".as_slice()).send().await.problem(400);
        for shape in ["[]", "null", "1", "\"text\"", "{}", "{\"unknown\":1}"] {
            send("application/json", shape).await.problem(422);
        }
        // A lone surrogate is JSON, and no text.
        let lone = replica.request(method.clone(), path).header("content-type", "application/json");
        let status = lone.body("{\"title\":\"\\ud800\",\"body\":\"\",\"tags\":[],\"author\":\"\"}").send().await.status;
        assert!(status == 400 || status == 422, "{status}");
    }
    let typed = json!({"author": "ann", "title": 1, "body": "b", "tags": []});
    replica.post("/posts", &typed).await.wrong_fields(422, &["/title"]);
    let typed = json!({"author": "ann", "title": "t", "body": "b", "tags": ["a", 2]});
    replica.post("/posts", &typed).await.wrong_fields(422, &["/tags/1"]);
}

#[tokio::test]
async fn an_oversized_request_is_413() {
    let stage = Stage::set().await;
    let replica = stage.replica().await;
    let id = replica.write("ann", "t", &[]).await;
    let large = json!({"title": "t", "body": "x".repeat(1 << 20), "tags": []});
    replica.put(&format!("/posts/{id}"), &large).await.problem(413);
    let large = json!({"author": "ann", "title": "t", "body": "x".repeat(1 << 20), "tags": []});
    replica.post("/posts", &large).await.problem(413);
    replica
        .post(&format!("/posts/{id}/comments"), &json!({"author": "a", "body": "x".repeat(1 << 20)}))
        .await
        .problem(413);
}

#[tokio::test]
async fn the_limits_of_every_field() {
    let stage = Stage::set().await;
    let replica = stage.replica().await;
    let with = |field: &str, value: serde_json::Value| {
        let mut post = new("ann");
        post[field] = value;
        post
    };
    let tags = |n: usize| json!((0..n).map(|n| format!("tag{n}")).collect::<Vec<_>>());
    let crab = "\u{1f980}";
    let fine = [
        ("title", json!("x")),
        ("title", json!(crab.repeat(200))),
        ("body", json!("x")),
        ("body", json!("x".repeat(65_536))),
        ("body", json!(crab.repeat(16_384))),
        ("body", json!("\u{1}\u{7f}\r\n\u{2028}\u{ffff}")),
        ("tags", json!([])),
        ("tags", tags(10)),
        ("tags", json!([crab.repeat(50)])),
        ("tags", json!(["a", "A", " a "].repeat(5))),
    ];
    for (field, value) in fine {
        let answer = replica.post("/posts", &with(field, value.clone())).await.expect(201);
        let read = replica.get(answer.header("location")).await.expect(200).json();
        assert_eq!(read, answer.json());
        if field != "tags" {
            assert_eq!(read[field], value);
        }
    }
    let wrong = [
        ("title", json!(""), "/title"),
        ("title", json!(" \t "), "/title"),
        ("title", json!("x".repeat(201)), "/title"),
        ("title", json!("a\u{0}b"), "/title"),
        ("title", json!("a\nb"), "/title"),
        ("body", json!(""), "/body"),
        ("body", json!("x".repeat(65_537)), "/body"),
        ("body", json!(crab.repeat(16_385)), "/body"),
        ("body", json!("a\u{0}b"), "/body"),
        ("tags", tags(11), "/tags"),
        ("tags", json!([""]), "/tags/0"),
        ("tags", json!(["ok", "x".repeat(51)]), "/tags/1"),
        ("tags", json!(["a\u{0}"]), "/tags/0"),
        ("author", json!(""), "/author"),
        ("author", json!("Ann"), "/author"),
        ("author", json!("ann\u{0}"), "/author"),
        ("author", json!("x".repeat(64)), "/author"),
        ("author", json!("nobody"), "/author"),
    ];
    let id = replica.write("ann", "t", &[]).await;
    for (field, value, pointer) in wrong {
        let post = with(field, value);
        replica.post("/posts", &post).await.wrong_fields(422, &[pointer]);
        replica.put(&format!("/posts/{id}"), &post).await.wrong_fields(422, &[pointer]);
    }
    assert_eq!(replica.get(&format!("/posts/{id}")).await.header("etag"), "\"1\"", "nothing of this was stored");

    let comments = format!("/posts/{id}/comments");
    for (author, body) in [("x", "x"), (&*crab.repeat(100), "x"), ("x", &*"x".repeat(16_384))] {
        let written = replica.post(&comments, &json!({"author": author, "body": body})).await.expect(201).json();
        assert_eq!((&written["author"], &written["body"]), (&json!(author), &json!(body)));
    }
    for (author, body, pointer) in [
        ("", "x", "/author"),
        (&*"x".repeat(101), "x", "/author"),
        ("a\0", "x", "/author"),
        ("x", "", "/body"),
        ("x", &*"x".repeat(16_385), "/body"),
        ("x", "a\0", "/body"),
    ] {
        replica.post(&comments, &json!({"author": author, "body": body})).await.wrong_fields(422, &[pointer]);
    }
}

#[tokio::test]
async fn all_that_is_wrong_is_told_at_once() {
    let stage = Stage::set().await;
    let replica = stage.replica().await;
    let wrong = json!({"author": "A", "title": "", "body": "", "tags": ["", "ok", "\u{0}"]});
    replica.post("/posts", &wrong).await.wrong_fields(422, &["/author", "/title", "/body", "/tags/0", "/tags/2"]);
}

#[tokio::test]
async fn unicode_comes_back_as_it_was_sent() {
    let stage = Stage::set().await;
    let replica = stage.replica().await;
    let title = "\u{5d0}\u{5d1} \u{1f469}\u{200d}\u{1f4bb} e\u{301} \"quoted\" \\ </script> \u{202e}x";
    let post = json!({"author": "ann", "title": title, "body": title, "tags": ["\u{c9}T\u{c9}", "\u{6771}\u{4eac}"]});
    let written = replica.post("/posts", &post).await.expect(201);
    for _ in 0..2 {
        let read = replica.get(written.header("location")).await.expect(200).json();
        assert_eq!((&read["title"], &read["body"]), (&json!(title), &json!(title)));
        assert_eq!(read["tags"], json!(["\u{e9}t\u{e9}", "\u{6771}\u{4eac}"]));
    }
    let listed = replica.get("/posts?tag=%E6%9D%B1%E4%BA%AC").await.expect(200).json();
    assert_eq!(listed["items"][0]["title"], title);
    let listed = replica.get("/posts?tag=%C3%89T%C3%89").await.expect(200).json();
    assert_eq!(listed["items"].as_array().unwrap().len(), 1, "case does not count");
}

#[tokio::test]
async fn every_answer_has_a_request_id() {
    let stage = Stage::set().await;
    let replica = stage.replica().await;
    let answer = replica.request(Method::GET, "/posts/1").header("x-request-id", "mine-1").send().await;
    assert_eq!(answer.header("x-request-id"), "mine-1");
    assert_eq!(answer.problem(404)["request_id"], "mine-1");
    assert_eq!(replica.get("/noop").await.expect(200).header("x-request-id").len(), 32);
}
