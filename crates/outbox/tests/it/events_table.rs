//! Events as readers find them in the table, how far readers have got, and what is deleted when.

use std::sync::Arc;
use std::time::Duration;

use outbox::Outbox;
use outbox::events::Event;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::events::{Channel, database, quick};
use crate::support::{Process, pool, until};

/// Writes numbered events as a relay would have, each a second older than the next.
async fn numbered(process: &Process, count: u32) {
    process
        .run(&format!(
            "insert into blog.outbox_event (number, payload, recorded_at, numbered_at) \
             select n, convert_to(n::text, 'utf8'), t, t from (select n, now() - make_interval(secs => {count} - n) as t \
             from generate_series(1, {count}) as n) as all_of_them; \
             update blog.outbox_event_counter set last = {count}"
        ))
        .await;
}

fn numbers(events: &[Event]) -> Vec<u64> {
    events.iter().map(|event| event.number).collect()
}

#[tokio::test]
async fn a_page_begins_after_a_number_and_tells_what_is_lost() {
    let database = database().await;
    let process = Process::new(&database.url());
    let mut connection = PgConnection::connect(&database.url()).await.unwrap();
    let outbox = &process.outbox;
    let nothing = outbox.events_after(&mut connection, 0, 10).await.unwrap();
    assert_eq!((nothing.events.len(), nothing.lost), (0, 0));
    numbered(&process, 20).await;
    assert_eq!(outbox.last_event(&mut connection).await.unwrap(), 20);
    let page = outbox.events_after(&mut connection, 3, 4).await.unwrap();
    assert_eq!((numbers(&page.events), page.lost), (vec![4, 5, 6, 7], 0));
    let page = outbox.events_after(&mut connection, 18, 10).await.unwrap();
    assert_eq!((numbers(&page.events), page.lost), (vec![19, 20], 0));
    for beyond in [20, 21, u64::MAX] {
        let page = outbox.events_after(&mut connection, beyond, 10).await.unwrap();
        assert_eq!((page.events.len(), page.lost), (0, 0), "{beyond}");
    }
    process.run("delete from blog.outbox_event where number <= 10").await;
    let page = outbox.events_after(&mut connection, 3, 2).await.unwrap();
    assert_eq!((numbers(&page.events), page.lost), (vec![11, 12], 7));
    process.run("delete from blog.outbox_event").await;
    let page = outbox.events_after(&mut connection, 3, 2).await.unwrap();
    assert_eq!((page.events.len(), page.lost), (0, 17));
}

#[tokio::test]
async fn a_replay_starts_where_its_window_does() {
    let database = database().await;
    let process = Process::new(&database.url());
    let mut connection = PgConnection::connect(&database.url()).await.unwrap();
    let before = async |connection: &mut PgConnection, seconds| {
        process.outbox.last_event_before(connection, Duration::from_secs(seconds)).await.unwrap()
    };
    assert_eq!(before(&mut connection, 5).await, 0);
    numbered(&process, 1_000).await;
    assert_eq!(before(&mut connection, 3_600).await, 0);
    let number = before(&mut connection, 600).await;
    // The clock goes on while this test runs.
    assert!((400..700).contains(&number), "{number}");
}

#[tokio::test]
async fn a_reader_never_goes_back_and_a_new_one_begins_with_what_is_there() {
    let database = database().await;
    let process = Process::new(&database.url());
    let mut connection = PgConnection::connect(&database.url()).await.unwrap();
    let early = process.outbox.reader("early");
    assert_eq!(early.position(&mut connection).await.unwrap(), 0);
    numbered(&process, 20).await;
    early.advance(&mut connection, 7).await.unwrap();
    early.advance(&mut connection, 5).await.unwrap();
    assert_eq!(early.position(&mut connection).await.unwrap(), 7);
    process.run("delete from blog.outbox_event where number <= 12").await;
    assert_eq!(process.outbox.reader("late").position(&mut connection).await.unwrap(), 12);
    process.run("delete from blog.outbox_event").await;
    assert_eq!(process.outbox.reader("later").position(&mut connection).await.unwrap(), 20);
    assert_eq!(early.position(&mut connection).await.unwrap(), 7);
}

#[tokio::test]
async fn what_is_set_aside_stays_until_it_is_understood() {
    let database = database().await;
    let process = Process::new(&database.url());
    let mut connection = PgConnection::connect(&database.url()).await.unwrap();
    numbered(&process, 5).await;
    let (reader, other) = (process.outbox.reader("one"), process.outbox.reader("other"));
    let page = process.outbox.events_after(&mut connection, 0, 5).await.unwrap();
    for event in &page.events[1..4] {
        // Killed behind this and before its number is recorded, a reader comes here again.
        reader.set_aside(&mut connection, event, "version 9 is not known").await.unwrap();
        reader.set_aside(&mut connection, event, "version 9 is not known").await.unwrap();
    }
    let aside = reader.aside(&mut connection, 0, 10).await.unwrap();
    assert_eq!(aside.iter().map(|aside| aside.number).collect::<Vec<_>>(), [2, 3, 4]);
    assert_eq!(aside[0].payload, "2");
    assert_eq!(reader.aside(&mut connection, 2, 1).await.unwrap()[0].number, 3);
    assert_eq!(other.aside(&mut connection, 0, 10).await.unwrap(), []);
    reader.understood(&mut connection, &[2, 4]).await.unwrap();
    let aside = reader.aside(&mut connection, 0, 10).await.unwrap();
    assert_eq!(aside.iter().map(|aside| aside.number).collect::<Vec<_>>(), [3]);
    for (kept, garbage) in [(true, "x"), (true, "x"), (false, "y")] {
        assert_eq!(reader.set_aside_stray(&mut connection, garbage.as_bytes(), "no", 2).await.unwrap(), kept);
    }
    // One reader's strays leave another's their place.
    assert!(other.set_aside_stray(&mut connection, &[0, 255], "no", 2).await.unwrap());
    assert_eq!(reader.aside(&mut connection, 0, 10).await.unwrap().len(), 1, "strays have no number");
}

#[tokio::test]
async fn pruning_waits_for_the_slowest_reader_and_for_nobody_who_is_gone() {
    let database = database().await;
    let process = Process::new(&database.url());
    let mut connection = PgConnection::connect(&database.url()).await.unwrap();
    // More than are deleted at a time.
    numbered(&process, 5_000).await;
    process.run("update blog.outbox_event set numbered_at = numbered_at - interval '1 hour'").await;
    let (slow, fast) = (process.outbox.reader("slow"), process.outbox.reader("fast"));
    for (reader, number) in [(&slow, 4_200), (&fast, 5_000)] {
        reader.position(&mut connection).await.unwrap();
        reader.advance(&mut connection, number).await.unwrap();
    }
    let channel = Arc::new(Channel::default());
    let hour = Duration::from_secs(3_600);
    let settings = quick().keep(hour / 2).absence(hour).prune_every(Duration::from_millis(10));
    let relay = process.start_events(settings, &channel);
    let first = "select coalesce(min(number), 0) from blog.outbox_event";
    until("it is pruned up to the slow one", async || process.count(first).await == 4_201).await;
    process.until_metric("outbox_events_pruned_total", 4_200.0).await;
    until("the lag is told", async || process.metric("outbox_events_reader_lag") == 800.0).await;
    // It goes on to 4,500, and has then been away for longer than anybody waits.
    slow.advance(&mut connection, 4_500).await.unwrap();
    until("it is pruned up to the slow one", async || process.count(first).await == 4_501).await;
    process.run("update blog.outbox_event_reader set seen_at = now() - interval '2 hours' where reader = 'slow'").await;
    until("nobody waits for it any more", async || process.count(first).await == 0).await;
    let page = process.outbox.events_after(&mut connection, 4_500, 10).await.unwrap();
    assert_eq!((page.events.len(), page.lost), (0, 500), "and it is told");
    // What is young stays, whoever has read it.
    process.event("young").await;
    until("the event is numbered", async || process.count(first).await == 5_001).await;
    fast.advance(&mut connection, 5_001).await.unwrap();
    process.run("update blog.outbox_event_reader set number = 5001, seen_at = now()").await;
    let looks = process.count("select coalesce(sum(n_tup_del), 0)::bigint from pg_stat_user_tables").await;
    process.event("more").await;
    until("another is numbered", async || process.count("select count(*) from blog.outbox_event").await == 2).await;
    process.stop(relay).await;
    assert_eq!(process.count(first).await, 5_001, "{looks}");
}

#[tokio::test]
async fn the_tables_come_alone_twice_and_as_text() {
    let database = testbed::database("empty", async |_: &str| Ok::<_, sqlx::Error>(())).await;
    let mut connection = PgConnection::connect(&database.url()).await.unwrap();
    let outbox = Outbox::new(pool(&database.url(), 1), "shop").unwrap();
    for _ in 0..2 {
        outbox.migrate_events(&mut connection).await.unwrap();
    }
    assert!(outbox.events_installed(&mut connection).await.unwrap());
    assert!(!outbox.installed(&mut connection).await.unwrap(), "that is another part");
    sqlx::raw_sql("create schema other").execute(&mut connection).await.unwrap();
    let text = Outbox::events_ddl("other").unwrap();
    for _ in 0..2 {
        sqlx::raw_sql(AssertSqlSafe(text.clone())).execute(&mut connection).await.unwrap();
    }
    let other = Outbox::new(pool(&database.url(), 1), "other").unwrap();
    assert!(other.events_installed(&mut connection).await.unwrap());
    other.record_events(&mut connection, [bytes::Bytes::from_static(b"x")]).await.unwrap();
    assert!(Outbox::events_ddl("shop; drop schema shop").is_err());
}
