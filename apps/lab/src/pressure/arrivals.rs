//! When requests are due: at a fixed rate until they are stopped, whether or not earlier ones are answered.

use std::cell::Cell;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use crate::measure::latencies::as_f64;

/// Arrivals at a fixed rate, shared by the tasks of one thread.
#[derive(Debug)]
pub(crate) struct Arrivals {
    start: Instant,
    interval: f64,
    announced: Cell<u64>,
    taken: Cell<u64>,
    // Fair: the connections take turns, so that none of them is idle for long.
    due: Semaphore,
}

impl Arrivals {
    /// `rate` a second, above 0, from now on.
    pub(crate) fn new(rate: f64) -> Self {
        Self {
            start: Instant::now(),
            interval: 1.0 / rate,
            announced: Cell::new(0),
            taken: Cell::new(0),
            due: Semaphore::new(0),
        }
    }

    /// When the `n`th is due. Counted from the start, so that no delay adds up.
    fn at(&self, n: u64) -> Instant {
        self.start + Duration::from_secs_f64(as_f64(n) * self.interval)
    }

    /// Announces them; never ends. The runtime's timers are accurate to a millisecond, in which a few may be due.
    pub(crate) async fn run(&self) -> std::convert::Infallible {
        loop {
            let now = Instant::now();
            let mut announced = self.announced.get();
            let before = announced;
            while self.at(announced) <= now {
                announced += 1;
            }
            self.announced.set(announced);
            self.due.add_permits(usize::try_from(announced - before).unwrap_or(0));
            tokio::time::sleep_until(self.at(announced).into()).await;
        }
    }

    /// Waits for the next one and says when it was due; `None` once they have ended.
    pub(crate) async fn next(&self) -> Option<Instant> {
        self.due.acquire().await.ok()?.forget();
        let n = self.taken.get();
        self.taken.set(n + 1);
        Some(self.at(n))
    }

    /// Ends them, and says how many were due and nobody was free to send them.
    pub(crate) fn end(&self) -> u64 {
        self.due.close();
        self.announced.get() - self.taken.get()
    }
}

#[cfg(test)]
mod tests {
    use super::Arrivals;
    use std::time::Instant;

    #[tokio::test]
    async fn each_one_is_due_at_its_own_time_however_late_it_is_taken() {
        let arrivals = Arrivals::new(1_000.0);
        let taking = async {
            let mut due = Vec::new();
            while due.len() < 50 {
                due.push(arrivals.next().await.unwrap());
            }
            due
        };
        let due = tokio::select! { due = taking => due, never = arrivals.run() => match never {} };
        assert!(due[49] <= Instant::now(), "nothing is announced before it is due");
        for pair in due.windows(2) {
            let apart = (pair[1] - pair[0]).as_secs_f64();
            assert!((apart - 0.001).abs() < 1e-6, "{apart}");
        }
        arrivals.end();
        // What had been announced when it ended is counted and not handed out.
        assert!(arrivals.next().await.is_none());
    }
}
