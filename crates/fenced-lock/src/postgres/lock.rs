//! Locks that are PostgreSQL's own: a transaction that holds one.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::{AssertSqlSafe, Executor, PgConnection, PgPool, Postgres, SqlSafeStr, SqlStr, Transaction};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::rows::{BindKey, Rows};
use super::session::{Held, HeldSession};
use crate::attend::{Attendants, Caller, Lease, Pace, Term};
use crate::backend::{Acquiring, Backend, Kind, Request};
use crate::error::{ConfigError, LockError};
use crate::name::{Name, Namespace};
use crate::random::token;
use crate::slot::Slot;

/// Times of the PostgreSQL locks.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct PgLockSettings {
    lease: Duration,
    ping_timeout: Duration,
}

impl Default for PgLockSettings {
    fn default() -> Self {
        Self { lease: Duration::from_secs(10), ping_timeout: Duration::from_millis(500) }
    }
}

impl PgLockSettings {
    /// How long the holder's session may be idle before PostgreSQL ends it, and with it the lock
    /// (`idle_in_transaction_session_timeout`): what a stopped holder costs the others. The library asks for something
    /// three times in that time while the section is between two statements. 10 s unless told.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// The most that such a question may take; 500 ms unless told.
    pub fn ping_timeout(mut self, timeout: Duration) -> Self {
        self.ping_timeout = timeout;
        self
    }

    /// What the locks would refuse to be made with.
    ///
    /// # Errors
    /// [`ConfigError`] for the first setting that is not allowed.
    pub fn check(&self) -> Result<(), ConfigError> {
        let Self { lease, ping_timeout } = *self;
        if ping_timeout < Duration::from_millis(1) {
            return Err(ConfigError::new("ping_timeout", format!("{ping_timeout:?}"), "at least 1 ms"));
        }
        if lease <= 4 * ping_timeout || lease > Duration::from_secs(24 * 3600) {
            let allowed = "more than 4 * ping_timeout, and at most one day";
            return Err(ConfigError::new("lease", format!("{lease:?}"), allowed));
        }
        Ok(())
    }
}

/// The backends `pg-advisory` and `pg-row`.
///
/// Each waiter and each holder takes a connection of the pool. What a lock protects must run in its own transaction,
/// which is what [`Sections`](crate::Sections) sees to; a bare [`Guard`](crate::Guard) only excludes others.
#[derive(Debug)]
pub struct PgLock {
    shared: Arc<Shared>,
    kind: Kind,
    attendants: Attendants,
}

#[derive(Debug)]
struct Shared {
    pool: PgPool,
    what: What,
    settings: PgLockSettings,
    closing: CancellationToken,
}

#[derive(Debug)]
enum What {
    Advisory(Namespace),
    Row(Rows),
}

impl PgLock {
    /// `pg-advisory`: `pg_advisory_xact_lock` on a 64-bit hash of the namespace and the name. Two names may share a
    /// hash; they then exclude each other as well.
    ///
    /// # Errors
    /// [`ConfigError`] for times that do not fit.
    pub fn advisory(pool: PgPool, namespace: Namespace, settings: PgLockSettings) -> Result<Self, ConfigError> {
        settings.check()?;
        Ok(Self::new(pool, What::Advisory(namespace), Kind::PgAdvisory, settings))
    }

    /// `pg-row`: the row itself, `for no key update`. A lock of a row that does not exist is refused.
    ///
    /// # Errors
    /// [`ConfigError`] for times that do not fit.
    pub fn row(pool: PgPool, rows: Rows, settings: PgLockSettings) -> Result<Self, ConfigError> {
        settings.check()?;
        Ok(Self::new(pool, What::Row(rows), Kind::PgRow, settings))
    }

    fn new(pool: PgPool, what: What, kind: Kind, settings: PgLockSettings) -> Self {
        let closing = CancellationToken::new();
        let attendants = Attendants::new(closing.clone());
        Self { shared: Arc::new(Shared { pool, what, settings, closing }), kind, attendants }
    }
}

impl Backend for PgLock {
    fn kind(&self) -> Kind {
        self.kind
    }

    fn begin(&self, request: Request) -> Acquiring {
        self.attendants.begin(request, |name| Attempt {
            shared: Arc::clone(&self.shared),
            name,
            label: format!("fenced-lock {}", token()),
            session: None,
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.attendants.close()
    }
}

#[derive(Debug)]
struct Attempt {
    shared: Arc<Shared>,
    name: Name,
    /// The session's name while it waits and holds, by which its statement can be cancelled.
    label: String,
    session: Option<HeldSession>,
}

impl Attempt {
    /// Counted from the answer: the idleness that PostgreSQL counts begins with it. It is only a hint; what counts is
    /// whether the transaction is still there, and that its section finds out.
    fn until(&self, answered: Instant) -> Instant {
        let lease = self.shared.settings.lease;
        answered + lease - lease / 100 - Duration::from_millis(10)
    }

    /// The start of the transaction: the wait and the idleness are limited by PostgreSQL itself, and a waiter whose
    /// client has died is noticed although it waits.
    fn begin(&self, wait: Duration) -> SqlStr {
        let lease = self.shared.settings.lease.as_millis();
        AssertSqlSafe(format!(
            "begin isolation level read committed; \
             set local lock_timeout = {}; \
             set local idle_in_transaction_session_timeout = {lease}; \
             set local client_connection_check_interval = {}; \
             set local application_name = '{}'",
            wait.as_millis().max(1),
            (lease / 4).max(1),
            self.label,
        ))
        .into_sql_str()
    }

    /// The lock, in a statement of its own: what is read later sees everything that its former holders wrote. The
    /// transaction's id, or `None` if it is not free.
    async fn lock(&self, connection: &mut PgConnection, wait: bool) -> Result<Option<String>, LockError> {
        let locked: Result<Option<String>, sqlx::Error> = match &self.shared.what {
            What::Advisory(namespace) => {
                let hash = advisory_key(namespace, &self.name);
                let sql = if wait {
                    // The id comes second, so that a waiter holds back no vacuum.
                    "select pg_advisory_xact_lock($1)::text, pg_current_xact_id()::text"
                } else {
                    "select null, pg_current_xact_id()::text where pg_try_advisory_xact_lock($1)"
                };
                let row: Result<Option<(Option<String>, String)>, _> =
                    sqlx::query_as(sql).bind(hash).fetch_optional(connection).await;
                row.map(|row| row.map(|(_, id)| id))
            }
            What::Row(rows) => {
                let sql = if wait { &rows.sql.lock } else { &rows.sql.try_lock };
                let query = sqlx::query_scalar(sql.clone()).bind_key(self.name.key());
                match query.fetch_optional(connection).await {
                    Ok(None) => return Err(LockError::Missing),
                    id => id,
                }
            }
        };
        match locked {
            Ok(id) => Ok(id),
            Err(error) if !wait && code(&error) == LOCK_NOT_AVAILABLE => Ok(None),
            Err(error) if code(&error) == LOCK_NOT_AVAILABLE => Err(LockError::Timeout),
            Err(error) => Err(LockError::backend(error)),
        }
    }

    /// The waiter is not wanted any more: its statement is ended from the outside. If that can not be done at once, it
    /// ends with its `lock_timeout`, and what it was granted ends with its transaction.
    async fn cancel(&self) {
        if let Some(mut other) = self.shared.pool.try_acquire() {
            let sql = "select pg_cancel_backend(pid) from pg_stat_activity where application_name = $1";
            let cancelling = sqlx::query(sql).bind(&self.label).execute(&mut *other);
            let _ = timeout(self.shared.settings.ping_timeout, cancelling).await;
        }
    }
}

impl Lease for Attempt {
    async fn obtain(&mut self, caller: &mut Caller, _slot: &Arc<Slot>) -> Result<Term, LockError> {
        let wait = caller.deadline.saturating_duration_since(Instant::now());
        let begun = tokio::select! {
            begun = timeout_at(caller.deadline, self.shared.pool.begin_with(self.begin(wait))) => begun,
            () = caller.gone() => return Err(LockError::Timeout),
            () = self.shared.closing.cancelled() => return Err(LockError::closed()),
        };
        let mut transaction = begun.map_err(|_| LockError::Timeout)?.map_err(LockError::backend)?;
        let waits = caller.wait;
        let deadline = caller.deadline + self.shared.settings.ping_timeout;
        let locked = {
            let mut locking = std::pin::pin!(self.lock(&mut transaction, waits));
            let unwanted = tokio::select! {
                biased;
                locked = &mut locking => Ok(locked),
                () = caller.gone() => Err(LockError::Timeout),
                () = self.shared.closing.cancelled() => Err(LockError::closed()),
                // PostgreSQL itself keeps the deadline; this is for one that does not answer at all.
                () = sleep_until(deadline) => Err(LockError::Timeout),
            };
            match unwanted {
                Ok(locked) => locked,
                Err(error) => {
                    caller.refuse(error.clone());
                    self.cancel().await;
                    let _ = timeout(wait + self.shared.settings.ping_timeout, locking).await;
                    Err(error)
                }
            }
        };
        match locked {
            Ok(Some(id)) => {
                self.session = Some(HeldSession::new(transaction, &id));
                Ok(Term { fence: 0, until: self.until(Instant::now()) })
            }
            refused => {
                rollback(transaction, self.shared.settings.ping_timeout).await;
                Err(refused.err().unwrap_or(LockError::Contended))
            }
        }
    }

    /// A question, so that the session is not idle for too long. A session in which a statement runs, or which is
    /// being ended by its section, needs none.
    async fn extend(&mut self, _floor: u64) -> Result<Option<Term>, LockError> {
        let asked = Instant::now();
        let alive = Some(Term { fence: 0, until: self.until(asked) });
        let Some(session) = &self.session else { return Ok(None) };
        let Some(mut held) = session.try_lock() else { return Ok(alive) };
        let Held::Open(transaction) = &mut *held else {
            return Ok(if matches!(*held, Held::Taken) { alive } else { None });
        };
        match timeout(self.shared.settings.ping_timeout, transaction.execute("select 1")).await {
            Ok(Ok(_)) => Ok(alive),
            Ok(Err(error)) if gone(&error) => {
                *held = Held::Broken;
                Ok(None)
            }
            // An aborted transaction still holds its locks.
            Ok(Err(_)) => Ok(alive),
            Err(_) => Err(LockError::backend("the session of the lock did not answer")),
        }
    }

    async fn free(&mut self) -> Result<bool, LockError> {
        let Some(session) = self.session.take() else { return Ok(false) };
        let held = std::mem::replace(&mut *session.lock().await, Held::Taken);
        Ok(match held {
            Held::Open(transaction) => rollback(transaction, self.shared.settings.ping_timeout).await,
            Held::Taken => true,
            Held::Broken => false,
        })
    }

    async fn abandon(&mut self) {}

    /// The section's statement may still run, on a connection that nobody answers on: not waited for.
    async fn forsake(&mut self) {
        if let Some(mut held) = self.session.take().and_then(|session| session.try_lock()) {
            *held = Held::Broken;
        }
    }

    fn pace(&self) -> Option<Pace> {
        let PgLockSettings { lease, ping_timeout } = self.shared.settings;
        Some(Pace { every: lease / 3, after_error: ping_timeout })
    }

    fn session(&self) -> Option<HeldSession> {
        self.session.clone()
    }
}

/// Ends a transaction that has nothing to keep; `false` if it had ended already.
async fn rollback(transaction: Transaction<'static, Postgres>, limit: Duration) -> bool {
    // Dropped in the middle, it is rolled back before its connection serves anybody else.
    matches!(timeout(limit, transaction.rollback()).await, Ok(Ok(())))
}

/// Whether the connection, and with it the transaction, is gone.
fn gone(error: &sqlx::Error) -> bool {
    match error {
        // Terminated by the server: its idle timeout, an administrator, a shutdown.
        sqlx::Error::Database(error) => error.code().is_some_and(|code| code.starts_with("57P") || code == "25P03"),
        _ => true,
    }
}

fn code(error: &sqlx::Error) -> String {
    error.as_database_error().and_then(sqlx::error::DatabaseError::code).unwrap_or_default().into_owned()
}

const LOCK_NOT_AVAILABLE: &str = "55P03";

/// The first 64 bits of the SHA-1 of `<namespace>/<name>`.
fn advisory_key(namespace: &Namespace, name: &Name) -> i64 {
    let digest = fred::util::sha1_hash(&format!("{}/{}", namespace.as_str(), name.as_str()));
    u64::from_str_radix(&digest[..16], 16).map_or(0, u64::cast_signed)
}
