//! Each kind of write: what it changes shows at once, on every replica, and what it does not change stays in the cache.

use std::collections::BTreeSet;

use blog_api::config::CacheMode;
use serde_json::json;

use testbed::api::Answer;

use crate::stage::{Replica, Stage};

/// Two replicas, the truth beside them, and every kind of page.
struct Scene {
    writer: Replica,
    reader: Replica,
    /// Reads past the cache.
    truth: Replica,
    _stage: Stage,
}

/// Posts 1 to 4: ann's with x and y, ann's with y, bob's with x, cara's with z.
const POSTS: [(&str, &[&str]); 4] = [("ann", &["x", "y"]), ("ann", &["y"]), ("bob", &["x"]), ("cara", &["z"])];

const PAGES: &[&str] = &[
    "/posts/1",
    "/posts/2",
    "/posts/3",
    "/posts/4",
    "/posts/5",
    "/posts",
    "/posts?limit=2",
    "/posts?after=AQAAAAAAAAAD",
    "/posts?author=ann",
    "/posts?author=ann&limit=1",
    "/posts?author=bob",
    "/posts?author=cara",
    "/posts?tag=x",
    "/posts?tag=y",
    "/posts?tag=z",
    "/posts?tag=new",
    "/posts?author=ann&tag=y",
    "/posts?author=bob&tag=x",
    "/posts?author=cara&tag=z",
    "/authors/ann",
    "/authors/bob",
    "/authors/cara",
    "/authors/nobody",
    "/posts/popular",
];

const ALL_POSTS: [&str; 3] = ["/posts", "/posts?limit=2", "/posts?after=AQAAAAAAAAAD"];
const OF_ANN: [&str; 4] = ["/posts?author=ann", "/posts?author=ann&limit=1", "/posts?author=ann&tag=y", "/authors/ann"];
const OF_BOB: [&str; 3] = ["/posts?author=bob", "/posts?author=bob&tag=x", "/authors/bob"];
const OF_CARA: [&str; 3] = ["/posts?author=cara", "/posts?author=cara&tag=z", "/authors/cara"];

impl Scene {
    async fn set() -> Self {
        let stage = Stage::set().await;
        let scene = Self {
            writer: stage.replica().await,
            reader: stage.replica().await,
            truth: stage.replica_with(CacheMode::Off).await,
            _stage: stage,
        };
        for (n, (author, tags)) in POSTS.into_iter().enumerate() {
            let id = scene.writer.write(author, &format!("Post {n}"), tags).await;
            assert_eq!(id, i64::try_from(n).unwrap() + 1);
        }
        scene.warm().await;
        scene
    }

    async fn warm(&self) {
        for page in PAGES {
            self.reader.get(page).await;
            let warm = self.writer.get(page).await;
            assert!(["HIT", "NEGATIVE"].contains(&warm.header("x-cache")), "{page}: {warm:?}");
        }
    }

    /// After a write: these pages were read anew and show what the database has, all others came from the cache.
    async fn assert_invalidated(&self, expected: impl IntoIterator<Item = &'static str>) {
        let expected: BTreeSet<&str> = expected.into_iter().collect();
        let mut missed = BTreeSet::new();
        for page in PAGES {
            let read = self.reader.get(page).await;
            if !["HIT", "NEGATIVE"].contains(&read.header("x-cache")) {
                assert_eq!(read.header("x-cache"), "MISS", "{page}: {read:?}");
                missed.insert(*page);
            }
            if *page != "/posts/popular" {
                self.assert_true(page, &read).await;
            }
        }
        assert_eq!(missed, expected);
    }

    async fn assert_true(&self, page: &str, read: &Answer) {
        let truth = self.truth.get(page).await;
        assert_eq!(read.status, truth.status, "{page}");
        if read.status == 200 {
            assert_eq!((&read.body, read.header("etag")), (&truth.body, truth.header("etag")), "{page}");
        }
    }
}

#[track_caller]
fn assert_applied(answer: &Answer) {
    assert!(answer.status.is_success(), "{answer:?}");
    assert_eq!(answer.header("x-cache-write"), "applied", "{answer:?}");
}

#[tokio::test]
async fn a_changed_title() {
    let scene = Scene::set().await;
    let put = json!({"title": "New", "body": "b", "tags": ["x", "y"]});
    assert_applied(&scene.writer.put("/posts/1", &put).await);
    let tags = ["/posts?tag=x", "/posts?tag=y", "/posts/1"];
    scene.assert_invalidated(ALL_POSTS.into_iter().chain(OF_ANN).chain(tags)).await;
}

#[tokio::test]
async fn changed_tags_the_old_and_the_new_ones() {
    let scene = Scene::set().await;
    let put = json!({"title": "Post 2", "body": "b", "tags": ["new"]});
    assert_applied(&scene.writer.put("/posts/3", &put).await);
    let tags = ["/posts?tag=x", "/posts?tag=new", "/posts/3"];
    scene.assert_invalidated(ALL_POSTS.into_iter().chain(OF_BOB).chain(tags)).await;
    // And it stands in the new list.
    assert_eq!(scene.reader.get("/posts?tag=new").await.json()["items"][0]["id"], 3);
}

#[tokio::test]
async fn a_changed_author_the_old_and_the_new_one() {
    let scene = Scene::set().await;
    let put = json!({"title": "Post 3", "body": "b", "tags": ["z"], "author": "ann"});
    assert_applied(&scene.writer.put("/posts/4", &put).await);
    let others = ["/posts?tag=z", "/posts/4"];
    scene.assert_invalidated(ALL_POSTS.into_iter().chain(OF_CARA).chain(OF_ANN).chain(others)).await;
    assert_eq!(scene.reader.get("/authors/cara").await.json()["post_count"], 0);
}

#[tokio::test]
async fn a_deleted_post() {
    let scene = Scene::set().await;
    assert_applied(&scene.writer.delete("/posts/3").await);
    let others = ["/posts?tag=x", "/posts/3"];
    scene.assert_invalidated(ALL_POSTS.into_iter().chain(OF_BOB).chain(others)).await;
}

#[tokio::test]
async fn a_new_post() {
    let scene = Scene::set().await;
    let post = json!({"author": "cara", "title": "t", "body": "b", "tags": ["x", "new"]});
    assert_applied(&scene.writer.post("/posts", &post).await);
    let others = ["/posts?tag=x", "/posts?tag=new", "/posts/5"];
    scene.assert_invalidated(ALL_POSTS.into_iter().chain(OF_CARA).chain(others)).await;
}

#[tokio::test]
async fn a_comment() {
    let scene = Scene::set().await;
    assert_applied(&scene.writer.post("/posts/2/comments", &json!({"author": "a", "body": "b"})).await);
    let others = ["/posts?tag=y", "/posts/2"];
    scene.assert_invalidated(ALL_POSTS.into_iter().chain(OF_ANN).chain(others)).await;
    assert_eq!(scene.reader.get("/posts/2").await.json()["comment_count"], 1);
}

#[tokio::test]
async fn a_write_that_is_refused_changes_and_invalidates_nothing() {
    let scene = Scene::set().await;
    let body = json!({"title": "New", "body": "b", "tags": [], "author": "nobody"});
    scene.writer.put("/posts/1", &body).await.problem(422);
    let body = json!({"title": "New", "body": "b", "tags": []});
    let stale = scene.writer.request(::http::Method::PUT, "/posts/1").header("if-match", "\"9\"").json(&body);
    stale.send().await.problem(412);
    scene.writer.put("/posts/77", &body).await.problem(404);
    scene.assert_invalidated([]).await;
}
