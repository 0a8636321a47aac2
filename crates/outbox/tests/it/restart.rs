//! PostgreSQL goes away and comes back.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use fenced_cache::{Journal, RecordId};
use testbed::PostgresServer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;

use crate::support::{FakeCache, Mode, Process, entry, install, pool, quick, until};

#[tokio::test]
async fn relay_and_marks_go_on_after_a_restart_of_postgresql() {
    let log = Log::capture();
    let server = PostgresServer::builder().durable(true).start().await.unwrap();
    let url = server.url("postgres");
    install(&url).await.unwrap();
    let process = Process::with(pool(&url, 4), Duration::from_secs(1));
    let cache = FakeCache::new(Mode::Refuse);
    let background = process.start(quick(), &cache);
    let (relayed, marked) = (process.write(1).await, process.write(2).await);
    until("the relay works", async || cache.calls() > 0).await;

    server.kill().await;
    process.outbox.applied(marked);
    process.outbox.begin().await.unwrap_err();
    process.outbox.unapplied(RecordId(0), 10).await.unwrap_err();
    until("the relay has failed a few times", async || {
        process.metric("outbox_relay_errors_total{reason=\"database\"}") >= 4.0
    })
    .await;
    server.start_again().await.unwrap();

    until("the queued mark is written", async || process.marked(marked).await).await;
    cache.set(Mode::Confirm);
    until("the row is relayed", async || process.marked(relayed).await).await;
    assert!(cache.has(&entry(1)));
    let later = process.write(3).await;
    until("a new row is relayed", async || process.marked(later).await).await;
    process.stop(background).await;

    // Each thing that failed is logged when it begins to fail and when it works again, not once per try.
    for with in ["failing; trying again", "working again"] {
        let lines = log.lines(with);
        assert_eq!(lines.len(), 3, "{lines:#?}");
        for what in ["relay's database", "relay's invalidation", "marking rows"] {
            assert_eq!(lines.iter().filter(|line| line.contains(what)).count(), 1, "{lines:#?}");
        }
    }
}

/// What was logged, as text.
#[derive(Clone, Debug, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// Of the whole process: a subscriber of one thread misses events whose callsites others have met before it.
    fn capture() -> Self {
        let log = Self::default();
        let writer = log.clone();
        let layer = tracing_subscriber::fmt::layer().with_ansi(false).with_thread_names(true);
        let subscriber = tracing_subscriber::registry()
            .with(Targets::new().with_target("outbox", tracing::Level::INFO))
            .with(layer.with_writer(move || writer.clone()));
        tracing::subscriber::set_global_default(subscriber).unwrap();
        log
    }

    /// What this test logged: its runtime has one thread, which has the test's name.
    fn lines(&self, with: &str) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let thread = thread::current();
        let name = thread.name().unwrap();
        text.lines().filter(|line| line.contains(name) && line.contains(with)).map(Into::into).collect()
    }
}
