//! What happened to the requests of one load, as it is written down while it goes on.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::client::Wear;
use super::failure::{Failure, Kind};
use crate::measure::latencies::Latencies;

/// Failed tries that are kept to be judged. Beyond that the run has failed whatever the rest of them is.
const KEPT: usize = 100_000;
/// What else was wrong, told once each.
const UNEXPECTED: usize = 10;

/// Written by the load's thread, read by whoever wants to know how it goes.
#[derive(Debug)]
pub(crate) struct Log {
    began: Instant,
    inner: Mutex<Entries>,
}

/// All that is written.
#[derive(Debug, Clone)]
pub(crate) struct Entries {
    pub(crate) counts: Progress,
    pub(crate) by_kind: BTreeMap<Kind, u64>,
    pub(crate) failures: Vec<Failure>,
    pub(crate) seconds: Vec<Second>,
    /// The first one begins with the load, each further one with a mark.
    pub(crate) windows: Vec<Window>,
    /// Reads of each replica directly, by its name.
    pub(crate) direct: BTreeMap<String, u64>,
    pub(crate) unexpected: Vec<String>,
    last_good: Instant,
    pub(crate) gap: Gap,
}

/// The counters so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Progress {
    /// Requests begun, each counted once however often it was tried.
    pub(crate) sent: u64,
    /// Requests with a good answer in the end.
    pub(crate) answered: u64,
    /// Requests whose first try failed.
    pub(crate) failed_first: u64,
    /// Of those, with a good answer in the end.
    pub(crate) retried_ok: u64,
    /// Of those, without one: given up at the deadline.
    pub(crate) never: u64,
    /// Tries that failed, first and further ones.
    pub(crate) failed_tries: u64,
    /// Requests that were due and that nobody was free to send when the load ended.
    pub(crate) unsent: u64,
    /// Answers that asked to wait for somebody else and come again (423).
    pub(crate) waited: u64,
    /// Connections opened.
    pub(crate) opened: u64,
    /// Connections that their server closed while they were idle.
    pub(crate) closed_idle: u64,
    /// Requests that met such a closing on their way, were not read, and were sent again at once.
    pub(crate) closed_meeting: u64,
    /// Reads of single replicas.
    pub(crate) direct_reads: u64,
    /// Of those, without a good answer.
    pub(crate) direct_failed: u64,
    /// Writes acknowledged, whatever they promise.
    pub(crate) writes: u64,
    /// Reads of a post, or of a list, that broke an acknowledged promise.
    pub(crate) stale: u64,
}

/// One second of the load.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Second {
    pub(crate) answered: u32,
    /// Tries that failed, those of single replicas not included.
    pub(crate) failed: u32,
    pub(crate) direct_failed: u32,
}

/// From one mark to the next.
#[derive(Debug, Clone)]
pub(crate) struct Window {
    /// What the mark says; of the first one, "started".
    pub(crate) since: String,
    pub(crate) began: Instant,
    pub(crate) answered: u64,
    pub(crate) failed_tries: u64,
    /// Good answers, from when each request was due.
    pub(crate) latencies: Latencies,
}

/// A time in which no request got a good answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gap {
    pub(crate) began: Instant,
    pub(crate) lasted: Duration,
}

impl Window {
    fn new(since: String, began: Instant) -> Self {
        Self { since, began, answered: 0, failed_tries: 0, latencies: Latencies::default() }
    }
}

impl Log {
    /// Begins now.
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        let inner = Entries {
            counts: Progress::default(),
            by_kind: BTreeMap::new(),
            failures: Vec::new(),
            seconds: Vec::new(),
            windows: vec![Window::new("started".to_owned(), now)],
            direct: BTreeMap::new(),
            unexpected: Vec::new(),
            last_good: now,
            gap: Gap { began: now, lasted: Duration::ZERO },
        };
        Self { began: now, inner: Mutex::new(inner) }
    }

    pub(crate) fn began(&self) -> Instant {
        self.began
    }

    fn inner(&self) -> MutexGuard<'_, Entries> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn count(&self, change: impl FnOnce(&mut Progress)) {
        change(&mut self.inner().counts);
    }

    pub(crate) fn progress(&self) -> Progress {
        self.inner().counts
    }

    /// Begins a new window.
    pub(crate) fn mark(&self, text: &str) -> Instant {
        let mut inner = self.inner();
        let now = Instant::now();
        inner.windows.push(Window::new(text.to_owned(), now));
        now
    }

    /// A request that was due then has its answer, after so many tries that failed.
    pub(crate) fn good(&self, due: Instant, failed: u32) {
        let mut inner = self.inner();
        let now = Instant::now();
        inner.counts.answered += 1;
        inner.counts.retried_ok += u64::from(failed > 0);
        self.second(&mut inner, now).answered += 1;
        if let Some(window) = inner.windows.last_mut() {
            window.answered += 1;
            window.latencies.record(now.saturating_duration_since(due));
        }
        inner.breathe(now);
    }

    /// A try of a request failed.
    pub(crate) fn failed(&self, failure: Failure) {
        let mut inner = self.inner();
        let second = self.second(&mut inner, failure.ended);
        if failure.direct {
            second.direct_failed += 1;
            inner.counts.direct_failed += 1;
        } else {
            second.failed += 1;
            inner.counts.failed_tries += 1;
            inner.counts.failed_first += u64::from(failure.earlier == 0);
            *inner.by_kind.entry(failure.kind).or_default() += 1;
            if let Some(window) = inner.windows.last_mut() {
                window.failed_tries += 1;
            }
        }
        if inner.failures.len() < KEPT {
            inner.failures.push(failure);
        }
    }

    /// A replica answered a read that went to it directly.
    pub(crate) fn direct(&self, name: &str) {
        let mut inner = self.inner();
        inner.counts.direct_reads += 1;
        match inner.direct.get_mut(name) {
            Some(reads) => *reads += 1,
            None => {
                inner.direct.insert(name.to_owned(), 1);
            }
        }
    }

    pub(crate) fn wear(&self, wear: Wear) {
        self.count(|counts| {
            counts.opened += wear.opened;
            counts.closed_idle += wear.closed_idle;
            counts.closed_meeting += wear.closed_meeting;
        });
    }

    /// Something that no fault explains.
    pub(crate) fn unexpected(&self, what: String) {
        let mut inner = self.inner();
        if inner.unexpected.len() < UNEXPECTED && !inner.unexpected.contains(&what) {
            inner.unexpected.push(what);
        }
    }

    /// Everything, once the load has ended.
    pub(crate) fn close(&self) -> Entries {
        let mut inner = self.inner();
        inner.breathe(Instant::now());
        inner.clone()
    }

    fn second<'a>(&self, inner: &'a mut Entries, at: Instant) -> &'a mut Second {
        let number = usize::try_from(at.saturating_duration_since(self.began).as_secs()).unwrap_or(0);
        if inner.seconds.len() <= number {
            inner.seconds.resize(number + 1, Second::default());
        }
        &mut inner.seconds[number]
    }
}

impl Entries {
    /// Whether every failed try is among those that were kept.
    pub(crate) fn is_whole(&self) -> bool {
        self.failures.len() < KEPT
    }

    fn breathe(&mut self, now: Instant) {
        let lasted = now.saturating_duration_since(self.last_good);
        if lasted > self.gap.lasted {
            self.gap = Gap { began: self.last_good, lasted };
        }
        self.last_good = now;
    }
}
