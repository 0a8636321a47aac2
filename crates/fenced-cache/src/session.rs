//! One pair of connections to Redis, and the trust that is tied to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use fred::clients::Client;
use fred::interfaces::{ClientLike, TrackingInterface};
use fred::types::client::Invalidation;
use fred::types::config::{Config, UnresponsiveConfig};
use fred::types::{Builder, ConnectHandle, InfoKind, RespVersion};
use tokio::sync::broadcast;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::error::RedisError;
use crate::journal::Identity;
use crate::near::{Near, Plan};
use crate::script;

/// A session begins with a connection and ends with it; nothing ever reconnects under it.
///
/// fred would reconnect by itself and run what was queued meanwhile on whatever server it then finds, before
/// anybody could tell that it is another one. So no client here has a reconnect policy: a lost connection is a
/// lost session, and a new one starts without trust.
#[derive(Debug)]
pub(crate) struct Session {
    /// For commands. One client, not a pool: it pipelines by itself, and a pool would only cost order.
    pub(crate) client: Client,
    /// For the READs of those who wait, and of those who keep what they read near: their keys are tracked on this
    /// connection alone.
    pub(crate) tracker: Client,
    /// What this process keeps of what it read; none unless the settings want it.
    pub(crate) near: Option<Near>,
    pub(crate) identity: Identity,
    /// Cancelled as soon as either connection is gone.
    pub(crate) lost: CancellationToken,
    state: AtomicU8,
}

/// A connected client; dropping this closes its connection. (A fred client that is merely dropped leaks both its
/// task and its socket; `quit` can hang on a server that is stopped.)
#[derive(Debug)]
pub(crate) struct Connection {
    client: Client,
    task: ConnectHandle,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What the supervisor keeps of a session.
#[derive(Debug)]
pub(crate) struct Connections {
    commands: Connection,
    tracking: Connection,
    pub(crate) pushes: broadcast::Receiver<Invalidation>,
}

impl Connections {
    /// Resolves when either connection is gone.
    pub(crate) async fn lost(&mut self) {
        tokio::select! {
            _ = &mut self.commands.task => {}
            _ = &mut self.tracking.task => {}
        }
    }
}

impl Session {
    /// Connects both clients, checks that they reached the same server, switches tracking on.
    pub(crate) async fn open(
        config: &Config,
        command_timeout: Duration,
        near: Option<&Plan>,
    ) -> Result<(Arc<Self>, Connections), RedisError> {
        let commands = connect(config, command_timeout).await?;
        let tracking = connect(config, command_timeout).await?;
        let identity = identity(&commands.client).await?;
        if identity != self::identity(&tracking.client).await? {
            return Err(RedisError::Unavailable("two connections reached two servers".into()));
        }
        script::load_all(&commands.client).await?;
        let pushes = tracking.client.invalidation_rx();
        // Default mode: the server remembers what this connection has read, absent keys too. No NOLOOP: this
        // process' own fills come in over the other connection and have to wake its readers as well.
        tracking.client.start_tracking(Vec::<String>::new(), false, false, false, false).await?;
        let session = Arc::new(Self {
            client: commands.client.clone(),
            tracker: tracking.client.clone(),
            near: near.map(Near::new),
            identity,
            lost: CancellationToken::new(),
            state: AtomicU8::new(NEW),
        });
        Ok((session, Connections { commands, tracking, pushes }))
    }

    pub(crate) fn is_trusted(&self) -> bool {
        self.state.load(Ordering::Acquire) == TRUSTED
    }

    /// The replay is done: readers may use this session. A session that was lost meanwhile stays lost.
    pub(crate) fn trust(&self) {
        let _ = self.state.compare_exchange(NEW, TRUSTED, Ordering::AcqRel, Ordering::Acquire);
    }

    pub(crate) fn lose(&self) {
        self.state.store(LOST, Ordering::Release);
        self.lost.cancel();
    }
}

const NEW: u8 = 0;
const TRUSTED: u8 = 1;
const LOST: u8 = 2;

async fn connect(config: &Config, command_timeout: Duration) -> Result<Connection, RedisError> {
    let mut config = config.clone();
    config.version = RespVersion::RESP3;
    config.fail_fast = true;
    let mut builder = Builder::from_config(config);
    builder.with_connection_config(|connection| {
        connection.connection_timeout = CONNECT_TIMEOUT;
        connection.internal_command_timeout = CONNECT_TIMEOUT;
        // Never replay: the protocol decides what may be sent again. A second run of an ACQUIRE, after an invalidation, would
        // bring the lease back and let the fill of an older load in (`model::entry::rows::acquire_repeated`).
        connection.max_command_attempts = 1;
        connection.unresponsive =
            UnresponsiveConfig { max_timeout: Some(Duration::from_secs(2)), interval: Duration::from_millis(250) };
        connection.tcp.nodelay = Some(true);
        connection.tcp.user_timeout = Some(Duration::from_secs(2));
    });
    builder.with_performance_config(|performance| {
        performance.default_command_timeout = command_timeout;
        performance.broadcast_channel_capacity = 4_096;
    });
    let client = builder.build()?;
    let task = client.connect();
    let connection = Connection { client, task };
    match timeout(2 * CONNECT_TIMEOUT, connection.client.wait_for_connect()).await {
        Ok(connected) => connected?,
        Err(_) => return Err(RedisError::Unavailable("the connection was not made in time".into())),
    }
    Ok(connection)
}

const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);

async fn identity(client: &Client) -> Result<Identity, RedisError> {
    let server: String = client.info(Some(InfoKind::Server)).await?;
    let replication: String = client.info(Some(InfoKind::Replication)).await?;
    let field = |text: &str, name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .map(|value| value.trim().to_owned())
            .ok_or_else(|| RedisError::Refused(format!("INFO has no {name}")))
    };
    if field(&replication, "role")? != "master" {
        return Err(RedisError::Refused("this server is a replica; the cache needs the primary".into()));
    }
    Ok(Identity { run_id: field(&server, "run_id")?, replication_id: field(&replication, "master_replid")? })
}
