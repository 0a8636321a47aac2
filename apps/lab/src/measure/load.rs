//! The closed loop: so many connections, each with its next request as soon as its last is answered.
//! It finds how much a server can do; how long requests wait under a given load is the open loop's matter.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::ensure;

use super::connection::{Connection, Response};
use super::own_thread::on_own_thread;
use super::tally::Tally;

/// How long a closed loop may run over its time before it is given up: a hung server is an error and
/// not a hung lab.
const GRACE: Duration = Duration::from_secs(20);
/// Failed requests after which a connection stops trying, so that a dead replica costs no busy loop.
const MAX_FAILURES: u32 = 20;

/// A closed loop.
#[derive(Debug, Clone)]
pub(crate) struct ClosedLoop {
    /// The replicas; connections are dealt to them in turn.
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) connections: usize,
    /// Sent before anything is counted.
    pub(crate) warm_up: Duration,
    pub(crate) duration: Duration,
}

/// Writes the next whole request into the empty buffer, or returns false when there are no more.
pub(crate) type Requests = Box<dyn FnMut(&mut Vec<u8>) -> bool>;

/// How an experiment sorts an answer.
pub(crate) type Label<L> = fn(&Response<'_>) -> L;

impl ClosedLoop {
    /// Runs it on a thread of its own. `requests` makes the requests of the numbered connection: each call
    /// of what it returns writes one whole request into the empty buffer, or returns false when there are no more.
    ///
    /// # Errors
    /// No connection could be opened, or the servers hung. Requests that fail are counted instead.
    pub(crate) async fn run<L, R, N>(self, label: Label<L>, mut requests: R) -> anyhow::Result<Tally<L>>
    where
        L: Copy + Eq + Send + 'static,
        R: FnMut(usize) -> N + Send + 'static,
        N: FnMut(&mut Vec<u8>) -> bool + 'static,
    {
        ensure!(!self.addresses.is_empty() && self.connections > 0, "a load needs a replica and a connection");
        on_own_thread("load", move || async move {
            let mut opened = Vec::with_capacity(self.connections);
            for number in 0..self.connections {
                let address = self.addresses[number % self.addresses.len()];
                opened.push((address, Connection::open(address).await?, requests(number)));
            }
            let tally = Rc::new(RefCell::new(Tally::default()));
            let from = Instant::now() + self.warm_up;
            let until = from + self.duration;
            let mut workers = tokio::task::JoinSet::new();
            for (address, connection, next) in opened {
                let worker = Worker { address, connection, from, until, label };
                workers.spawn_local(worker.run(next, Rc::clone(&tally)));
            }
            let all = async { while workers.join_next().await.is_some() {} };
            ensure!(
                tokio::time::timeout(self.warm_up + self.duration + GRACE, all).await.is_ok(),
                "requests of a closed loop were still unanswered {GRACE:?} after its end"
            );
            // When the requests ran out before the time did, the rest of it was not measured.
            let counted = Instant::now().min(until).saturating_duration_since(from);
            let mut tally = tally.take();
            tally.counted = counted;
            Ok(tally)
        })
        .await
    }
}

struct Worker<L> {
    address: SocketAddr,
    connection: Connection,
    from: Instant,
    until: Instant,
    label: Label<L>,
}

impl<L: Copy + Eq> Worker<L> {
    async fn run(mut self, mut next: impl FnMut(&mut Vec<u8>) -> bool, tally: Rc<RefCell<Tally<L>>>) {
        let mut request = Vec::with_capacity(512);
        let mut failures = 0;
        let mut started = Instant::now();
        while started < self.until && failures < MAX_FAILURES {
            request.clear();
            if !next(&mut request) {
                return;
            }
            let outcome = self.connection.exchange(&request).await;
            let ended = Instant::now();
            match outcome {
                Ok(response) => {
                    // Counted by its end: what was started in the warm-up and ends after it is an answer
                    // that the server gave in the counted time.
                    if ended >= self.from && ended < self.until {
                        tally.borrow_mut().answer((self.label)(&response), ended - started, response.body.len());
                    }
                }
                Err(error) => {
                    failures += 1;
                    tally.borrow_mut().failure(&error);
                }
            }
            started = ended;
            if !self.connection.usable() {
                match Connection::open(self.address).await {
                    Ok(connection) => self.connection = connection,
                    Err(error) => {
                        failures += 1;
                        tally.borrow_mut().failure(&error);
                    }
                }
                started = Instant::now();
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::ClosedLoop;
    use std::net::SocketAddr;
    use std::time::Duration;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    /// A server that answers every request with 200 and the request's own target as body, after `delay`.
    pub(crate) async fn echo(delay: Duration) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut input = Vec::new();
                    while let Ok(1..) = stream.read_buf(&mut input).await {
                        if !input.ends_with(b"\r\n\r\n") {
                            continue;
                        }
                        let text = String::from_utf8_lossy(&input).into_owned();
                        let target = text.split(' ').nth(1).unwrap();
                        if !delay.is_zero() {
                            tokio::time::sleep(delay).await;
                        }
                        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{target}", target.len());
                        stream.write_all(answer.as_bytes()).await.unwrap();
                        input.clear();
                    }
                });
            }
        });
        address
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn every_request_is_sent_once_and_over_all_addresses() {
        let addresses = vec![echo(Duration::ZERO).await, echo(Duration::ZERO).await];
        let plan = ClosedLoop { addresses, connections: 4, warm_up: Duration::ZERO, duration: Duration::from_secs(20) };
        let tally = plan
            .run(
                |response| response.body.to_vec().len(),
                |connection| {
                    let mut left = 25;
                    move |into: &mut Vec<u8>| {
                        // The target's length tells the connections apart.
                        into.extend_from_slice(format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(connection)).as_bytes());
                        left -= 1;
                        left >= 0
                    }
                },
            )
            .await
            .unwrap();
        let mut labels: Vec<_> = tally.labels().collect();
        labels.sort_unstable();
        assert_eq!(labels, [(1, 25), (2, 25), (3, 25), (4, 25)]);
        assert_eq!(tally.failures(), 0);
        assert!(tally.counted < Duration::from_secs(20), "ended when there was nothing more to send");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn nobody_there_is_an_error_and_not_a_zero() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let plan = ClosedLoop {
            addresses: vec![address],
            connections: 1,
            warm_up: Duration::ZERO,
            duration: Duration::from_millis(10),
        };
        assert!(plan.run(|response| response.status, |_| |_: &mut Vec<u8>| true).await.is_err());
    }
}
