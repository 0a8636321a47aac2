//! Whether the process lives, has started, and is ready: what the probes of an orchestrator ask.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{Router, get};
use http::StatusCode;
use metrics::{Gauge, gauge};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::metrics::{CHECK_UP, READY};

/// The health of one process. Cheap to clone; all clones are one.
///
/// A replica is **ready** when it has started, does not drain, and every critical check passes. A check is a value that a
/// background task sets: a probe never asks a store, so that probes stay cheap and a slow store cannot make them time out.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    started: bool,
    draining: bool,
    checks: Vec<Named>,
    ready: Option<Gauge>,
}

#[derive(Debug)]
struct Named {
    name: &'static str,
    critical: bool,
    state: Report,
    since: (Instant, SystemTime),
    up: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Report {
    Unknown,
    Passing(String),
    Failing(String),
}

/// The handle by which a background task reports one named check.
#[derive(Clone, Debug)]
pub struct Check {
    health: Health,
    index: usize,
}

impl Health {
    /// Nothing started, no checks.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a check without which the replica is not ready. It fails until it is reported as passing.
    #[must_use]
    pub fn critical(&self, name: &'static str) -> Check {
        self.add(name, true)
    }

    /// Adds a check that is only reported: the replica does its work without it.
    #[must_use]
    pub fn informative(&self, name: &'static str) -> Check {
        self.add(name, false)
    }

    fn add(&self, name: &'static str, critical: bool) -> Check {
        let up = gauge!(CHECK_UP, "check" => name);
        up.set(0.0);
        let index = self.change(|inner| {
            let since = (Instant::now(), SystemTime::now());
            inner.checks.push(Named { name, critical, state: Report::Unknown, since, up });
            inner.checks.len() - 1
        });
        Check { health: self.clone(), index }
    }

    /// The start-up is over: `/startupz` answers 200 from now on.
    pub fn started(&self) {
        self.change(|inner| inner.started = true);
    }

    /// Shutdown begins: not ready from now on, whatever the checks say.
    pub fn drain(&self) {
        self.change(|inner| inner.draining = true);
    }

    /// Whether the replica should be sent requests.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.change(|inner| inner.is_ready())
    }

    /// Whether the start-up is over.
    #[must_use]
    pub fn is_started(&self) -> bool {
        self.change(|inner| inner.started)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut inner);
        let ready = if inner.is_ready() { 1.0 } else { 0.0 };
        inner.ready.get_or_insert_with(|| gauge!(READY)).set(ready);
        result
    }

    /// `GET /livez`, `/startupz` and `/readyz`.
    pub(crate) fn router(&self) -> Router {
        Router::new()
            // That this is answered at all shows that the runtime polls its tasks; there is nothing more to ask.
            .route("/livez", get(async || "live\n"))
            .route("/startupz", get(startup))
            .route("/readyz", get(readiness))
            .with_state(self.clone())
    }
}

impl Inner {
    fn is_ready(&self) -> bool {
        self.started
            && !self.draining
            && self.checks.iter().all(|check| !check.critical || matches!(check.state, Report::Passing(_)))
    }

    fn status(&self) -> &'static str {
        match (self.started, self.draining) {
            (false, _) => "starting",
            (true, true) => "draining",
            (true, false) if self.is_ready() => "ready",
            (true, false) => "not ready",
        }
    }

    fn document(&self) -> Value {
        let checks = self.checks.iter().map(|check| (check.name.to_owned(), check.document()));
        // Which process says so: a port may be another's by now.
        json!({ "status": self.status(), "pid": std::process::id(), "checks": Map::from_iter(checks) })
    }
}

impl Named {
    fn document(&self) -> Value {
        let (status, detail) = match &self.state {
            Report::Unknown => ("unknown", ""),
            Report::Passing(detail) => ("pass", detail.as_str()),
            Report::Failing(detail) => ("fail", detail.as_str()),
        };
        let mut document = json!({ "status": status, "critical": self.critical });
        if !detail.is_empty() {
            document["detail"] = detail.into();
        }
        if let Ok(since) = OffsetDateTime::from(self.since.1).format(&Rfc3339) {
            document["since"] = since.into();
        }
        document
    }
}

impl Check {
    /// The check passes.
    pub fn pass(&self) {
        self.report(Report::Passing(String::new()));
    }

    /// The check passes, and there is something to say about it.
    pub fn pass_with(&self, detail: impl fmt::Display) {
        self.report(Report::Passing(detail.to_string()));
    }

    /// The check fails; `detail` says why and, where there is something to do, what. It is public on the admin port.
    pub fn fail(&self, detail: impl fmt::Display) {
        self.report(Report::Failing(detail.to_string()));
    }

    /// Whether the last report was a pass.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        self.health.change(|inner| matches!(inner.checks[self.index].state, Report::Passing(_)))
    }

    fn report(&self, state: Report) {
        let changed = self.health.change(|inner| {
            let check = &mut inner.checks[self.index];
            let turned = std::mem::discriminant(&check.state) != std::mem::discriminant(&state);
            let before = std::mem::replace(&mut check.state, state.clone());
            check.up.set(if matches!(state, Report::Passing(_)) { 1.0 } else { 0.0 });
            turned.then(|| {
                let lasted = std::mem::replace(&mut check.since, (Instant::now(), SystemTime::now())).0.elapsed();
                (check.name, check.critical, before, lasted)
            })
        });
        // Logged when it turns, not each time that it is reported, and not under the lock.
        let Some((name, critical, before, lasted)) = changed else { return };
        match state {
            Report::Failing(detail) if critical => tracing::warn!(check = name, detail, "not ready: a check fails"),
            Report::Failing(detail) => tracing::warn!(check = name, detail, "a check fails"),
            Report::Passing(_) if before == Report::Unknown => tracing::debug!(check = name, "check passes"),
            Report::Passing(_) => {
                tracing::info!(check = name, failed_for_ms = lasted.as_millis(), "check passes again");
            }
            Report::Unknown => {}
        }
    }
}

async fn startup(State(health): State<Health>) -> Response {
    if health.is_started() {
        (StatusCode::OK, "started\n").into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "starting\n").into_response()
    }
}

async fn readiness(State(health): State<Health>) -> Response {
    let (ready, document) = health.change(|inner| (inner.is_ready(), inner.document()));
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, axum::Json(document)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn critical_checks_gate_and_informative_ones_do_not() {
        let health = Health::new();
        let postgres = health.critical("postgres");
        let redis = health.informative("redis");
        health.started();
        assert!(!health.is_ready(), "a critical check that was never reported");
        postgres.pass();
        redis.fail("connection refused");
        assert!(health.is_ready());
        postgres.fail("connection refused");
        assert!(!health.is_ready());
        let document = health.change(|inner| inner.document());
        assert_eq!(document["status"], "not ready");
        assert_eq!(document["checks"]["postgres"]["detail"], "connection refused");
        assert_eq!(document["checks"]["redis"]["critical"], false);
    }

    #[test]
    fn starting_and_draining_are_not_ready_whatever_the_checks_say() {
        let health = Health::new();
        health.critical("postgres").pass();
        assert!(!health.is_ready(), "not started");
        health.started();
        assert!(health.is_ready());
        health.drain();
        assert!(!health.is_ready() && health.is_started());
        assert_eq!(health.change(|inner| inner.status()), "draining");
    }

    #[test]
    fn since_is_when_it_turned_and_not_when_it_was_last_reported() {
        let health = Health::new();
        let check = health.critical("postgres");
        check.pass();
        let since = |health: &Health| health.change(|inner| inner.checks[0].since);
        let turned = since(&health);
        check.pass_with("still");
        assert_eq!(since(&health), turned);
        check.fail("gone");
        assert_ne!(since(&health), turned);
    }
}
