//! What the schema itself sees to: versions, what is searched in, and constraints that have a name for the client.

use service::Problem;

use crate::stage::migrated;

#[tokio::test]
async fn triggers_keep_version_and_search_in_step() {
    let database = migrated().await;
    let pool = sqlx::PgPool::connect(&database.url()).await.unwrap();
    let run = async |sql: &'static str| sqlx::raw_sql(sql).execute(&pool).await;
    let product = async || -> (i64, bool, bool) {
        sqlx::query_as("select version, search @@ 'oak'::tsquery, search @@ 'elm'::tsquery from shop.products")
            .fetch_one(&pool)
            .await
            .unwrap()
    };
    run("insert into shop.products (category_id, name, price_cents, currency) values (1, 'Oak', 1, 'EUR')")
        .await
        .unwrap();
    assert_eq!(product().await, (1, true, false));
    // Whatever an update says about the version or the search, the triggers decide.
    run("update shop.products set version = 99, price_cents = 2").await.unwrap();
    assert_eq!(product().await, (2, true, false));
    run("update shop.products set description = 'elm and oak', search = ''").await.unwrap();
    assert_eq!(product().await, (3, true, true));
    run("update shop.products set search = 'elm'::tsvector, name = 'Ash', description = ''").await.unwrap();
    assert_eq!(product().await, (4, false, false));
    run("update shop.products set category_id = 1").await.unwrap();
    let moved = run("update shop.products set category_id = 2").await.unwrap_err();
    assert!(moved.to_string().contains("a product stays in its category"), "{moved}");
    // The id of a deleted product never comes back.
    run("delete from shop.products").await.unwrap();
    run("insert into shop.products (category_id, name, price_cents, currency) values (1, 'Oak', 1, 'EUR')")
        .await
        .unwrap();
    let id: i64 = sqlx::query_scalar("select id from shop.products").fetch_one(&pool).await.unwrap();
    assert_eq!(id, 2);
}

/// The types of the domain keep clients from these. A row that went away in between they cannot see.
#[tokio::test]
async fn violated_constraints_are_named_client_errors() {
    let database = migrated().await;
    let pool = sqlx::PgPool::connect(&database.url()).await.unwrap();
    let problem = async |values: &str| {
        let sql = format!(
            "insert into shop.products (category_id, name, description, price_cents, currency, stock) values ({values})"
        );
        let error = sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&pool).await.unwrap_err();
        let problem = Problem::from(shop_api::Error::from(error));
        (problem.status().as_u16(), format!("{problem:?}"))
    };
    for (values, named) in [
        ("99, 'n', '', 1, 'EUR', 1", "/category_id"),
        ("1, '', '', 1, 'EUR', 1", "/name"),
        ("1, 'n', repeat('x', 8193), 1, 'EUR', 1", "/description"),
        ("1, 'n', '', -1, 'EUR', 1", "/price/amount"),
        ("1, 'n', '', 1000000000001, 'EUR', 1", "/price/amount"),
        ("1, 'n', '', 1, 'eur', 1", "/price/currency"),
        ("1, 'n', '', 1, 'EUR', -1", "/stock"),
    ] {
        let (status, text) = problem(values).await;
        assert!(status == 422 && text.contains(named), "{values}: {status} {text}");
    }
    let (status, text) = problem("1 / 0, 'n', '', 1, 'EUR', 1").await;
    assert!(status == 500 && !text.contains("zero"), "{status} {text}");
}
