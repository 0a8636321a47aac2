//! Pods: what became of one, and ending it.

use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::{DeleteParams, EvictParams, ListParams, Preconditions};

use super::{Cluster, call, until};

impl Cluster {
    /// The pod, or none.
    ///
    /// # Errors
    /// The API server does not answer, or refuses.
    pub(super) async fn pod(&self, name: &str) -> anyhow::Result<Option<Pod>> {
        call("reading a pod", self.all::<Pod>().get_opt(name)).await
    }

    /// Deletes this very pod. `grace`: how long its processes may take to end; at 0 nobody waits for them.
    ///
    /// # Errors
    /// The API server refuses, or the pod was another one already.
    pub(crate) async fn delete_pod(&self, name: &str, uid: &str, grace: Option<u32>) -> anyhow::Result<()> {
        let params = DeleteParams {
            grace_period_seconds: grace,
            preconditions: Some(Preconditions { uid: Some(uid.to_owned()), resource_version: None }),
            ..DeleteParams::default()
        };
        call(&format!("deleting {name}"), self.all::<Pod>().delete(name, &params)).await.map(drop)
    }

    /// Asks for a pod to leave its node, as `kubectl drain` does; whether it may, by its disruption budget.
    ///
    /// # Errors
    /// The API server does not answer, or refuses for another reason.
    pub(crate) async fn evict(&self, name: &str) -> anyhow::Result<bool> {
        let pods = self.all::<Pod>();
        let params = EvictParams::default();
        let asked = tokio::time::timeout(super::ANSWER, pods.evict(name, &params));
        match asked.await.with_context(|| format!("evicting {name}: no answer"))? {
            Ok(_) => Ok(true),
            // Gone already; or the budget allows none just now.
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(true),
            Err(kube::Error::Api(status)) if status.code == 429 => Ok(false),
            Err(error) => Err(error).with_context(|| format!("evicting {name}")),
        }
    }

    /// Waits until there is no pod of that name with that uid.
    ///
    /// # Errors
    /// It is still there `within` that time.
    pub(crate) async fn gone(&self, name: &str, uid: &str, within: Duration) -> anyhow::Result<()> {
        until(&format!("{name} is still there"), within, async || {
            let left = self.pod(name).await?.is_some_and(|pod| pod.uid().as_deref() == Some(uid));
            Ok((!left).then_some(()))
        })
        .await
    }

    /// Waits for a ready pod of that name that is not the one of before, and returns its uid.
    ///
    /// # Errors
    /// There is none `within` that time.
    pub(crate) async fn successor(&self, name: &str, before: &str, within: Duration) -> anyhow::Result<String> {
        until(&format!("{name} has no ready successor"), within, async || {
            let Some(pod) = self.pod(name).await? else { return Ok(None) };
            let uid = pod.uid().unwrap_or_default();
            Ok((uid != before && is_ready(&pod)).then_some(uid))
        })
        .await
    }

    /// How often the containers of a pod were started anew, and its uid.
    ///
    /// # Errors
    /// There is no such pod.
    pub(crate) async fn restarts(&self, name: &str) -> anyhow::Result<(String, i32)> {
        let pod = self.pod(name).await?.with_context(|| format!("there is no pod {name}"))?;
        let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_deref());
        let restarts = statuses.unwrap_or_default().iter().map(|status| status.restart_count).sum();
        Ok((pod.uid().unwrap_or_default(), restarts))
    }

    /// The pods of this system on a node: name, and whether a StatefulSet owns it, whose volume does not move.
    ///
    /// # Errors
    /// The API server does not answer, or refuses.
    pub(crate) async fn pods_on(&self, node: &str) -> anyhow::Result<Vec<(String, bool)>> {
        let params = ListParams::default().fields(&format!("spec.nodeName={node}"));
        let pods = call("listing pods", self.all::<Pod>().list(&params)).await?;
        let finished = |pod: &Pod| {
            let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
            matches!(phase, Some("Succeeded" | "Failed"))
        };
        let kept = |pod: &Pod| pod.owner_references().iter().any(|owner| owner.kind == "StatefulSet");
        Ok(pods.iter().filter(|pod| !finished(pod)).map(|pod| (pod.name_any(), kept(pod))).collect())
    }
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref());
    conditions.unwrap_or_default().iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}
