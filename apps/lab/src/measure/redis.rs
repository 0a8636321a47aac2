//! A Redis looked at from outside: its counters, and the commands that clients send it.
//!
//! A plain connection and not the client library's: that one sends commands of its own, which would be counted. Where that does
//! not matter there is [`one_attempt`].

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use fred::types::Builder;
use fred::types::config::{Config, ServerConfig};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

/// How long a server may take to answer, or to show a command that it has executed.
const ANSWER: Duration = Duration::from_secs(3);

/// How long a server that shows what it executes may execute nothing.
const SILENCE: Duration = Duration::from_secs(120);

/// A client that sends each command once, and gives up a connection or a command after `answer`.
pub(crate) fn one_attempt(mut config: Config, answer: Duration) -> Builder {
    config.fail_fast = true;
    let mut builder = Builder::from_config(config);
    builder.with_connection_config(|connection| {
        connection.connection_timeout = answer;
        connection.internal_command_timeout = answer;
        connection.max_command_attempts = 1;
    });
    builder.with_performance_config(|performance| performance.default_command_timeout = answer);
    builder
}

/// A connection that sends one command at a time.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: BufReader<TcpStream>,
    /// How long a line is waited for.
    within: Duration,
}

impl Wire {
    /// # Errors
    /// The server does not answer, refuses the password, or is one behind TLS.
    pub(crate) async fn connect(url: &str) -> anyhow::Result<Self> {
        let config = Config::from_url(url).context("the Redis URL")?;
        let ServerConfig::Centralized { server } = &config.server else {
            bail!("only a single Redis can be looked at");
        };
        ensure!(!config.uses_tls(), "a Redis behind TLS is not looked at");
        let shown = format!("Redis at {}:{}", server.host, server.port);
        let stream = tokio::time::timeout(ANSWER, TcpStream::connect((server.host.to_string(), server.port)))
            .await
            .with_context(|| format!("{shown} does not answer"))?
            .with_context(|| format!("cannot connect to {shown}"))?;
        stream.set_nodelay(true)?;
        let mut wire = Self { stream: BufReader::new(stream), within: ANSWER };
        if let Some(password) = &config.password {
            let user = config.username.as_deref().unwrap_or("default");
            wire.ok(&["AUTH", user, password]).await?;
        }
        Ok(wire)
    }

    async fn send(&mut self, words: &[&str]) -> anyhow::Result<()> {
        let mut command = format!("*{}\r\n", words.len());
        for word in words {
            command.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        self.stream.get_mut().write_all(command.as_bytes()).await?;
        Ok(())
    }

    /// A command that is answered by `OK`.
    async fn ok(&mut self, words: &[&str]) -> anyhow::Result<()> {
        self.send(words).await?;
        let answer = self.line().await?;
        ensure!(answer == "+OK", "Redis refuses {}: {answer}", words[0]);
        Ok(())
    }

    async fn line(&mut self) -> anyhow::Result<String> {
        let mut line = Vec::new();
        tokio::time::timeout(self.within, self.stream.read_until(b'\n', &mut line))
            .await
            .context("Redis shows nothing")??;
        ensure!(line.ends_with(b"\n"), "Redis closed the connection");
        Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
    }

    /// A section of INFO.
    pub(crate) async fn info(&mut self, section: &str) -> anyhow::Result<BTreeMap<String, String>> {
        self.send(&["INFO", section]).await?;
        let head = self.line().await?;
        let length: usize =
            head.strip_prefix('$').and_then(|length| length.parse().ok()).with_context(|| format!("INFO: {head}"))?;
        let mut text = vec![0; length + 2];
        tokio::time::timeout(ANSWER, self.stream.read_exact(&mut text)).await.context("Redis shows nothing")??;
        Ok(parse_info(&String::from_utf8_lossy(&text[..length])))
    }

    /// How often each command was executed, by clients and by scripts.
    pub(crate) async fn executed(&mut self) -> anyhow::Result<BTreeMap<String, i64>> {
        let stats = self.info("commandstats").await?;
        Ok(stats.iter().filter_map(|(name, value)| calls(name, value)).collect())
    }

    /// Makes `mark` appear where the server shows what it executes.
    pub(crate) async fn mark(&mut self, mark: &str) -> anyhow::Result<()> {
        self.send(&["ECHO", mark]).await?;
        // Its length, and itself.
        self.line().await?;
        self.line().await.map(drop)
    }

    /// From now on the server shows on this connection what it executes.
    pub(crate) async fn monitor(mut self) -> anyhow::Result<Monitor> {
        self.ok(&["MONITOR"]).await?;
        self.within = SILENCE;
        Ok(Monitor { wire: self })
    }
}

/// A connection in MONITOR mode.
#[derive(Debug)]
pub(crate) struct Monitor {
    wire: Wire,
}

impl Monitor {
    /// The next command that is shown.
    pub(crate) async fn line(&mut self) -> anyhow::Result<String> {
        self.wire.line().await
    }

    /// How many commands clients have sent until `mark` is shown: an argument of a command that the caller sends over
    /// another connection. Only lines for which `wanted` is true count.
    pub(crate) async fn sent_until(&mut self, mark: &str, wanted: impl Fn(&str) -> bool) -> anyhow::Result<u64> {
        let mut sent = 0;
        loop {
            let line = self.line().await?;
            if line.contains(mark) {
                return Ok(sent);
            }
            sent += u64::from(is_sent(&line) && wanted(&line));
        }
    }
}

/// What a client sends to keep a connection, and what the lab itself asks: no part of anybody's work.
const HOUSEKEEPING: [&str; 9] = ["ping", "select", "info", "hello", "auth", "client", "command", "echo", "monitor"];

/// Whether a line of MONITOR, `+1700000000.123456 [0 127.0.0.1:5000] "GET" "key"`, shows work that a client sent. What a
/// script calls is shown too, as `[0 lua]`, and is no round trip.
fn is_sent(line: &str) -> bool {
    let Some((from, command)) = line.split_once("] ") else { return false };
    let name = command.split('"').nth(1).unwrap_or_default().to_ascii_lowercase();
    !from.ends_with(" lua") && !HOUSEKEEPING.contains(&name.as_str())
}

/// `cmdstat_get`, `calls=1,usec=2` as `get`, 1; nothing of what is housekeeping.
fn calls(name: &str, value: &str) -> Option<(String, i64)> {
    let name = name.strip_prefix("cmdstat_")?;
    let calls = value.strip_prefix("calls=")?.split(',').next()?.parse().ok()?;
    let of = name.split('|').next().unwrap_or(name);
    (!HOUSEKEEPING.contains(&of)).then(|| (name.to_owned(), calls))
}

/// INFO as names and values.
pub(crate) fn parse_info(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim_end().to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Wire, calls, is_sent, parse_info};

    #[test]
    fn info_is_names_and_values() {
        let info = parse_info("# Server\r\nrun_id:abc\r\nprocess_id:7\r\n\r\ncmdstat_get:calls=1,usec=2\r\n");
        assert_eq!(info.get("run_id").map(String::as_str), Some("abc"));
        assert_eq!(info.get("cmdstat_get").map(String::as_str), Some("calls=1,usec=2"));
        assert_eq!(info.len(), 3);
    }

    #[test]
    fn housekeeping_and_what_scripts_call_is_not_sent() {
        assert!(is_sent(r#"+1.2 [0 127.0.0.1:5000] "evalsha" "abc" "1" "k""#));
        assert!(!is_sent(r#"+1.2 [0 lua] "hset" "k" "h""#));
        assert!(!is_sent(r#"+1.2 [0 127.0.0.1:5000] "PING""#));
        assert!(!is_sent("+OK"));
        assert_eq!(calls("cmdstat_evalsha", "calls=12,usec=2"), Some(("evalsha".to_owned(), 12)));
        assert_eq!(calls("cmdstat_client|setname", "calls=12,usec=2"), None);
    }

    #[tokio::test]
    async fn a_real_server_shows_and_counts_what_it_is_sent() {
        let redis = testbed::redis().await;
        let mut wire = Wire::connect(&redis.url()).await.unwrap();
        let mut monitor = Wire::connect(&redis.url()).await.unwrap().monitor().await.unwrap();
        wire.ok(&["SET", "a", "1"]).await.unwrap();
        wire.send(&["EVAL", "return redis.call('get', KEYS[1])", "1", "a"]).await.unwrap();
        assert_eq!((wire.line().await.unwrap(), wire.line().await.unwrap()), ("$1".to_owned(), "1".to_owned()));
        wire.mark("the-mark").await.unwrap();
        assert_eq!(monitor.sent_until("the-mark", |_| true).await.unwrap(), 2);
        let executed = wire.executed().await.unwrap();
        assert_eq!(executed.values().sum::<i64>(), 3, "{executed:?}");
    }
}
