//! Sending a request until it is answered.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::client::Client;
use super::failure::{Failure, Kind, Method};
use super::log::Log;
use crate::measure::connection::Response;

/// Bytes of an unwanted answer that are told.
const EXCERPT: usize = 200;

/// What an answer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reply<T> {
    /// What was asked for.
    Good(T),
    /// Not now, and nothing was done: come again.
    Wait,
    /// The server did not do what was asked, or does not know.
    Bad,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sent<T> {
    /// `None` when it was given up.
    pub(crate) answer: Option<T>,
    /// Tries that failed: each of them may have been done.
    pub(crate) failed: u32,
}

/// Sends requests that may be sent more than once.
#[derive(Debug)]
pub(crate) struct Sender {
    pub(crate) client: Client,
    pub(crate) log: Arc<Log>,
    /// How long a request is tried. A try that is under way then may still end well.
    pub(crate) deadline: Duration,
    /// Between two tries.
    pub(crate) pause: Duration,
    /// Once cancelled, nobody comes again after being asked to wait.
    pub(crate) stopping: CancellationToken,
}

impl Sender {
    /// Sends `request`, which was `due` then, until it is answered or the deadline is over. A try that failed is repeated
    /// on another connection.
    pub(crate) async fn send<T>(
        &mut self,
        method: Method,
        due: Instant,
        request: &[u8],
        mut read: impl FnMut(&Response<'_>) -> Reply<T>,
    ) -> Sent<T> {
        self.log.count(|counts| counts.sent += 1);
        let begun = Instant::now();
        let mut failed = 0;
        loop {
            let began = Instant::now();
            let mut bad = None;
            let outcome = self
                .client
                .exchange(request, |response| {
                    let reply = read(response);
                    if matches!(reply, Reply::Bad) {
                        bad = Some((response.status, excerpt(response.body)));
                    }
                    reply
                })
                .await;
            self.log.wear(std::mem::take(&mut self.client.wear));
            let (kind, status, address, connected, detail) = match outcome {
                Ok(answered) => match (answered.value, bad) {
                    (Reply::Good(value), _) => {
                        self.log.good(due, failed);
                        return Sent { answer: Some(value), failed };
                    }
                    (Reply::Wait, _) => {
                        self.log.count(|counts| counts.waited += 1);
                        if self.stopping.is_cancelled() || begun.elapsed() > self.deadline {
                            self.give_up(failed);
                            return Sent { answer: None, failed };
                        }
                        tokio::time::sleep(self.pause).await;
                        continue;
                    }
                    (Reply::Bad, bad) => {
                        let (status, body) = bad.unwrap_or_default();
                        self.client.hang_up();
                        let detail = format!("{status}: {body}");
                        (Kind::Status, Some(status), Some(answered.address), answered.connected, detail)
                    }
                },
                Err(error) => (error.kind, None, error.address, error.connected, error.detail),
            };
            self.log.failed(Failure {
                kind,
                status,
                method,
                address,
                direct: false,
                earlier: failed,
                connected,
                began,
                ended: Instant::now(),
                detail,
            });
            failed += 1;
            if begun.elapsed() > self.deadline {
                self.give_up(failed);
                return Sent { answer: None, failed };
            }
            tokio::time::sleep(self.pause).await;
        }
    }

    /// Nothing is proved by a request that was only ever asked to wait, so that one does not count.
    fn give_up(&self, failed: u32) {
        self.log.count(|counts| counts.never += u64::from(failed > 0));
    }
}

/// The beginning of a body, on one line.
fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(EXCERPT)]);
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
