//! A client as the lock's own is.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fred::clients::Client;
use fred::interfaces::ClientLike;
use fred::types::config::Config;
use fred::types::{Builder, RespVersion};

use crate::Failure;

pub(crate) async fn connect(url: &str) -> Result<Client, Failure> {
    let mut config = Config::from_url(url)?;
    config.version = RespVersion::RESP3;
    let mut builder = Builder::from_config(config);
    builder.with_connection_config(|connection| {
        connection.max_command_attempts = 1;
        connection.tcp.nodelay = Some(true);
    });
    // As the lock's own client, which has a timeout on every command.
    builder.with_performance_config(|performance| performance.default_command_timeout = Duration::from_secs(10));
    let client = builder.build()?;
    client.init().await?;
    Ok(client)
}

/// Nanoseconds of a clock that all processes of the machine share.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
