//! Seeding a real database: complete, the same everywhere, in whole chunks whatever happens.

use std::process::Command;

use rustix::process::Signal;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _};
use testbed::Database;

use crate::programs::{Running, Said, lab, migrate, run, wait_for};

/// Four chunks, the last of them short and its last block of comments broken.
const POSTS: &str = "15300";

fn seeder(database: &Database, posts: &str) -> Command {
    lab(&["blog", "seed", "--posts", posts, "--database-url", &database.url()])
}

fn seed(database: &Database, posts: &str) -> Said {
    run(seeder(database, posts))
}

async fn blog() -> (Database, PgConnection) {
    let database = testbed::database("blog", migrate).await;
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
         where connamespace = 'blog'::regnamespace
         union all
         select indexdef from pg_indexes where schemaname = 'blog'
         union all
         select pg_get_triggerdef(t.oid) || ' ' || t.tgenabled::text from pg_trigger t join pg_class c on c.oid = t.tgrelid
         where c.relnamespace = 'blog'::regnamespace and not t.tgisinternal
         order by 1",
    )
    .fetch_all(db)
    .await
    .unwrap()
}

/// All rows of all tables, as one number per table.
async fn rows(db: &mut PgConnection) -> Vec<String> {
    let mut sums = Vec::new();
    for table in ["authors", "posts", "post_tags", "comments"] {
        let query = format!("select count(*) || ' ' || sum(hashtextextended(t::text, 0)) from blog.{table} t");
        sums.push(one::<String>(db, &query).await);
    }
    sums
}

#[tokio::test]
async fn a_seeded_blog_is_complete_and_works() {
    let (database, mut db) = blog().await;
    let before = structure(&mut db).await;
    let said = seed(&database, POSTS);
    assert_eq!(said.code, Some(0), "{said:?}");

    assert_eq!(structure(&mut db).await, before);
    assert_eq!(one::<i64>(&mut db, "select count(*) from blog.posts").await, 15_300);
    assert_eq!(one::<i64>(&mut db, "select count(*) from blog.authors").await, 5_000);
    let comments: i64 = one(&mut db, "select count(*) from blog.comments").await;
    assert!((60_000..62_000).contains(&comments), "{comments} comments");
    let body: i64 = one(&mut db, "select avg(octet_length(body))::bigint from blog.posts").await;
    assert!((1_100..1_300).contains(&body), "bodies of {body} bytes");
    let wrong = "select count(*) from blog.posts p
                 where comment_count <> (select count(*) from blog.comments c where c.post_id = p.id)
                    or (select array_agg(t order by t) from unnest(tags) t)
                       is distinct from (select array_agg(tag order by tag) from blog.post_tags where post_id = p.id)";
    assert_eq!(one::<i64>(&mut db, wrong).await, 0);
    let analyzed =
        "select count(*) from pg_class where relnamespace = 'blog'::regnamespace and reltuples > 0 and relkind = 'r'
                    and relname in ('authors', 'posts', 'post_tags', 'comments')";
    assert_eq!(one::<i64>(&mut db, analyzed).await, 4);

    // The triggers and the sequences are those of a blog that people write in.
    sqlx::query("insert into blog.comments (post_id, author, body) values (17, 'author-0001', 'Hello')")
        .execute(&mut db)
        .await
        .unwrap();
    let (version, counted, there): (i64, i32, i64) = sqlx::query_as(
        "select version, comment_count, (select count(*) from blog.comments where post_id = 17) from blog.posts where id = 17",
    )
    .fetch_one(&mut db)
    .await
    .unwrap();
    assert_eq!((version, i64::from(counted)), (2, there));
    let id: i64 = one(
        &mut db,
        "insert into blog.posts (author_id, title, body, tags) values (1, 't', 'b', '{new}') returning id",
    )
    .await;
    assert_eq!(id, 15_301);
    assert_eq!(
        one::<i64>(&mut db, "select count(*) from blog.post_tags where tag = 'new' and post_id = 15301").await,
        1
    );

    let again = seed(&database, POSTS);
    assert_eq!(again.code, Some(0), "{again:?}");
    assert!(again.stdout.contains("there already"), "{again:?}");
    assert_eq!(one::<i64>(&mut db, "select count(*) from blog.posts").await, 15_301);
}

/// Makes the seeder stop at one point of its way, for as long as the test holds the lock `(7, 7)`.
async fn block(db: &mut PgConnection, event_and_table: &str, condition: &str) {
    // The seeder makes these tables only where they are missing; a first run that finds no posts makes them.
    sqlx::raw_sql(AssertSqlSafe(format!(
        "create function block() returns trigger language plpgsql as $$
         begin
             perform pg_advisory_xact_lock_shared(7, 7);
             return coalesce(new, old);
         end $$;
         create trigger block before {event_and_table} for each row when ({condition}) execute function block();
         select pg_advisory_lock(7, 7)"
    )))
    .execute(db)
    .await
    .unwrap();
}

async fn unblock(db: &mut PgConnection) {
    assert!(one::<bool>(db, "select pg_advisory_unlock(7, 7)").await);
}

/// A session of the seeder waits for the test's lock.
async fn until_blocked(db: &mut PgConnection) {
    let waiting = "select count(*) > 0 from pg_locks where locktype = 'advisory' and classid = 7 and objid = 7
                   and not granted and database = (select oid from pg_database where datname = current_database())";
    until(db, waiting).await;
}

/// Waits until the query says yes.
async fn until(db: &mut PgConnection, query: &str) {
    let deadline = std::time::Instant::now() + crate::programs::PATIENCE;
    while !one::<bool>(db, query).await {
        assert!(std::time::Instant::now() < deadline, "waited in vain for: {query}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// The ledger's tables, before a seeder runs: its own definition, taken from a database that one has seeded.
async fn ledger_tables(db: &mut PgConnection) {
    let (template, mut seeded) = blog().await;
    let said = seed(&template, "1000");
    assert_eq!(said.code, Some(0), "{said:?}");
    let columns: Vec<(String, String)> = sqlx::query_as(
        "select c.relname::text, string_agg(format('%I %s%s%s', a.attname, format_type(a.atttypid, a.atttypmod),
                    case when a.attnotnull then ' not null' else '' end,
                    coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), '')), ', ' order by a.attnum)
                || (select ', ' || string_agg(pg_get_constraintdef(k.oid), ', ') from pg_constraint k where k.conrelid = c.oid)
         from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0
         left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
         where c.relnamespace = 'lab'::regnamespace and c.relkind = 'r' group by c.oid, c.relname",
    )
    .fetch_all(&mut seeded)
    .await
    .unwrap();
    assert_eq!(columns.len(), 3, "{columns:?}");
    sqlx::raw_sql("create schema lab").execute(&mut *db).await.unwrap();
    for (table, columns) in columns {
        sqlx::raw_sql(AssertSqlSafe(format!("create table lab.{table} ({columns})"))).execute(&mut *db).await.unwrap();
    }
}

/// A seeder that is stopped at `point`, ended by `signal`, and run again.
async fn interrupted(point: (&str, &str), signal: Signal, meanwhile: &str) -> (Database, PgConnection) {
    let (database, mut db) = blog().await;
    let before = structure(&mut db).await;
    ledger_tables(&mut db).await;
    block(&mut db, point.0, point.1).await;
    let mut seeder = Running::start(seeder(&database, POSTS));
    until_blocked(&mut db).await;

    seeder.signal(signal);
    let status = seeder.ended();
    if signal == Signal::INT {
        assert_eq!(status.code(), Some(130), "{}", seeder.said());
    }
    unblock(&mut db).await;
    // The server notices that its client is gone when the blocked statement is over.
    let gone = "select count(*) = 0 from pg_stat_activity
                where application_name = 'lab-seed' and datname = current_database()";
    until(&mut db, gone).await;
    let (posts, recorded): (i64, i64) = sqlx::query_as(
        "select (select count(*) from blog.posts), (select coalesce(sum(items), 0)::bigint from lab.seed_chunk)",
    )
    .fetch_one(&mut db)
    .await
    .unwrap();
    assert_eq!(posts, recorded, "a chunk is half there");
    assert!(one::<bool>(&mut db, meanwhile).await, "not interrupted where it was meant to be");
    assert_eq!(one::<i64>(&mut db, "select count(*) from lab.seed_run where finished_at is not null").await, 0);

    let said = seed(&database, POSTS);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(structure(&mut db).await, before);
    (database, db)
}

#[tokio::test]
async fn an_interrupted_load_goes_on_and_ends_with_the_same_rows() {
    let third = ("insert on lab.seed_chunk", "new.first = 10001");
    let not_all =
        "select count(*) < 4 and not exists (select from lab.seed_chunk where first = 10001) from lab.seed_chunk";
    let (_interrupted, mut interrupted_db) = interrupted(third, Signal::INT, not_all).await;
    let (_killed, mut killed_db) = interrupted(third, Signal::KILL, not_all).await;
    let (straight, mut straight_db) = blog().await;
    assert_eq!(seed(&straight, POSTS).code, Some(0));

    let expected = rows(&mut straight_db).await;
    assert_eq!(rows(&mut interrupted_db).await, expected);
    assert_eq!(rows(&mut killed_db).await, expected);
}

#[tokio::test]
async fn an_interrupted_restoration_of_indexes_goes_on() {
    let a_foreign_key = ("delete on lab.seed_structure", "old.definition like '%FOREIGN KEY%'");
    let some_missing = "select count(*) = 3 from lab.seed_structure";
    interrupted(a_foreign_key, Signal::KILL, some_missing).await;
}

#[tokio::test]
async fn of_two_seeders_one_waits_for_the_other() {
    let (database, mut db) = blog().await;
    ledger_tables(&mut db).await;
    block(&mut db, "insert on lab.seed_chunk", "new.first = 10001").await;
    let mut first = Running::start(seeder(&database, POSTS));
    until_blocked(&mut db).await;
    let mut second = Running::start(seeder(&database, POSTS));
    second.until_said("another seeder is at work");
    unblock(&mut db).await;

    assert_eq!(first.ended().code(), Some(0), "{}", first.said());
    assert_eq!(second.ended().code(), Some(0), "{}", second.said());
    assert_eq!(one::<i64>(&mut db, "select count(*) from blog.posts").await, 15_300);
    assert_eq!(one::<i64>(&mut db, "select count(*) from lab.seed_chunk").await, 4);
}

#[tokio::test]
async fn what_is_loaded_wrongly_is_found() {
    let (database, mut db) = blog().await;
    ledger_tables(&mut db).await;
    block(&mut db, "insert on lab.seed_chunk", "new.first = 5001").await;
    let mut seeder = Running::start(seeder(&database, "6000"));
    until_blocked(&mut db).await;
    until(&mut db, "select count(*) = 1 from lab.seed_chunk").await;
    sqlx::raw_sql(
        "begin;
         set local blog.bulk_load = 'on';
         delete from blog.comments where id = 5;
         delete from blog.post_tags where post_id = 3;
         insert into blog.post_tags values ('wrong', 3);
         commit",
    )
    .execute(&mut db)
    .await
    .unwrap();
    unblock(&mut db).await;

    assert_eq!(seeder.ended().code(), Some(1), "{}", seeder.said());
    wait_for(|| seeder.said().contains("does not agree"), || seeder.said());
    let said = seeder.said();
    assert!(said.contains("blog.comments has") && said.contains("comment_count"), "{said}");
    assert_eq!(one::<i64>(&mut db, "select count(*) from lab.seed_run where finished_at is not null").await, 0);
}

#[tokio::test]
async fn rows_that_are_not_the_labs_are_not_touched() {
    let (database, mut db) = blog().await;
    sqlx::query("insert into blog.authors (name, display_name) values ('ann', 'Ann')").execute(&mut db).await.unwrap();
    let before = structure(&mut db).await;
    let said = seed(&database, "1000");
    assert_eq!(said.code, Some(64), "{said:?}");
    assert!(said.stderr.contains("did not make"), "{said:?}");
    assert_eq!(one::<i64>(&mut db, "select count(*) from blog.authors").await, 1);
    assert_eq!(structure(&mut db).await, before);
}

#[tokio::test]
async fn another_number_of_posts_is_refused() {
    let (database, mut db) = blog().await;
    assert_eq!(seed(&database, "1000").code, Some(0));
    let said = seed(&database, "2000");
    assert_eq!(said.code, Some(64), "{said:?}");
    assert!(said.stderr.contains("--posts 1000"), "{said:?}");
    assert_eq!(one::<i64>(&mut db, "select count(*) from blog.posts").await, 1_000);
}

#[tokio::test]
async fn a_ledger_of_a_dropped_schema_is_void() {
    let (database, mut db) = blog().await;
    assert_eq!(seed(&database, "1000").code, Some(0));
    sqlx::raw_sql("drop schema blog cascade").execute(&mut db).await.unwrap();
    let said = seed(&database, "1000");
    assert_eq!(said.code, Some(69), "{said:?}");
    assert!(said.stderr.contains("blog-api migrate"), "{said:?}");
    migrate(&database.url()).await.unwrap();
    let said = seed(&database, "1000");
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(one::<i64>(&mut db, "select count(*) from blog.posts").await, 1_000);
}

#[test]
fn a_database_that_is_not_there_is_one_line() {
    let said = run(lab(&["blog", "seed", "--database-url", "postgres://nobody@127.0.0.1:1/nothing"]));
    assert_eq!(said.code, Some(69), "{said:?}");
    assert_eq!(said.stderr.lines().count(), 1, "{said:?}");
    assert!(said.stderr.contains("127.0.0.1:1/nothing") && said.stderr.contains("DATABASE_URL"), "{said:?}");
}
