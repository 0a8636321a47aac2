//! Seeding the shop: complete, the same everywhere, in whole chunks whatever happens. What both seedings share is tested on the blog.

use std::process::Command;
use std::time::Instant;

use rustix::process::Signal;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _};
use testbed::Database;

use crate::programs::{PATIENCE, Running, Said, lab, migrate_shop, run};

/// Four chunks, the last of them short.
const PRODUCTS: &str = "8200";

fn seeder(database: &Database, products: &str) -> Command {
    lab(&["shop", "seed", "--products", products, "--database-url", &database.url()])
}

fn seed(database: &Database, products: &str) -> Said {
    run(seeder(database, products))
}

async fn shop() -> (Database, PgConnection) {
    let database = testbed::database("shop", migrate_shop).await;
    let db = PgConnection::connect(&database.url()).await.unwrap();
    (database, db)
}

async fn one<T>(db: &mut PgConnection, query: &str) -> T
where
    T: Send + Unpin + for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    sqlx::query_scalar(AssertSqlSafe(query.to_owned())).fetch_one(db).await.unwrap()
}

/// Every constraint, index and trigger of the schema, as the catalog defines them.
async fn structure(db: &mut PgConnection) -> Vec<String> {
    sqlx::query_scalar(
        "select format('%s %s %s', conrelid::regclass, conname, pg_get_constraintdef(oid)) from pg_constraint
         where connamespace = 'shop'::regnamespace
         union all
         select indexdef from pg_indexes where schemaname = 'shop'
         union all
         select pg_get_triggerdef(t.oid) || ' ' || t.tgenabled::text from pg_trigger t join pg_class c on c.oid = t.tgrelid
         where c.relnamespace = 'shop'::regnamespace and not t.tgisinternal
         order by 1",
    )
    .fetch_all(db)
    .await
    .unwrap()
}

/// All rows of both tables, as one number per table.
async fn rows(db: &mut PgConnection) -> Vec<String> {
    let mut sums = Vec::new();
    for table in ["categories", "products"] {
        let query = format!("select count(*) || ' ' || sum(hashtextextended(t::text, 0)) from shop.{table} t");
        sums.push(one::<String>(db, &query).await);
    }
    sums
}

#[tokio::test]
async fn a_seeded_shop_is_complete_and_works() {
    let (database, mut db) = shop().await;
    let before = structure(&mut db).await;
    let said = seed(&database, PRODUCTS);
    assert_eq!(said.code, Some(0), "{said:?}");

    assert_eq!(structure(&mut db).await, before);
    assert_eq!(one::<i64>(&mut db, "select count(*) from shop.products").await, 8_200);
    assert_eq!(one::<i64>(&mut db, "select count(*) from shop.categories").await, 500);
    let largest = "select count(*) from shop.products where category_id = 1";
    assert!(one::<i64>(&mut db, largest).await > 820, "the largest category has more than a tenth");
    let found = "select count(*) from shop.products where search @@ plainto_tsquery('english', 'oak table')";
    assert!((1..40).contains(&one::<i64>(&mut db, found).await));

    // The triggers and the sequences are those of a shop that people write in.
    let version = "update shop.products set price_cents = 1 where id = 17 returning version";
    assert_eq!(one::<i64>(&mut db, version).await, 2);
    let id = "insert into shop.products (category_id, name, price_cents, currency) values (500, 'New', 1, 'EUR') returning id";
    assert_eq!(one::<i64>(&mut db, id).await, 8_201);

    let again = seed(&database, PRODUCTS);
    assert_eq!(again.code, Some(0), "{again:?}");
    assert!(again.stdout.contains("there already"), "{again:?}");
    assert_eq!(one::<i64>(&mut db, "select count(*) from shop.products").await, 8_201);
}

#[tokio::test]
async fn two_seeders_at_once_make_the_rows_of_one() {
    let (alone, mut db) = shop().await;
    assert_eq!(seed(&alone, PRODUCTS).code, Some(0));
    let expected = rows(&mut db).await;

    let (database, mut db) = shop().await;
    let (mut first, mut second) =
        (Running::start(seeder(&database, PRODUCTS)), Running::start(seeder(&database, PRODUCTS)));
    for seeder in [&mut first, &mut second] {
        assert_eq!(seeder.ended().code(), Some(0), "{}", seeder.said());
    }
    assert_eq!(rows(&mut db).await, expected);
}

#[tokio::test]
async fn a_killed_seeder_leaves_whole_chunks_and_the_next_one_goes_on() {
    let (alone, mut db) = shop().await;
    assert_eq!(seed(&alone, PRODUCTS).code, Some(0));
    let (expected, whole) = (rows(&mut db).await, structure(&mut db).await);

    let (database, mut db) = shop().await;
    // The third chunk waits for this lock, for as long as the test holds it.
    sqlx::raw_sql(
        "create function block() returns trigger language plpgsql as $$
         begin
             perform pg_advisory_xact_lock_shared(7, 7);
             return new;
         end $$;
         create trigger block before insert on shop.products for each row when (new.id = 5001) execute function block();
         select pg_advisory_lock(7, 7)",
    )
    .execute(&mut db)
    .await
    .unwrap();
    let mut seeder = Running::start(seeder(&database, PRODUCTS));
    until(&mut db, "select count(*) > 0 from pg_locks where locktype = 'advisory' and classid = 7 and not granted and database = (select oid from pg_database where datname = current_database())").await;
    seeder.signal(Signal::KILL);
    seeder.ended();
    sqlx::raw_sql("select pg_advisory_unlock(7, 7); drop trigger block on shop.products; drop function block")
        .execute(&mut db)
        .await
        .unwrap();
    until(&mut db, "select count(*) = 0 from pg_stat_activity where application_name = 'lab-seed' and datname = current_database()").await;
    let half =
        "select (select count(*) from shop.products) = (select coalesce(sum(items), 0)::bigint from lab.seed_chunk)";
    assert!(one::<bool>(&mut db, half).await, "a chunk is half there");
    assert_eq!(one::<i64>(&mut db, "select count(*) from lab.seed_run where finished_at is not null").await, 0);

    let said = seed(&database, PRODUCTS);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!((rows(&mut db).await, structure(&mut db).await), (expected, whole));
}

#[tokio::test]
async fn rows_that_are_not_the_labs_are_not_touched() {
    let (database, mut db) = shop().await;
    sqlx::query("insert into shop.categories (name) values ('mine')").execute(&mut db).await.unwrap();
    let said = seed(&database, "1000");
    assert_eq!(said.code, Some(64), "{said:?}");
    assert!(said.stderr.contains("did not make"), "{said:?}");
    assert_eq!(one::<i64>(&mut db, "select count(*) from shop.products").await, 0);

    let (database, _db) = shop().await;
    assert_eq!(seed(&database, "1000").code, Some(0));
    let said = seed(&database, "2000");
    assert_eq!(said.code, Some(64), "{said:?}");
    assert!(said.stderr.contains("--products 1000"), "{said:?}");
}

/// Waits until the query says yes.
async fn until(db: &mut PgConnection, query: &str) {
    let deadline = Instant::now() + PATIENCE;
    while !one::<bool>(db, query).await {
        assert!(Instant::now() < deadline, "waited in vain for: {query}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}
