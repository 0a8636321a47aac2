//! A service put together.

use std::future::Future;
use std::net::SocketAddr;

use axum::Router;

use super::{ServeError, Server};

/// A replica that has its ports and is not serving yet.
#[derive(Debug)]
pub struct App {
    server: Server,
    routes: Router,
}

impl App {
    /// This server with these routes.
    #[must_use]
    pub fn new(server: Server, routes: Router) -> Self {
        Self { server, routes }
    }

    /// The address of the API.
    #[must_use]
    pub fn api_address(&self) -> SocketAddr {
        self.server.api_address()
    }

    /// The address of the admin port.
    #[must_use]
    pub fn admin_address(&self) -> SocketAddr {
        self.server.admin_address()
    }

    /// Serves until SIGINT or SIGTERM has been obeyed.
    ///
    /// # Errors
    /// When the signals cannot be received.
    pub async fn run(self) -> Result<(), ServeError> {
        self.server.run(self.routes).await
    }

    /// Serves until `stop` is ready, and stops in order.
    pub async fn run_until(self, stop: impl Future<Output = ()>) {
        self.server.run_until(self.routes, stop).await;
    }
}
