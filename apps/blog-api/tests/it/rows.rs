//! What the schema itself sees to: versions, tags, counts, and constraints that have a name for the client.

use ::http::Method;
use blog_api::config::CacheMode;
use serde_json::json;
use service::Problem;

use crate::stage::{Stage, migrated};

#[tokio::test]
async fn triggers_keep_version_tags_and_counts_in_step() {
    let database = migrated().await;
    let pool = sqlx::PgPool::connect(&database.url()).await.unwrap();
    let run = async |sql: &'static str| sqlx::raw_sql(sql).execute(&pool).await.unwrap();
    let post = async || -> (i64, i32) {
        sqlx::query_as("select version, comment_count from blog.posts where id = 1").fetch_one(&pool).await.unwrap()
    };
    let tags = async || -> Vec<String> {
        sqlx::query_scalar("select tag from blog.post_tags where post_id = 1 order by tag")
            .fetch_all(&pool)
            .await
            .unwrap()
    };
    run("insert into blog.posts (author_id, title, body, tags) values (1, 't', 'b', '{b,a,b}')").await;
    assert_eq!((post().await, tags().await), ((1, 0), vec!["a".into(), "b".into()]));
    // Whatever an update says about the version, the trigger decides.
    run("update blog.posts set version = 99, tags = '{b,c}'").await;
    assert_eq!((post().await, tags().await), ((2, 0), vec!["b".into(), "c".into()]));
    run("insert into blog.comments (post_id, author, body) values (1, 'a', 'x'), (1, 'b', 'y'), (1, 'c', 'z')").await;
    assert_eq!(post().await, (5, 3));
    run("delete from blog.comments where author < 'c'").await;
    assert_eq!(post().await, (6, 1));
    // A bulk load brings rows that are in step already.
    run("begin; set local blog.bulk_load = 'on';
         insert into blog.comments (post_id, author, body) values (1, 'd', 'x');
         insert into blog.posts (author_id, title, body, tags) values (1, 't', 'b', '{z}'); commit")
    .await;
    assert_eq!(post().await, (6, 1));
    let filed: i64 =
        sqlx::query_scalar("select count(*) from blog.post_tags where tag = 'z'").fetch_one(&pool).await.unwrap();
    assert_eq!(filed, 0);
    // The setting ends with its transaction.
    run("insert into blog.comments (post_id, author, body) values (1, 'e', 'x')").await;
    assert_eq!(post().await, (7, 2));
    let moved = sqlx::query("update blog.comments set post_id = 2").execute(&pool).await.unwrap_err();
    assert!(moved.to_string().contains("a comment stays with its post"), "{moved}");
    run("delete from blog.posts where id = 1").await;
    let left: i64 =
        sqlx::query_scalar("select count(*) from blog.comments where post_id = 1").fetch_one(&pool).await.unwrap();
    assert_eq!((tags().await, left), (vec![], 0));
}

/// The types of the domain keep clients from most of these. A row that went away in between they cannot see.
#[tokio::test]
async fn violated_constraints_are_named_client_errors() {
    let database = migrated().await;
    let pool = sqlx::PgPool::connect(&database.url()).await.unwrap();
    let problem = async |sql: &'static str| {
        let error = sqlx::raw_sql(sql).execute(&pool).await.unwrap_err();
        let problem = Problem::from(blog_api::Error::from(error));
        (problem.status().as_u16(), format!("{problem:?}"))
    };
    let cases = [
        ("insert into blog.posts (author_id, title, body) values (99, 't', 'b')", 422, "/author"),
        ("insert into blog.posts (author_id, title, body) values (1, '', 'b')", 422, "/title"),
        ("insert into blog.posts (author_id, title, body) values (1, 't', repeat('x', 65537))", 422, "/body"),
        (
            "insert into blog.posts (author_id, title, body, tags) values (1, 't', 'b', '{1,2,3,4,5,6,7,8,9,10,11}')",
            422,
            "/tags",
        ),
        ("insert into blog.comments (post_id, author, body) values (99, 'a', 'b')", 404, "no such post"),
    ];
    sqlx::query("insert into blog.posts (author_id, title, body) values (1, 't', 'b')").execute(&pool).await.unwrap();
    for (sql, status, named) in cases {
        let (got, text) = problem(sql).await;
        assert_eq!(got, status, "{sql}: {text}");
        assert!(text.contains(named), "{sql}: {text}");
    }
    for (sql, named) in [
        ("insert into blog.comments (post_id, author, body) values (1, '', 'b')", "/author"),
        ("insert into blog.comments (post_id, author, body) values (1, 'a', '')", "/body"),
    ] {
        let (status, text) = problem(sql).await;
        assert!(status == 422 && text.contains(named), "{status} {text}");
    }
    // Anything else is one opaque 500.
    let (status, text) = problem("select 1 / 0").await;
    assert!(status == 500 && !text.contains("zero"), "{status} {text}");
}

/// The row is locked before its author is looked up: a change of the author that was waited for must not make the post
/// look as if it were gone.
#[tokio::test(flavor = "multi_thread")]
async fn changes_of_one_posts_author_do_not_lose_the_post() {
    let stage = Stage::set().await;
    let replica = stage.replica_with(CacheMode::Off).await;
    let post = json!({"author": "ann", "title": "t", "body": "b", "tags": ["x"]});
    let written = replica.post("/posts", &post).await.expect(201);
    let path = written.header("location").to_owned();
    for round in 0..10 {
        let changes = (0..12).map(|n| {
            let author = ["ann", "bob", "cara"][(n + round) % 3];
            let body = json!({"title": "t", "body": "b", "tags": [format!("tag{n}")], "author": author});
            replica.request(Method::PUT, &path).json(&body).send()
        });
        for answer in futures_util::future::join_all(changes).await {
            answer.expect(200);
        }
    }
    let comments = (0..12).map(|n| {
        let author = ["ann", "bob", "cara"][n % 3];
        let comment = replica.post_request(&format!("{path}/comments"), &json!({"author": "a", "body": "b"}));
        let change = json!({"title": "t", "body": "b", "tags": [], "author": author});
        let change = replica.request(Method::PUT, &path).json(&change).send();
        async move { tokio::join!(comment.send(), change) }
    });
    for (comment, change) in futures_util::future::join_all(comments).await {
        comment.expect(201);
        change.expect(200);
    }
    let read = replica.get(&path).await.expect(200).json();
    assert_eq!((&read["comment_count"], &read["version"]), (&json!(12), &json!(1 + 120 + 24)));
}
