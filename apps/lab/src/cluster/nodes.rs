//! Nodes: whether one may take pods, and whether it is there at all.

use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::ResourceExt as _;
use kube::api::{ListParams, Patch, PatchParams};

use super::{Cluster, call};

/// A node as the control plane sees it.
#[derive(Debug, Clone)]
pub(crate) struct NodeState {
    pub(crate) name: String,
    /// Its kubelet reports, and is well.
    pub(crate) ready: bool,
    /// No new pod is put there.
    pub(crate) cordoned: bool,
}

impl Cluster {
    fn nodes_api(&self) -> Api<Node> {
        Api::all(self.client.clone())
    }

    /// All nodes.
    ///
    /// # Errors
    /// The API server refuses (it is a right on the whole cluster: `faults.nodes` of the lab's chart), or does not answer.
    pub(crate) async fn nodes(&self) -> anyhow::Result<Vec<NodeState>> {
        let what = "listing nodes (the lab's chart allows it with faults.nodes=true)";
        let nodes = call(what, self.nodes_api().list(&ListParams::default())).await?;
        Ok(nodes.iter().map(state).collect())
    }

    /// Lets a node take pods, or no more.
    ///
    /// # Errors
    /// The API server refuses, or does not answer.
    pub(crate) async fn cordon(&self, node: &str, cordoned: bool) -> anyhow::Result<()> {
        let patch = serde_json::json!({"spec": {"unschedulable": cordoned}});
        let what = format!("{} {node}", if cordoned { "cordoning" } else { "uncordoning" });
        let nodes = self.nodes_api();
        call(&what, nodes.patch(node, &PatchParams::default(), &Patch::Merge(&patch))).await.map(drop)
    }
}

fn state(node: &Node) -> NodeState {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_deref());
    NodeState {
        name: node.name_any(),
        ready: conditions.unwrap_or_default().iter().any(|c| c.type_ == "Ready" && c.status == "True"),
        cordoned: node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false),
    }
}
