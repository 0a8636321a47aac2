//! The replicas of a service, from its EndpointSlices: as they are, and as they change.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::Service as ServiceObject;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::ListParams;
use kube::runtime::{WatchStreamExt as _, reflector, watcher};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::{Cluster, call};
use crate::fleet::Service;

/// How long the first list of a watch may take.
const FIRST: Duration = Duration::from_secs(10);

/// One replica, as its endpoint is announced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Replica {
    pub(crate) pod: String,
    /// A pod of the same name that comes later has another one.
    pub(crate) uid: String,
    pub(crate) node: String,
    pub(crate) api: SocketAddr,
    pub(crate) admin: SocketAddr,
    /// It gets new connections through the Service.
    pub(crate) ready: bool,
    pub(crate) terminating: bool,
}

/// The replicas of a service, kept up to date until this is dropped.
#[derive(Debug)]
pub(crate) struct Replicas {
    now: watch::Receiver<Arc<[Replica]>>,
    _watch: AbortOnDropHandle<()>,
}

impl Replicas {
    pub(crate) fn now(&self) -> Arc<[Replica]> {
        self.now.borrow().clone()
    }

    /// Tells of every change.
    pub(crate) fn changes(&self) -> watch::Receiver<Arc<[Replica]>> {
        self.now.clone()
    }
}

/// The Service that lists the address of each replica; the charts make it beside the one for clients.
fn listing(service: Service) -> String {
    format!("kubernetes.io/service-name={}-pods", service.program())
}

impl Cluster {
    /// The replicas that there are, ready or not, in the order of their pods' names.
    ///
    /// # Errors
    /// The API server does not answer, or refuses.
    pub(crate) async fn replicas(&self, service: Service) -> anyhow::Result<Vec<Replica>> {
        let params = ListParams::default().labels(&listing(service));
        let slices = self.all::<EndpointSlice>();
        let slices = call("listing EndpointSlices", slices.list(&params)).await?;
        Ok(parse(&slices.items))
    }

    /// Those that are ready.
    ///
    /// # Errors
    /// There is none, or the API server does not answer.
    pub(crate) async fn ready(&self, service: Service) -> anyhow::Result<Vec<Replica>> {
        let replicas = self.replicas(service).await?;
        let ready: Vec<_> = replicas.into_iter().filter(|replica| replica.ready).collect();
        ensure!(
            !ready.is_empty(),
            "the namespace {} has no ready replica of {}; is its chart installed?",
            self.namespace(),
            service.program()
        );
        Ok(ready)
    }

    /// Base URLs of the API and of the admin port of each ready replica.
    ///
    /// # Errors
    /// There is none, or the API server does not answer.
    pub(crate) async fn urls(&self, service: Service) -> anyhow::Result<Vec<(String, String)>> {
        let ready = self.ready(service).await?;
        Ok(ready.iter().map(|replica| (url(replica.api), url(replica.admin))).collect())
    }

    /// The one address of a service, behind which its ready replicas are.
    ///
    /// # Errors
    /// There is no such Service, or the API server does not answer.
    pub(crate) async fn service(&self, service: Service) -> anyhow::Result<SocketAddr> {
        let name = service.program();
        let found = call(&format!("reading the Service {name}"), self.all::<ServiceObject>().get(name)).await?;
        let spec = found.spec.unwrap_or_default();
        let address = spec.cluster_ip.as_deref().and_then(|address| address.parse::<IpAddr>().ok());
        let ports = spec.ports.as_deref().unwrap_or_default();
        let port = ports.iter().find(|port| port.name.as_deref() == Some("api")).map(|port| port.port);
        let port = port.and_then(|port| u16::try_from(port).ok());
        let address = address.zip(port).map(SocketAddr::from);
        address.with_context(|| format!("the Service {name} has no address, or no port called api"))
    }

    /// Watches the replicas.
    ///
    /// # Errors
    /// The API server does not list them.
    pub(crate) async fn watch(&self, service: Service) -> anyhow::Result<Replicas> {
        let (send, mut now) = watch::channel::<Arc<[Replica]>>(Arc::default());
        let slices = self.all::<EndpointSlice>();
        // The library lists anew after whatever cuts a watch off, and keeps what it knew meanwhile.
        let task = tokio::spawn(async move {
            let (known, writer) = reflector::store::<EndpointSlice>();
            let config = watcher::Config::default().labels(&listing(service));
            let mut events = std::pin::pin!(reflector(writer, watcher(slices, config).default_backoff()));
            while let Some(event) = events.next().await {
                match event {
                    Ok(watcher::Event::Init | watcher::Event::InitApply(_)) => {}
                    Ok(_) => {
                        let slices: Vec<EndpointSlice> =
                            known.state().iter().map(|slice| EndpointSlice::clone(slice)).collect();
                        send.send_replace(parse(&slices).into());
                    }
                    Err(error) => tracing::warn!(%error, "the replicas cannot be watched"),
                }
            }
        });
        let task = AbortOnDropHandle::new(task);
        tokio::time::timeout(FIRST, now.changed())
            .await
            .with_context(|| format!("the replicas of {} are not listed within {FIRST:?}", service.program()))?
            .context("the watch has ended")?;
        Ok(Replicas { now, _watch: task })
    }
}

/// The base URL of an address.
pub(crate) fn url(address: SocketAddr) -> String {
    format!("http://{address}")
}

fn parse(slices: &[EndpointSlice]) -> Vec<Replica> {
    let mut replicas: Vec<Replica> = slices.iter().flat_map(of_a_slice).collect();
    replicas.sort_by(|a, b| (&a.pod, &a.uid).cmp(&(&b.pod, &b.uid)));
    // While endpoints move from one slice to another they may stand in both.
    replicas.dedup_by(|a, b| a.uid == b.uid);
    replicas
}

fn of_a_slice(slice: &EndpointSlice) -> Vec<Replica> {
    let port = |name: &str| {
        let ports = slice.ports.as_deref().unwrap_or_default();
        let port = ports.iter().find(|port| port.name.as_deref() == Some(name))?;
        u16::try_from(port.port?).ok()
    };
    let (Some(api), Some(admin)) = (port("api"), port("admin")) else { return Vec::new() };
    let replica = |endpoint: &k8s_openapi::api::discovery::v1::Endpoint| {
        let address: IpAddr = endpoint.addresses.first()?.parse().ok()?;
        let target = endpoint.target_ref.as_ref()?;
        let conditions = endpoint.conditions.as_ref();
        Some(Replica {
            pod: target.name.clone()?,
            uid: target.uid.clone()?,
            node: endpoint.node_name.clone().unwrap_or_default(),
            api: (address, api).into(),
            admin: (address, admin).into(),
            // Unknown counts as ready, says the interface.
            ready: conditions.and_then(|conditions| conditions.ready).unwrap_or(true),
            terminating: conditions.and_then(|conditions| conditions.terminating).unwrap_or(false),
        })
    };
    slice.endpoints.iter().flatten().filter_map(replica).collect()
}

#[cfg(test)]
mod tests {
    use super::parse;
    use k8s_openapi::api::discovery::v1::EndpointSlice;

    fn slice(endpoints: serde_json::Value) -> EndpointSlice {
        serde_json::from_value(serde_json::json!({
            "addressType": "IPv4",
            "metadata": {"name": "blog-api-pods-x"},
            "ports": [{"name": "admin", "port": 9080}, {"name": "api", "port": 8080}],
            "endpoints": endpoints,
        }))
        .unwrap()
    }

    fn endpoint(pod: &str, conditions: serde_json::Value) -> serde_json::Value {
        serde_json::json!({
            "addresses": ["10.0.0.7"],
            "conditions": conditions,
            "nodeName": "worker-1",
            "targetRef": {"kind": "Pod", "name": pod, "uid": format!("uid of {pod}")},
        })
    }

    #[test]
    fn replicas_are_read_from_all_slices_once() {
        let ready = serde_json::json!({"ready": true, "serving": true, "terminating": false});
        let going = serde_json::json!({"ready": false, "serving": true, "terminating": true});
        let slices = [
            slice(serde_json::json!([endpoint("b", going), endpoint("a", ready.clone())])),
            slice(serde_json::json!([endpoint("a", ready)])),
        ];
        let replicas = parse(&slices);
        let seen: Vec<_> = replicas.iter().map(|r| (r.pod.as_str(), r.ready, r.terminating)).collect();
        assert_eq!(seen, [("a", true, false), ("b", false, true)]);
        assert_eq!((replicas[0].api.port(), replicas[0].admin.port()), (8080, 9080));
        assert_eq!(replicas[0].node, "worker-1");
    }

    #[test]
    fn an_endpoint_without_a_pod_is_no_replica() {
        let external = serde_json::json!([{"addresses": ["10.0.0.8"], "conditions": {}}]);
        assert!(parse(&[slice(external)]).is_empty());
    }
}
