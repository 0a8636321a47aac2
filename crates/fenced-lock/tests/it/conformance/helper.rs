//! A process of its own, to be stopped and killed.

use std::process::Stdio;

use fenced_lock::{CommitError, SectionError};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use super::stores::Stores;
use crate::bed::{PATIENCE, within};
use crate::sections::counts;

/// A process that has entered a section, has read, and waits to be told to write.
pub(crate) struct Helper {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Helper {
    pub(crate) async fn inside(stores: &Stores, event: i64) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["conformance::helper::holds_a_lock", "--exact", "--ignored", "--nocapture"])
            .envs(stores.to_environment())
            .env("HELPER_EVENT", event.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut helper = Self { child, input, output };
        assert_eq!(helper.hears(&["inside"]).await, "inside");
        helper
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let process = i32::try_from(self.child.id().unwrap()).unwrap();
        kill_process(Pid::from_raw(process).unwrap(), signal).unwrap();
    }

    /// Tells it to write; `true` if it did.
    pub(crate) async fn writes(&mut self) -> bool {
        self.input.write_all(b"write\n").await.unwrap();
        self.hears(&["booked", "refused"]).await == "booked"
    }

    /// The next line that is one of `words`; the test harness prints others.
    async fn hears(&mut self, words: &[&str]) -> String {
        let hearing = async {
            while let Some(line) = self.output.next_line().await.unwrap() {
                if let Some(word) = words.iter().find(|word| line.ends_with(**word)) {
                    return (*word).to_owned();
                }
            }
            panic!("the helper has ended without a word");
        };
        timeout(PATIENCE, hearing).await.unwrap()
    }
}

/// Runs in the helper, not by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the other side of the tests that stop and kill a process"]
async fn holds_a_lock() {
    let Some(stores) = Stores::from_environment() else { return };
    let event: i64 = std::env::var("HELPER_EVENT").unwrap().parse().unwrap();
    let process = stores.process().await;
    let mut section = process.sections.enter(event, within(PATIENCE)).await.unwrap();
    let (capacity, booked) = counts(&mut section, event).await.unwrap();
    assert!(booked < capacity);
    println!("\ninside");
    tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new()).unwrap()).await.unwrap();
    let writing = async {
        let mut write = section.write().await?;
        sqlx::query("insert into bookings (event, buyer, fence) values ($1, 'helper ' || $1, 0)")
            .bind(event)
            .execute(&mut *write)
            .await?;
        match write.commit().await {
            Ok(()) => Ok(()),
            Err(CommitError::RolledBack(error)) => Err(SectionError::Database(error)),
            Err(error) => panic!("{error}"),
        }
    };
    println!("\n{}", if writing.await.is_ok() { "booked" } else { "refused" });
}
