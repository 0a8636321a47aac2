//! A server under test, in this process.

use std::net::SocketAddr;

use axum::Router;
use service::config::{LogArgs, ServerArgs};
use service::{Health, Server, Telemetry};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::client::{Answer, Client, DEADLINE};

pub(crate) struct TestServer {
    pub(crate) api: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) health: Health,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<()>,
}

/// The buckets of one histogram are set by "the crate that owns it", before anybody installs anything.
pub(crate) fn telemetry() -> Telemetry {
    service::telemetry("it", "1.2.3").buckets("it_sizes_bytes", &[10.0, 100.0]).install(&LogArgs::default()).unwrap()
}

impl TestServer {
    pub(crate) async fn start(routes: Router) -> Self {
        Self::start_with(ServerArgs::default(), |_| routes).await
    }

    pub(crate) async fn start_with(args: ServerArgs, routes: impl FnOnce(&mut Server) -> Router) -> Self {
        let mut server = Server::bind(&args, &telemetry()).await.unwrap();
        let routes = routes(&mut server);
        let (api, admin, health) = (server.api_address(), server.admin_address(), server.health());
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(server.run_until(routes, async move {
            let _dropped = stopped.await;
        }));
        Self { api, admin, health, stop: Some(stop), running }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        Client::connect(self.api).await.get(path).await
    }

    pub(crate) async fn post(&self, path: &str, body: &str) -> Answer {
        Client::connect(self.api).await.post(path, body).await
    }

    pub(crate) async fn ask_admin(&self, path: &str) -> Answer {
        Client::connect(self.admin).await.get(path).await
    }

    /// Begins the shutdown, and does not wait for it.
    pub(crate) fn stop(&mut self) {
        drop(self.stop.take());
    }

    pub(crate) fn has_stopped(&self) -> bool {
        self.running.is_finished()
    }

    /// Waits for the end of the shutdown.
    pub(crate) async fn stopped(mut self) {
        self.stop();
        timeout(DEADLINE, self.running).await.expect("the server stops").unwrap();
    }
}
