//! Events: their numbers, their order, and what is said on the channel.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use fenced_cache::{BoxError, BoxFuture, Effects};
use outbox::Background;
use outbox::events::{Event, EventSettings, Message, Publish};
use sqlx::{Connection, PgConnection};
use testbed::Database;

use crate::support::{Process, insert, install, until};

/// A database with the events' tables as well.
pub(crate) async fn database() -> Database {
    testbed::database("events", async |url: &str| {
        install(url).await?;
        let mut connection = PgConnection::connect(url).await?;
        Process::new(url).outbox.migrate_events(&mut connection).await?;
        connection.close().await
    })
    .await
}

/// A channel that remembers what was said, and does as it is told.
#[derive(Debug, Default)]
pub(crate) struct Channel {
    heard: Mutex<Vec<Message>>,
    mode: Mutex<Mode>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum Mode {
    #[default]
    Take,
    /// As a Redis that is away.
    Refuse,
    Hang,
    /// Takes heartbeats alone.
    HangAtEvents,
    Panic,
}

impl Channel {
    pub(crate) fn set(&self, mode: Mode) {
        *self.mode.lock().unwrap_or_else(PoisonError::into_inner) = mode;
    }

    fn all(&self) -> Vec<Message> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        let events = |message| if let Message::Event(event) = message { Some(event) } else { None };
        self.all().into_iter().filter_map(events).collect()
    }

    pub(crate) fn numbers(&self) -> Vec<u64> {
        self.events().iter().map(|event| event.number).collect()
    }

    fn texts(&self) -> Vec<String> {
        self.events().iter().map(|event| String::from_utf8(event.payload.to_vec()).unwrap()).collect()
    }

    /// The last number of each heartbeat.
    pub(crate) fn heartbeats(&self) -> Vec<u64> {
        let last = |message| if let Message::Heartbeat { last } = message { Some(last) } else { None };
        self.all().into_iter().filter_map(last).collect()
    }
}

impl Publish for Channel {
    fn publish(&self, messages: Vec<Message>) -> BoxFuture<'_, Result<(), BoxError>> {
        let mode = *self.mode.lock().unwrap_or_else(PoisonError::into_inner);
        Box::pin(async move {
            match mode {
                Mode::HangAtEvents if matches!(messages[0], Message::Heartbeat { .. }) => {}
                Mode::Take => {}
                Mode::Refuse => return Err("as told".into()),
                Mode::Hang | Mode::HangAtEvents => std::future::pending().await,
                Mode::Panic => panic!("as told"),
            }
            self.heard.lock().unwrap_or_else(PoisonError::into_inner).extend(messages);
            Ok(())
        })
    }
}

/// Settings that do not wait for long.
pub(crate) fn quick() -> EventSettings {
    let ms = Duration::from_millis;
    EventSettings::default().poll(ms(5)).heartbeat(ms(20)).lease(ms(400))
}

impl Process {
    pub(crate) fn start_events(&self, settings: EventSettings, channel: &Arc<Channel>) -> Background {
        self.start_events_until(settings, channel, self.token())
    }

    pub(crate) async fn event(&self, text: &str) {
        let mut transaction = self.outbox.begin().await.unwrap();
        transaction.event(text.to_owned()).await.unwrap();
        let _ = transaction.commit((), Effects::deferred()).await.unwrap();
    }
}

fn text(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

#[tokio::test]
async fn an_event_is_there_if_and_only_if_its_change_is() {
    let database = database().await;
    let process = Process::new(&database.url());
    let channel = Arc::new(Channel::default());
    let background = process.start_events(quick(), &channel);
    let mut transaction = process.outbox.begin().await.unwrap();
    insert(transaction.connection(), 1, "one").await.unwrap();
    transaction.event("gone").await.unwrap();
    transaction.rollback().await.unwrap();
    // The title is taken, which is found out at COMMIT.
    process.run("insert into blog.items values (2, 'taken')").await;
    let mut transaction = process.outbox.begin().await.unwrap();
    insert(transaction.connection(), 3, "taken").await.unwrap();
    transaction.event("gone, too").await.unwrap();
    transaction.commit((), Effects::deferred()).await.unwrap_err();
    let mut transaction = process.outbox.begin().await.unwrap();
    insert(transaction.connection(), 4, "four").await.unwrap();
    transaction.events([text("a"), text("b"), text("c")]).await.unwrap();
    let _ = transaction.commit((), Effects::deferred()).await.unwrap();
    until("three events are heard", async || channel.events().len() >= 3).await;
    process.stop(background).await;
    assert_eq!((channel.numbers(), channel.texts()), (vec![1, 2, 3], vec!["a".into(), "b".into(), "c".into()]));
}

/// What the writer's poke is for: without it this waits for the poll, which is a minute.
#[tokio::test]
async fn the_writer_wakes_the_relay_and_the_heartbeat_repeats_the_last_number() {
    let database = database().await;
    let process = Process::new(&database.url());
    let channel = Arc::new(Channel::default());
    let minute = Duration::from_secs(60);
    let patient = EventSettings::default().poll(minute).heartbeat(minute).lease(2 * minute);
    let background = process.start_events(patient, &channel);
    // The first heartbeat says that it leads.
    until("it leads", async || channel.heartbeats() == [0]).await;
    for number in 1..=20 {
        process.event(&number.to_string()).await;
        until("the event is heard", async || channel.events().len() == number).await;
    }
    let mut connection = PgConnection::connect(&database.url()).await.unwrap();
    process.outbox.record_events(&mut connection, [text("own")]).await.unwrap();
    process.outbox.poke();
    until("the event is heard", async || channel.events().len() == 21).await;
    process.stop(background).await;

    let process = Process::new(&database.url());
    let background = process.start_events(quick(), &channel);
    until("the last number is repeated", async || channel.heartbeats().len() > 5).await;
    process.stop(background).await;
    assert!(channel.heartbeats()[1..].iter().all(|last| *last == 21), "{:?}", channel.heartbeats());
}

/// Ids are drawn before COMMIT: the higher one becomes visible first.
#[tokio::test]
async fn a_lower_id_that_is_committed_later_gets_the_next_number() {
    let database = database().await;
    let process = Process::new(&database.url());
    let channel = Arc::new(Channel::default());
    let background = process.start_events(quick(), &channel);
    let mut slow = process.outbox.begin().await.unwrap();
    slow.event("lower id").await.unwrap();
    process.event("higher id").await;
    until("the higher id is heard", async || channel.events().len() == 1).await;
    let _ = slow.commit((), Effects::deferred()).await.unwrap();
    until("the lower id is heard", async || channel.events().len() == 2).await;
    process.event("third").await;
    until("the third is heard", async || channel.events().len() == 3).await;
    process.stop(background).await;
    assert_eq!(channel.numbers(), [1, 2, 3]);
    assert_eq!(channel.texts(), ["higher id", "lower id", "third"]);
}

/// Many writers change few rows, in three processes whose relays all run: each row's events come in the order of its versions.
#[tokio::test]
async fn the_events_of_one_row_are_in_the_order_of_its_changes() {
    let database = database().await;
    let processes: Vec<Process> = (0..3).map(|_| Process::new(&database.url())).collect();
    processes[0].run("create table blog.counted (id int primary key, version int not null)").await;
    processes[0].run("insert into blog.counted select id, 0 from generate_series(1, 4) as id").await;
    let channel = Arc::new(Channel::default());
    let relays: Vec<Background> =
        processes.iter().map(|process| process.start_events(quick().batch(7), &channel)).collect();
    let writers = (0..12).map(|writer: usize| {
        let outbox = processes[writer % 3].outbox.clone();
        tokio::spawn(async move {
            for round in 0..25 {
                let id = i32::try_from((writer + round) % 4 + 1).unwrap();
                let mut transaction = outbox.begin().await.unwrap();
                let version: i32 =
                    sqlx::query_scalar("update blog.counted set version = version + 1 where id = $1 returning version")
                        .bind(id)
                        .fetch_one(transaction.connection())
                        .await
                        .unwrap();
                transaction.event(format!("{id} {version}")).await.unwrap();
                let _ = transaction.commit((), Effects::deferred()).await.unwrap();
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    until("all events are heard", async || channel.events().len() == 300).await;
    for (process, relay) in processes.iter().zip(relays) {
        process.stop(relay).await;
    }
    assert_eq!(channel.numbers(), (1..=300).collect::<Vec<u64>>(), "one relay leads, so the channel is in order");
    let mut seen: HashMap<String, i32> = HashMap::new();
    for text in channel.texts() {
        let (id, version) = text.split_once(' ').unwrap();
        let before = seen.insert(id.to_owned(), version.parse().unwrap()).unwrap_or(0);
        assert_eq!(version.parse::<i32>().unwrap(), before + 1, "row {id}");
    }
}

/// What could not be published is not said again: whoever listens sees the gap, or the heartbeat, and reads the table.
#[tokio::test]
async fn a_channel_that_fails_stops_no_numbers() {
    let database = database().await;
    let process = Process::new(&database.url());
    let channel = Arc::new(Channel::default());
    channel.set(Mode::Refuse);
    let limit = Duration::from_millis(20);
    let background = process.start_events(quick().publish_within(limit), &channel);
    for (mode, written) in [Mode::Refuse, Mode::Hang, Mode::Panic].into_iter().zip(1..) {
        channel.set(mode);
        process.event(&format!("{mode:?}")).await;
        until("it is numbered", async || process.count("select last from blog.outbox_event_counter").await == written)
            .await;
        let errors = process.metric("outbox_event_relay_errors_total{reason=\"publish\"}");
        until("it was not published", async || {
            process.metric("outbox_event_relay_errors_total{reason=\"publish\"}") > errors
        })
        .await;
    }
    channel.set(Mode::Take);
    until("the heartbeat tells of them", async || channel.heartbeats().last() == Some(&3)).await;
    process.stop(background).await;
    assert_eq!(channel.events(), []);
    let mut connection = PgConnection::connect(&database.url()).await.unwrap();
    let page = process.outbox.events_after(&mut connection, 0, 10).await.unwrap();
    let texts: Vec<_> = page.events.iter().map(|event| event.payload.clone()).collect();
    assert_eq!(texts, ["Refuse", "Hang", "Panic"]);
    assert_eq!(process.metric("outbox_events_numbered_total"), 3.0);
    assert_eq!(process.metric("outbox_events_published_total"), 0.0);
}

#[tokio::test]
async fn large_batches_are_numbered_in_parts_and_counted() {
    let database = database().await;
    let process = Process::new(&database.url());
    process
        .run("insert into blog.outbox_event_pending (payload) select convert_to(n::text, 'utf8') from generate_series(1, 2500) as n")
        .await;
    let channel = Arc::new(Channel::default());
    channel.set(Mode::Hang);
    let background = process.start_events(quick().batch(1_000).publish_within(Duration::from_millis(1)), &channel);
    until("the backlog is counted", async || process.metric("outbox_events_last_number") == 2_500.0).await;
    process.stop(background).await;
    assert_eq!(process.metric("outbox_events_numbered_total"), 2_500.0);
    let wrong = "select count(*) from blog.outbox_event where convert_from(payload, 'utf8') <> number::text";
    assert_eq!(process.count(wrong).await, 0);
    assert_eq!(process.count("select count(*) from blog.outbox_event").await, 2_500);
}
