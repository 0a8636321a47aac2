//! What was broken and has to be mended, also when the run is interrupted.

use std::sync::{Mutex, PoisonError};

use crate::cluster::Cluster;
use crate::fleet::Service;
use crate::screen::note;

/// One thing that has to be as it was before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mend {
    /// A service is to have so many replicas again.
    Scale(Service, u16),
    /// A node is to take pods again.
    Uncordon(String),
    /// A replica's process is to go on.
    Continue { pod: String, service: Service },
}

/// All that has to be mended.
#[derive(Debug, Default)]
pub(crate) struct Mends(Mutex<Vec<Mend>>);

impl Mends {
    /// To be called before it is broken.
    pub(crate) fn promise(&self, mend: Mend) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(mend);
    }

    /// Mends everything, what was broken last first. Each is tried, whatever became of the others.
    ///
    /// # Errors
    /// Something is still broken: each line says what, and how to mend it by hand.
    pub(crate) async fn mend(&self, cluster: &Cluster) -> Result<(), Vec<String>> {
        let mut left = Vec::new();
        loop {
            let next = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some(mend) = next else { break };
            if let Err(error) = mend.apply(cluster).await {
                left.push(format!("NOT MENDED: {error:#}; by hand: {}", mend.by_hand(cluster.namespace())));
            }
        }
        for line in &left {
            note(&format!("lab: {line}"));
        }
        if left.is_empty() { Ok(()) } else { Err(left) }
    }
}

impl Mend {
    async fn apply(&self, cluster: &Cluster) -> anyhow::Result<()> {
        match self {
            Self::Scale(service, replicas) => cluster.scale(*service, *replicas).await,
            Self::Uncordon(node) => cluster.cordon(node, false).await,
            Self::Continue { pod, service } => cluster.signal(pod, *service, "CONT").await.map(drop),
        }
    }

    fn by_hand(&self, namespace: &str) -> String {
        match self {
            Self::Scale(service, replicas) => {
                format!("kubectl -n {namespace} scale deployment/{} --replicas={replicas}", service.program())
            }
            Self::Uncordon(node) => format!("kubectl uncordon {node}"),
            Self::Continue { pod, .. } => format!("kubectl -n {namespace} delete pod {pod}"),
        }
    }
}
