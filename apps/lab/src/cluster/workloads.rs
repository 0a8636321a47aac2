//! Deployments: how many replicas are wanted, and whether they are there.

use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::api::apps::v1::Deployment;
use kube::Resource as _;
use kube::api::{Patch, PatchParams};

use super::{Cluster, Replica, call, until};
use crate::fleet::Service;

/// A Deployment of which every replica is up to date, ready and announced, and nothing else is left.
#[derive(Debug, Clone)]
pub(crate) struct Settled {
    pub(crate) replicas: Vec<Replica>,
}

impl Settled {
    pub(crate) fn uids(&self) -> Vec<&str> {
        self.replicas.iter().map(|replica| replica.uid.as_str()).collect()
    }
}

impl Cluster {
    /// How many replicas a service is wanted to have.
    ///
    /// # Errors
    /// There is no such Deployment, or the API server does not answer.
    pub(crate) async fn wanted(&self, service: Service) -> anyhow::Result<u16> {
        let name = service.program();
        let scale = call(&format!("reading the scale of {name}"), self.all::<Deployment>().get_scale(name)).await?;
        let replicas = scale.spec.and_then(|spec| spec.replicas).unwrap_or(0);
        u16::try_from(replicas).context("the number of replicas")
    }

    /// Wants so many replicas from now on.
    ///
    /// # Errors
    /// The API server refuses, or does not answer.
    pub(crate) async fn scale(&self, service: Service, replicas: u16) -> anyhow::Result<()> {
        let name = service.program();
        let patch = serde_json::json!({"spec": {"replicas": replicas}});
        let deployments = self.all::<Deployment>();
        let (params, patch) = (PatchParams::default(), Patch::Merge(&patch));
        let scaled = deployments.patch_scale(name, &params, &patch);
        call(&format!("scaling {name} to {replicas}"), scaled).await.map(drop)
    }

    /// Replaces every replica by the Deployment's own rules, as `kubectl rollout restart` does.
    ///
    /// # Errors
    /// The API server refuses, or does not answer.
    pub(crate) async fn restart(&self, service: Service) -> anyhow::Result<()> {
        let name = service.program();
        let now = time::OffsetDateTime::now_utc().format(&time::format_description::well_known::Rfc3339)?;
        let annotations = serde_json::json!({"kubectl.kubernetes.io/restartedAt": now});
        let patch = serde_json::json!({"spec": {"template": {"metadata": {"annotations": annotations}}}});
        let deployments = self.all::<Deployment>();
        let (params, patch) = (PatchParams::default(), Patch::Merge(&patch));
        let restarted = deployments.patch(name, &params, &patch);
        call(&format!("restarting {name}"), restarted).await.map(drop)
    }

    /// Waits until a service has exactly the replicas that it is wanted to have.
    ///
    /// # Errors
    /// It has not `within` that time.
    pub(crate) async fn settled(&self, service: Service, within: Duration) -> anyhow::Result<Settled> {
        let name = service.program();
        until(&format!("{name} does not have the replicas that it should"), within, async || {
            let deployment = call("reading a Deployment", self.all::<Deployment>().get(name)).await?;
            let Some(wanted) = complete(&deployment) else { return Ok(None) };
            let replicas = self.replicas(service).await?;
            let announced = replicas.iter().filter(|replica| replica.ready).count();
            let settled = announced == replicas.len() && i32::try_from(announced)? == wanted;
            Ok(settled.then_some(Settled { replicas }))
        })
        .await
    }
}

/// How many replicas a Deployment has, if they are those that it should have.
fn complete(deployment: &Deployment) -> Option<i32> {
    let wanted = deployment.spec.replicas.unwrap_or(1);
    let status = deployment.status.as_ref()?;
    let seen = status.observed_generation.is_some() && status.observed_generation == deployment.meta().generation;
    let counts = [status.replicas, status.updated_replicas, status.ready_replicas, status.available_replicas];
    (seen && counts.iter().all(|count| count.unwrap_or(0) == wanted)).then_some(wanted)
}

#[cfg(test)]
mod tests {
    use super::complete;
    use k8s_openapi::api::apps::v1::Deployment;

    fn deployment(observed: i64, replicas: i32, ready: i32) -> Deployment {
        serde_json::from_value(serde_json::json!({
            "metadata": {"name": "blog-api", "generation": 4},
            "spec": {"replicas": 3, "selector": {}, "template": {}},
            "status": {
                "observedGeneration": observed, "replicas": replicas, "updatedReplicas": 3,
                "readyReplicas": ready, "availableReplicas": ready,
            },
        }))
        .unwrap()
    }

    #[test]
    fn only_what_was_seen_and_is_whole_is_complete() {
        assert_eq!(complete(&deployment(4, 3, 3)), Some(3));
        // The controller has not looked yet; an old replica is left; one is not ready.
        assert_eq!(complete(&deployment(3, 3, 3)), None);
        assert_eq!(complete(&deployment(4, 4, 3)), None);
        assert_eq!(complete(&deployment(4, 3, 2)), None);
    }
}
