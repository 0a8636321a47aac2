//! Sections in PostgreSQL: entry, guard, mending, doubt.

use std::time::Duration;

use fenced_lock::{
    CommitError, Enter, FencedSettings, Lock, LockError, Namespace, Options, PgLock, PgLockSettings, RedisFenced, Rows,
    SectionError, Sections,
};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use testbed::Database;
use tokio::time::{sleep, timeout};

use crate::bed::{LEASE, PATIENCE, quick, until, within};

pub(crate) async fn migrate(url: &str) -> Result<(), sqlx::Error> {
    let pool = PgPoolOptions::new().max_connections(1).connect(url).await?;
    sqlx::raw_sql(
        "create table events (id bigint primary key, capacity int not null, fence bigint not null default 0);
         create table bookings (id bigint generated always as identity primary key,
             event bigint not null references events, buyer text not null unique, fence bigint not null);
         insert into events (id, capacity) select n, 10 from generate_series(1, 20) n;",
    )
    .execute(&pool)
    .await?;
    pool.close().await;
    Ok(())
}

pub(crate) async fn database() -> (Database, PgPool) {
    let database = testbed::database("fenced-lock", migrate).await;
    let pool = PgPoolOptions::new().max_connections(24).connect(&database.url()).await.unwrap();
    (database, pool)
}

pub(crate) fn rows() -> Rows {
    Rows::new("event", "events", "id").unwrap()
}

fn fenced(url: &str) -> Lock {
    let settings = FencedSettings::new(url, Namespace::new("test").unwrap()).timing(quick());
    Lock::new(RedisFenced::start(settings).unwrap())
}

fn options() -> Options {
    within(PATIENCE)
}

/// Books one seat if there is one, as every section does: read, then write.
pub(crate) async fn book(sections: &Sections, event: i64, buyer: &str) -> Result<bool, SectionError> {
    let mut section = sections.enter(event, options()).await?;
    let lost = section.lost();
    let booking = async {
        let (capacity, booked) = counts(&mut section, event).await?;
        if booked >= capacity {
            return Ok(false);
        }
        let mut write = section.write().await?;
        let fence = write.fence().unwrap_or(0);
        sqlx::query("insert into bookings (event, buyer, fence) values ($1, $2, $3)")
            .bind(event)
            .bind(buyer)
            .bind(i64::try_from(fence).unwrap())
            .execute(&mut *write)
            .await?;
        write.commit().await.map_err(|error| match error {
            CommitError::RolledBack(error) => SectionError::Database(error),
            _ => SectionError::Lock(LockError::Lost),
        })?;
        Ok(true)
    };
    lost.run(booking).await?
}

pub(crate) async fn counts(section: &mut fenced_lock::Section, event: i64) -> Result<(i64, i64), SectionError> {
    let mut reader = section.reader().await?;
    let sql = "select capacity::bigint, (select count(*) from bookings where event = $1) from events where id = $1";
    Ok(sqlx::query_as(sql).bind(event).fetch_one(&mut *reader).await?)
}

async fn fence_of(pool: &PgPool, event: i64) -> i64 {
    sqlx::query_scalar("select fence from events where id = $1").bind(event).fetch_one(pool).await.unwrap()
}

#[tokio::test]
async fn a_section_enters_before_it_reads_and_its_write_carries_the_fence() {
    let (redis, (_database, pool)) = (testbed::redis().await, database().await);
    for enter in [Enter::Durable, Enter::Relaxed] {
        let sections = Sections::new(fenced(&redis.url()), pool.clone(), rows()).entering(enter);
        let mut section = sections.enter(1, options()).await.unwrap();
        let fence = section.fence().unwrap();
        assert_eq!(fence_of(&pool, 1).await, i64::try_from(fence).unwrap());
        assert_eq!(counts(&mut section, 1).await.unwrap().0, 10);
        section.release().await.unwrap();
        assert!(book(&sections, 1, &format!("{enter:?}")).await.unwrap());
        assert!(matches!(sections.enter(999, options()).await, Err(SectionError::NoRow)));
    }
}

/// The entry's own transaction does not wait for the disk; every other one still does.
#[tokio::test]
async fn a_relaxed_entry_relaxes_nothing_else() {
    let (redis, (_database, pool)) = (testbed::redis().await, database().await);
    let sections = Sections::new(fenced(&redis.url()), pool, rows()).entering(Enter::Relaxed);
    let mut section = sections.enter(1, options()).await.unwrap();
    let setting = "select current_setting('synchronous_commit') = (select reset_val from pg_settings where name = 'synchronous_commit')";
    let same: bool = sqlx::query_scalar(setting).fetch_one(&mut *section.reader().await.unwrap()).await.unwrap();
    assert!(same);
    let mut write = section.write().await.unwrap();
    assert!(sqlx::query_scalar::<_, bool>(setting).fetch_one(&mut *write).await.unwrap());
    write.rollback().await;
}

#[tokio::test]
async fn a_fence_that_went_back_is_mended_in_one_round() {
    let (redis, (_database, pool)) = (testbed::redis().await, database().await);
    let sections = Sections::new(fenced(&redis.url()), pool.clone(), rows());
    // As after a failover to a server whose clock is a year behind.
    let ahead = 2_500_000_000_000_000_i64;
    sqlx::query("update events set fence = $1 where id = 2").bind(ahead).execute(&pool).await.unwrap();
    let section = sections.enter(2, options()).await.unwrap();
    assert!(section.fence().unwrap() > 2_500_000_000_000_000);
    assert_eq!(fence_of(&pool, 2).await, i64::try_from(section.fence().unwrap()).unwrap());
    section.write().await.unwrap().rollback().await;
}

#[tokio::test]
async fn a_holder_that_was_overtaken_writes_nothing() {
    let (redis, (_database, pool)) = (testbed::redis().await, database().await);
    let sections = Sections::new(fenced(&redis.url()), pool.clone(), rows());
    let overtaken = sections.enter(3, options()).await.unwrap();
    // Redis forgets; the next one is let in while the first still believes.
    redis.restart_empty().await.unwrap();
    let next = Sections::new(fenced(&redis.url()), pool.clone(), rows());
    assert!(book(&next, 3, "next").await.unwrap());
    let refused = overtaken.write().await;
    assert!(matches!(refused, Err(SectionError::Lock(LockError::Lost))), "{refused:?}");
}

/// What the guard locks stays locked until the commit: the next one's entry waits for it.
#[tokio::test]
async fn nobody_enters_between_a_guard_and_its_commit() {
    let (redis, (_database, pool)) = (testbed::redis().await, database().await);
    let sections = Sections::new(fenced(&redis.url()), pool.clone(), rows());
    let section = sections.enter(4, options()).await.unwrap();
    let mut write = section.write().await.unwrap();
    redis.restart_empty().await.unwrap();
    let next = Sections::new(fenced(&redis.url()), pool.clone(), rows());
    let entering = tokio::spawn(async move {
        let mut section = next.enter(4, options()).await.unwrap();
        counts(&mut section, 4).await.unwrap().1
    });
    let blocked =
        "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and query like 'update events%'";
    until("the entry waits", async || sqlx::query_scalar::<_, i64>(blocked).fetch_one(&pool).await.unwrap() == 1).await;
    sqlx::query("insert into bookings (event, buyer, fence) values (4, 'a', 1)").execute(&mut *write).await.unwrap();
    write.commit().await.unwrap();
    assert_eq!(entering.await.unwrap(), 1, "the next one sees what the one before it wrote");
}

#[tokio::test]
async fn a_relaxed_section_writes_only_where_it_has_entered() {
    let (redis, (_database, pool)) = (testbed::redis().await, database().await);
    let sections = Sections::new(fenced(&redis.url()), pool.clone(), rows()).entering(Enter::Relaxed);
    let mut section = sections.enter(5, options()).await.unwrap();
    let process: i32 =
        sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut *section.reader().await.unwrap()).await.unwrap();
    section.rest();
    sqlx::query("select pg_terminate_backend($1)").bind(process).execute(&pool).await.unwrap();
    let refused = section.write().await;
    assert!(matches!(refused, Err(SectionError::Lock(LockError::Lost) | SectionError::Database(_))), "{refused:?}");
}

#[tokio::test]
async fn a_commit_in_doubt_is_settled_before_anybody_looks() {
    let (redis, (_database, pool)) = (testbed::redis().await, database().await);
    // A commit that takes its time, so that its session can be ended in the middle.
    sqlx::raw_sql(
        "create function slow() returns trigger language plpgsql as $$ begin perform pg_sleep(30); return null; end $$;
         create constraint trigger slow after insert on bookings deferrable initially deferred
             for each row execute function slow();",
    )
    .execute(&pool)
    .await
    .unwrap();
    let sections = Sections::new(fenced(&redis.url()), pool.clone(), rows());
    let mut write = sections.enter(6, options()).await.unwrap().write().await.unwrap();
    let process: i32 = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut *write).await.unwrap();
    sqlx::query("insert into bookings (event, buyer, fence) values (6, 'doubt', 1)")
        .execute(&mut *write)
        .await
        .unwrap();
    let committing = tokio::spawn(write.commit());
    let busy = "select count(*) from pg_stat_activity where pid = $1 and state = 'active' and query ilike 'commit'";
    until("the commit runs", async || {
        sqlx::query_scalar::<_, i64>(busy).bind(process).fetch_one(&pool).await.unwrap() == 1
    })
    .await;
    sqlx::query("select pg_terminate_backend($1)").bind(process).execute(&pool).await.unwrap();
    let Err(CommitError::InDoubt(doubt)) = committing.await.unwrap() else { panic!("the commit was cut off") };
    let mut connection = doubt.settled(PATIENCE).await.unwrap();
    let there: bool = sqlx::query_scalar("select exists (select from bookings where buyer = 'doubt')")
        .fetch_one(&mut *connection)
        .await
        .unwrap();
    assert!(!there);
}

#[tokio::test]
async fn a_doubt_waits_for_a_transaction_in_progress() {
    let (redis, (_database, pool)) = (testbed::redis().await, database().await);
    let sections = Sections::new(fenced(&redis.url()), pool.clone(), rows());
    let mut write = sections.enter(7, options()).await.unwrap().write().await.unwrap();
    sqlx::query("insert into bookings (event, buyer, fence) values (7, 'x', 1)").execute(&mut *write).await.unwrap();
    let doubt = write.doubt();
    assert!(doubt.settled(Duration::from_millis(100)).await.is_err(), "it is still in progress");
    let settling = tokio::spawn(async move { doubt.settled(PATIENCE).await });
    sleep(Duration::from_millis(20)).await;
    assert!(!settling.is_finished());
    write.commit().await.unwrap();
    let mut connection = settling.await.unwrap().unwrap();
    let there: bool = sqlx::query_scalar("select exists (select from bookings where buyer = 'x')")
        .fetch_one(&mut *connection)
        .await
        .unwrap();
    assert!(there);
}

fn pg_locks(pool: &PgPool) -> [Sections; 2] {
    let settings = PgLockSettings::default().lease(LEASE).ping_timeout(Duration::from_millis(200));
    let advisory = PgLock::advisory(pool.clone(), Namespace::new("test").unwrap(), settings).unwrap();
    let row = PgLock::row(pool.clone(), rows(), settings).unwrap();
    [advisory, row].map(|lock| Sections::new(Lock::new(lock), pool.clone(), rows()))
}

#[tokio::test]
async fn a_transaction_that_is_a_lock_excludes_ends_and_is_cancelled() {
    let (_database, pool) = database().await;
    for sections in pg_locks(&pool) {
        let kind = sections.lock().kind();
        let mut section = sections.enter(8, options()).await.unwrap();
        assert!(
            matches!(sections.try_enter(8, options()).await, Err(SectionError::Lock(LockError::Contended))),
            "{kind}"
        );
        let refused = sections.enter(8, within(Duration::from_millis(150))).await;
        assert!(matches!(refused, Err(SectionError::Lock(LockError::Timeout))), "{kind}: {refused:?}");
        // A waiter that goes away leaves no statement behind.
        let waiting = "select count(*) from pg_stat_activity where application_name like 'fenced-lock%' and wait_event_type = 'Lock'";
        let _ = timeout(Duration::from_millis(100), sections.enter(8, options())).await;
        until("no waiter is left", async || sqlx::query_scalar::<_, i64>(waiting).fetch_one(&pool).await.unwrap() == 0)
            .await;
        // Longer than its lease, because the library keeps asking.
        sleep(LEASE + LEASE / 4).await;
        assert_eq!(counts(&mut section, 8).await.unwrap().1, 0, "{kind}");
        let mut write = section.write().await.unwrap();
        sqlx::query("insert into bookings (event, buyer, fence) values (8, $1, 0)")
            .bind(kind.as_str())
            .execute(&mut *write)
            .await
            .unwrap();
        write.commit().await.unwrap();
        sqlx::query("delete from bookings where event = 8").execute(&pool).await.unwrap();
        let name = sections.enter(8, options()).await.unwrap();
        name.release().await.unwrap();
    }
    let [_, row] = pg_locks(&pool);
    assert!(matches!(row.enter(999, options()).await, Err(SectionError::NoRow)));
}

#[tokio::test]
async fn a_lock_whose_session_was_ended_is_lost() {
    let (_database, pool) = database().await;
    for sections in pg_locks(&pool) {
        let mut section = sections.enter(9, options()).await.unwrap();
        let process: i32 = sqlx::query_scalar("select pg_backend_pid()")
            .fetch_one(&mut *section.reader().await.unwrap())
            .await
            .unwrap();
        sqlx::query("select pg_terminate_backend($1)").bind(process).execute(&pool).await.unwrap();
        timeout(PATIENCE, section.lost()).await.unwrap();
        assert!(matches!(section.write().await, Err(SectionError::Lock(LockError::Lost))));
        assert!(book(&sections, 9, sections.lock().kind().as_str()).await.unwrap());
    }
}
