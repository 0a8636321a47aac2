//! One connection to Redis from its beginning to its end.

use std::time::Duration;

use fred::clients::Client;
use fred::interfaces::{ClientLike, EventInterface, PubsubInterface};
use fred::types::config::{Config, UnresponsiveConfig};
use fred::types::{Builder, ConnectHandle, InfoKind, Message, RespVersion};
use tokio::sync::broadcast;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::script::Script;
use crate::error::{ConfigError, RedisError};

/// A session begins with a connection and ends with it: nothing reconnects under it.
///
/// fred can reconnect by itself, but then it runs what was queued meanwhile on whatever server it finds, and a
/// subscription is silently one that has missed messages. A new session is a fact that the waiters hear of.
#[derive(Debug)]
pub(crate) struct Session {
    /// One client and not a pool: it pipelines by itself, and commands of one acquisition keep their order.
    pub(crate) client: Client,
    /// Since when the server runs, as far as it says so itself (to the second, rounded towards later).
    pub(crate) server_up_since: Instant,
    pub(crate) lost: CancellationToken,
}

/// How sessions of one lock are made.
#[derive(Clone, Debug)]
pub(crate) struct Recipe {
    pub(crate) config: Config,
    pub(crate) command_timeout: Duration,
    pub(crate) scripts: &'static [&'static Script],
    /// Subscribed to on a second connection, for a lock that is told of its grants.
    pub(crate) channel: Option<String>,
}

/// A connected client. Dropping this closes the connection: a fred client that is merely dropped leaks its task and
/// its socket, and `quit` can hang on a server that is stopped.
#[derive(Debug)]
struct Connection {
    client: Client,
    task: ConnectHandle,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What keeps a session alive.
#[derive(Debug)]
pub(crate) struct Connections {
    commands: Connection,
    pushes: Option<Connection>,
    messages: Option<broadcast::Receiver<Message>>,
}

impl Connections {
    /// Resolves when a connection is gone.
    pub(crate) async fn lost(&mut self) {
        match &mut self.pushes {
            None => drop((&mut self.commands.task).await),
            Some(pushes) => tokio::select! {
                _ = &mut self.commands.task => {}
                _ = &mut pushes.task => {}
            },
        }
    }

    pub(crate) fn take_messages(&mut self) -> Option<broadcast::Receiver<Message>> {
        self.messages.take()
    }

    /// The second connection's client, to see whether it still answers.
    pub(crate) fn pushes(&self) -> Option<Client> {
        self.pushes.as_ref().map(|connection| connection.client.clone())
    }
}

impl Session {
    pub(crate) async fn open(recipe: &Recipe) -> Result<(Self, Connections), RedisError> {
        let commands = connect(recipe).await?;
        let (run_id, uptime) = server(&commands.client).await?;
        for script in recipe.scripts {
            script.load(&commands.client).await?;
        }
        let (pushes, messages) = match &recipe.channel {
            None => (None, None),
            Some(channel) => {
                // Not the connection of the commands: a refused subscription would shift its replies by one.
                let pushes = connect(recipe).await?;
                if server(&pushes.client).await?.0 != run_id {
                    return Err(RedisError::Unknown("two connections reached two servers".into()));
                }
                let messages = pushes.client.message_rx();
                pushes.client.ssubscribe(channel.as_str()).await?;
                // fred says 'subscribed' before the server does; what comes behind it on the wire proves it. A
                // refused subscription also shows here.
                pushes.client.ping::<()>(None).await?;
                (Some(pushes), Some(messages))
            }
        };
        let session = Self {
            client: commands.client.clone(),
            server_up_since: Instant::now().checked_sub(uptime).unwrap_or_else(Instant::now),
            lost: CancellationToken::new(),
        };
        Ok((session, Connections { commands, pushes, messages }))
    }
}

async fn connect(recipe: &Recipe) -> Result<Connection, RedisError> {
    let mut config = recipe.config.clone();
    config.version = RespVersion::RESP3;
    config.fail_fast = true;
    let mut builder = Builder::from_config(config);
    builder.with_connection_config(|connection| {
        connection.connection_timeout = CONNECT_TIMEOUT;
        connection.internal_command_timeout = CONNECT_TIMEOUT;
        // Never replay: the protocol decides what is sent again.
        connection.max_command_attempts = 1;
        connection.unresponsive =
            UnresponsiveConfig { max_timeout: Some(Duration::from_secs(2)), interval: Duration::from_millis(250) };
        connection.tcp.nodelay = Some(true);
        connection.tcp.user_timeout = Some(Duration::from_secs(2));
    });
    builder.with_performance_config(|performance| {
        performance.default_command_timeout = recipe.command_timeout;
        // A receiver that lags has lost grants; the default is 32.
        performance.broadcast_channel_capacity = 4_096;
    });
    let client = builder.build()?;
    let task = client.connect();
    let connection = Connection { client, task };
    match timeout(2 * CONNECT_TIMEOUT, connection.client.wait_for_connect()).await {
        Ok(connected) => connected?,
        Err(_) => return Err(RedisError::Unknown("the connection was not made in time".into())),
    }
    Ok(connection)
}

const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);

/// The server's run id and how long it has been up at least. Refuses a replica: a lock on it would be nobody's.
async fn server(client: &Client) -> Result<(String, Duration), RedisError> {
    let text: String = client.info(Some(InfoKind::Server)).await?;
    let replication: String = client.info(Some(InfoKind::Replication)).await?;
    if field(&replication, "role")? != "master" {
        return Err(RedisError::Refused("this server is a replica; locks need the primary".into()));
    }
    // The difference of two times of which each has lost its fraction: up to a second too much.
    let uptime: u64 = field(&text, "uptime_in_seconds")?.parse().unwrap_or(0);
    Ok((field(&text, "run_id")?, Duration::from_secs(uptime.saturating_sub(1))))
}

fn field(text: &str, name: &str) -> Result<String, RedisError> {
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .map(|value| value.trim().to_owned())
        .ok_or_else(|| RedisError::Refused(format!("INFO has no {name}")))
}

/// A URL of one server. It may carry a password, so it is not repeated in the error.
pub(crate) fn parse_url(setting: &str, url: &str) -> Result<Config, ConfigError> {
    let wrong = || ConfigError::new(setting, "(not shown)", "a URL such as redis://host:6379");
    // fred itself takes any scheme that it does not know for plain Redis.
    // Without TLS built in, the client would take `rediss://` and connect in the clear.
    if !url.starts_with("redis://") {
        return Err(wrong());
    }
    Config::from_url(url).map_err(|_| wrong())
}
