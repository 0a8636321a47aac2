//! Who serves at each step: processes of this machine, or the replicas of a Deployment.

use std::time::Duration;

use crate::fleet::{Fleet, Plan};
use crate::target::{BookingStores, BookingTargets};

#[cfg(feature = "k8s")]
use crate::{cluster, fault, fleet::Service};

/// The replicas of all steps.
#[derive(Debug)]
pub(super) struct Crew {
    stores: BookingStores,
    #[cfg(feature = "k8s")]
    deployment: Option<Deployment>,
}

/// Scaled for each step, and back at the end.
#[cfg(feature = "k8s")]
#[derive(Debug)]
struct Deployment {
    cluster: cluster::Cluster,
    mends: fault::Mends,
}

/// What a start of processes takes, and one of pods.
const PROCESSES: Duration = Duration::from_millis(800);
#[cfg(feature = "k8s")]
const PODS: Duration = Duration::from_secs(8);
/// How long all pods of a step may take to be ready.
#[cfg(feature = "k8s")]
const READY: Duration = Duration::from_secs(180);

impl Crew {
    /// In a pod, the Deployment of its namespace; else processes on these stores.
    #[cfg(feature = "k8s")]
    pub(super) async fn find(stores: BookingStores) -> anyhow::Result<Self> {
        if !cluster::in_a_pod() {
            return Ok(Self { stores, deployment: None });
        }
        let args = cluster::ClusterArgs { namespace: std::env::var("POD_NAMESPACE").ok() };
        let cluster = cluster::Cluster::connect(&args).await?;
        let mends = fault::Mends::default();
        mends.promise(fault::Mend::Scale(Service::Booking, cluster.wanted(Service::Booking).await?));
        Ok(Self { stores, deployment: Some(Deployment { cluster, mends }) })
    }

    /// Processes on these stores.
    #[cfg(not(feature = "k8s"))]
    #[expect(clippy::unused_async, reason = "the other one asks the API server")]
    pub(super) async fn find(stores: BookingStores) -> anyhow::Result<Self> {
        Ok(Self { stores })
    }

    /// What [`Self::start`] takes, as a rule.
    pub(super) fn start_takes(&self) -> Duration {
        #[cfg(feature = "k8s")]
        if self.deployment.is_some() {
            return PODS;
        }
        PROCESSES
    }

    /// Starts so many, and no more. Processes end with the fleet that is returned.
    ///
    /// # Errors
    /// They are not ready in time.
    pub(super) async fn start(&self, replicas: u16) -> anyhow::Result<(BookingTargets, Option<Fleet>)> {
        let stores = self.stores.clone();
        #[cfg(feature = "k8s")]
        if let Some(Deployment { cluster, .. }) = &self.deployment {
            cluster.scale(Service::Booking, replicas).await?;
            let settled = cluster.settled(Service::Booking, READY).await?;
            let urls = settled.replicas.iter().map(|replica| (cluster::url(replica.api), cluster::url(replica.admin)));
            let (replicas, admin) = urls.unzip();
            return Ok((BookingTargets { replicas, admin, stores }, None));
        }
        let plan = Plan { name: "contention".to_owned(), replicas, ..Plan::booking(&stores) };
        let fleet = Fleet::start(plan).await?;
        let (replicas, admin) = fleet.states().into_iter().map(|state| (state.api, state.admin)).unzip();
        Ok((BookingTargets { replicas, admin, stores }, Some(fleet)))
    }

    /// Puts back what was changed for the steps.
    ///
    /// # Errors
    /// The Deployment could not be scaled back.
    #[cfg(feature = "k8s")]
    pub(super) async fn dismiss(self) -> anyhow::Result<()> {
        let Some(Deployment { cluster, mends }) = self.deployment else { return Ok(()) };
        mends.mend(&cluster).await.map_err(|lines| anyhow::anyhow!(lines.join("; ")))
    }

    /// There is nothing to be put back.
    #[cfg(not(feature = "k8s"))]
    #[expect(clippy::unused_async, reason = "the other one asks the API server")]
    pub(super) async fn dismiss(self) -> anyhow::Result<()> {
        Ok(())
    }
}
