//! Event relays that die, stop or are cut off, and those that follow them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fenced_cache::{BoxError, BoxFuture};
use outbox::Outbox;
use outbox::events::{EventSettings, Message, Publish};
use sqlx::{Connection, PgConnection};
use testbed::{Cut, Direction, FaultProxy};
use tokio_util::sync::CancellationToken;

use crate::events::{Channel, Mode, database, quick};
use crate::support::{Process, pool, until};

/// Never lapses within a test: what follows was handed over.
fn long_lease() -> EventSettings {
    quick().lease(Duration::from_secs(600))
}

#[tokio::test]
async fn one_relay_leads_and_hands_over_when_it_stops() {
    let database = database().await;
    let (first, second) = (Process::new(&database.url()), Process::new(&database.url()));
    let (channel, other) = (Arc::new(Channel::default()), Arc::new(Channel::default()));
    let first_relay = first.start_events(long_lease(), &channel);
    until("the first one leads", async || !channel.heartbeats().is_empty()).await;
    let second_relay = second.start_events(long_lease(), &other);
    // Written by the second one's process, where nobody is poked: found by the poll.
    for number in 1..=20 {
        second.event("x").await;
        until("the first one says it", async || channel.events().len() == number).await;
    }
    assert_eq!((first.metric("outbox_events_leading"), second.metric("outbox_events_leading")), (1.0, 0.0));
    first.stop(first_relay).await;
    second.event("x").await;
    until("the second one says it", async || other.numbers() == [21]).await;
    second.stop(second_relay).await;
    assert_eq!(channel.numbers(), (1..=20).collect::<Vec<u64>>());
    assert_eq!(other.heartbeats()[0], 20, "the first thing that it says is where it begins");
}

/// A relay that is killed between COMMIT and publishing: the numbers are there, and nobody has heard of them.
#[tokio::test]
async fn numbers_that_a_dead_relay_did_not_publish_are_in_the_table_and_in_the_heartbeat() {
    let database = database().await;
    let (first, second) = (Process::new(&database.url()), Process::new(&database.url()));
    let (silent, channel) = (Arc::new(Channel::default()), Arc::new(Channel::default()));
    // It has committed and is publishing when its runtime is gone, as in a process that is killed.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    silent.set(Mode::HangAtEvents);
    {
        let _inside = runtime.enter();
        let outbox = Outbox::new(pool(&database.url(), 2), "blog").unwrap();
        let patient = quick().publish_within(Duration::from_secs(60));
        outbox.start_events(patient, Arc::clone(&silent) as _, CancellationToken::new()).unwrap();
    }
    first.event("unheard").await;
    until("it is numbered", async || first.count("select last from blog.outbox_event_counter").await == 1).await;
    runtime.shutdown_background();
    let relay = second.start_events(quick(), &channel);
    second.event("next").await;
    until("the next one is heard", async || !channel.events().is_empty()).await;
    second.stop(relay).await;
    assert_eq!(channel.numbers(), [2], "no number is given out twice");
    assert_eq!(channel.heartbeats()[0], 1, "what the dead one had given out is told");
    let mut connection = PgConnection::connect(&database.url()).await.unwrap();
    let missed = second.outbox.events_after(&mut connection, 0, 1).await.unwrap();
    assert_eq!((missed.events[0].number, &missed.events[0].payload[..]), (1, &b"unheard"[..]));
}

/// Its COMMIT is done, and the answer is lost.
#[tokio::test]
async fn a_commit_without_an_answer_neither_repeats_nor_skips_a_number() {
    let database = database().await;
    let proxy = FaultProxy::start(database.url()).await.unwrap();
    let process = Process::new(&database.url());
    let cut_off = Process::with(pool(&proxy.url(), 2), Duration::from_secs(5));
    let channel = Arc::new(Channel::default());
    let relay = cut_off.start_events(quick(), &channel);
    until("it leads", async || !channel.heartbeats().is_empty()).await;
    for (round, cut) in [Cut::After, Cut::Before, Cut::After].into_iter().enumerate() {
        let armed = proxy.cut_when(Direction::ClientToServer, "COMMIT", cut);
        process.event("cut").await;
        armed.reached().await;
        process.event("after").await;
        let expected = i64::try_from(2 * (round + 1)).unwrap();
        until("both are numbered", async || process.count("select count(*) from blog.outbox_event").await == expected)
            .await;
    }
    until("the last number is told", async || channel.heartbeats().last() == Some(&6)).await;
    cut_off.stop(relay).await;
    let sql = "select count(distinct number) from blog.outbox_event where number between 1 and 6";
    assert_eq!(process.count(sql).await, 6);
    let numbers = channel.numbers();
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    assert!(cut_off.metric("outbox_event_relay_errors_total{reason=\"database\"}") >= 3.0);
}

/// Stops its thread in the middle of publishing, as SIGSTOP does.
struct StopsItsThread {
    entered: AtomicBool,
    stopped: std::sync::Mutex<std::sync::mpsc::Receiver<()>>,
    channel: Arc<Channel>,
}

impl Publish for StopsItsThread {
    fn publish(&self, messages: Vec<Message>) -> BoxFuture<'_, Result<(), BoxError>> {
        if matches!(messages[0], Message::Event(_)) && !self.entered.swap(true, Ordering::SeqCst) {
            self.stopped.lock().unwrap().recv().unwrap_err();
        }
        self.channel.publish(messages)
    }
}

#[tokio::test]
async fn a_relay_that_is_stopped_is_followed_when_its_lease_lapses_and_then_stands_by() {
    let database = database().await;
    let process = Process::new(&database.url());
    let (sender, stopped) = std::sync::mpsc::channel::<()>();
    let (late, channel) = (Arc::new(Channel::default()), Arc::new(Channel::default()));
    let stops = Arc::new(StopsItsThread {
        entered: AtomicBool::new(false),
        stopped: std::sync::Mutex::new(stopped),
        channel: Arc::clone(&late),
    });
    let shutdown = CancellationToken::new();
    let thread = {
        let (url, stops, shutdown) = (database.url(), Arc::clone(&stops), shutdown.clone());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let outbox = Outbox::new(pool(&url, 2), "blog").unwrap();
                outbox.start_events(quick(), stops as _, shutdown).unwrap().stopped().await;
            });
        })
    };
    until("it leads", async || !late.heartbeats().is_empty()).await;
    process.event("first").await;
    until("it is stopped", async || stops.entered.load(Ordering::SeqCst)).await;
    let relay = process.start_events(quick(), &channel);
    process.event("second").await;
    until("another one follows", async || channel.numbers() == [2]).await;
    // It goes on with what it had in its hands, and finds that another one leads.
    drop(sender);
    until("the late message is out", async || late.numbers() == [1]).await;
    for number in 3..=10_u64 {
        process.event("x").await;
        until("the new one says it", async || channel.numbers().last() == Some(&number)).await;
    }
    shutdown.cancel();
    thread.join().unwrap();
    process.stop(relay).await;
    assert_eq!(late.numbers(), [1]);
    assert_eq!(channel.numbers(), (2..=10).collect::<Vec<u64>>());
}

#[tokio::test]
async fn without_its_tables_it_waits_for_them() {
    let database = crate::support::database().await;
    let process = Process::new(&database.url());
    let channel = Arc::new(Channel::default());
    let relay = process.start_events(quick(), &channel);
    until("it has failed", async || process.metric("outbox_event_relay_errors_total{reason=\"database\"}") >= 2.0)
        .await;
    let mut connection = PgConnection::connect(&database.url()).await.unwrap();
    assert!(!process.outbox.events_installed(&mut connection).await.unwrap());
    process.outbox.migrate_events(&mut connection).await.unwrap();
    assert!(process.outbox.events_installed(&mut connection).await.unwrap());
    process.event("x").await;
    until("it is heard", async || channel.numbers() == [1]).await;
    process.stop(relay).await;
}
