//! The reader of the protocol's section 3.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::{Instant, timeout_at};

use crate::bypass::{self, Bypassed};
use crate::cache::{Cache, Inner};
use crate::entry::{self, Seen, Stored, now_ms};
use crate::error::{BoxError, ReadError, RedisError};
use crate::flight::{self, Landing};
use crate::key::Key;
use crate::near::Near;
use crate::options::ReadOptions;
use crate::outcome::{Loaded, Outcome, Read};
use crate::policy::Policy;
use crate::session::Session;

/// A caller's loader, as the tasks that may run it hold it.
pub(crate) type Loader = Arc<dyn Fn() -> BoxFuture<'static, Result<Option<Loaded>, BoxError>> + Send + Sync>;

pub(crate) fn loader<F, Fut, E>(load: F) -> Loader
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Option<Loaded>, E>> + Send + 'static,
    E: Into<BoxError>,
{
    Arc::new(move || load().map(|loaded| loaded.map_err(Into::into)).boxed())
}

impl Cache {
    /// Reads an entry; loads and stores it if it is not there.
    ///
    /// `load` begins its statement **when it is called**, on the database's primary, and not in an older
    /// snapshot of its caller; it may be called zero, one or two times. It runs in a task of its own: dropping
    /// the future of this call, at any await, cuts no load short and frees everything that this call holds.
    ///
    /// # Errors
    /// [`ReadError`] when the load failed, or was refused by the gate, and the policy allows nothing else to be
    /// answered. Redis being away is no error.
    pub async fn get_or_load<F, Fut, E>(&self, key: &Key, policy: &Policy, load: F) -> Result<Read, ReadError>
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Option<Loaded>, E>> + Send + 'static,
        E: Into<BoxError>,
    {
        self.get(key, policy, ReadOptions::new(), load).await.map(|(read, _)| read)
    }

    /// As [`get_or_load`](Self::get_or_load), for a reader who wants more than its policy says; see [`ReadOptions`].
    ///
    /// # Errors
    /// As [`get_or_load`](Self::get_or_load).
    pub async fn get_or_load_with<F, Fut, E>(
        &self,
        key: &Key,
        policy: &Policy,
        options: ReadOptions,
        load: F,
    ) -> Result<Read, ReadError>
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Option<Loaded>, E>> + Send + 'static,
        E: Into<BoxError>,
    {
        self.get(key, policy, options, load).await.map(|(read, _)| read)
    }

    /// Also returns the token of the stored value that was answered, for a caller that may find it undecodable.
    pub(crate) async fn get<F, Fut, E>(
        &self,
        key: &Key,
        policy: &Policy,
        options: ReadOptions,
        load: F,
    ) -> Result<(Read, Option<bytes::Bytes>), ReadError>
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Option<Loaded>, E>> + Send + 'static,
        E: Into<BoxError>,
    {
        let started = Instant::now();
        let near = self.inner.near(key, policy, options, started);
        // Boxed, as what a command on its way to Redis needs is kilobytes, and a near hit would carry it about for nothing.
        let first = if near.is_none() { Box::pin(self.inner.look(key, policy)).await } else { None };
        let fresh = match (&near, &first) {
            (Some(stored), _) => Some((stored.as_ref(), Outcome::NearHit)),
            (None, Some(Seen::Fresh(stored))) if options.accept(stored.meta.version) => Some((stored, Outcome::Hit)),
            _ => None,
        };
        let Some((stored, outcome)) = fresh else {
            // Boxed, so that the future of a hit stays small.
            let mut slow = SlowRead::new(&self.inner, key, policy, options, loader(load), started);
            return Box::pin(slow.run(first)).await;
        };
        let now = now_ms();
        if is_early(policy, stored, now) {
            policy.0.metrics.early.increment(1);
            self.inner.refresh(key, policy, stored, loader(load));
        }
        let read = stored.read(outcome, now);
        policy.0.metrics.read(read.outcome, started.elapsed());
        Ok((read, Some(stored.token.clone())))
    }
}

impl Inner {
    /// What is near, where it may be answered to this reader, who began at `now`.
    fn near(&self, key: &Key, policy: &Policy, options: ReadOptions, now: Instant) -> Option<Arc<Stored>> {
        if !policy.0.near || !options.allow_near() || !self.breaker.is_closed() {
            return None;
        }
        let session = self.session.load();
        let near = session.as_ref().filter(|session| session.is_trusted())?.near.as_ref()?;
        let stored = near.get(key, now)?;
        if !options.accept(stored.meta.version) {
            policy.0.metrics.behind_near.increment(1);
            return None;
        }
        Some(stored)
    }

    /// READ, where Redis may be used; failures are the breaker's business.
    pub(crate) async fn look(&self, key: &Key, policy: &Policy) -> Option<Seen> {
        let session = self.readable()?;
        let reply = match near_of(&session, policy) {
            Some(near) => near.read(&session.tracker, key).await,
            None => entry::read(&session.client, key).await,
        };
        match reply {
            // What was read before the session ended was read from a trusted server.
            Ok(reply) => {
                self.breaker.answered();
                Some(reply.seen)
            }
            Err(error) => {
                self.note(&error);
                None
            }
        }
    }

    /// Tells the breaker of a command that failed.
    pub(crate) fn note(&self, error: &RedisError) {
        match error {
            RedisError::Unavailable(_) => self.breaker.failed(),
            RedisError::Refused(reason) => {
                self.breaker.answered();
                // A primary that has become a replica: what it holds is no longer the truth about anything.
                if reason.starts_with("READONLY")
                    && let Some(session) = self.session.load_full()
                {
                    session.lose();
                }
            }
        }
    }

    /// Starts a flight that nobody waits for, unless this process has one for the key.
    pub(crate) fn refresh(self: &Arc<Self>, key: &Key, policy: &Policy, stored: &Stored, load: Loader) {
        let (_, begun) = self.flights.join_or_begin(key.name());
        if let Some(flight) = begun {
            flight::take_off(self, flight, key, policy, &stored.token, false, load);
        }
    }
}

fn near_of<'s>(session: &'s Session, policy: &Policy) -> Option<&'s Near> {
    session.near.as_ref().filter(|_| policy.0.near)
}

/// XFetch: now - cost * beta * ln(rand) >= expiry.
fn is_early(policy: &Policy, stored: &Stored, now_ms: u64) -> bool {
    let beta = policy.0.early_refresh;
    let reach_ms = stored.meta.cost.as_secs_f64() * 1e3 * beta;
    let left_ms = Duration::from_millis(stored.meta.fresh_until_ms.saturating_sub(now_ms)).as_secs_f64() * 1e3;
    // -ln of the smallest positive rand is below 37: nearly every hit is decided without a random number.
    if left_ms > reach_ms * 37.0 {
        return false;
    }
    beta > 0.0 && -reach_ms * fastrand::f64().max(f64::MIN_POSITIVE).ln() >= left_ms
}

/// Everything after a first look that was not a fresh hit.
pub(crate) struct SlowRead<'a> {
    inner: &'a Arc<Inner>,
    key: &'a Key,
    policy: &'a Policy,
    options: ReadOptions,
    load: Loader,
    started: Instant,
    /// The end of all waits and repeats.
    deadline: Instant,
    /// What may be answered if the database fails.
    fallback: Option<Stored>,
    /// Whether somebody else's load was waited for.
    waited: bool,
    /// Whether a flight of this process has landed since this read began: each later one took off after it began.
    landed: bool,
}

type Answer = Result<(Read, Option<bytes::Bytes>), ReadError>;

/// One turn: answered, or look again.
enum Turn {
    Answer(Read, Option<bytes::Bytes>),
    Again(Option<Seen>),
    Bypass,
    Failed(ReadError),
}

impl<'a> SlowRead<'a> {
    pub(crate) fn new(
        inner: &'a Arc<Inner>,
        key: &'a Key,
        policy: &'a Policy,
        options: ReadOptions,
        load: Loader,
        started: Instant,
    ) -> Self {
        let deadline = started + policy.0.wait_max;
        Self { inner, key, policy, options, load, started, deadline, fallback: None, waited: false, landed: false }
    }

    pub(crate) async fn run(&mut self, mut seen: Option<Seen>) -> Answer {
        let turn = loop {
            let Some(now_seen) = seen else { break Turn::Bypass };
            match self.turn(now_seen).await {
                Turn::Again(next) if Instant::now() < self.deadline => seen = next,
                Turn::Again(_) => break Turn::Bypass,
                other => break other,
            }
        };
        let result = match turn {
            Turn::Answer(read, token) => Ok((read, token)),
            Turn::Failed(error) => Err(error),
            Turn::Bypass | Turn::Again(_) => self.bypass().await.map(|read| (read, None)),
        };
        let result = result.or_else(|error| self.fail_safe().map(|read| (read, None)).ok_or(error));
        match &result {
            Ok((read, _)) => self.policy.0.metrics.read(read.outcome, self.started.elapsed()),
            Err(_) => self.policy.0.metrics.errors.increment(1),
        }
        result
    }

    async fn turn(&mut self, seen: Seen) -> Turn {
        let token = seen.token();
        let invalid = matches!(seen, Seen::Invalid(_));
        self.fallback = None;
        match seen {
            // Older than what the reader has seen: to it, as good as nothing. It stays for others while it is replaced.
            Seen::Fresh(stored) | Seen::Stale(stored) if !self.options.accept(stored.meta.version) => {
                self.policy.0.metrics.behind_redis.increment(1);
            }
            Seen::Fresh(stored) => {
                let outcome = if self.waited { Outcome::Coalesced } else { Outcome::Hit };
                return Turn::Answer(stored.read(outcome, now_ms()), Some(stored.token));
            }
            Seen::Stale(stored) => {
                if self.may_revalidate(&stored) {
                    self.policy.0.metrics.stale.increment(1);
                    self.inner.refresh(self.key, self.policy, &stored, Arc::clone(&self.load));
                    return Turn::Answer(stored.read(Outcome::Stale, now_ms()), Some(stored.token));
                }
                if !stored.softened {
                    self.fallback = Some(stored);
                }
            }
            Seen::Absent | Seen::Invalid(_) => {}
        }
        self.fly(&token, invalid).await
    }

    /// Joins this process' flight for the key or starts one, and waits for its landing.
    async fn fly(&mut self, seen: &bytes::Bytes, drop_seen: bool) -> Turn {
        let (mut joined, begun) = self.inner.flights.join_or_begin(self.key.name());
        let started_it = begun.is_some();
        if let Some(flight) = begun {
            let load = Arc::clone(&self.load);
            flight::take_off(self.inner, flight, self.key, self.policy, seen, drop_seen, load);
        }
        let Ok(landing) = timeout_at(self.deadline, joined.wait()).await else { return Turn::Bypass };
        let may_be_older = !started_it && !std::mem::replace(&mut self.landed, true);
        match landing {
            // Loaded before this read began, perhaps, and the write that its reader knows of has not been applied.
            Some(Landing::Proven(loaded)) if may_be_older && !self.options.accept(loaded.version()) => {
                Turn::Again(self.inner.look(self.key, self.policy).await)
            }
            Some(Landing::Proven(loaded)) => {
                let outcome = if started_it { Outcome::Miss } else { Outcome::Coalesced };
                Turn::Answer(loaded.read(outcome), None)
            }
            // Something was invalidated meanwhile. What this read's own flight loaded was loaded after this read
            // began, so it may have it; who joined later may not.
            Some(Landing::Unproven(loaded)) if started_it => Turn::Answer(loaded.read(Outcome::Miss), None),
            Some(Landing::Unproven(_) | Landing::Unavailable) | None => Turn::Bypass,
            Some(Landing::Failed(error)) => Turn::Failed(error),
            Some(Landing::Changed) => Turn::Again(self.inner.look(self.key, self.policy).await),
            Some(Landing::Held(rest)) => {
                self.waited = true;
                Turn::Again(self.wait(rest).await)
            }
        }
    }

    /// Sleeps until the entry changes, the lease that was in the way ends, or this read's time is up.
    async fn wait(&self, rest: Duration) -> Option<Seen> {
        let until = (Instant::now() + rest).min(self.deadline);
        let waiter = self.inner.waiters.register(self.key.name());
        // Before READ: a push that overtakes its reply still wakes.
        let pushed = waiter.notify.notified();
        let session = self.inner.readable()?;
        // On the tracking connection, so that the server remembers who asked, for an absent key too.
        let reply = match near_of(&session, self.policy) {
            Some(near) => near.read(&session.tracker, self.key).await,
            None => entry::read(&session.tracker, self.key).await,
        };
        let reply = match reply {
            Ok(reply) => reply,
            Err(error) => {
                self.inner.note(&error);
                return None;
            }
        };
        // What there was to wait for may have ended before Redis knew that this reader waits: then no push will come.
        if !reply.leased || matches!(reply.seen, Seen::Fresh(_)) {
            return Some(reply.seen);
        }
        // Time running out is the answer "look again" as well; the loop knows the deadline.
        let _ = timeout_at(until, pin!(pushed)).await;
        self.inner.look(self.key, self.policy).await
    }

    fn may_revalidate(&self, stored: &Stored) -> bool {
        let within = now_ms() < stored.meta.fresh_until_ms.saturating_add(millis(self.policy.0.stale_while_revalidate));
        if stored.softened { self.policy.0.serve_softened } else { within }
    }

    /// Past the cache, through the gate.
    pub(crate) async fn bypass(&self) -> Result<Read, ReadError> {
        let (mut joined, begun) = self.inner.bypasses.join_or_begin(self.key.name());
        if let Some(work) = begun {
            bypass::start(self.inner, work, self.policy, Arc::clone(&self.load));
        }
        match joined.wait().await {
            Some(Bypassed(Ok(loaded))) => Ok(loaded.read(Outcome::Bypass)),
            Some(Bypassed(Err(error))) => Err(error),
            // The runtime is shutting down under us.
            None => Err(ReadError::LoadPanicked),
        }
    }

    /// What is merely old may be answered when the database fails; what was invalidated may not.
    fn fail_safe(&self) -> Option<Read> {
        let stored = self.fallback.as_ref()?;
        let until = stored.meta.fresh_until_ms.saturating_add(millis(self.policy.0.stale_if_error));
        let now = now_ms();
        (now < until).then(|| stored.read(Outcome::Stale, now))
    }
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
