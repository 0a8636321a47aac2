//! How the worker stands, for people, for experiments and for the metrics.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use serde::Serialize;
use service::Json;

use crate::metrics::Gauges;

/// How this worker stands. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub(crate) struct Status(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    now: Standing,
    behind_since: Option<SystemTime>,
    gauges: Gauges,
}

/// `GET /status`.
#[derive(Clone, Debug, Default, Serialize)]
struct Standing {
    /// This process leads; else it stands by, and the numbers are those of when it last led.
    leader: bool,
    subscribed: bool,
    gap_repair: bool,
    /// Every event up to this number is applied.
    position: u64,
    /// The last number that is known.
    last: u64,
    /// How many are known and not applied.
    lag: u64,
    /// For how long it has been behind.
    lag_seconds: f64,
}

impl Status {
    pub(crate) fn new(gauges: Gauges, gap_repair: bool) -> Self {
        gauges.leader.set(0.0);
        gauges.subscribed.set(0.0);
        let now = Standing { gap_repair, ..Standing::default() };
        Self(Arc::new(Mutex::new(Inner { now, behind_since: None, gauges })))
    }

    fn change(&self, change: impl FnOnce(&mut Inner)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(crate) fn leads(&self, leads: bool) {
        self.change(|inner| {
            inner.now.leader = leads;
            inner.gauges.leader.set(if leads { 1.0 } else { 0.0 });
            if !leads {
                // Whether it is behind is the next leader's to say.
                (inner.now.last, inner.behind_since) = (inner.now.position, None);
            }
        });
    }

    pub(crate) fn is_leader(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).now.leader
    }

    pub(crate) fn subscribed(&self, is: bool) {
        self.change(|inner| {
            inner.now.subscribed = is;
            inner.gauges.subscribed.set(if is { 1.0 } else { 0.0 });
        });
    }

    /// Everything up to `position` is applied, and numbers up to `last` are known; `oldest` is when the first event that is not
    /// applied was written, if that is known.
    pub(crate) fn stands_at(&self, position: u64, last: u64, oldest: Option<SystemTime>) {
        self.change(|inner| {
            (inner.now.position, inner.now.last) = (position, last.max(position));
            inner.behind_since = match (inner.now.last > position, oldest, inner.behind_since) {
                (false, ..) => None,
                (true, Some(oldest), _) => Some(oldest),
                (true, None, since) => Some(since.unwrap_or_else(SystemTime::now)),
            };
        });
    }

    fn standing(&self) -> Standing {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let since = inner.behind_since.and_then(|since| since.elapsed().ok());
        Standing {
            lag: inner.now.last - inner.now.position,
            lag_seconds: since.unwrap_or_default().as_secs_f64(),
            ..inner.now.clone()
        }
    }

    /// Sets the gauges that change with time.
    pub(crate) fn publish(&self) {
        let standing = self.standing();
        self.change(|inner| {
            inner.gauges.position.set(gauge(standing.position));
            inner.gauges.lag.set(gauge(standing.lag));
            inner.gauges.lag_seconds.set(standing.lag_seconds);
        });
    }
}

/// The routes of the API: this and nothing else.
pub(crate) fn router(status: Status) -> Router {
    Router::new().route("/status", get(show)).with_state(status)
}

async fn show(State(status): State<Status>) -> Json<Standing> {
    Json(status.standing())
}

/// Gauges are floats, exact up to 2^53: more events than a century of them has.
#[expect(clippy::cast_precision_loss, reason = "see above")]
fn gauge(number: u64) -> f64 {
    number as f64
}
