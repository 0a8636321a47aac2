//! The committed query cache against the schema as the migrations make it. After a change of a query or a migration:
//! `apps/shop-api/prepare-queries.sh`.

use std::path::Path;

use crate::stage::migrated;

#[tokio::test]
async fn each_cached_query_is_what_the_database_says_of_it() {
    let database = migrated().await;
    testbed::api::check_queries(&database.url(), Path::new(env!("CARGO_MANIFEST_DIR"))).await;
}
