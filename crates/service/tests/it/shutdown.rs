//! The order in which a server stops.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use service::Server;
use service::config::ServerArgs;
use tokio::sync::Semaphore;

use crate::client::{Client, eventually};
use crate::server::TestServer;

/// Longer than any test waits: the tests that set it never see it end.
const FOR_EVER: Duration = Duration::from_secs(3600);

/// A handler that waits until it is let go.
#[derive(Clone)]
struct Gate {
    entered: Arc<Semaphore>,
    open: Arc<Semaphore>,
}

impl Gate {
    fn new() -> Self {
        Self { entered: Arc::new(Semaphore::new(0)), open: Arc::new(Semaphore::new(0)) }
    }

    async fn pass(&self) {
        self.entered.add_permits(1);
        self.open.acquire().await.unwrap().forget();
    }

    async fn entered(&self) {
        self.entered.acquire().await.unwrap().forget();
    }

    fn open(&self) {
        self.open.add_permits(1);
    }

    fn route(&self) -> Router {
        let gate = self.clone();
        let slow = async move || {
            gate.pass().await;
            "done"
        };
        Router::new().route("/slow", get(slow)).route("/fast", get(async || "fast"))
    }
}

fn args(drain: Duration, grace: Duration) -> ServerArgs {
    ServerArgs { drain, grace, request_timeout: FOR_EVER, ..ServerArgs::default() }
}

type Log = Arc<Mutex<Vec<&'static str>>>;

fn hook(server: &mut Server, log: &Log, name: &'static str) {
    let log = log.clone();
    server.on_close(name, move || async move { log.lock().unwrap().push(name) });
}

#[tokio::test]
async fn readiness_fails_first_while_requests_are_still_served() {
    let mut server = TestServer::start_with(args(FOR_EVER, FOR_EVER), |_| Gate::new().route()).await;
    eventually("ready", async || server.ask_admin("/readyz").await.status == 200).await;
    let mut kept = Client::connect(server.api).await;
    let before = kept.get("/fast").await;
    assert_eq!(before.header("connection"), "");
    server.stop();
    eventually("not ready", async || server.ask_admin("/readyz").await.status == 503).await;
    assert_eq!(server.ask_admin("/readyz").await.json()["status"], "draining");
    assert_eq!(server.ask_admin("/livez").await.status, 200, "draining is not dead");
    assert_eq!(server.ask_admin("/startupz").await.status, 200);
    // A kept connection is answered, and told to go elsewhere; a new one is still taken.
    let answer = kept.get("/fast").await;
    assert_eq!((answer.status, answer.header("connection")), (200, "close"));
    assert!(kept.is_closed().await);
    assert_eq!(server.get("/fast").await.status, 200);
}

#[tokio::test]
async fn what_runs_finishes_then_hooks_run_in_order() {
    let (gate, log) = (Gate::new(), Log::default());
    let mut server = TestServer::start_with(args(Duration::ZERO, FOR_EVER), |server| {
        for name in ["cache", "relay", "postgres"] {
            hook(server, &log, name);
        }
        gate.route()
    })
    .await;
    let mut idle = Client::connect(server.api).await;
    idle.get("/fast").await;
    let mut slow = Client::connect(server.api).await;
    slow.send(b"GET /slow HTTP/1.1\r\nhost: test\r\n\r\n").await;
    gate.entered().await;
    server.stop();
    eventually("no longer accepting", async || Client::try_connect(server.api).await.is_err()).await;
    assert!(idle.is_closed().await, "a connection without a request does not hold it up");
    assert_eq!(server.ask_admin("/readyz").await.status, 503, "the admin port answers to the end");
    assert!(!server.has_stopped() && log.lock().unwrap().is_empty(), "a request is still running");
    gate.open();
    let answer = slow.answer().await;
    assert_eq!((answer.text(), answer.header("connection")), ("done", "close"));
    server.stopped().await;
    assert_eq!(*log.lock().unwrap(), ["cache", "relay", "postgres"]);
}

#[tokio::test]
async fn a_detached_write_whose_client_is_gone_is_waited_for() {
    let (gate, log) = (Gate::new(), Log::default());
    let mut server = TestServer::start_with(args(Duration::ZERO, FOR_EVER), |server| {
        hook(server, &log, "closed");
        let (tasks, gate, log) = (server.tasks(), gate.clone(), log.clone());
        let write = async move || {
            let work = async move {
                gate.pass().await;
                log.lock().unwrap().push("written");
            };
            tasks.detached(work).await;
        };
        Router::new().route("/write", get(write))
    })
    .await;
    let mut client = Client::connect(server.api).await;
    client.send(b"GET /write HTTP/1.1\r\nhost: test\r\n\r\n").await;
    gate.entered().await;
    drop(client);
    let gone = r#"http_requests_total{method="GET",route="/write",status="499"} 1"#;
    eventually("the client is seen to be gone", async || server.ask_admin("/metrics").await.text().contains(gone))
        .await;
    server.stop();
    eventually("no longer accepting", async || Client::try_connect(server.api).await.is_err()).await;
    assert!(!server.has_stopped() && log.lock().unwrap().is_empty());
    gate.open();
    server.stopped().await;
    assert_eq!(*log.lock().unwrap(), ["written", "closed"]);
}

#[tokio::test]
async fn the_grace_time_bounds_it() {
    let (gate, log) = (Gate::new(), Log::default());
    let server = TestServer::start_with(args(Duration::ZERO, Duration::from_millis(100)), |server| {
        hook(server, &log, "closed");
        gate.route()
    })
    .await;
    let mut slow = Client::connect(server.api).await;
    slow.send(b"GET /slow HTTP/1.1\r\nhost: test\r\n\r\n").await;
    gate.entered().await;
    server.stopped().await;
    assert!(slow.try_answer().await.is_none(), "cut off");
    assert_eq!(*log.lock().unwrap(), ["closed"], "the hooks run all the same");
}

#[tokio::test]
async fn an_idle_server_stops_at_once() {
    let server = TestServer::start_with(args(Duration::ZERO, FOR_EVER), |_| Gate::new().route()).await;
    let mut idle = Client::connect(server.api).await;
    idle.get("/fast").await;
    let started = Instant::now();
    server.stopped().await;
    assert!(started.elapsed() < Duration::from_secs(10), "nothing to wait for");
}
