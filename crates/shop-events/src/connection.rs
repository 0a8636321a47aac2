//! One connection to Redis, for one end of the channel.

use std::time::Duration;

use fenced_cache::ConfigError;
use fred::clients::Client;
use fred::interfaces::ClientLike;
use fred::types::config::{Config, UnresponsiveConfig};
use fred::types::{Builder, ConnectHandle, RespVersion};
use thiserror::Error;
use tokio::time::timeout;

const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
const COMMAND_TIMEOUT: Duration = Duration::from_millis(500);
/// Messages that may wait while the receiver is busy; more, and it is told that it has lagged.
const CAPACITY: usize = 8_192;

/// The channel cannot be used now.
#[derive(Debug, Error)]
#[error("the channel cannot be used: {0}")]
pub struct ChannelError(pub(crate) String);

impl From<fred::error::Error> for ChannelError {
    fn from(error: fred::error::Error) -> Self {
        Self(error.to_string())
    }
}

/// A connected client. Nothing reconnects under it: a new connection is a new one of these, so that whoever listens knows that
/// there were messages that nobody heard.
///
/// Dropping it closes the connection: a fred client that is merely dropped leaks its task and its socket, and `quit` can hang
/// on a server that is stopped.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) client: Client,
    pub(crate) task: ConnectHandle,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Connection {
    pub(crate) async fn open(config: &Config) -> Result<Self, ChannelError> {
        let mut config = config.clone();
        config.version = RespVersion::RESP3;
        config.fail_fast = true;
        let mut builder = Builder::from_config(config);
        builder.with_connection_config(|connection| {
            connection.connection_timeout = CONNECT_TIMEOUT;
            connection.internal_command_timeout = CONNECT_TIMEOUT;
            // A message that is sent again would come after its successors.
            connection.max_command_attempts = 1;
            connection.unresponsive =
                UnresponsiveConfig { max_timeout: Some(Duration::from_secs(2)), interval: Duration::from_millis(250) };
            connection.tcp.nodelay = Some(true);
            connection.tcp.user_timeout = Some(Duration::from_secs(2));
        });
        builder.with_performance_config(|performance| {
            performance.default_command_timeout = COMMAND_TIMEOUT;
            performance.broadcast_channel_capacity = CAPACITY;
        });
        let client = builder.build()?;
        let task = client.connect();
        let connection = Self { client, task };
        match timeout(2 * CONNECT_TIMEOUT, connection.client.wait_for_connect()).await {
            Ok(connected) => connected?,
            Err(_) => return Err(ChannelError("the connection was not made in time".into())),
        }
        Ok(connection)
    }
}

/// A URL of one server. It may carry a password, so it is not repeated in the error.
pub(crate) fn parse(url: &str) -> Result<Config, ConfigError> {
    let wrong = || ConfigError {
        setting: "redis_url".into(),
        value: "(not shown)".into(),
        allowed: "a URL such as redis://host:6379".into(),
    };
    // fred itself takes any scheme that it does not know for plain Redis, and connects in the clear.
    if !url.starts_with("redis://") {
        return Err(wrong());
    }
    Config::from_url(url).map_err(|_| wrong())
}
