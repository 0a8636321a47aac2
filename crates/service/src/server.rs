//! The two listeners of a service, and the order in which it stops.

mod app;
mod closing;
mod connections;
mod signals;

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use crate::config::ServerArgs;
use crate::metrics::{HTTP_CONNECTIONS, HTTP_IN_FLIGHT};
use crate::observe::{self, Shared};
use crate::{Health, Tasks, Telemetry};
pub use app::App;
pub use closing::Closing;
use connections::Connections;
use signals::Signals;

/// How long one close hook may take; what it holds is then left to the operating system.
const CLOSE: Duration = Duration::from_secs(5);

/// How long the admin port waits for a scrape that is under way when everything else has ended.
const ADMIN_GRACE: Duration = Duration::from_millis(500);

/// A service that has its two ports and is not serving yet.
///
/// It stops in this order, begun by SIGINT, SIGTERM or a future of the caller's:
/// 1. readiness fails, and each answer asks its client to connect anew; requests are served for the drain time;
/// 2. no connection is accepted any more; what has been accepted is served;
/// 3. requests under way and [`Tasks`] finish, within the grace time;
/// 4. the close hooks run one after the other, in the order in which they were added;
/// 5. the admin port closes.
///
/// A second signal ends the process at once.
#[must_use = "a server does nothing until it runs"]
pub struct Server {
    api: Listener,
    admin: Listener,
    args: ServerArgs,
    telemetry: Telemetry,
    health: Health,
    tasks: Tasks,
    hooks: Vec<Hook>,
    admin_routes: Router,
}

type Close = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

struct Hook {
    name: &'static str,
    close: Close,
}

struct Listener {
    socket: TcpListener,
    address: SocketAddr,
}

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address} ({flag})")]
    Bind {
        /// The address of the setting.
        address: SocketAddr,
        /// The setting.
        flag: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// The signals of the operating system cannot be received.
    #[error("cannot receive signals")]
    Signals(#[source] io::Error),
}

impl Server {
    /// Takes both ports. Connections wait in the backlog until [`run`](Self::run).
    ///
    /// # Errors
    /// When an address cannot be listened on.
    pub async fn bind(args: &ServerArgs, telemetry: &Telemetry) -> Result<Self, ServeError> {
        Ok(Self {
            api: Listener::bind(args.listen, "--listen").await?,
            admin: Listener::bind(args.admin_listen, "--admin-listen").await?,
            args: args.clone(),
            telemetry: telemetry.clone(),
            health: Health::new(),
            tasks: Tasks::new(),
            hooks: Vec::new(),
            admin_routes: Router::new(),
        })
    }

    /// The address of the API, with the port that was taken.
    #[must_use]
    pub fn api_address(&self) -> SocketAddr {
        self.api.address
    }

    /// The address of the admin port, with the port that was taken.
    #[must_use]
    pub fn admin_address(&self) -> SocketAddr {
        self.admin.address
    }

    /// The health that this server answers probes from and fails at shutdown.
    #[must_use]
    pub fn health(&self) -> Health {
        self.health.clone()
    }

    /// The tasks that this server waits for at shutdown.
    #[must_use]
    pub fn tasks(&self) -> Tasks {
        self.tasks.clone()
    }

    /// The telemetry that this server answers `/metrics` from.
    #[must_use]
    pub fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }

    /// Has `close` run when no request and no task is left. Hooks run one after the other, in the order in which they were added:
    /// what uses something is added before it. Each one has 5 seconds.
    pub fn on_close<F>(&mut self, name: &'static str, close: impl FnOnce() -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.hooks.push(Hook { name, close: Box::new(|| Box::pin(close())) });
    }

    /// Adds routes to the admin port.
    pub fn admin_routes(&mut self, routes: Router) {
        self.admin_routes = std::mem::take(&mut self.admin_routes).merge(routes);
    }

    /// Serves until SIGINT or SIGTERM has been obeyed. A second signal ends the process with status 128 + its number.
    ///
    /// # Errors
    /// When the signals cannot be received.
    pub async fn run(self, routes: Router) -> Result<(), ServeError> {
        let mut signals = Signals::new().map_err(ServeError::Signals)?;
        let stop = async move {
            let first = signals.next().await;
            tracing::info!(signal = first.name, "stopping");
            tokio::spawn(async move {
                let second = signals.next().await;
                tracing::warn!(signal = second.name, "stopped at once by a second signal");
                std::process::exit(second.exit_status());
            });
        };
        self.run_until(routes, stop).await;
        Ok(())
    }

    /// Serves until `stop` is ready, and stops in order.
    pub async fn run_until(self, routes: Router, stop: impl Future<Output = ()>) {
        let Self { api, admin, args, telemetry, health, tasks, hooks, admin_routes } = self;
        let shared = Arc::new(Shared::new(args.body_limit, args.request_timeout));
        let connections = Connections::new();
        publish(&telemetry, &shared, &connections);
        let upkeep = Background::spawn(telemetry.clone().upkeep());
        let sweep = Background::spawn(connections.clone().sweep());

        let (api_address, admin_address) = (api.address, admin.address);
        let admin_router = Router::new().merge(telemetry.router()).merge(health.router()).merge(admin_routes);
        let admin_connections = Connections::new();
        let admin = Background::spawn(accept(admin.socket, admin_connections.clone(), admin_router));
        let mut api = std::pin::pin!(Accepting::new(api.socket, connections.clone(), observe::around(routes, &shared)));

        health.started();
        tracing::info!(api = %api_address, admin = %admin_address, "listening");
        tokio::select! {
            () = api.run() => {}
            () = stop => {}
        }

        health.drain();
        shared.draining.store(true, Ordering::Relaxed);
        tracing::info!(drain = ?args.drain, "draining: not ready, still serving");
        // A drain time that is over ends the accepting, which by itself never ends.
        let _elapsed = timeout(args.drain, api.run()).await;

        api.close();
        let deadline = Instant::now() + args.grace;
        let in_flight = shared.in_flight.load(Ordering::Relaxed);
        tracing::info!(in_flight, tasks = tasks.running(), "no longer accepting: finishing");
        connections.close();
        let finished = timeout_at(deadline, async {
            connections.closed().await;
            tasks.finished().await;
        });
        if finished.await.is_err() {
            let (connections_left, tasks_left) = (connections.len(), tasks.running());
            tracing::warn!(connections = connections_left, tasks = tasks_left, "grace time over: cut off");
            connections.abort();
        }

        for Hook { name, close } in hooks {
            if timeout(CLOSE, close()).await.is_err() {
                tracing::warn!(hook = name, "not closed in time");
            }
        }
        admin.stop();
        admin_connections.close();
        if timeout(ADMIN_GRACE, admin_connections.closed()).await.is_err() {
            admin_connections.abort();
        }
        sweep.stop();
        upkeep.stop();
        tracing::info!("stopped");
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("api", &self.api.address)
            .field("admin", &self.admin.address)
            .finish_non_exhaustive()
    }
}

impl Listener {
    async fn bind(address: SocketAddr, flag: &'static str) -> Result<Self, ServeError> {
        let wrong = |source| ServeError::Bind { address, flag, source };
        // tokio sets SO_REUSEADDR, so that a restart does not wait for connections of the process before it.
        let socket = TcpListener::bind(address).await.map_err(wrong)?;
        let address = socket.local_addr().map_err(wrong)?;
        Ok(Self { socket, address })
    }
}

/// A listener while it accepts.
struct Accepting {
    socket: Option<TcpListener>,
    connections: Connections,
    routes: Router,
}

impl Accepting {
    fn new(socket: TcpListener, connections: Connections, routes: Router) -> Self {
        Self { socket: Some(socket), connections, routes }
    }

    /// Accepts for ever. Can be dropped and called again.
    async fn run(&mut self) {
        let Some(socket) = &self.socket else { return std::future::pending().await };
        accept_on(socket, &self.connections, &self.routes).await;
    }

    /// Takes what the kernel has accepted already, which a closed listener would reset, and closes the listener.
    fn close(&mut self) {
        let Some(socket) = self.socket.take() else { return };
        // Asked directly: the runtime may not know yet that there is something to accept.
        let Ok(socket) = socket.into_std() else { return };
        while let Ok((stream, _)) = socket.accept() {
            let stream = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
            if let Ok(stream) = stream {
                self.connections.serve(stream, self.routes.clone());
            }
        }
    }
}

async fn accept(socket: TcpListener, connections: Connections, routes: Router) {
    accept_on(&socket, &connections, &routes).await;
}

async fn accept_on(socket: &TcpListener, connections: &Connections, routes: &Router) {
    loop {
        match socket.accept().await {
            Ok((stream, _)) => connections.serve(stream, routes.clone()),
            // The client was gone before it was accepted.
            Err(error) if is_of_the_connection(&error) => {}
            Err(error) => {
                // Out of file descriptors or memory: accepting again at once would only spin.
                tracing::error!(%error, "cannot accept connections");
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        }
    }
}

fn is_of_the_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// A task that ends with its handle.
struct Background(JoinHandle<()>);

impl Background {
    fn spawn(task: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(task))
    }

    /// Says at the place where it happens that the task ends here.
    fn stop(self) {
        drop(self);
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Numbers that change with each request are read when they are asked for, not written each time.
fn publish(telemetry: &Telemetry, shared: &Arc<Shared>, connections: &Connections) {
    let shared = Arc::downgrade(shared);
    let connections = connections.downgrade();
    telemetry.before_scrape(move || {
        if let (Some(shared), Some(open)) = (shared.upgrade(), connections.open()) {
            let in_flight = u32::try_from(shared.in_flight.load(Ordering::Relaxed)).unwrap_or(0);
            metrics::gauge!(HTTP_IN_FLIGHT).set(in_flight);
            metrics::gauge!(HTTP_CONNECTIONS).set(u32::try_from(open).unwrap_or(u32::MAX));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};

    /// The clients block, so nothing lets the runtime see their connections or their requests before the end.
    #[tokio::test]
    async fn what_the_kernel_accepted_before_the_end_is_served() {
        let listener = Listener::bind(([127, 0, 0, 1], 0).into(), "--listen").await.unwrap();
        let address = listener.address;
        let routes = Router::new().route("/", axum::routing::get(async || "served"));
        let connections = Connections::new();
        let mut accepting = Accepting::new(listener.socket, connections.clone(), routes);
        let mut clients: Vec<_> = (0..20).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
        for client in &mut clients {
            client.write_all(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n").unwrap();
        }
        accepting.close();
        connections.close();
        connections.closed().await;
        for mut client in clients {
            let mut answer = String::new();
            client.read_to_string(&mut answer).unwrap();
            assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("served"), "{answer}");
        }
        assert!(std::net::TcpStream::connect(address).is_err(), "closed");
    }
}
