//! The same plain lock on a majority of several independent servers.
//!
//! The algorithm is Antirez, *Distributed Locks with Redis* (redis.io); what it does not do, Kleppmann, *How to do
//! distributed locking* (2016): without a fence, a holder that was paused past its lease still writes.

use std::sync::Arc;
use std::time::Duration;

use fred::types::Key;
use fred::types::config::Config;
use futures_util::future::{BoxFuture, join_all};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::link::{Link, NoPushes};
use super::plain::{SCRIPTS, check, jittered, key, set, unlock};
use super::session::{Recipe, Session, parse_url};
use crate::attend::{Attendants, Caller, Lease, Pace, RETRY, Term};
use crate::backend::{Acquiring, Backend, Kind, Request};
use crate::error::{ConfigError, LockError, RedisError};
use crate::metrics;
use crate::name::Namespace;
use crate::random::token;
use crate::slot::Slot;

/// What Redlock needs to know at start.
#[derive(Clone, Debug)]
#[must_use]
pub struct RedlockSettings {
    urls: Vec<String>,
    namespace: Namespace,
    lease: Duration,
    retry: Duration,
    command_timeout: Duration,
}

impl RedlockSettings {
    /// An odd number of servers, three or more, that have nothing to do with each other: no replicas.
    pub fn new(urls: impl IntoIterator<Item = impl Into<String>>, namespace: Namespace) -> Self {
        Self {
            urls: urls.into_iter().map(Into::into).collect(),
            namespace,
            lease: Duration::from_secs(10),
            retry: Duration::from_millis(50),
            command_timeout: Duration::from_millis(100),
        }
    }

    /// The life of the keys. Never renewed; 10 s unless told. A server that was restarted less than one lease ago is
    /// not asked, because it may have forgotten a lock: so after a start of all of them nothing is granted for so long.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// The mean time between two attempts, each half to one and a half of it; 50 ms unless told.
    pub fn retry(mut self, retry: Duration) -> Self {
        self.retry = retry;
        self
    }

    /// The most that one server may take; short, because it delays every attempt while one is away. 100 ms unless told.
    pub fn command_timeout(mut self, timeout: Duration) -> Self {
        self.command_timeout = timeout;
        self
    }

    /// What [`start`](Redlock::start) would refuse, before anything starts.
    ///
    /// # Errors
    /// [`ConfigError`] for the first setting that is not allowed.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.configs().map(drop)
    }

    fn configs(&self) -> Result<Vec<Config>, ConfigError> {
        check(self.lease, self.retry, self.command_timeout)?;
        let servers = self.urls.len();
        if servers < 3 || servers.is_multiple_of(2) {
            return Err(ConfigError::new("redlock urls", servers.to_string(), "an odd number, three or more"));
        }
        self.urls.iter().map(|url| parse_url("redlock url", url)).collect()
    }
}

/// The backend `redlock`.
#[derive(Debug)]
pub struct Redlock {
    shared: Arc<Shared>,
    attendants: Attendants,
}

#[derive(Debug)]
struct Shared {
    nodes: Vec<Link>,
    namespace: Namespace,
    lease: Duration,
    retry: Duration,
    closing: CancellationToken,
}

impl Redlock {
    /// Starts to connect to all of them in the background.
    ///
    /// # Errors
    /// [`ConfigError`] for a URL that is none, an even number of them or fewer than three, or a lease that is too short.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(settings: RedlockSettings) -> Result<Self, ConfigError> {
        let configs = settings.configs()?;
        let RedlockSettings { namespace, lease, retry, command_timeout, .. } = settings;
        let nodes = configs
            .into_iter()
            .map(|config| {
                let recipe = Recipe { config, command_timeout, scripts: SCRIPTS, channel: None };
                Link::start(recipe, Arc::new(NoPushes), metrics::connections_lost(Kind::Redlock))
            })
            .collect();
        let closing = CancellationToken::new();
        let attendants = Attendants::new(closing.clone());
        Ok(Self { shared: Arc::new(Shared { nodes, namespace, lease, retry, closing }), attendants })
    }
}

impl Backend for Redlock {
    fn kind(&self) -> Kind {
        Kind::Redlock
    }

    fn begin(&self, request: Request) -> Acquiring {
        self.attendants.begin(request, |name| Attempt {
            key: key(&self.shared.namespace, &name),
            shared: Arc::clone(&self.shared),
            token: token(),
            asked: false,
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.attendants.close()
    }
}

impl Shared {
    fn majority(&self) -> usize {
        self.nodes.len() / 2 + 1
    }

    /// Those that can be asked: connected, and up for long enough to have forgotten nothing that still counts.
    fn sessions(&self) -> Vec<Arc<Session>> {
        let sessions = self.nodes.iter().filter_map(Link::session);
        sessions.filter(|session| session.server_up_since.elapsed() >= self.lease).collect()
    }
}

#[derive(Debug)]
struct Attempt {
    shared: Arc<Shared>,
    key: Key,
    token: String,
    /// Whether anything may be set anywhere.
    asked: bool,
}

/// What the servers said to one attempt.
struct Votes {
    won: usize,
    failed: usize,
}

impl Attempt {
    async fn set_all(&self) -> Votes {
        let sessions = self.shared.sessions();
        let asking = sessions.iter().map(|session| set(session, &self.key, &self.token, self.shared.lease));
        let answers = join_all(asking).await;
        let failed = self.shared.nodes.len() - answers.iter().filter(|answer| answer.is_ok()).count();
        Votes { won: answers.into_iter().filter(|answer| matches!(answer, Ok(true))).count(), failed }
    }

    /// On every server that is connected, whatever it said before.
    async fn unlock_all(&self) -> Votes {
        let sessions: Vec<_> = self.shared.nodes.iter().filter_map(Link::session).collect();
        let answers = join_all(sessions.iter().map(|session| unlock(session, &self.key, &self.token))).await;
        let failed = self.shared.nodes.len() - answers.iter().filter(|answer| answer.is_ok()).count();
        Votes { won: answers.into_iter().filter(|answer| matches!(answer, Ok(true))).count(), failed }
    }
}

impl Lease for Attempt {
    async fn obtain(&mut self, caller: &mut Caller, _slot: &Arc<Slot>) -> Result<Term, LockError> {
        let lease = self.shared.lease;
        let mut late = LockError::Timeout;
        loop {
            if caller.is_gone() || Instant::now() >= caller.deadline {
                return Err(late);
            }
            let asked = Instant::now();
            self.asked = true;
            let Some(votes) = caller.unless_gone(self.set_all(), Duration::MAX, &late).await else { return Err(late) };
            let until = asked + lease - lease / 100 - Duration::from_millis(10);
            if votes.won >= self.shared.majority() && Instant::now() < until {
                return Ok(Term { fence: 0, until });
            }
            // What was won is in the way of the others.
            if self.unlock_all().await.failed == 0 {
                self.asked = false;
            }
            let unreachable = votes.failed >= self.shared.majority();
            late = if unreachable { RedisError::Away.into() } else { LockError::Timeout };
            if !caller.wait && !unreachable {
                return Err(LockError::Contended);
            }
            let pause = if unreachable { RETRY } else { jittered(self.shared.retry) };
            let pause = pause.min(caller.deadline.saturating_duration_since(Instant::now()));
            tokio::select! {
                () = caller.gone() => return Err(late),
                () = self.shared.closing.cancelled() => return Err(LockError::closed()),
                () = sleep(pause) => {}
            }
        }
    }

    async fn extend(&mut self, _floor: u64) -> Result<Option<Term>, LockError> {
        Ok(None)
    }

    async fn free(&mut self) -> Result<bool, LockError> {
        let votes = self.unlock_all().await;
        if votes.won >= self.shared.majority() {
            return Ok(true);
        }
        // Somebody who can be asked has it no more; or too few could be asked to know.
        if votes.failed >= self.shared.majority() { Err(RedisError::Away.into()) } else { Ok(false) }
    }

    async fn abandon(&mut self) {
        if self.asked {
            // What is left on a server that is away ends with its lease.
            self.unlock_all().await;
        }
    }

    fn pace(&self) -> Option<Pace> {
        None
    }
}
