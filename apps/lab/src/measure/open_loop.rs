//! The open loop: requests arrive at a fixed rate, whether or not earlier ones are answered.
//!
//! Each request's time is counted from when it was due, not from when a connection was free to send it.
//! A generator that waits for a slow answer before it sends the next request leaves out just those
//! requests that would have been slow (coordinated omission); here they are late, and count as late.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use tokio::sync::Semaphore;

use super::connection::{Connection, Response};
use super::latencies::Latencies;
use super::load::Label;
use super::own_thread::on_own_thread;
use super::tally::Tally;

/// How long after the last arrival answers are waited for.
const GRACE: Duration = Duration::from_secs(20);

/// When each request is due: the `n`th at `start + n / rate`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schedule {
    start: Instant,
    interval_ns: f64,
    count: u64,
}

impl Schedule {
    /// `rate` requests a second (above 0) for `duration`.
    pub(crate) fn new(start: Instant, rate: f64, duration: Duration) -> Self {
        let interval_ns = 1e9 / rate;
        let count = (duration.as_secs_f64() * rate).floor().max(1.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a count of requests that one run sends"
        )]
        let count = count as u64;
        Self { start, interval_ns, count }
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// When request `n` is due.
    pub(crate) fn due(&self, n: u64) -> Instant {
        self.start + Duration::from_secs_f64(super::latencies::as_f64(n) * self.interval_ns / 1e9)
    }

    /// How many of the requests are due at `now`.
    fn due_by(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.start).as_secs_f64() * 1e9;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "not negative, and capped")]
        let due = (since / self.interval_ns) as u64 + 1;
        if now < self.start { 0 } else { due.min(self.count) }
    }
}

/// An open loop.
#[derive(Debug, Clone)]
pub(crate) struct OpenLoop {
    /// The replicas; connections are dealt to them in turn.
    pub(crate) addresses: Vec<SocketAddr>,
    /// How many requests may be under way at once; more than that wait, and their waiting counts.
    pub(crate) connections: usize,
    /// Arrivals a second.
    pub(crate) rate: f64,
    pub(crate) duration: Duration,
}

/// What an open loop saw.
#[derive(Debug, Clone)]
pub(crate) struct Arrivals<L> {
    /// Times counted from when each request was due.
    pub(crate) tally: Tally<L>,
    /// How late the generator itself sent requests for which a connection was free: the error of the figures above.
    pub(crate) own_delay: Latencies,
    /// Requests that were due.
    pub(crate) scheduled: u64,
    /// From when the first was due to the last answer.
    pub(crate) took: Duration,
}

/// What is asked, and how answers are sorted, when that depends on what was asked.
pub(crate) trait Traffic {
    /// What is to be remembered of a request until its answer.
    type Sent;
    type Label: Copy + Eq;

    /// Writes one whole request into the empty buffer. It is sent at once.
    fn next(&mut self, into: &mut Vec<u8>) -> Self::Sent;

    fn answered(&mut self, sent: Self::Sent, response: &Response<'_>) -> Self::Label;
}

/// Traffic whose answers say everything themselves.
struct Plain<L, N> {
    label: Label<L>,
    next: N,
}

impl<L: Copy + Eq, N: FnMut(&mut Vec<u8>)> Traffic for Plain<L, N> {
    type Sent = ();
    type Label = L;

    fn next(&mut self, into: &mut Vec<u8>) {
        (self.next)(into);
    }

    fn answered(&mut self, (): (), response: &Response<'_>) -> L {
        (self.label)(response)
    }
}

impl OpenLoop {
    /// Runs it on two threads, one of which only sleeps until the next request is due. `next` writes one
    /// whole request into the empty buffer.
    ///
    /// # Errors
    /// No connection could be opened, or the servers hung. Requests that fail are counted instead.
    pub(crate) async fn run<L, N>(self, label: Label<L>, next: N) -> anyhow::Result<Arrivals<L>>
    where
        L: Copy + Eq + Send + 'static,
        N: FnMut(&mut Vec<u8>) + Send + 'static,
    {
        self.run_traffic(Plain { label, next }).await
    }

    /// [`Self::run`] of requests that are remembered until their answers.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub(crate) async fn run_traffic<T>(self, traffic: T) -> anyhow::Result<Arrivals<T::Label>>
    where
        T: Traffic + Send + 'static,
        T::Label: Send + 'static,
    {
        ensure!(!self.addresses.is_empty() && self.connections > 0, "a load needs a replica and a connection");
        ensure!(self.rate > 0.0, "an open loop needs a rate above 0");
        on_own_thread("open loop", move || self.drive(traffic)).await
    }

    async fn drive<T: Traffic + 'static>(self, traffic: T) -> anyhow::Result<Arrivals<T::Label>> {
        let mut opened = Vec::with_capacity(self.connections);
        for number in 0..self.connections {
            let address = self.addresses[number % self.addresses.len()];
            opened.push((address, Connection::open(address).await?));
        }
        let schedule = Schedule::new(Instant::now() + Duration::from_millis(5), self.rate, self.duration);
        let shared = Rc::new(Shared {
            schedule,
            due: Arc::new(Semaphore::new(0)),
            traffic: RefCell::new(traffic),
            taken: Cell::new(0),
            tally: RefCell::default(),
            own_delay: RefCell::default(),
        });
        let pacer = Pacer::start(schedule, Arc::clone(&shared.due))?;
        let mut workers = tokio::task::JoinSet::new();
        for (address, connection) in opened {
            workers.spawn_local(work(Rc::clone(&shared), address, connection));
        }
        let all = async { while workers.join_next().await.is_some() {} };
        ensure!(
            tokio::time::timeout(self.duration + GRACE, all).await.is_ok(),
            "requests of an open loop were still unanswered {GRACE:?} after its end"
        );
        drop(pacer);
        let took = schedule.due(0).elapsed();
        let mut tally = shared.tally.take();
        tally.counted = self.duration;
        Ok(Arrivals { tally, own_delay: shared.own_delay.take(), scheduled: schedule.count(), took })
    }
}

/// Sleeps until requests are due and says so. A thread of its own, because the runtime's timers are
/// accurate to a millisecond, in which tens of requests are due.
struct Pacer {
    due: Arc<Semaphore>,
}

impl Pacer {
    fn start(schedule: Schedule, due: Arc<Semaphore>) -> anyhow::Result<Self> {
        let semaphore = Arc::clone(&due);
        std::thread::Builder::new().name("pacer".to_owned()).spawn(move || {
            let mut announced = 0;
            while announced < schedule.count() && !semaphore.is_closed() {
                let now = Instant::now();
                let due = schedule.due_by(now);
                if due > announced {
                    semaphore.add_permits(usize::try_from(due - announced).unwrap_or(0));
                    announced = due;
                }
                std::thread::sleep(schedule.due(announced).saturating_duration_since(Instant::now()));
            }
        })?;
        Ok(Self { due })
    }
}

impl Drop for Pacer {
    fn drop(&mut self) {
        self.due.close();
    }
}

struct Shared<T: Traffic> {
    schedule: Schedule,
    due: Arc<Semaphore>,
    traffic: RefCell<T>,
    taken: Cell<u64>,
    tally: RefCell<Tally<T::Label>>,
    own_delay: RefCell<Latencies>,
}

async fn work<T: Traffic>(shared: Rc<Shared<T>>, address: SocketAddr, mut connection: Connection) {
    let mut request = Vec::with_capacity(512);
    loop {
        if shared.taken.get() >= shared.schedule.count() {
            return;
        }
        // Somebody else may take the last one while this task waits: the last taker wakes all.
        let waited = shared.due.available_permits() == 0;
        let Ok(permit) = shared.due.acquire().await else {
            return;
        };
        permit.forget();
        let n = shared.taken.get();
        shared.taken.set(n + 1);
        if n + 1 >= shared.schedule.count() {
            shared.due.close();
        }
        let due = shared.schedule.due(n);
        if waited {
            shared.own_delay.borrow_mut().record(due.elapsed());
        }
        request.clear();
        let sent = shared.traffic.borrow_mut().next(&mut request);
        match connection.exchange(&request).await {
            Ok(response) => {
                let (time, body) = (due.elapsed(), response.body.len());
                let label = shared.traffic.borrow_mut().answered(sent, &response);
                shared.tally.borrow_mut().answer(label, time, body);
            }
            Err(error) => shared.tally.borrow_mut().failure(&error),
        }
        if !connection.usable() {
            match Connection::open(address).await {
                Ok(opened) => connection = opened,
                // The other connections take over what is due.
                Err(error) => return shared.tally.borrow_mut().failure(&error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{OpenLoop, Schedule};
    use crate::measure::load::tests::echo;
    use std::time::{Duration, Instant};

    #[test]
    fn the_schedule_does_not_drift() {
        let start = Instant::now();
        let schedule = Schedule::new(start, 3_000.0, Duration::from_secs(10));
        assert_eq!(schedule.count(), 30_000);
        assert_eq!(schedule.due(0), start);
        let last = schedule.due(29_999) - start;
        assert!((last.as_secs_f64() - 9.999_666).abs() < 1e-5, "{last:?}");
    }

    #[test]
    fn as_many_are_due_as_the_time_says() {
        let start = Instant::now();
        let schedule = Schedule::new(start, 1_000.0, Duration::from_secs(1));
        assert_eq!(schedule.due_by(start - Duration::from_millis(1)), 0);
        for (after_us, due) in [(0, 1), (999, 1), (1_001, 2), (500_500, 501), (5_000_000, 1_000)] {
            assert_eq!(schedule.due_by(start + Duration::from_micros(after_us)), due, "{after_us} us");
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn waiting_for_a_free_connection_counts() {
        // One connection, 20 ms an answer, 500 arrivals a second: a generator that waits for its turn
        // would report 20 ms for each. In truth the last of 25 has waited for nearly all before it.
        let open = OpenLoop {
            addresses: vec![echo(Duration::from_millis(20)).await],
            connections: 1,
            rate: 500.0,
            duration: Duration::from_millis(50),
        };
        let seen = open
            .run(|response| response.status, |into| into.extend_from_slice(b"GET /x HTTP/1.1\r\n\r\n"))
            .await
            .unwrap();
        assert_eq!((seen.scheduled, seen.tally.count(|status| status == 200)), (25, 25));
        let times = seen.tally.latencies(|_| true).percentiles().unwrap();
        assert!(times.max_us > 400_000.0, "{times:?}");
        assert!(times.p50_us > 200_000.0, "{times:?}");
        assert!((0.4..10.0).contains(&seen.took.as_secs_f64()), "{:?}", seen.took);
    }
}
