//! A Kubernetes Lease as a lock.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use k8s_openapi::api::coordination::v1::{Lease as LeaseObject, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client, Config};
use thiserror::Error;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::attend::{Caller, Lease, Pace, RETRY, Term, acquisition, attend};
use crate::backend::{Acquiring, Backend, Kind, Request};
use crate::error::{ConfigError, LockError};
use crate::name::{Name, Namespace};
use crate::random::token;
use crate::slot::Slot;

/// What the Lease lock needs to know at start.
#[derive(Clone, Debug)]
#[must_use]
pub struct K8sLeaseSettings {
    namespace: Namespace,
    kube_namespace: Option<String>,
    lease: Duration,
    retry: Duration,
    request_timeout: Duration,
}

impl K8sLeaseSettings {
    /// Leases in the Kubernetes namespace of the configuration, for example the pod's own.
    pub fn new(namespace: Namespace) -> Self {
        Self {
            namespace,
            kube_namespace: None,
            lease: Duration::from_secs(15),
            retry: Duration::from_millis(250),
            request_timeout: Duration::from_secs(2),
        }
    }

    /// Another Kubernetes namespace.
    pub fn kube_namespace(mut self, namespace: impl Into<String>) -> Self {
        self.kube_namespace = Some(namespace.into());
        self
    }

    /// How long the lease lasts after each renewal, in whole seconds; 15 s unless told.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// The mean time between two looks of a waiter, each half to one and a half of it; 250 ms unless told. The API
    /// server takes a few writes per second and lock, not more.
    pub fn retry(mut self, retry: Duration) -> Self {
        self.retry = retry;
        self
    }

    /// The most that one request may take; 2 s unless told.
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    fn check(&self) -> Result<i32, ConfigError> {
        let wrong = |setting, value: Duration, allowed| Err(ConfigError::new(setting, format!("{value:?}"), allowed));
        if self.request_timeout < Duration::from_millis(1) {
            return wrong("request_timeout", self.request_timeout, "at least 1 ms");
        }
        if self.lease / 3 + 2 * self.request_timeout >= self.lease {
            return wrong("lease", self.lease, "more than 3 * request_timeout");
        }
        if self.retry < Duration::from_millis(1) || self.retry > self.lease {
            return wrong("retry", self.retry, "1 ms to one lease");
        }
        match i32::try_from(self.lease.as_secs()) {
            Ok(seconds) if self.lease.subsec_nanos() == 0 && seconds > 0 && seconds <= 24 * 3600 => Ok(seconds),
            _ => wrong("lease", self.lease, "whole seconds, one to a day"),
        }
    }
}

/// Why the Lease lock does not start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// A setting that is not allowed.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// There is neither a kubeconfig nor a service account.
    #[error(
        "the lock k8s-lease needs a Kubernetes cluster: neither a kubeconfig nor a pod's service account was found"
    )]
    NoCluster(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// There is a configuration, but nobody answers there.
    #[error("the lock k8s-lease needs a Kubernetes cluster: its API server does not answer")]
    NoAnswer(#[source] Option<Box<dyn std::error::Error + Send + Sync>>),
}

/// The backend `k8s-lease`: compare-and-swap on a Lease's resourceVersion.
///
/// A lease that its holder does not renew counts as ended when an observer has seen it unchanged for its whole
/// duration, by the observer's own clock. There is no queue. Each acquisition raises `leaseTransitions`, which is the
/// fence; if somebody deletes the object, it begins again, and [`Sections`](crate::Sections) notice.
#[derive(Debug)]
pub struct K8sLease {
    shared: Arc<Shared>,
    tasks: TaskTracker,
}

struct Shared {
    api: Api<LeaseObject>,
    settings: K8sLeaseSettings,
    seconds: i32,
    closing: CancellationToken,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl K8sLease {
    /// Finds the cluster (kubeconfig, or the pod's service account) and asks whether it answers.
    ///
    /// The account needs `get`, `create` and `update` on `leases` of the group `coordination.k8s.io`.
    ///
    /// # Errors
    /// [`ClusterError`], which says that a cluster is needed if there is none.
    pub async fn connect(settings: K8sLeaseSettings) -> Result<Self, ClusterError> {
        settings.check()?;
        let config = Config::infer().await.map_err(|error| ClusterError::NoCluster(error.into()))?;
        let client = Client::try_from(config).map_err(|error| ClusterError::NoCluster(error.into()))?;
        Self::reached(client, settings).await
    }

    /// With a client of one's own, which is asked whether its API server answers.
    ///
    /// # Errors
    /// [`ClusterError`]
    pub async fn reached(client: Client, settings: K8sLeaseSettings) -> Result<Self, ClusterError> {
        match timeout(settings.request_timeout, client.apiserver_version()).await {
            Ok(Ok(_)) => Ok(Self::with_client(client, settings)?),
            Ok(Err(error)) => Err(ClusterError::NoAnswer(Some(error.into()))),
            Err(_) => Err(ClusterError::NoAnswer(None)),
        }
    }

    /// With a client of one's own, unasked.
    ///
    /// # Errors
    /// [`ConfigError`] for a setting that is not allowed.
    pub fn with_client(client: Client, settings: K8sLeaseSettings) -> Result<Self, ConfigError> {
        let seconds = settings.check()?;
        let api = match &settings.kube_namespace {
            Some(namespace) => Api::namespaced(client, namespace),
            None => Api::default_namespaced(client),
        };
        let shared = Shared { api, settings, seconds, closing: CancellationToken::new() };
        Ok(Self { shared: Arc::new(shared), tasks: TaskTracker::new() })
    }
}

impl Backend for K8sLease {
    fn kind(&self) -> Kind {
        Kind::K8sLease
    }

    fn begin(&self, request: Request) -> Acquiring {
        if self.shared.closing.is_cancelled() {
            return Acquiring::refused(LockError::closed());
        }
        let (caller, acquiring) = acquisition(&request);
        let lease = Attempt {
            object: object_name(&self.shared.settings.namespace, &request.name),
            shared: Arc::clone(&self.shared),
            name: request.name,
            token: token(),
            latest: None,
            asked: false,
        };
        self.tasks.spawn(attend(lease, Arc::default(), caller, request.max_hold, request.metrics));
        acquiring
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async {
            self.shared.closing.cancel();
            self.tasks.close();
            self.tasks.wait().await;
        }
        .boxed()
    }
}

/// An object's name allows less than a lock's: so a digest, and the name itself as an annotation.
fn object_name(namespace: &Namespace, name: &Name) -> String {
    format!("fenced-lock-{}", fred::util::sha1_hash(&format!("{}/{}", namespace.as_str(), name.as_str())))
}

struct Attempt {
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
    async fn obtain(&mut self, caller: &mut Caller, _slot: &Slot) -> Result<Term, LockError> {
        let mut late = LockError::Timeout;
        let mut observed = None;
        loop {
            if caller.is_gone() || Instant::now() >= caller.deadline {
                return Err(late);
            }
            let Some(attempt) = caller.unless_gone(self.attempt(&mut observed), &late).await else { return Err(late) };
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
