//! The cluster that the replicas run in, seen and changed through its API server.
//!
//! Works from a pod, with its service account, and from outside, with a kubeconfig; only from a pod are the replicas'
//! addresses within reach.

mod exec;
mod nodes;
mod pods;
mod replicas;
mod workloads;

use std::time::Duration;

use anyhow::Context as _;

pub(crate) use replicas::{Replica, Replicas, url};

/// How long one answer of the API server may take.
const ANSWER: Duration = Duration::from_secs(10);
/// Between two looks at something that changes.
const LOOK: Duration = Duration::from_millis(100);

/// A namespace of a cluster.
#[derive(Clone)]
pub(crate) struct Cluster {
    client: kube::Client,
    namespace: String,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

/// Where the replicas are looked for.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct ClusterArgs {
    /// The namespace that the services run in [default: the pod's own, or that of the kubeconfig's context]
    #[arg(long, value_name = "NAME", env = "POD_NAMESPACE")]
    pub(crate) namespace: Option<String>,
}

/// Whether this process runs in a pod.
pub(crate) fn in_a_pod() -> bool {
    std::env::var_os("KUBERNETES_SERVICE_HOST").is_some()
}

impl Cluster {
    /// # Errors
    /// There is neither a service account nor a kubeconfig, or what there is cannot be read.
    pub(crate) async fn connect(args: &ClusterArgs) -> anyhow::Result<Self> {
        let config = kube::Config::infer()
            .await
            .context("no cluster: there is neither a pod's service account nor a kubeconfig")?;
        let namespace = args.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let client = kube::Client::try_from(config).context("no cluster")?;
        Ok(Self { client, namespace })
    }

    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The objects of one kind in the namespace.
    fn all<K>(&self) -> kube::Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        kube::Api::namespaced(self.client.clone(), &self.namespace)
    }
}

/// One call, which ends in time.
///
/// # Errors
/// The API server refuses, or says nothing; `what` is said first.
async fn call<T>(what: &str, call: impl Future<Output = kube::Result<T>>) -> anyhow::Result<T> {
    let answer = tokio::time::timeout(ANSWER, call).await;
    answer
        .with_context(|| format!("{what}: the API server does not answer within {ANSWER:?}"))?
        .with_context(|| what.to_owned())
}

/// Looks again and again until there is something to be returned.
///
/// # Errors
/// There is nothing `within` that time, which `what` explains; or a look fails.
async fn until<T>(
    what: &str,
    within: Duration,
    mut look: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let deadline = std::time::Instant::now() + within;
    loop {
        if let Some(found) = look().await? {
            return Ok(found);
        }
        anyhow::ensure!(std::time::Instant::now() < deadline, "{what}, {} s later", within.as_secs());
        tokio::time::sleep(LOOK).await;
    }
}
