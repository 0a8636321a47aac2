//! An API server that knows Leases: get, create, and replace by resourceVersion.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

/// The shortest that a Lease can express.
pub(crate) const LEASE: Duration = Duration::from_secs(1);

const PATH: &str = "/apis/coordination.k8s.io/v1/namespaces/default/leases";

#[derive(Debug)]
pub(crate) struct Cluster {
    url: String,
    objects: Arc<Mutex<Objects>>,
    _server: DropGuard,
}

#[derive(Debug, Default)]
struct Objects {
    leases: HashMap<String, Value>,
    version: u64,
}

pub(crate) fn client(url: &str) -> kube::Client {
    kube::Client::try_from(kube::Config::new(url.parse().unwrap())).unwrap()
}

impl Cluster {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let objects = Arc::new(Mutex::new(Objects::default()));
        let stop = CancellationToken::new();
        tokio::spawn(stop.clone().run_until_cancelled_owned(serve(listener, Arc::clone(&objects))));
        Self { url, objects, _server: stop.drop_guard() }
    }

    pub(crate) fn url(&self) -> String {
        self.url.clone()
    }

    /// `kubectl delete leases --all`
    pub(crate) fn forget(&self) {
        self.objects.lock().unwrap().leases.clear();
    }
}

async fn serve(listener: TcpListener, objects: Arc<Mutex<Objects>>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let objects = Arc::clone(&objects);
        tokio::spawn(async move {
            let service = service_fn(|request| answer(Arc::clone(&objects), request));
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(objects: Arc<Mutex<Objects>>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let body = request.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let (status, value) = objects.lock().unwrap().handle(&method, &path, &body);
    let response = Response::builder().status(status).header("content-type", "application/json");
    Ok(response.body(Full::new(value.to_string().into())).unwrap())
}

impl Objects {
    fn handle(&mut self, method: &Method, path: &str, body: &[u8]) -> (StatusCode, Value) {
        let Some(rest) = path.strip_prefix(PATH) else { return refusal(StatusCode::NOT_FOUND, "NotFound") };
        let given: Option<Value> = serde_json::from_slice(body).ok();
        let name = match given.as_ref().and_then(|lease| lease["metadata"]["name"].as_str()) {
            Some(name) if rest.is_empty() => name.to_owned(),
            _ => rest.trim_start_matches('/').to_owned(),
        };
        let known = self.leases.get(&name);
        match (method, known, given) {
            (&Method::GET, Some(known), _) => (StatusCode::OK, known.clone()),
            (&Method::POST, None, Some(lease)) => (StatusCode::CREATED, self.store(name, lease)),
            (&Method::POST, Some(_), _) => refusal(StatusCode::CONFLICT, "AlreadyExists"),
            (&Method::PUT, Some(known), Some(lease)) => {
                if known["metadata"]["resourceVersion"] == lease["metadata"]["resourceVersion"] {
                    (StatusCode::OK, self.store(name, lease))
                } else {
                    refusal(StatusCode::CONFLICT, "Conflict")
                }
            }
            _ => refusal(StatusCode::NOT_FOUND, "NotFound"),
        }
    }

    fn store(&mut self, name: String, mut lease: Value) -> Value {
        self.version += 1;
        lease["apiVersion"] = "coordination.k8s.io/v1".into();
        lease["kind"] = "Lease".into();
        lease["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.leases.insert(name, lease.clone());
        lease
    }
}

fn refusal(status: StatusCode, reason: &str) -> (StatusCode, Value) {
    let code = status.as_u16();
    let body = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": reason, "reason": reason, "code": code});
    (status, body)
}

#[tokio::test]
async fn without_a_cluster_it_says_that_it_needs_one() {
    // A configuration that leads nowhere: as in a pod whose API server does not answer.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let settings =
        fenced_lock::K8sLeaseSettings::new(crate::bed::namespace()).request_timeout(Duration::from_millis(50));
    let client = client(&format!("http://{}", listener.local_addr().unwrap()));
    let error = fenced_lock::K8sLease::reached(client, settings).await.unwrap_err();
    assert_eq!(error.to_string(), "the lock k8s-lease needs a Kubernetes cluster: its API server does not answer");
}
