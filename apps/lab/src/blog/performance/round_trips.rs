//! Which commands a hit and a miss send to Redis, as Redis itself shows them.

use anyhow::{Context as _, ensure};
use serde::Serialize;

use super::api::Cached;
use super::endpoint::{self, Endpoint};
use super::system::System;
use crate::measure::connection::Line;
use crate::measure::http::REQUEST;
use crate::measure::redis::{Monitor, Wire};

/// The commands of one read of a post, in order.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct RoundTrips {
    pub(crate) hit: Vec<String>,
    pub(crate) miss: Vec<String>,
}

/// Watches one miss and one hit of a post that nobody else reads.
///
/// # Errors
/// Redis does not allow MONITOR, or speaks TLS.
pub(crate) async fn run(system: &System) -> anyhow::Result<RoundTrips> {
    let places = Endpoint::Post.places(system).await?;
    let identity = Endpoint::Post.identities(system, 7).pop().context("no post")?;
    let key = places.first().context("no place")?.key(&identity);
    let mut line = Line::new(system.replicas[0], REQUEST);
    // The replica's connection is there, and its scripts are loaded.
    one(&mut line, &identity, None).await?;
    endpoint::forget(&system.store, &places, std::slice::from_ref(&identity)).await?;
    let mut monitor = Watch::start(&system.cache_redis_url).await?;
    one(&mut line, &identity, Some(Cached::Miss)).await?;
    let miss = monitor.commands_on(&key, system).await?;
    one(&mut line, &identity, Some(Cached::Hit)).await?;
    let hit = monitor.commands_on(&key, system).await?;
    Ok(RoundTrips { hit, miss })
}

async fn one(line: &mut Line, identity: &str, wanted: Option<Cached>) -> anyhow::Result<()> {
    let mut request = Vec::new();
    let path = Endpoint::Post.path(identity);
    super::api::get(&mut request, &path);
    let response = line.exchange(&request).await?;
    let cached = Cached::of(&response);
    ensure!(response.status == 200, "{path} answered {}", response.status);
    ensure!(
        wanted.is_none_or(|wanted| wanted == cached),
        "{path} was a {} while its commands were watched",
        cached.as_str()
    );
    Ok(())
}

/// What Redis shows, in pieces between marks.
struct Watch {
    monitor: Monitor,
    marks: u32,
}

impl Watch {
    async fn start(url: &str) -> anyhow::Result<Self> {
        Ok(Self { monitor: Wire::connect(url).await?.monitor().await?, marks: 0 })
    }

    /// The commands shown since the last call that name the key and that a client sent.
    async fn commands_on(&mut self, key: &str, system: &System) -> anyhow::Result<Vec<String>> {
        // What is shown in front of this mark was executed before it.
        self.marks += 1;
        let mark = format!("lab-mark-{}", self.marks);
        let echo = fred::types::CustomCommand::new_static("ECHO", fred::types::ClusterHash::FirstKey, false);
        fred::interfaces::ClientLike::custom::<fred::types::Value, _>(system.store.client(), echo, vec![mark.clone()])
            .await?;
        let mut commands = Vec::new();
        loop {
            let line = self.monitor.line().await?;
            if line.contains(&mark) {
                return Ok(commands);
            }
            commands.extend(sent(&line, key));
        }
    }
}

/// The command in a line of MONITOR, `+1700000000.123456 [0 127.0.0.1:5000] "GET" "key"`, if it names the key
/// and comes from a client: what a script calls is shown too, as `[0 lua]`, and is no round trip.
fn sent(line: &str, key: &str) -> Option<String> {
    let (from, command) = line.split_once("] ")?;
    if from.ends_with(" lua") || !command.contains(&format!("\"{key}\"")) {
        return None;
    }
    command.split('"').nth(1).map(str::to_ascii_uppercase)
}

#[cfg(test)]
mod tests {
    use super::sent;

    #[test]
    fn a_command_counts_when_a_client_sent_it_for_the_key() {
        let key = "blog:fc:{post:7}";
        let of = |line: &str| sent(line, key);
        assert_eq!(of(r#"+1.2 [0 127.0.0.1:5000] "hmget" "blog:fc:{post:7}" "h" "d""#).as_deref(), Some("HMGET"));
        assert_eq!(of(r#"+1.2 [0 lua] "hset" "blog:fc:{post:7}" "h" "d""#), None);
        assert_eq!(of(r#"+1.2 [0 127.0.0.1:5000] "hmget" "blog:fc:{post:77}" "h""#), None);
        assert_eq!(of("+OK"), None);
    }
}
