//! The lab's own look into the cache's Redis. It knows the names of keys, from the interface
//! between the services, and that deleting any of them is always allowed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use fred::clients::Client;
use fred::interfaces::{ClientLike as _, KeysInterface as _};
use fred::types::config::{Config, ReconnectPolicy, UnresponsiveConfig};
use fred::types::{Builder, ClusterHash, CustomCommand, RespVersion};

use crate::measure::redis::parse_info;

/// Everything of the blog in Redis begins with this...
pub(crate) const PREFIX: &str = "blog:";
/// ...and everything of its naive replicas with this, so that the two never meet.
pub(crate) const NAIVE_PREFIX: &str = "blog-naive:";

/// A connection for looking, and for taking entries away.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    client: Client,
}

/// Where an endpoint's entries are: the key's text before and after what identifies one of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    before: String,
    after: String,
}

impl Place {
    /// The place of `identity` in the key, if it stands there by itself and not as a part of a longer word.
    fn find(key: &str, identity: &str) -> Option<Self> {
        let at = key.match_indices(identity).map(|(at, _)| at).find(|&at| {
            let word = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
            let end = at + identity.len();
            !word(at.checked_sub(1).and_then(|before| key.as_bytes().get(before))) && !word(key.as_bytes().get(end))
        })?;
        Some(Self { before: key[..at].to_owned(), after: key[at + identity.len()..].to_owned() })
    }

    pub(crate) fn key(&self, identity: &str) -> String {
        format!("{}{identity}{}", self.before, self.after)
    }
}

/// A client configured like the services' own (one command, one attempt; each waits for its time and no longer).
pub(crate) fn builder(url: &str, command: Duration) -> anyhow::Result<Builder> {
    let mut config = Config::from_url(url).context("the Redis URL")?;
    config.version = RespVersion::RESP3;
    config.fail_fast = false;
    let mut builder = Builder::from_config(config);
    builder.set_policy(ReconnectPolicy::new_exponential(0, 50, 1_000, 2));
    builder.with_connection_config(|connection| {
        connection.connection_timeout = Duration::from_millis(500);
        connection.internal_command_timeout = Duration::from_millis(500);
        connection.max_command_attempts = 1;
        connection.unresponsive =
            UnresponsiveConfig { max_timeout: Some(Duration::from_secs(1)), interval: Duration::from_millis(250) };
        connection.tcp.nodelay = Some(true);
        connection.tcp.user_timeout = Some(Duration::from_secs(2));
    });
    builder.with_performance_config(|performance| performance.default_command_timeout = command);
    Ok(builder)
}

impl Store {
    /// # Errors
    /// Redis does not answer within ten seconds.
    pub(crate) async fn connect(url: &str) -> anyhow::Result<Self> {
        let client = builder(url, Duration::from_secs(5))?.build()?;
        let ready = tokio::time::timeout(Duration::from_secs(10), client.init()).await;
        let Ok(connected) = ready else {
            bail!("the cache's Redis does not answer within 10 s");
        };
        connected.context("the cache's Redis")?;
        Ok(Self { client })
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) async fn close(&self) {
        // Only dropped clients would leave their task behind; what an ending client says is of no use.
        let _ = self.client.quit().await;
    }

    /// All of the blog's keys that match a glob pattern behind their prefix.
    pub(crate) async fn keys(&self, pattern: &str) -> anyhow::Result<Vec<String>> {
        let mut found = Vec::new();
        for prefix in [PREFIX, NAIVE_PREFIX] {
            let mut cursor = "0".to_owned();
            loop {
                let scan = CustomCommand::new_static("SCAN", ClusterHash::FirstKey, false);
                let pattern = format!("{prefix}{pattern}");
                let arguments = vec![cursor, "MATCH".to_owned(), pattern, "COUNT".to_owned(), "5000".to_owned()];
                let (next, keys): (String, Vec<String>) = self.client.custom(scan, arguments).await?;
                found.extend(keys);
                if next == "0" {
                    break;
                }
                cursor = next;
            }
        }
        // SCAN may name a key twice.
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }

    /// Takes everything of the blog out of Redis, and waits until its memory is free.
    pub(crate) async fn clear(&self) -> anyhow::Result<()> {
        let keys = self.keys("*").await?;
        self.forget(keys).await?;
        // UNLINK frees in a thread of Redis, which would slow whatever is measured next.
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.info("memory").await?.get("lazyfree_pending_objects").is_some_and(|pending| pending != "0") {
            if Instant::now() > deadline {
                bail!("Redis is still freeing memory after 10 s");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// Takes keys out of Redis.
    pub(crate) async fn forget(&self, keys: Vec<String>) -> anyhow::Result<()> {
        for some in keys.chunks(2_000) {
            self.client.unlink::<i64, _>(some.to_vec()).await?;
        }
        Ok(())
    }

    /// Lets the keys expire, as their time to live would, and waits until they are gone.
    pub(crate) async fn expire(&self, keys: &[String]) -> anyhow::Result<()> {
        for key in keys {
            self.client.pexpire::<i64, _>(key.as_str(), 1, None).await?;
        }
        let deadline = Instant::now() + Duration::from_secs(5);
        while self.client.exists::<i64, _>(keys.to_vec()).await? > 0 {
            if Instant::now() > deadline {
                bail!("{} did not expire within 5 s", keys.join(", "));
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    /// Where the entries are that hold what `identity` names. The entry of this one must be there now. Tags are
    /// not entries: what depends on them would be reloaded in another way.
    pub(crate) async fn places(&self, identity: &str) -> anyhow::Result<Vec<Place>> {
        let keys = self.keys(&format!("*{}*", glob_escaped(identity))).await?;
        Ok(keys.iter().filter(|key| !key.contains(":tag:")).filter_map(|key| Place::find(key, identity)).collect())
    }

    /// A section of INFO.
    pub(crate) async fn info(&self, section: &str) -> anyhow::Result<BTreeMap<String, String>> {
        Self::info_of(&self.client, section).await
    }

    /// Names the process that answers: it changes when Redis is restarted.
    pub(crate) async fn run_id(&self) -> anyhow::Result<String> {
        self.info("server").await?.remove("run_id").context("INFO has no run_id")
    }

    /// [`Self::info`] over another connection.
    pub(crate) async fn info_of(client: &Client, section: &str) -> anyhow::Result<BTreeMap<String, String>> {
        let info = CustomCommand::new_static("INFO", ClusterHash::FirstKey, false);
        let text: String = client.custom(info, vec![section.to_owned()]).await?;
        Ok(parse_info(&text))
    }
}

/// Text that a glob pattern takes by the letter.
fn glob_escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if matches!(character, '*' | '?' | '[' | ']' | '\\' | '^' | '-') {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::{Place, glob_escaped};

    #[test]
    fn an_identity_is_found_where_it_stands_by_itself() {
        let place = Place::find("blog:fc:{post:4711}", "4711").unwrap();
        assert_eq!(place.key("12"), "blog:fc:{post:12}");
        let page = Place::find("blog:fc:{author-posts:ann-0001/20/}", "ann-0001").unwrap();
        assert_eq!(page.key("bob"), "blog:fc:{author-posts:bob/20/}");
        assert_eq!(Place::find("blog:fc:{post:14711}", "4711"), None);
        assert_eq!(Place::find("blog:fc:{post:47110}", "4711"), None);
        // The second place is the right one.
        assert_eq!(Place::find("blog:x1:{post:1}", "1").unwrap().key("2"), "blog:x1:{post:2}");
    }

    #[test]
    fn patterns_take_names_by_the_letter() {
        assert_eq!(glob_escaped("a*b-[c]"), "a\\*b\\-\\[c\\]");
    }
}
