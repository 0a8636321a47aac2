//! `/posts`, `/posts/popular`, `/authors/{name}`: pages, filters, cursors, limits.

use serde_json::{Value, json};

use crate::stage::{Replica, Stage};

fn ids(page: &Value) -> Vec<i64> {
    page["items"].as_array().unwrap().iter().map(|item| item["id"].as_i64().unwrap()).collect()
}

/// All pages of a list, one after the other.
async fn walk(replica: &Replica, list: &str, limit: usize) -> Vec<Vec<i64>> {
    let mut pages = Vec::new();
    let mut after = String::new();
    loop {
        let page = replica.get(&format!("{list}limit={limit}{after}")).await.expect(200).json();
        pages.push(ids(&page));
        match page["next"].as_str() {
            Some(cursor) => after = format!("&after={cursor}"),
            None => return pages,
        }
        assert!(pages.len() < 100, "a list without an end");
    }
}

#[tokio::test]
async fn pages_show_each_post_once_newest_first() {
    let stage = Stage::set().await;
    let replica = stage.replica().await;
    let mut written = Vec::new();
    for n in 0..7 {
        let (author, tags) = if n % 2 == 0 { ("ann", &["even", "all"][..]) } else { ("bob", &["odd", "all"][..]) };
        written.push(replica.write(author, &format!("Post {n}"), tags).await);
    }
    written.reverse();
    let even: Vec<i64> = written.iter().copied().step_by(2).collect();
    for limit in [1, 2, 3, 7, 8, 100] {
        for (list, expected) in [
            ("/posts?", &written),
            ("/posts?tag=all&", &written),
            ("/posts?author=ann&", &even),
            ("/posts?tag=EVEN&", &even),
            ("/posts?tag=all&author=ann&", &even),
        ] {
            let pages = walk(&replica, list, limit).await;
            assert_eq!(&pages.concat(), expected, "{list} by {limit}");
            assert_eq!(pages.len(), expected.len().div_ceil(limit), "{list} by {limit}: no empty last page");
            assert!(pages.iter().all(|page| page.len() <= limit));
        }
    }
    let first = replica.get("/posts?limit=1").await.json();
    let post = replica.get(&format!("/posts/{}", written[0])).await.json();
    for field in ["id", "title", "tags", "author", "comment_count", "views", "version", "created_at", "updated_at"] {
        assert_eq!(first["items"][0][field], post[field], "{field}");
    }
    assert!(first["items"][0].get("body").is_none());
}

#[tokio::test]
async fn a_filter_that_nothing_matches_is_an_empty_page() {
    let stage = Stage::set().await;
    let replica = stage.replica().await;
    replica.write("ann", "t", &["x"]).await;
    for list in ["/posts?author=nobody", "/posts?tag=none", "/posts?author=bob&tag=x", "/posts?author=ann&tag=none"] {
        assert_eq!(replica.get(list).await.expect(200).json(), json!({"items": [], "next": null}), "{list}");
    }
}

#[tokio::test]
async fn twenty_posts_unless_told() {
    let stage = Stage::set().await;
    let replica = stage.replica().await;
    let pool = stage.pool().await;
    sqlx::query(
        "insert into blog.posts (author_id, title, body) select 1, 't' || n, 'b' from generate_series(1, 130) n",
    )
    .execute(&pool)
    .await
    .unwrap();
    assert_eq!(ids(&replica.get("/posts").await.expect(200).json()).len(), 20);
    assert_eq!(ids(&replica.get("/posts?limit=100").await.expect(200).json()).len(), 100);
    assert_eq!(ids(&replica.get("/posts/popular").await.expect(200).json()).len(), 20);
    assert_eq!(ids(&replica.get("/posts/popular?limit=100").await.expect(200).json()).len(), 100);
    assert_eq!(replica.get("/authors/ann").await.expect(200).json()["latest"].as_array().unwrap().len(), 10);
}

#[tokio::test]
async fn the_limits_of_every_parameter() {
    let stage = Stage::set().await;
    let replica = stage.replica().await;
    for limit in ["0", "101", "-1", "+5", "1.5", "x", "", "99999999999999999999", "1%00"] {
        replica.get(&format!("/posts?limit={limit}")).await.wrong_fields(400, &["limit"]);
        replica.get(&format!("/posts/popular?limit={limit}")).await.wrong_fields(400, &["limit"]);
    }
    for author in ["", "Ann", "-a", "a%20b", "a%00", &"x".repeat(64)] {
        replica.get(&format!("/posts?author={author}")).await.wrong_fields(400, &["author"]);
    }
    replica.get(&format!("/posts?author={}", "x".repeat(63))).await.expect(200);
    for tag in ["", "%20", "a%00", "a%0Ab", &"x".repeat(51)] {
        replica.get(&format!("/posts?tag={tag}")).await.wrong_fields(400, &["tag"]);
    }
    replica.get(&format!("/posts?tag={}", "%F0%9F%A6%80".repeat(50))).await.expect(200);
    for query in ["foo=1", "limit=1&limit=2", "AUTHOR=ann"] {
        replica.get(&format!("/posts?{query}")).await.problem(400);
    }
    replica.get("/posts/popular?after=AQAAAAAAAAAB").await.problem(400);
    // Query strings are decoded leniently: this is a tag that nothing has, the character U+FFFD.
    assert_eq!(replica.get("/posts?tag=%ff").await.expect(200).json()["items"], json!([]));
    for (bytes, status) in [("0", 200), ("65536", 200), ("65537", 400), ("-1", 400), ("x", 400)] {
        replica.get(&format!("/noop?bytes={bytes}")).await.expect(status);
    }
}

#[tokio::test]
async fn a_hostile_cursor_is_400() {
    let stage = Stage::set().await;
    let replica = stage.replica().await;
    replica.write("ann", "t", &[]).await;
    let hostile = [
        "",
        "1",
        "AAAAAAAAAAAA",
        "AQAAAAAAAAAA",
        "Af__________",
        "AgAAAAAAAAAB",
        "AQAAAAAAAAAB%3D",
        "AQAAAAAAAAAB%20",
        "'%20or%201=1%20--",
        "AQAAAAAAAA%2B%2F",
        "%00%00%00%00%00%00%00%00%00%00%00%00",
        &"A".repeat(8_000),
    ];
    for cursor in hostile {
        replica.get(&format!("/posts?after={cursor}")).await.wrong_fields(400, &["after"]);
    }
    // What a client makes up is a place in the list all the same.
    assert_eq!(ids(&replica.get("/posts?after=AX__________").await.expect(200).json()).len(), 1);
    assert_eq!(ids(&replica.get("/posts?after=AQAAAAAAAAAB").await.expect(200).json()).len(), 0);
}

#[tokio::test]
async fn the_most_popular_posts_come_first() {
    let stage = Stage::set().await;
    let replica = stage.replica().await;
    let (low, discussed, viewed) = (
        replica.write("ann", "low", &[]).await,
        replica.write("bob", "discussed", &[]).await,
        replica.write("cara", "viewed", &[]).await,
    );
    let pool = stage.pool().await;
    sqlx::query("update blog.posts set views = 30 where id = $1").bind(viewed).execute(&pool).await.unwrap();
    for _ in 0..2 {
        replica.post(&format!("/posts/{discussed}/comments"), &json!({"author": "a", "body": "b"})).await.expect(201);
    }
    let popular = replica.get("/posts/popular").await.expect(200);
    assert_eq!(popular.header("cache-control"), "public, max-age=30, stale-while-revalidate=300");
    let all = popular.json();
    assert_eq!(ids(&all), [discussed, viewed, low]);
    let scores: Vec<i64> =
        all["items"].as_array().unwrap().iter().map(|item| item["score"].as_i64().unwrap()).collect();
    assert_eq!(scores, [40, 30, 0]);
    // One entry serves every limit.
    for limit in 1..=3 {
        let first = replica.get(&format!("/posts/popular?limit={limit}")).await.expect(200);
        assert_eq!(first.header("x-cache"), "HIT");
        assert_eq!(first.json()["items"].as_array().unwrap()[..], all["items"].as_array().unwrap()[..limit]);
    }
}

#[tokio::test]
async fn an_author_has_numbers_and_the_ten_newest_posts() {
    let stage = Stage::set().await;
    let replica = stage.replica().await;
    let empty = replica.get("/authors/ann").await.expect(200).json();
    assert_eq!((&empty["post_count"], &empty["comment_count"], &empty["latest"]), (&json!(0), &json!(0), &json!([])));
    assert_eq!((&empty["display_name"], &empty["bio"]), (&json!("Ann Ahlgren"), &json!("Writes.")));
    let mut written = Vec::new();
    for n in 0..12 {
        written.push(replica.write("ann", &format!("{n}"), &["x"]).await);
    }
    replica.write("bob", "another's", &["x"]).await;
    for id in [written[0], written[0], written[11]] {
        replica.post(&format!("/posts/{id}/comments"), &json!({"author": "a", "body": "b"})).await.expect(201);
    }
    let page = replica.get("/authors/ann").await.expect(200).json();
    assert_eq!((&page["post_count"], &page["comment_count"]), (&json!(12), &json!(3)));
    let latest: Vec<i64> = page["latest"].as_array().unwrap().iter().map(|item| item["id"].as_i64().unwrap()).collect();
    assert_eq!(latest, written.iter().rev().take(10).copied().collect::<Vec<_>>());
    assert_eq!(page["latest"][0]["comment_count"], 1);
}
