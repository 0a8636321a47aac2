//! The committed query cache of a crate.

use std::path::Path;

use serde_json::Value;
use sqlx::{AssertSqlSafe, Executor, PgPool, SqlSafeStr};

/// Panics unless each query in `.sqlx` of the crate in this folder is what a migrated database says of it, and there are as many as in
/// its source: one that is no longer there would stay in the cache unnoticed.
pub async fn check_queries(database_url: &str, crate_folder: &Path) {
    let pool = PgPool::connect(database_url).await.unwrap();
    let mut cached = 0;
    for file in crate_folder.join(".sqlx").read_dir().unwrap() {
        let file = file.unwrap().path();
        let query: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        let sql = AssertSqlSafe(query["query"].as_str().unwrap().to_owned()).into_sql_str();
        let described = (&pool).describe(sql).await.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        assert_eq!(query["describe"], serde_json::to_value(described).unwrap(), "{}: out of date", file.display());
        cached += 1;
    }
    pool.close().await;
    let queries = queries_below(&crate_folder.join("src"));
    assert!(queries > 0);
    assert_eq!(cached, queries, "queries in .sqlx and in the source");
}

/// How many queries the source files of a folder, and of the folders in it, have.
fn queries_below(folder: &Path) -> usize {
    let of = |file: std::io::Result<std::fs::DirEntry>| {
        let path = file.unwrap().path();
        if path.is_dir() {
            return queries_below(&path);
        }
        if path.extension().is_none_or(|extension| extension != "rs") {
            return 0;
        }
        let text = std::fs::read_to_string(path).unwrap();
        ["sqlx::query!(", "sqlx::query_as!(", "sqlx::query_scalar!("]
            .map(|call| text.matches(call).count())
            .iter()
            .sum()
    };
    folder.read_dir().unwrap().map(of).sum()
}
