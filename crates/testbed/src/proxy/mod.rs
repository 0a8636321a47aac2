//! A TCP proxy whose faults a test scripts.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use self::state::Shared;
use self::traps::{Action, Trap};

mod flow;
mod framing;
mod state;
mod tasks;
mod traps;

pub use self::traps::{Armed, Cut, Held};

/// Which way bytes go through a [`FaultProxy`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Commands, queries.
    ClientToServer,
    /// Replies, rows, pushes.
    ServerToClient,
}

impl Direction {
    fn index(self) -> usize {
        match self {
            Self::ClientToServer => 0,
            Self::ServerToClient => 1,
        }
    }

    fn opposite(self) -> Self {
        match self {
            Self::ClientToServer => Self::ServerToClient,
            Self::ServerToClient => Self::ClientToServer,
        }
    }
}

/// A TCP proxy in front of one server, whose faults a test scripts.
///
/// It knows the messages of Redis (RESP 2 and 3) and of PostgreSQL (without TLS), so that a fault strikes between two
/// messages and never depends on how TCP happened to cut the stream. Of other protocols it takes each chunk as it comes;
/// a needle may then straddle chunks, and the fault strikes where the needle begins, or where the chunk begins in which
/// it ends.
///
/// Controls take effect at once: when a call has returned, no byte passes any more that it forbids. They apply to all
/// connections, present and future. A needle is 1 to 4096 bytes that a message contains. Faults that wait for a needle
/// (`…_when`, `drop_…`, `wait_for`) are armed by the call itself, so a test arms first and acts then; they look at what
/// arrives after that.
///
/// While the server cannot be reached, a new connection is accepted and reset. Dropping the proxy resets all connections.
///
/// ```no_run
/// use testbed::{Cut, Direction, FaultProxy};
///
/// # async fn example(database: testbed::Database) -> Result<(), Box<dyn std::error::Error>> {
/// let proxy = FaultProxy::start(database.url()).await?;
/// let pool = sqlx::PgPool::connect(&proxy.url()).await?;
/// let mut transaction = pool.begin().await?;
/// sqlx::query("insert into posts (id) values (1)").execute(&mut *transaction).await?;
/// proxy.cut_when(Direction::ClientToServer, b"COMMIT", Cut::After);
/// assert!(transaction.commit().await.is_err(), "and yet the row is there");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    url: Url,
    shared: Arc<Shared>,
    dropped: CancellationToken,
}

/// The parts of `scheme://user@host:port/path`, of which all but host and port may be missing.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Url {
    before: String,
    host_and_port: String,
    after: String,
}

impl Url {
    fn parse(text: &str) -> Self {
        let authority = text.find("://").map_or(0, |at| at + 3);
        let path = text[authority..].find(['/', '?']).map_or(text.len(), |at| authority + at);
        let host = text[authority..path].rfind('@').map_or(authority, |at| authority + at + 1);
        Self { before: text[..host].into(), host_and_port: text[host..path].into(), after: text[path..].into() }
    }
}

impl FaultProxy {
    /// Starts a proxy on a free port of 127.0.0.1, on the current runtime. `upstream` is the address of the server
    /// (`SocketAddr`, `"host:port"`) or its URL; it need not be up.
    ///
    /// # Errors
    /// There is no port to listen on.
    pub async fn start(upstream: impl ToString) -> io::Result<Self> {
        let url = Url::parse(&upstream.to_string());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let shared = Shared::new();
        let dropped = CancellationToken::new();
        tokio::spawn(tasks::accept(listener, url.host_and_port.clone(), Arc::clone(&shared), dropped.clone()));
        Ok(Self { address, url, shared, dropped })
    }

    /// Where the proxy listens.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// The URL that was given to [`start`](Self::start), with the proxy's address in place of the server's.
    pub fn url(&self) -> String {
        format!("{}{}{}", self.url.before, self.address, self.url.after)
    }

    /// `redis://` and the proxy's address.
    pub fn redis_url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// The connections that are open now.
    pub fn connections(&self) -> usize {
        self.shared.read(state::State::open)
    }

    /// The connections that clients have made since the start, without those refused.
    pub fn accepted(&self) -> u64 {
        self.shared.read(|state| state.accepted)
    }

    /// The bytes that were passed on in this direction since the start.
    pub fn bytes(&self, direction: Direction) -> u64 {
        self.shared.read(|state| state.lanes[direction.index()].forwarded)
    }

    /// Passes on every message this much later than it came. Zero ends the delay, also for what waits already.
    pub fn delay(&self, direction: Direction, delay: Duration) {
        self.shared.change(|state| state.lanes[direction.index()].delay = delay);
    }

    /// Keeps everything that comes in this direction, until [`release`](Self::release).
    pub fn hold(&self, direction: Direction) {
        self.shared.change(|state| state.lanes[direction.index()].held = true);
    }

    /// Ends [`hold`](Self::hold) and passes on what was kept. Holds of [`hold_when`](Self::hold_when) stay.
    pub fn release(&self, direction: Direction) {
        self.shared.change(|state| state.lanes[direction.index()].held = false);
    }

    /// Resets both ends of all connections. New ones are not affected, nor are faults that wait for a message.
    pub fn cut(&self) {
        self.shared.cut();
    }

    /// Whether new connections are reset as soon as they are made. Those that exist stay.
    pub fn refuse(&self, refuse: bool) {
        self.shared.change(|state| state.refuse = refuse);
    }

    /// From now on everything is thrown away, in both directions, also what was held and also that one side has closed or
    /// died; connections stay open, and new ones can be made. As with a server that has vanished from the network.
    pub fn half_open(&self) {
        self.shared.change(state::State::lose);
    }

    /// Takes away every fault: delays, holds (also those of [`hold_when`](Self::hold_when)), what is armed, refusal and
    /// [`half_open`](Self::half_open). Connections that have lost bytes are reset: nothing sensible could follow on them.
    pub fn heal(&self) {
        self.shared.change(state::State::heal);
    }

    /// Armed by the call; the future resolves when a message that contains the needle has arrived at the proxy, whether or
    /// not it is then passed on.
    ///
    /// # Panics
    /// The call, on an empty or too long needle. The future, after 30 seconds, so that a test fails rather than hangs.
    pub fn wait_for(
        &self,
        direction: Direction,
        needle: impl AsRef<[u8]>,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'static>> {
        let armed = self.arm(direction, Trap::needle(needle.as_ref(), Action::Report));
        Box::pin(async move { armed.reached().await })
    }

    /// Holds, from the next message that contains the needle on, this direction of the connection on which it comes. What
    /// comes before the message, other connections and the other direction are not affected. Once only.
    ///
    /// # Panics
    /// On an empty or too long needle.
    pub fn hold_when(&self, direction: Direction, needle: impl AsRef<[u8]>) -> Held {
        let Armed { direction, signal } = self.arm(direction, Trap::needle(needle.as_ref(), Action::Hold));
        Held { direction, signal, shared: Arc::clone(&self.shared) }
    }

    /// Cuts the connection on which the next message comes that contains the needle, before or after that message. Once
    /// only.
    ///
    /// # Panics
    /// On an empty or too long needle.
    pub fn cut_when(&self, direction: Direction, needle: impl AsRef<[u8]>, cut: Cut) -> Armed {
        self.arm(direction, Trap::needle(needle.as_ref(), Action::Cut(cut)))
    }

    /// Silently loses the next message that contains the needle; the connection goes on. Meant for pushes: after a lost
    /// reply to Redis, later replies answer the wrong commands.
    ///
    /// # Panics
    /// On an empty or too long needle.
    pub fn drop_next(&self, direction: Direction, needle: impl AsRef<[u8]>) -> Armed {
        self.arm(direction, Trap::needle(needle.as_ref(), Action::Drop { once: true }))
    }

    /// Silently loses every message (of an unknown protocol: every chunk) for which the predicate says yes, until it is
    /// disarmed. The predicate must not use the proxy.
    pub fn drop_matching(&self, direction: Direction, predicate: impl FnMut(&[u8]) -> bool + Send + 'static) -> Armed {
        self.arm(direction, Trap::predicate(Box::new(predicate), Action::Drop { once: false }))
    }

    fn arm(&self, direction: Direction, trap: Trap) -> Armed {
        let signal = Arc::clone(&trap.signal);
        self.shared.change(|state| state.lanes[direction.index()].traps.push(trap));
        Armed { direction, signal }
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.shared.change(|state| state.refuse = true);
        self.shared.cut();
        self.dropped.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_keep_everything_but_the_address() {
        let parts = |before: &str, host_and_port: &str, after: &str| Url {
            before: before.into(),
            host_and_port: host_and_port.into(),
            after: after.into(),
        };
        assert_eq!(Url::parse("127.0.0.1:1"), parts("", "127.0.0.1:1", ""));
        assert_eq!(Url::parse("redis://127.0.0.1:1"), parts("redis://", "127.0.0.1:1", ""));
        assert_eq!(Url::parse("postgres://a:b@c@h:2/d?e=f"), parts("postgres://a:b@c@", "h:2", "/d?e=f"));
        assert_eq!(Url::parse("redis://h:2?x=a@b"), parts("redis://", "h:2", "?x=a@b"));
    }
}
