//! The plain lock: `SET NX PX`, a token, a release in Lua, and asking again.

use std::sync::Arc;
use std::time::Duration;

use fred::interfaces::KeysInterface;
use fred::types::config::Config;
use fred::types::{Expiration, Key, SetOptions, Value};
use futures_util::future::{BoxFuture, FutureExt};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::link::{Link, NoPushes};
use super::script::{Script, script};
use super::session::{Recipe, Session, parse_url};
use crate::attend::{Attendants, Caller, Lease, Pace, RETRY, Term};
use crate::backend::{Acquiring, Backend, Kind, Request};
use crate::error::{ConfigError, LockError, RedisError};
use crate::metrics;
use crate::name::{Name, Namespace};
use crate::random::token;
use crate::slot::Slot;

script!(UNLOCK, "scripts/unlock.lua");

pub(crate) static SCRIPTS: &[&Script] = &[&UNLOCK];

/// What the plain lock needs to know at start.
#[derive(Clone, Debug)]
#[must_use]
pub struct PlainSettings {
    url: String,
    namespace: Namespace,
    lease: Duration,
    retry: Duration,
    command_timeout: Duration,
}

impl PlainSettings {
    /// One Redis (`redis://`; TLS is not built in yet).
    pub fn new(url: impl Into<String>, namespace: Namespace) -> Self {
        Self {
            url: url.into(),
            namespace,
            lease: Duration::from_secs(10),
            retry: Duration::from_millis(20),
            command_timeout: Duration::from_millis(500),
        }
    }

    /// The life of the key. It is never renewed: a section that takes longer is lost; 10 s unless told.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// The mean time between two attempts, each half to one and a half of it; 20 ms unless told.
    pub fn retry(mut self, retry: Duration) -> Self {
        self.retry = retry;
        self
    }

    /// The most that one command may take before its outcome counts as unknown; 500 ms unless told.
    pub fn command_timeout(mut self, timeout: Duration) -> Self {
        self.command_timeout = timeout;
        self
    }

    /// What [`start`](RedisPlain::start) would refuse, before anything starts.
    ///
    /// # Errors
    /// [`ConfigError`] for the first setting that is not allowed.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.config().map(drop)
    }

    fn config(&self) -> Result<Config, ConfigError> {
        let config = parse_url("redis_url", &self.url)?;
        check(self.lease, self.retry, self.command_timeout)?;
        Ok(config)
    }
}

/// Checks what the two locks without a queue have in common.
pub(crate) fn check(lease: Duration, retry: Duration, command_timeout: Duration) -> Result<(), ConfigError> {
    let wrong = |setting, value: Duration, allowed| Err(ConfigError::new(setting, format!("{value:?}"), allowed));
    if command_timeout < Duration::from_millis(1) {
        return wrong("command_timeout", command_timeout, "at least 1 ms");
    }
    if lease <= 2 * command_timeout + lease / 100 + Duration::from_millis(10) || lease > Duration::from_secs(24 * 3600)
    {
        return wrong("lease", lease, "more than 2 * command_timeout + 1 % + 10 ms, and at most one day");
    }
    if retry < Duration::from_millis(1) || retry > lease {
        return wrong("retry", retry, "1 ms to one lease");
    }
    Ok(())
}

/// Half to one and a half of `mean`: those who were refused together do not come back together.
pub(crate) fn jittered(mean: Duration) -> Duration {
    mean.mul_f64(0.5 + fastrand::f64())
}

/// The backend `redis`, as it is usually written. Exclusive while the lease lives and the clock of Redis runs steadily;
/// no order, no fence, no clock of its own: a holder that was paused past its lease does not know, and writes.
#[derive(Debug)]
pub struct RedisPlain {
    shared: Arc<Shared>,
    attendants: Attendants,
}

#[derive(Debug)]
struct Shared {
    link: Link,
    namespace: Namespace,
    lease: Duration,
    retry: Duration,
    closing: CancellationToken,
}

impl RedisPlain {
    /// Starts to connect in the background; acquisitions wait for that, each within its deadline.
    ///
    /// # Errors
    /// [`ConfigError`] for a URL that is none, or a lease that is too short.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(settings: PlainSettings) -> Result<Self, ConfigError> {
        let config = settings.config()?;
        let PlainSettings { namespace, lease, retry, command_timeout, .. } = settings;
        let recipe = Recipe { config, command_timeout, scripts: SCRIPTS, channel: None };
        let link = Link::start(recipe, Arc::new(NoPushes), metrics::connections_lost(Kind::Redis));
        let closing = CancellationToken::new();
        let attendants = Attendants::new(closing.clone());
        Ok(Self { shared: Arc::new(Shared { link, namespace, lease, retry, closing }), attendants })
    }
}

impl Backend for RedisPlain {
    fn kind(&self) -> Kind {
        Kind::Redis
    }

    fn begin(&self, request: Request) -> Acquiring {
        self.attendants.begin(request, |name| Attempt {
            key: key(&self.shared.namespace, &name),
            shared: Arc::clone(&self.shared),
            token: token(),
            asked: None,
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.attendants.close()
    }
}

/// `<ns>:fl:<name>`
pub(crate) fn key(namespace: &Namespace, name: &Name) -> Key {
    Key::from(format!("{}:fl:{}", namespace.as_str(), name.as_str()))
}

/// `true` if the key is this token's now (or has been since an attempt whose reply was lost).
pub(crate) async fn set(session: &Session, key: &Key, token: &str, lease: Duration) -> Result<bool, RedisError> {
    let lease = Expiration::PX(i64::try_from(lease.as_millis()).unwrap_or(i64::MAX));
    // GET says whose it is, so that a repetition after an unknown outcome is right.
    let owner: Option<String> = session.client.set(key.clone(), token, Some(lease), Some(SetOptions::NX), true).await?;
    Ok(owner.is_none_or(|owner| owner == token))
}

/// `false`: the key was not this token's.
pub(crate) async fn unlock(session: &Session, key: &Key, token: &str) -> Result<bool, RedisError> {
    let keys = std::slice::from_ref(key);
    let reply = UNLOCK.run(&session.client, keys, [Value::String(token.into())]).boxed().await?;
    Ok(reply.as_i64() == Some(1))
}

#[derive(Debug)]
struct Attempt {
    shared: Arc<Shared>,
    key: Key,
    token: String,
    /// When the first SET was sent whose effect may last: the lease is counted from there.
    asked: Option<Instant>,
}

impl Lease for Attempt {
    async fn obtain(&mut self, caller: &mut Caller, _slot: &Arc<Slot>) -> Result<Term, LockError> {
        let lease = self.shared.lease;
        let mut late = LockError::Timeout;
        loop {
            if caller.is_gone() || Instant::now() >= caller.deadline {
                return Err(late);
            }
            let pause = match self.shared.link.session() {
                None => {
                    late = RedisError::Away.into();
                    RETRY
                }
                Some(session) => {
                    let asked = *self.asked.get_or_insert_with(Instant::now);
                    let setting = set(&session, &self.key, &self.token, lease);
                    let Some(set) = caller.unless_gone(setting, Duration::MAX, &late).await else { return Err(late) };
                    match set {
                        Ok(true) => {
                            let until = asked + lease - lease / 100 - Duration::from_millis(10);
                            if Instant::now() < until {
                                return Ok(Term { fence: 0, until });
                            }
                            // Ours, but from an attempt of long ago: it goes first.
                            let _ = unlock(&session, &self.key, &self.token).await;
                            self.asked = None;
                            RETRY
                        }
                        Ok(false) if !caller.wait => {
                            self.asked = None;
                            return Err(LockError::Contended);
                        }
                        Ok(false) => {
                            self.asked = None;
                            late = LockError::Timeout;
                            jittered(self.shared.retry)
                        }
                        Err(error) => {
                            late = error.into();
                            RETRY
                        }
                    }
                }
            };
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
        let session = self.shared.link.session().ok_or(RedisError::Away)?;
        Ok(unlock(&session, &self.key, &self.token).await?)
    }

    async fn abandon(&mut self) {
        // Nothing of ours can be there: nothing was sent, or the latest answer was 'somebody else's'.
        let Some(asked) = self.asked else { return };
        while Instant::now() < asked + self.shared.lease {
            if self.free().await.is_ok() {
                return;
            }
            sleep(RETRY).await;
        }
    }

    fn pace(&self) -> Option<Pace> {
        None
    }

    fn watches_the_clock(&self) -> bool {
        false
    }
}
