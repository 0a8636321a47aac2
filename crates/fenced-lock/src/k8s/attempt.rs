//! One acquisition of a Lease: look, claim, renew, clear.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease as LeaseObject, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, PostParams};
use tokio::time::{Instant, sleep, timeout};

use super::Shared;
use crate::attend::{Caller, Lease, Pace, RETRY, Term};
use crate::error::LockError;
use crate::name::{Name, Namespace};
use crate::random::token;
use crate::slot::Slot;

/// An object's name allows less than a lock's: so a digest, and the name itself as an annotation.
fn object_name(namespace: &Namespace, name: &Name) -> String {
    format!("fenced-lock-{}", fred::util::sha1_hash(&format!("{}/{}", namespace.as_str(), name.as_str())))
}

pub(super) struct Attempt {
    shared: Arc<Shared>,
    object: String,
    name: Name,
    token: String,
    /// The object as this attempt has last written it.
    latest: Option<LeaseObject>,
    /// Whether a write was sent whose outcome may be that the lease is ours.
    asked: bool,
}

/// What somebody else's lease looked like, and since when.
struct Observed {
    version: Option<String>,
    since: Instant,
    lease: Duration,
}

/// What became of one write.
enum Written {
    Done(Box<LeaseObject>),
    /// Somebody else was faster.
    Conflict,
}

impl Attempt {
    pub(super) fn new(shared: &Arc<Shared>, name: Name) -> Self {
        Self {
            object: object_name(&shared.settings.namespace, &name),
            shared: Arc::clone(shared),
            name,
            token: token(),
            latest: None,
            asked: false,
        }
    }

    async fn read(&self) -> Result<Option<LeaseObject>, LockError> {
        within(self.shared.settings.request_timeout, self.shared.api.get_opt(&self.object)).await
    }

    /// Creates the object, or replaces exactly the version that was read.
    async fn write(&self, object: &LeaseObject) -> Result<Written, LockError> {
        let (api, params) = (&self.shared.api, PostParams::default());
        let writing = async {
            if object.metadata.resource_version.is_some() {
                api.replace(&self.object, &params, object).await
            } else {
                api.create(&params, object).await
            }
        };
        let limit = self.shared.settings.request_timeout;
        match timeout(limit, writing).await {
            Ok(Ok(object)) => Ok(Written::Done(Box::new(object))),
            Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => Ok(Written::Conflict),
            Ok(Err(error)) => Err(LockError::backend(error)),
            Err(_) => Err(LockError::backend("the API server did not answer in time")),
        }
    }

    /// The object as it shall be when this attempt has it, with its transitions raised.
    fn claimed(&self, found: Option<&LeaseObject>) -> LeaseObject {
        let now = Some(MicroTime(Timestamp::now()));
        let old = found.and_then(|lease| lease.spec.as_ref());
        let spec = LeaseSpec {
            holder_identity: Some(self.token.clone()),
            lease_duration_seconds: Some(self.shared.seconds),
            acquire_time: now.clone(),
            renew_time: now,
            lease_transitions: Some(old.and_then(|spec| spec.lease_transitions).unwrap_or(0).max(0).saturating_add(1)),
            ..LeaseSpec::default()
        };
        let metadata = found.map_or_else(
            || ObjectMeta {
                name: Some(self.object.clone()),
                annotations: Some(BTreeMap::from([("fenced-lock/name".into(), self.name.as_str().into())])),
                ..ObjectMeta::default()
            },
            |lease| lease.metadata.clone(),
        );
        LeaseObject { metadata, spec: Some(spec) }
    }

    fn until(&self, asked: Instant) -> Instant {
        let lease = self.shared.settings.lease;
        asked + lease - lease / 100 - Duration::from_millis(10)
    }

    /// One look, and a claim if the lease is free. `None`: it is somebody else's.
    async fn attempt(&mut self, observed: &mut Option<Observed>) -> Result<Option<Term>, LockError> {
        let found = self.read().await?;
        if let Some(lease) = &found
            && let Some(holder) = holder(lease)
            && *holder != self.token
        {
            let version = lease.metadata.resource_version.clone();
            match observed {
                Some(seen) if seen.version == version => {
                    if seen.since.elapsed() < seen.lease {
                        return Ok(None);
                    }
                }
                _ => {
                    let seconds = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds);
                    let lease = seconds
                        .and_then(|seconds| u64::try_from(seconds).ok())
                        .map_or(self.shared.settings.lease, Duration::from_secs);
                    *observed = Some(Observed { version, since: Instant::now(), lease });
                    return Ok(None);
                }
            }
        }
        let asked = Instant::now();
        self.asked = true;
        match self.write(&self.claimed(found.as_ref())).await? {
            Written::Done(object) => {
                let term = Term { fence: transitions(&object), until: self.until(asked) };
                self.latest = Some(*object);
                Ok(Some(term))
            }
            Written::Conflict => Ok(None),
        }
    }

    /// Changes the object while it is ours. `None`: it is not.
    async fn change(&mut self, change: impl Fn(&mut LeaseSpec)) -> Result<Option<LeaseObject>, LockError> {
        let mut current = self.latest.clone();
        // A conflict that we have made ourselves, by a write whose reply was lost, is no loss: so look once.
        for _ in 0..2 {
            let Some(mut object) = current.filter(|lease| holder(lease) == Some(&self.token)) else { return Ok(None) };
            change(object.spec.get_or_insert_default());
            match self.write(&object).await? {
                Written::Done(object) => {
                    self.latest = Some((*object).clone());
                    return Ok(Some(*object));
                }
                Written::Conflict => current = self.read().await?,
            }
        }
        Ok(None)
    }
}

impl Lease for Attempt {
    async fn obtain(&mut self, caller: &mut Caller, _slot: &Arc<Slot>) -> Result<Term, LockError> {
        let mut late = LockError::Timeout;
        let mut observed = None;
        loop {
            if caller.is_gone() || Instant::now() >= caller.deadline {
                return Err(late);
            }
            let Some(attempt) = caller.unless_gone(self.attempt(&mut observed), Duration::MAX, &late).await else {
                return Err(late);
            };
            let pause = match attempt {
                Ok(Some(term)) if Instant::now() < term.until => return Ok(term),
                Ok(Some(_)) => RETRY,
                Ok(None) if !caller.wait => return Err(LockError::Contended),
                Ok(None) => {
                    late = LockError::Timeout;
                    self.shared.settings.retry.mul_f64(0.5 + fastrand::f64())
                }
                Err(error) => {
                    late = error;
                    self.shared.settings.retry
                }
            };
            let pause = pause.min(caller.deadline.saturating_duration_since(Instant::now()));
            tokio::select! {
                () = caller.gone() => return Err(late),
                () = self.shared.closing.cancelled() => return Err(LockError::closed()),
                () = sleep(pause) => {}
            }
        }
    }

    async fn extend(&mut self, floor: u64) -> Result<Option<Term>, LockError> {
        let Ok(floor) = i32::try_from(floor) else {
            return Err(LockError::backend(
                "a fence above leaseTransitions' limit has been seen: the row has had another lock",
            ));
        };
        let until = self.until(Instant::now());
        let changed = self
            .change(|spec| {
                spec.renew_time = Some(MicroTime(Timestamp::now()));
                if floor > 0 {
                    let above = spec.lease_transitions.unwrap_or(0).max(floor).saturating_add(1);
                    spec.lease_transitions = Some(above);
                }
            })
            .await?;
        Ok(changed.map(|object| Term { fence: transitions(&object), until }))
    }

    async fn free(&mut self) -> Result<bool, LockError> {
        // The object stays: with it would go the number that makes the next fence higher.
        Ok(self.change(|spec| spec.holder_identity = None).await?.is_some())
    }

    async fn abandon(&mut self) {
        let end = Instant::now() + self.shared.settings.lease;
        while self.asked && Instant::now() < end {
            let freed = match self.read().await {
                Ok(latest) => {
                    self.latest = latest;
                    self.free().await
                }
                Err(error) => Err(error),
            };
            if freed.is_ok() {
                return;
            }
            sleep(RETRY).await;
        }
    }

    fn pace(&self) -> Option<Pace> {
        let settings = &self.shared.settings;
        Some(Pace { every: settings.lease / 3, after_error: settings.request_timeout })
    }
}

fn holder(lease: &LeaseObject) -> Option<&String> {
    lease.spec.as_ref()?.holder_identity.as_ref().filter(|holder| !holder.is_empty())
}

fn transitions(lease: &LeaseObject) -> u64 {
    lease.spec.as_ref().and_then(|spec| spec.lease_transitions).and_then(|count| u64::try_from(count).ok()).unwrap_or(0)
}

async fn within<T>(limit: Duration, request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, LockError> {
    match timeout(limit, request).await {
        Ok(done) => done.map_err(LockError::backend),
        Err(_) => Err(LockError::backend("the API server did not answer in time")),
    }
}
