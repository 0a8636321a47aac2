//! The few things that `lab up` asks a Redis, and how keys are forgotten.

use std::time::Duration;

use anyhow::{Context as _, bail};
use fred::clients::Client;
use fred::interfaces::ClientLike as _;
use fred::types::config::Config;
use fred::types::{ClusterHash, CustomCommand};

use crate::measure::redis::one_attempt;

/// Oldest version that the services are made for.
const NEEDED: u32 = 7;

/// How long a connection or a command may take.
const ANSWER: Duration = Duration::from_secs(5);

/// Keys per step of a walk.
const STEP: &str = "1000";

/// Whether the server answers and is new enough; returns its version.
pub(super) async fn check(url: &str, variable: &str) -> anyhow::Result<String> {
    let client = connect(url, variable).await?;
    let info: String = client
        .custom(command("INFO"), vec!["server"])
        .await
        .with_context(|| format!("the Redis that {variable} names"))?;
    client.quit().await?;
    let version = field(&info, "redis_version");
    let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
    if major.is_none_or(|major| major < NEEDED) {
        bail!("the Redis that {variable} names is {version}: {NEEDED} or newer is needed");
    }
    Ok(version.to_owned())
}

/// What a Redis does with what it has: the eviction policy, the limit of its memory in bytes, and `1` for an append-only file.
pub(super) async fn keeping(url: &str) -> anyhow::Result<[String; 3]> {
    let client = connect(url, "LOCK_REDIS_URL").await?;
    let info: String = client.custom(command("INFO"), Vec::<String>::new()).await?;
    client.quit().await?;
    Ok(["maxmemory_policy", "maxmemory", "aof_enabled"].map(|name| field(&info, name).to_owned()))
}

/// A value out of INFO.
fn field<'a>(info: &'a str, name: &str) -> &'a str {
    let named = |line: &'a str| line.strip_prefix(name)?.strip_prefix(':');
    info.lines().find_map(named).unwrap_or_default().trim()
}

/// Deletes every key that begins with one of `prefixes`, step by step, so that the server stays usable meanwhile.
pub(crate) async fn forget(url: &str, prefixes: &[&str]) -> anyhow::Result<()> {
    let client = connect(url, "CACHE_REDIS_URL").await?;
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
async fn connect(url: &str, variable: &str) -> anyhow::Result<Client> {
    let client = one_attempt(Config::from_url(url).with_context(|| variable.to_owned())?, ANSWER).build()?;
    tokio::time::timeout(ANSWER, client.init())
        .await
        .with_context(|| {
            format!("the Redis that {variable} names does not answer within 5 s; unset it for a private one")
        })?
        .with_context(|| format!("cannot connect to the Redis that {variable} names; unset it for a private one"))?;
    Ok(client)
}
