//! The few things that `lab up` asks a Redis.

use std::time::Duration;

use anyhow::{Context as _, bail};
use fred::clients::Client;
use fred::interfaces::ClientLike as _;
use fred::types::config::Config;
use fred::types::{Builder, ClusterHash, CustomCommand};

/// Oldest version that the services are made for.
const NEEDED: u32 = 7;

/// How long a connection or a command may take.
const ANSWER: Duration = Duration::from_secs(5);

/// Keys per step of a walk.
const STEP: &str = "1000";

/// Whether the server answers and is new enough; returns its version.
pub(super) async fn check(url: &str) -> anyhow::Result<String> {
    let client = connect(url).await?;
    let info: String =
        client.custom(command("INFO"), vec!["server"]).await.context("the Redis that CACHE_REDIS_URL names")?;
    client.quit().await?;
    let version = info.lines().find_map(|line| line.strip_prefix("redis_version:")).unwrap_or_default().trim();
    let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
    if major.is_none_or(|major| major < NEEDED) {
        bail!("the Redis that CACHE_REDIS_URL names is {version}: {NEEDED} or newer is needed");
    }
    Ok(version.to_owned())
}

/// Deletes every key that begins with one of `prefixes`, step by step, so that the server stays usable meanwhile.
pub(super) async fn forget(url: &str, prefixes: &[&str]) -> anyhow::Result<()> {
    let client = connect(url).await?;
    for prefix in prefixes {
        let pattern = format!("{prefix}*");
        let mut cursor = "0".to_owned();
        loop {
            let (next, keys): (String, Vec<String>) =
                client.custom(command("SCAN"), vec![&*cursor, "MATCH", &*pattern, "COUNT", STEP]).await?;
            if !keys.is_empty() {
                let _: i64 = client.custom(command("UNLINK"), keys).await?;
            }
            if next == "0" {
                break;
            }
            cursor = next;
        }
    }
    client.quit().await?;
    Ok(())
}

fn command(name: &'static str) -> CustomCommand {
    CustomCommand::new_static(name, ClusterHash::FirstKey, false)
}

/// One attempt and no reconnects: a server that does not answer now is the user's to start.
async fn connect(url: &str) -> anyhow::Result<Client> {
    let mut config = Config::from_url(url).context("CACHE_REDIS_URL")?;
    config.fail_fast = true;
    let mut builder = Builder::from_config(config);
    builder.with_connection_config(|connection| {
        connection.connection_timeout = ANSWER;
        connection.internal_command_timeout = ANSWER;
        connection.max_command_attempts = 1;
    });
    builder.with_performance_config(|performance| performance.default_command_timeout = ANSWER);
    let client = builder.build()?;
    tokio::time::timeout(ANSWER, client.init())
        .await
        .context("the Redis that CACHE_REDIS_URL names does not answer within 5 s; unset it for a private one")?
        .context("cannot connect to the Redis that CACHE_REDIS_URL names; unset it for a private one")?;
    Ok(client)
}
