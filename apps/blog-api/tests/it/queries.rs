//! The committed query cache against the schema as the migrations make it. After a change of a query or a migration:
//! `apps/blog-api/prepare-queries.sh`.

use std::path::Path;

use serde_json::Value;
use sqlx::{AssertSqlSafe, Executor, SqlSafeStr};

use crate::stage::migrated;

#[tokio::test]
async fn each_cached_query_is_what_the_database_says_of_it() {
    let database = migrated().await;
    let pool = sqlx::PgPool::connect(&database.url()).await.unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(".sqlx");
    let mut cached = 0;
    for file in folder.read_dir().unwrap() {
        let file = file.unwrap().path();
        let query: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        let sql = AssertSqlSafe(query["query"].as_str().unwrap().to_owned()).into_sql_str();
        let described = (&pool).describe(sql).await.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        assert_eq!(query["describe"], serde_json::to_value(described).unwrap(), "{}: out of date", file.display());
        cached += 1;
    }
    // A query that is no longer in the source would stay in the folder unnoticed.
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store");
    let sources = source.read_dir().unwrap().map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap());
    let queries: usize =
        sources.map(|text| text.matches("sqlx::query!(").count() + text.matches("sqlx::query_as!(").count()).sum();
    assert!(queries > 0);
    assert_eq!(cached, queries, "queries in .sqlx and in the source");
}
