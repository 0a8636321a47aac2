//! A critical section: one lock, one row, reads, one write.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use sqlx::pool::PoolConnection;
use sqlx::{PgConnection, PgPool, Postgres, Transaction};
use tokio::sync::{OwnedMappedMutexGuard, OwnedMutexGuard};
use tokio::time::{Instant, timeout_at};
use tracing::debug;

use super::error::SectionError;
use super::rows::{BindKey, Rows};
use super::session::Held;
use super::write::Write;
use crate::error::LockError;
use crate::guard::Guard;
use crate::lock::Lock;
use crate::name::Key;
use crate::options::Options;
use crate::tenure::Lost;

/// How many fences one acquisition may try before it counts as lost.
const ENTRIES: usize = 3;

/// Whether an entry waits for its own flush to the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Enter {
    /// It does. Works through any pooler.
    #[default]
    Durable,
    /// It does not (`synchronous_commit = off` in the entry's own transaction), which saves one of a section's two
    /// flushes. An entry that a crash forgets takes its section's write with it, because that comes later in the log;
    /// but the fence could then be given again, so a section stays on the connection that it entered with and its
    /// write is refused on any other. Needs direct connections: behind a pooler in transaction mode sections are lost.
    Relaxed,
}

/// Opens sections on the rows of one table under one lock. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Sections {
    pub(crate) lock: Lock,
    pub(crate) pool: PgPool,
    pub(crate) rows: Rows,
    enter: Enter,
}

impl Sections {
    /// Sections under `lock` on `rows`, with connections of `pool`. For the backends that are transactions themselves,
    /// give the lock the same pool.
    ///
    /// Every writer of a row takes the same lock: a write that does not is not stopped.
    #[must_use]
    pub fn new(lock: Lock, pool: PgPool, rows: Rows) -> Self {
        Self { lock, pool, rows, enter: Enter::default() }
    }

    /// How a fenced section enters; [`Enter::Durable`] unless told.
    #[must_use]
    pub fn entering(self, enter: Enter) -> Self {
        Self { enter, ..self }
    }

    /// The lock.
    #[must_use]
    pub fn lock(&self) -> &Lock {
        &self.lock
    }

    /// Waits for the lock of the row until the options' deadline, and makes every older holder's writes impossible.
    ///
    /// # Errors
    /// As [`Lock::acquire`]; [`SectionError::NoRow`] if there is no such row (backends without a fence do not look);
    /// [`LockError::Lost`] if newer holders kept coming first.
    ///
    /// # Panics
    /// For a text key that no lock can be named after (see [`Rows::name`]); check those that come from outside.
    pub async fn enter(&self, key: impl Into<Key>, options: Options) -> Result<Section, SectionError> {
        self.open(key.into(), options, true).await
    }

    /// As [`enter`](Self::enter), if the lock is free now.
    ///
    /// # Errors
    /// [`LockError::Contended`] if it is not; else as [`enter`](Self::enter).
    ///
    /// # Panics
    /// As [`enter`](Self::enter).
    pub async fn try_enter(&self, key: impl Into<Key>, options: Options) -> Result<Section, SectionError> {
        self.open(key.into(), options, false).await
    }

    async fn open(&self, key: Key, options: Options, wait: bool) -> Result<Section, SectionError> {
        let deadline = Instant::now() + options.deadline;
        let name = self.rows.name(key.clone()).expect("the key can name a lock");
        let acquired =
            if wait { self.lock.acquire(&name, options).await } else { self.lock.try_acquire(&name, options).await };
        let guard = acquired.map_err(|error| match error {
            LockError::Missing => SectionError::NoRow,
            error => error.into(),
        })?;
        let mut section = Section { sections: self.clone(), key, guard, connection: None, entered: None };
        if section.guard.fence().is_some() {
            let lost = section.guard.lost();
            let entering = timeout_at(deadline, section.pass());
            lost.run(entering).await?.unwrap_or(Err(LockError::Timeout.into()))?;
        }
        Ok(section)
    }
}

/// A section that has been entered. Dropping it gives everything back; nothing is written then.
///
/// It has as many reads as it likes and one write transaction at its end, because that is what every backend can
/// keep: where the lock is a transaction, the commit is the release.
#[derive(Debug)]
pub struct Section {
    pub(crate) sections: Sections,
    pub(crate) key: Key,
    // Before the guard: a connection goes before the lock does.
    pub(crate) connection: Option<PoolConnection<Postgres>>,
    pub(crate) guard: Guard,
    /// The process of PostgreSQL that has entered, if the write must run there.
    entered: Option<i32>,
}

impl Section {
    /// The fence that was entered with; `None` if the backend has none, and so nothing stops a paused holder.
    #[must_use]
    pub fn fence(&self) -> Option<u64> {
        self.guard.fence()
    }

    /// Resolves when the lock is lost. Stop then; a write would be refused (or, without a fence, should be).
    #[must_use]
    pub fn lost(&self) -> Lost {
        self.guard.lost()
    }

    /// A connection for reading: each statement sees what all former holders have committed.
    ///
    /// # Errors
    /// [`LockError::Lost`]; [`SectionError::Database`] if there is no connection to be had.
    pub async fn reader(&mut self) -> Result<Reader<'_>, SectionError> {
        if self.guard.is_lost() {
            return Err(LockError::Lost.into());
        }
        if let Some(session) = self.guard.session() {
            let open = OwnedMutexGuard::try_map(session.lock().await, Held::open).map_err(|_| LockError::Lost)?;
            return Ok(Reader(Source::Held(open)));
        }
        Ok(Reader(Source::Own(self.own().await?)))
    }

    /// Gives the connection back to the pool for as long as the section does something else, where the lock does not
    /// need it.
    pub fn rest(&mut self) {
        if self.entered.is_none() {
            self.connection = None;
        }
    }

    /// Begins the write transaction. From here to its end nobody else can enter, if the lock is fenced or a
    /// transaction.
    ///
    /// # Errors
    /// [`LockError::Lost`] if somebody has entered since: what was read is out of date, so begin again with a new
    /// acquisition.
    pub async fn write(mut self) -> Result<Write, SectionError> {
        if self.guard.is_lost() {
            return Err(LockError::Lost.into());
        }
        if let Some(session) = self.guard.session().cloned() {
            let transaction = session.take().await?;
            let id = session.transaction.to_string();
            return Ok(Write::new(transaction, id, self));
        }
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None if self.entered.is_some() => return Err(LockError::Lost.into()),
            None => self.sections.pool.acquire().await?,
        };
        let sql = "begin isolation level read committed";
        let mut transaction = Transaction::begin(connection, Some(sqlx::SqlSafeStr::into_sql_str(sql))).await?;
        let id = self.check(&mut transaction).await?;
        Ok(Write::new(transaction, id, self))
    }

    /// Gives the lock back without writing.
    ///
    /// # Errors
    /// As [`Guard::release`].
    pub async fn release(self) -> Result<(), LockError> {
        let Self { guard, connection, .. } = self;
        drop(connection);
        guard.release().await
    }

    async fn own(&mut self) -> Result<&mut PgConnection, SectionError> {
        if self.connection.is_none() {
            if self.entered.is_some() {
                return Err(LockError::Lost.into());
            }
            self.connection = Some(self.sections.pool.acquire().await?);
        }
        match &mut self.connection {
            Some(connection) => Ok(connection),
            None => Err(LockError::Lost.into()),
        }
    }

    /// ENTER: a statement of its own, committed before the first read, strictly upwards.
    async fn pass(&mut self) -> Result<(), SectionError> {
        let metrics = Arc::clone(self.sections.lock.metrics());
        let relaxed = self.sections.enter == Enter::Relaxed;
        let sql = Arc::clone(&self.sections.rows.sql);
        for attempt in 0..ENTRIES {
            let fence = self.guard.fence().unwrap_or(0);
            let key = self.key.clone();
            let enter = if relaxed { &sql.enter_relaxed } else { &sql.enter };
            let query = sqlx::query_as::<_, (i32,)>(enter.clone()).bind_key(&key).bind(number(fence));
            match query.fetch_optional(self.own().await?).await {
                Ok(Some((process,))) => {
                    self.entered = relaxed.then_some(process);
                    if attempt > 0 {
                        metrics.mended.increment(1);
                    }
                    return Ok(());
                }
                Ok(None) => metrics.refused_at_enter.increment(1),
                Err(error) => {
                    debug!(%error, "it is not known whether the entry was made");
                    self.connection = None;
                }
            }
            // A number that is not higher, or an outcome that is not known: above whatever is there now.
            let query = sqlx::query_scalar::<_, i64>(sql.fence.clone()).bind_key(&key);
            let Some(seen) = query.fetch_optional(self.own().await?).await? else { return Err(SectionError::NoRow) };
            self.guard.raise(u64::try_from(seen).unwrap_or(0).max(1)).await?;
        }
        Err(LockError::Lost.into())
    }

    /// The guard of the write transaction; its id. Never a new fence here: what was read was read under the old one.
    async fn check(&mut self, transaction: &mut Transaction<'static, Postgres>) -> Result<String, SectionError> {
        let Some(fence) = self.guard.fence() else {
            let id = sqlx::query_scalar("select pg_current_xact_id()::text").fetch_one(&mut **transaction).await?;
            return Ok(id);
        };
        let sql = &self.sections.rows.sql;
        let pinned = if self.entered.is_some() { &sql.guard_pinned } else { &sql.guard };
        let mut query = sqlx::query_scalar(pinned.clone()).bind_key(&self.key).bind(number(fence));
        if let Some(process) = self.entered {
            query = query.bind(process);
        }
        query.fetch_optional(&mut **transaction).await?.ok_or_else(|| {
            self.sections.lock.metrics().refused_at_guard.increment(1);
            LockError::Lost.into()
        })
    }
}

fn number(fence: u64) -> i64 {
    i64::try_from(fence).unwrap_or(i64::MAX)
}

/// A connection of a section, for reading. What is written through it is not protected.
#[derive(Debug)]
pub struct Reader<'a>(Source<'a>);

#[derive(Debug)]
enum Source<'a> {
    Own(&'a mut PgConnection),
    Held(OwnedMappedMutexGuard<Held, Transaction<'static, Postgres>>),
}

impl Deref for Reader<'_> {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        match &self.0 {
            Source::Own(connection) => connection,
            Source::Held(transaction) => transaction,
        }
    }
}

impl DerefMut for Reader<'_> {
    fn deref_mut(&mut self) -> &mut PgConnection {
        match &mut self.0 {
            Source::Own(connection) => connection,
            Source::Held(transaction) => transaction,
        }
    }
}
