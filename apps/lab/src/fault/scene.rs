//! What an act works on, and where it says what it did.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::active::Active;
use super::mends::Mends;
use crate::cluster::Cluster;
use crate::fleet::Service;
use crate::pressure::Allowed;
use crate::screen::say;

/// One thing that was seen to have happened.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Evidence {
    /// Counted from the beginning of the run.
    pub(crate) at_s: f64,
    pub(crate) what: String,
}

/// What an act works on.
#[derive(Debug)]
pub(crate) struct Scene<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) mends: &'a Mends,
    /// Whose replicas are meant.
    pub(crate) services: &'a [Service],
    fault: &'static str,
    begun: Instant,
    evidence: Mutex<Vec<Evidence>>,
    allowed: Mutex<Excuses>,
}

/// What clients of each service may see of the fault.
#[derive(Debug, Clone, Default)]
pub(crate) struct Excuses(Vec<(Service, Allowed)>);

impl Excuses {
    pub(crate) fn of(&self, service: Service) -> Allowed {
        let found = self.0.iter().find(|(of, _)| *of == service);
        found.map_or_else(Allowed::nothing, |(_, allowed)| allowed.clone())
    }
}

impl<'a> Scene<'a> {
    pub(crate) fn new(
        cluster: &'a Cluster,
        mends: &'a Mends,
        services: &'a [Service],
        fault: &'static str,
        begun: Instant,
    ) -> Self {
        Self { cluster, mends, services, fault, begun, evidence: Mutex::default(), allowed: Mutex::default() }
    }

    /// To be called right before something is broken: the dashboards mark it while what is returned lives.
    pub(crate) fn breaks(&self, target: impl Into<String>) -> Active {
        Active::new(self.fault, target)
    }

    /// Clients of this service may see that much of the fault.
    pub(crate) fn allow(&self, service: Service, more: impl FnOnce(Allowed) -> Allowed) {
        let mut allowed = self.allowed.lock().unwrap_or_else(PoisonError::into_inner);
        let until_now = allowed.of(service);
        allowed.0.retain(|(of, _)| *of != service);
        allowed.0.push((service, more(until_now)));
    }

    pub(crate) fn allowed(&self) -> Excuses {
        self.allowed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Something was seen.
    pub(crate) fn saw(&self, what: impl Into<String>) {
        let what = what.into();
        let at = self.begun.elapsed();
        say(&format!("{:6.1} s  {what}", at.as_secs_f64()));
        let evidence = Evidence { at_s: at.as_secs_f64(), what };
        self.evidence.lock().unwrap_or_else(PoisonError::into_inner).push(evidence);
    }

    pub(crate) fn evidence(self) -> Vec<Evidence> {
        self.evidence.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long the replicas of a service may take to be as many as they should be.
pub(super) const SETTLED: Duration = Duration::from_secs(180);

/// The end of a uid tells pods apart as well as all of it.
pub(super) fn short(uid: &str) -> &str {
    uid.get(uid.len().saturating_sub(8)..).unwrap_or(uid)
}
