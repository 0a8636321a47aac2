//! The granted lock in Redis.

mod acquisition;
mod commands;
mod table;
mod timing;

use std::sync::{Arc, Weak};

use fred::bytes_utils::Str;
use fred::types::config::Config;
use futures_util::future::{BoxFuture, FutureExt};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::acquisition::Acquisition;
use self::commands::{Freed, LockKeys, Push, Ticket, Vocabulary};
use self::table::Table;
pub use self::timing::Timing;
use crate::attend::{acquisition, attend};
use crate::backend::{Acquiring, Backend, Kind, Request};
use crate::error::{ConfigError, LockError, RedisError};
use crate::metrics::{self, GrantMetrics};
use crate::name::Namespace;
use crate::redis::link::{Link, Pushes};
use crate::redis::session::{Recipe, Session, parse_url};
use crate::slot::Slot;

/// What the granted lock needs to know at start.
#[derive(Clone, Debug)]
#[must_use]
pub struct FencedSettings {
    url: String,
    namespace: Namespace,
    timing: Timing,
}

impl FencedSettings {
    /// One Redis of version 7 or newer (`redis://`; TLS is not built in yet) with `maxmemory-policy noeviction`, and
    /// best with AOF; the default [`Timing`].
    pub fn new(url: impl Into<String>, namespace: Namespace) -> Self {
        Self { url: url.into(), namespace, timing: Timing::default() }
    }

    /// Other times; equal in all processes.
    pub fn timing(mut self, timing: Timing) -> Self {
        self.timing = timing;
        self
    }

    /// What [`start`](RedisFenced::start) would refuse, before anything starts.
    ///
    /// # Errors
    /// [`ConfigError`] for the first setting that is not allowed.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.config().map(drop)
    }

    fn config(&self) -> Result<Config, ConfigError> {
        let config = parse_url("redis_url", &self.url)?;
        self.timing.check()?;
        Ok(config)
    }
}

/// The backend `redis-fenced`: granted hand-off, first come first served, with fences.
#[derive(Debug)]
pub struct RedisFenced {
    shared: Arc<Shared>,
}

/// What all acquisitions of this process share.
#[derive(Debug)]
pub(crate) struct Shared {
    table: Arc<Table>,
    words: Vocabulary,
    timing: Timing,
    link: Link,
    tasks: TaskTracker,
    closing: CancellationToken,
    grants: GrantMetrics,
    /// Where the tasks run.
    runtime: Handle,
}

/// The ear for pushes. Weak: what it speaks to owns the connection that it listens on.
#[derive(Debug)]
struct Ear(Weak<Shared>);

impl Pushes for Ear {
    fn message(&self, payload: &[u8]) {
        let (Some(shared), Some(push)) = (self.0.upgrade(), Push::parse(payload)) else { return };
        shared.grants.push.increment(1);
        match shared.table.find(push.token) {
            Some(slot) => slot.grant(push.fence),
            None => shared.give_back(push.token, push.keys()),
        }
    }

    fn resync(&self) {
        if let Some(shared) = self.0.upgrade() {
            shared.table.each(Slot::resync);
        }
    }
}

impl RedisFenced {
    /// Starts to connect in the background. Never waits for Redis and never fails because of it; acquisitions wait,
    /// each within its deadline.
    ///
    /// # Errors
    /// [`ConfigError`] for a URL that is none, or times that the protocol does not allow.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(settings: FencedSettings) -> Result<Self, ConfigError> {
        let config = settings.config()?;
        let FencedSettings { namespace, timing, .. } = settings;
        let table = Table::new();
        let words = Vocabulary::new(&namespace, &timing);
        let recipe = Recipe {
            config,
            command_timeout: timing.command_timeout,
            scripts: commands::ALL,
            channel: Some(words.channel(table.process())),
        };
        let shared = Arc::new_cyclic(|weak| Shared {
            link: Link::start(recipe, Arc::new(Ear(Weak::clone(weak))), metrics::connections_lost(Kind::RedisFenced)),
            table,
            words,
            timing,
            tasks: TaskTracker::new(),
            closing: CancellationToken::new(),
            grants: GrantMetrics::register(Kind::RedisFenced),
            runtime: Handle::current(),
        });
        Ok(Self { shared })
    }

    /// Resolves when Redis is connected and the subscription to this process' grants is confirmed.
    pub async fn connected(&self) {
        self.shared.link.connected().await;
    }
}

impl Backend for RedisFenced {
    fn kind(&self) -> Kind {
        Kind::RedisFenced
    }

    fn begin(&self, request: Request) -> Acquiring {
        let shared = &self.shared;
        if shared.closing.is_cancelled() {
            return Acquiring::refused(LockError::closed());
        }
        let (caller, acquiring) = acquisition(&request);
        let slot = Arc::new(Slot::default());
        let lease = Acquisition::new(shared, &request.name, &slot);
        shared.tasks.spawn(attend(lease, slot, caller, request.max_hold, request.metrics));
        acquiring
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async {
            self.shared.closing.cancel();
            self.shared.table.each(Slot::stop);
            self.shared.tasks.close();
            self.shared.tasks.wait().await;
        }
        .boxed()
    }
}

impl Shared {
    /// Another acquisition of this process owns the lock now; `lock` is the one that was just released.
    fn handed_over(self: &Arc<Self>, next: &str, fence: u64, lock: &LockKeys) {
        self.grants.reply.increment(1);
        match self.table.find(next) {
            Some(slot) => slot.grant(fence),
            None => self.give_back(next, Some(lock.clone())),
        }
    }

    /// A grant for somebody who has gone: it goes to the next.
    fn give_back(self: &Arc<Self>, token: &str, keys: Option<LockKeys>) {
        let Some(keys) = keys else { return };
        self.grants.stray.increment(1);
        let (shared, token) = (Arc::clone(self), Str::from(token));
        self.tasks.spawn(async move {
            // If this fails, the first lease ends by itself.
            let Some(session) = shared.link.session() else { return };
            let freed = shared.words.release(&session.client, &keys, &token, Ticket::Unknown).boxed().await;
            if let Ok(Freed::HandedOver { next, fence }) = freed {
                shared.handed_over(&next, fence, &keys);
            }
        });
    }

    /// A server that has become a replica refuses every write: this session is of no use any more.
    fn note(session: &Session, error: &RedisError) {
        if let RedisError::Refused(reason) = error
            && reason.starts_with("READONLY")
        {
            session.lost.cancel();
        }
    }
}
