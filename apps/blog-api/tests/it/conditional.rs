//! `If-None-Match` and `If-Match`.

use ::http::Method;
use serde_json::json;

use testbed::api::Answer;

use crate::stage::{Replica, Stage};

async fn if_none_match(replica: &Replica, path: &str, tags: &str) -> Answer {
    replica.request(Method::GET, path).header("if-none-match", tags).send().await
}

#[tokio::test]
async fn a_client_that_has_it_gets_304_with_the_same_headers() {
    let stage = Stage::set().await;
    let replica = stage.replica().await;
    let id = replica.write("ann", "t", &["x"]).await;
    let post = format!("/posts/{id}");
    for path in [&*post, "/posts", "/posts?author=ann", "/posts?tag=x", "/posts/popular", "/authors/ann"] {
        let full = replica.get(path).await.expect(200);
        let tag = full.header("etag");
        assert!(tag.starts_with('"') && tag.ends_with('"') && tag.len() > 2, "{tag}");
        for same in
            [tag.to_owned(), format!("W/{tag}"), "*".to_owned(), format!("\"other\", {tag}"), format!("\"a\",,{tag},")]
        {
            let unchanged = if_none_match(&replica, path, &same).await.expect(304);
            assert!(unchanged.body.is_empty());
            assert_eq!(unchanged.header("x-cache"), "HIT");
            for header in ["etag", "cache-control"] {
                assert_eq!(unchanged.header(header), full.header(header), "{path}");
            }
            assert!(unchanged.headers.contains_key("age") && unchanged.headers.contains_key("cache-status"));
            assert!(!unchanged.headers.contains_key("content-type"));
        }
        for other in ["\"other\"", "", "nonsense", &tag[1..tag.len() - 1], "\"\0\"".trim_matches('\0'), "W/*"] {
            let answer =
                replica.request(Method::GET, path).header("if-none-match", &other.replace('\0', "")).send().await;
            assert_eq!(answer.expect(200).body, full.body, "{other:?}");
        }
    }
    // Two headers are one list.
    let two = replica.request(Method::GET, &post).header("if-none-match", "\"9\"").header("if-none-match", "\"1\"");
    two.send().await.expect(304);
    // A miss answers 304 as well: the client has what the database has.
    replica.put(&post, &json!({"title": "t", "body": "b", "tags": ["x"]})).await.expect(200);
    let miss = if_none_match(&replica, &post, "\"2\"").await.expect(304);
    assert_eq!(miss.header("x-cache"), "MISS");
    if_none_match(&replica, &post, "\"1\"").await.expect(200);
    if_none_match(&replica, "/posts/999", "*").await.problem(404);
}

#[tokio::test]
async fn a_list_has_another_tag_once_it_has_changed_and_the_same_on_every_replica() {
    let stage = Stage::set().await;
    let (one, other) = (stage.replica().await, stage.replica_with(blog_api::config::CacheMode::Off).await);
    let id = one.write("ann", "t", &["x"]).await;
    for path in ["/posts", "/posts?author=ann", "/posts?tag=x", "/authors/ann"] {
        let before = one.get(path).await.expect(200);
        assert_eq!(before.header("etag"), other.get(path).await.header("etag"));
        one.put(&format!("/posts/{id}"), &json!({"title": "t", "body": "b", "tags": ["x"]})).await.expect(200);
        let changed = if_none_match(&one, path, before.header("etag")).await.expect(200);
        assert_ne!(changed.header("etag"), before.header("etag"));
    }
}

#[tokio::test]
async fn a_change_is_made_only_to_the_version_that_was_meant() {
    let stage = Stage::set().await;
    let replica = stage.replica().await;
    let id = replica.write("ann", "t", &[]).await;
    let path = format!("/posts/{id}");
    let body = json!({"title": "new", "body": "b", "tags": []});
    let put = |tags: &str| replica.request(Method::PUT, &path).header("if-match", tags).json(&body).send();

    put("\"1\"").await.expect(200);
    for stale in ["\"1\"", "W/\"2\"", "\"02\"", "\"\"", "\"1\", \"3\"", &format!("\"{}\"", "2".repeat(5_000))] {
        let refused = put(stale).await;
        assert_eq!(refused.header("etag"), "\"2\"", "{stale}");
        refused.problem(412);
        let refused = replica.request(Method::DELETE, &path).header("if-match", stale).send().await;
        assert_eq!(refused.header("etag"), "\"2\"");
        refused.problem(412);
    }
    for malformed in ["2", "\"2", "\"2\" \"3\"", "**", "'2'"] {
        put(malformed).await.problem(400);
        replica.request(Method::DELETE, &path).header("if-match", malformed).send().await.problem(400);
    }
    assert_eq!(replica.get(&path).await.header("etag"), "\"2\"", "nothing of this has changed the post");

    put("*").await.expect(200);
    put("\"1\", \"3\"").await.expect(200);
    let two = replica.request(Method::PUT, &path).header("if-match", "\"9\"").header("if-match", "\"4\"").json(&body);
    assert_eq!(two.send().await.expect(200).header("etag"), "\"5\"");
    replica.request(Method::DELETE, &path).header("if-match", "\"5\"").send().await.expect(204);
    // What is not there is 404, whatever was meant.
    put("*").await.problem(404);
    put("\"5\"").await.problem(404);
    replica.request(Method::DELETE, &path).header("if-match", "*").send().await.problem(404);
}

#[tokio::test]
async fn of_many_who_mean_the_same_version_one_wins() {
    let stage = Stage::set().await;
    let (one, other) = (stage.replica().await, stage.replica().await);
    let path = format!("/posts/{}", one.write("ann", "t", &[]).await);
    let puts = (0..16).map(|n| {
        let replica = if n % 2 == 0 { &one } else { &other };
        let body = json!({"title": format!("{n}"), "body": "b", "tags": []});
        replica.request(Method::PUT, &path).header("if-match", "\"1\"").json(&body).send()
    });
    let answers = futures_util::future::join_all(puts).await;
    let won: Vec<&Answer> = answers.iter().filter(|answer| answer.status == 200).collect();
    assert_eq!(won.len(), 1);
    assert!(answers.iter().all(|answer| answer.status == 200 || answer.status == 412));
    let read = other.get(&path).await.expect(200);
    assert_eq!((read.header("etag"), read.json()), ("\"2\"", won[0].json()));
}
