//! The settings that every service has, to be flattened into its own.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;

use super::Mistakes;
use super::values::{DatabaseUrl, LogFilter, address, bytes, duration, number};
use crate::LogFormat;

const HOUR: Duration = Duration::from_secs(3600);

/// Where a service listens, what it accepts, and how it stops.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Server")]
pub struct ServerArgs {
    /// Address of the API; port 0 takes any free one
    #[arg(long, env = "LISTEN", default_value = "127.0.0.1:8080", value_parser = address, value_name = "ADDRESS")]
    pub listen: SocketAddr,

    /// Address of /metrics, /livez, /readyz and /startupz
    #[arg(long, env = "ADMIN_LISTEN", default_value = "127.0.0.1:9080", value_parser = address, value_name = "ADDRESS")]
    pub admin_listen: SocketAddr,

    /// How long to keep serving after the signal to stop, so that load balancers notice that the replica is not ready
    #[arg(long, env = "DRAIN", default_value = "5s", value_parser = duration(Duration::ZERO..=HOUR), value_name = "TIME")]
    pub drain: Duration,

    /// How long to wait after that for requests that are still running
    #[arg(long, env = "GRACE", default_value = "20s", value_parser = duration(Duration::ZERO..=HOUR), value_name = "TIME")]
    pub grace: Duration,

    /// Longest time until a request is answered; a longer one gets 503
    #[arg(long, env = "REQUEST_TIMEOUT", default_value = "10s", value_parser = duration(Duration::from_millis(10)..=HOUR), value_name = "TIME")]
    pub request_timeout: Duration,

    /// Largest body of a request; a larger one gets 413
    #[arg(long, env = "BODY_LIMIT", default_value = "1MiB", value_parser = bytes(1 << 10..=1 << 30), value_name = "SIZE")]
    pub body_limit: usize,
}

/// Loopback, any free ports, no drain, 5 s of grace: for tests and examples.
impl Default for ServerArgs {
    fn default() -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        Self {
            listen: any,
            admin_listen: any,
            drain: Duration::ZERO,
            grace: Duration::from_secs(5),
            request_timeout: Duration::from_secs(10),
            body_limit: 1 << 20,
        }
    }
}

impl ServerArgs {
    /// Finds values that do not go together; for [`Settings::check`](super::Settings::check).
    pub fn check(&self, mistakes: &mut Mistakes) {
        if self.listen == self.admin_listen && self.listen.port() != 0 {
            mistakes.add("--admin-listen", self.admin_listen, "must be another address than that of --listen");
        }
    }
}

/// How a service reaches its database.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Database")]
pub struct DatabaseArgs {
    /// URL of the PostgreSQL database
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub database_url: DatabaseUrl,

    /// Most connections that the service opens; one more watches whether the database is there
    #[arg(long, env = "DATABASE_POOL", default_value = "10", value_parser = number(1..=1000_u32), value_name = "COUNT")]
    pub database_pool: u32,

    /// Longest wait for a connection of the pool; a request that waits longer gets 503
    #[arg(long, env = "DATABASE_WAIT", default_value = "2s", value_parser = duration(Duration::from_millis(1)..=HOUR), value_name = "TIME")]
    pub database_wait: Duration,

    /// Longest time that one statement may run
    #[arg(long, env = "DATABASE_STATEMENT_TIMEOUT", default_value = "5s", value_parser = duration(Duration::from_millis(1)..=HOUR), value_name = "TIME")]
    pub database_statement_timeout: Duration,
}

impl DatabaseArgs {
    /// The default settings for the database of this URL.
    #[must_use]
    pub fn new(database_url: DatabaseUrl) -> Self {
        Self {
            database_url,
            database_pool: 10,
            database_wait: Duration::from_secs(2),
            database_statement_timeout: Duration::from_secs(5),
        }
    }
}

/// The settings of the command that migrates.
#[derive(Args, Clone, Debug)]
pub struct MigrateArgs {
    /// URL of the PostgreSQL database
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub database_url: DatabaseUrl,
    /// Its logs.
    #[command(flatten)]
    pub log: LogArgs,
}

/// What a service logs, and how.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Logs")]
pub struct LogArgs {
    /// How log lines look
    #[arg(long, env = "LOG_FORMAT", default_value = "text", value_name = "FORMAT")]
    pub log_format: LogFormat,

    /// Which lines are logged; service::access=debug logs each request
    #[arg(long, env = "RUST_LOG", default_value = "info", value_name = "DIRECTIVES")]
    pub log_filter: LogFilter,
}
