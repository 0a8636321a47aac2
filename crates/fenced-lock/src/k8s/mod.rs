//! A Kubernetes Lease as a lock.

mod attempt;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use k8s_openapi::api::coordination::v1::Lease as LeaseObject;
use kube::{Api, Client, Config};
use thiserror::Error;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use self::attempt::Attempt;
use crate::attend::Attendants;
use crate::backend::{Acquiring, Backend, Kind, Request};
use crate::error::ConfigError;
use crate::name::Namespace;

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
    attendants: Attendants,
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
        let closing = CancellationToken::new();
        let attendants = Attendants::new(closing.clone());
        Ok(Self { shared: Arc::new(Shared { api, settings, seconds, closing }), attendants })
    }
}

impl Backend for K8sLease {
    fn kind(&self) -> Kind {
        Kind::K8sLease
    }

    fn begin(&self, request: Request) -> Acquiring {
        self.attendants.begin(request, |name| Attempt::new(&self.shared, name))
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.attendants.close()
    }
}
