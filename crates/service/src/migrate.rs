//! Migrations of one service, in a schema of its own, beside other services in the same database.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use sqlx::migrate::{MigrateError, Migration, Migrator};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};

use crate::Server;
use crate::config::DatabaseUrl;
use crate::health::Check;
use crate::problem::Chain;

/// Between two tries to become the one process that migrates.
const LOCK_POLL: Duration = Duration::from_millis(100);
/// How long another process may migrate before this one gives up.
const LOCK_WAIT: Duration = Duration::from_secs(600);
/// Between two looks for migrations that another process has yet to run.
const WATCH: Duration = Duration::from_millis(500);

/// The migrations of one service: its schema, and the files that sqlx compiled in.
///
/// All of it lives in the schema: the tables, and the list of what was run (`<schema>._sqlx_migrations`). The lock under which migrations run
/// is per schema, too, so several services share a database without waiting for each other. Migrations name the schema
/// themselves (`create table blog.posts`), since what compiled queries mean must not hang on a `search_path`.
#[derive(Clone, Copy, Debug)]
pub struct Migrations {
    schema: &'static str,
    migrator: &'static Migrator,
}

/// What [`Migrations::run`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migrated {
    /// Migrations that this call ran.
    pub applied: usize,
    /// Migrations that had been run before.
    pub already: usize,
}

/// Why the migrations did not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MigrationError {
    /// The schema's name is not a plain one: lower-case letters, digits, `_`; at most 63 characters.
    #[error("{0:?} is not the name of a schema: lower-case letters, digits and _, 63 at most, beginning with a letter")]
    Schema(&'static str),
    /// The database cannot be reached, or a question about it failed.
    #[error("the database cannot be used")]
    Database(#[from] sqlx::Error),
    /// Another process has been migrating the same schema for ten minutes.
    #[error("another process has been migrating the schema {0} for {1:?}")]
    Locked(&'static str, Duration),
    /// A migration failed, or does not fit what was run before. Each migration is a transaction of its own: what ran before this one stays.
    #[error("the migration of the schema {schema} failed")]
    Migrate {
        /// The schema.
        schema: &'static str,
        /// Which migration, and why.
        source: MigrateError,
    },
}

impl Migrations {
    /// The migrations of the service that owns `schema`; `migrator` comes from `sqlx::migrate!()`.
    #[must_use]
    pub const fn new(schema: &'static str, migrator: &'static Migrator) -> Self {
        Self { schema, migrator }
    }

    /// Runs what has not been run. Safe to run again, and by several processes at once: one migrates, the others wait and find nothing to do.
    ///
    /// Uses a connection of its own, without a statement timeout; a process that dies in the middle leaves no lock behind.
    ///
    /// # Errors
    /// See [`MigrationError`]. Migrations that were run by a newer version of the service are not an error: an older replica may be rolled out again.
    pub async fn run(&self, url: &DatabaseUrl) -> Result<Migrated, MigrationError> {
        if !is_plain(self.schema) {
            return Err(MigrationError::Schema(self.schema));
        }
        let application = format!("{}-migrate", self.schema);
        let mut connection = url.options().application_name(&application).connect().await?;
        let outcome = self.run_on(&mut connection).await;
        // The lock belongs to the session and ends with it.
        let _gone = connection.close().await;
        let migrated = outcome?;
        tracing::info!(schema = self.schema, applied = migrated.applied, already = migrated.already, "migrated");
        Ok(migrated)
    }

    async fn run_on(&self, connection: &mut PgConnection) -> Result<Migrated, MigrationError> {
        self.lock(connection).await?;
        let before = self.applied(connection).await?.len();
        let failed = |source| MigrationError::Migrate { schema: self.schema, source };
        self.own_migrator().run_direct(None, connection, false).await.map_err(failed)?;
        let after = self.applied(connection).await?.len();
        Ok(Migrated { applied: after.saturating_sub(before), already: before })
    }

    fn own_migrator(&self) -> Migrator {
        let mut migrator = Migrator::with_migrations(self.migrator.iter().cloned().collect());
        migrator.dangerous_set_table_name(self.table());
        migrator.create_schema(self.schema);
        migrator.set_ignore_missing(true);
        // sqlx's own lock is one per database: two services would wait for each other. And it waits inside of a statement, whose snapshot
        // would hold up a `create index concurrently` of the process that has the lock, which waits for that snapshot: a deadlock.
        migrator.set_locking(false);
        migrator
    }

    async fn lock(&self, connection: &mut PgConnection) -> Result<(), MigrationError> {
        let key = lock_key(self.schema);
        let started = Instant::now();
        let mut told = false;
        loop {
            let locked = sqlx::query_scalar("select pg_try_advisory_lock($1)").bind(key).fetch_one(&mut *connection);
            if locked.await? {
                return Ok(());
            }
            if !std::mem::replace(&mut told, true) {
                tracing::info!(schema = self.schema, "another process migrates: waiting for it");
            }
            if started.elapsed() > LOCK_WAIT {
                return Err(MigrationError::Locked(self.schema, LOCK_WAIT));
            }
            tokio::time::sleep(LOCK_POLL).await;
        }
    }

    fn table(&self) -> String {
        format!("{}._sqlx_migrations", self.schema)
    }

    /// The versions that have been run; none if there is no table yet.
    async fn applied(&self, connection: &mut PgConnection) -> Result<HashSet<i64>, sqlx::Error> {
        let table = self.table();
        let exists: bool =
            sqlx::query_scalar("select to_regclass($1) is not null").bind(&table).fetch_one(&mut *connection).await?;
        if !exists {
            return Ok(HashSet::new());
        }
        // The name is plain: `run` and `watch` begin with that.
        let versions = AssertSqlSafe(format!("select version from {table} where success"));
        Ok(sqlx::query_scalar(versions).fetch_all(connection).await?.into_iter().collect())
    }

    /// Adds the critical check `migrations`: it fails until every migration that this build knows has been run, by whomever.
    /// `command` is what the operator is told to run, such as `blog-api migrate`.
    ///
    /// Must be called inside of the runtime.
    pub fn require(self, server: &mut Server, url: &DatabaseUrl, command: &'static str) {
        let check = server.health().critical("migrations");
        let watch = tokio::spawn(self.watch(url.clone(), check, command));
        server.on_close("migrations", move || async move { watch.abort() });
    }

    async fn watch(self, url: DatabaseUrl, check: Check, command: &'static str) {
        if !is_plain(self.schema) {
            check.fail(MigrationError::Schema(self.schema));
            return;
        }
        let application = format!("{}-migrations", self.schema);
        let options = url.options().application_name(&application);
        let mut connection: Option<PgConnection> = None;
        loop {
            match self.missing(&options, &mut connection).await {
                Ok(0) => return check.pass(),
                Ok(missing) => check.fail(format!("{missing} migrations have not been run: run `{command}`")),
                Err(error) => {
                    connection = None;
                    check.fail(format!("migrations unknown: {}", Chain(&error)));
                }
            }
            tokio::time::sleep(WATCH).await;
        }
    }

    async fn missing(
        &self,
        options: &sqlx::postgres::PgConnectOptions,
        connection: &mut Option<PgConnection>,
    ) -> Result<usize, sqlx::Error> {
        let connection = match connection {
            Some(connection) => connection,
            None => connection.insert(options.connect().await?),
        };
        let applied = self.applied(connection).await?;
        let is_missing = |migration: &&Migration| {
            !migration.migration_type.is_down_migration() && !applied.contains(&migration.version)
        };
        Ok(self.migrator.iter().filter(is_missing).count())
    }
}

/// A name that needs no quotes, so that it can be part of a statement as it is.
fn is_plain(schema: &str) -> bool {
    let mut bytes = schema.bytes();
    (1..=63).contains(&schema.len())
        && bytes.next().is_some_and(|byte| byte.is_ascii_lowercase())
        && bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// FNV-1a over a name of ours and the schema: the same in every version of every service, and unlikely to be another lock's key.
fn lock_key(schema: &str) -> i64 {
    let bytes = b"service/migrate/".iter().chain(schema.as_bytes());
    let hash = bytes
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3));
    i64::from_ne_bytes(hash.to_ne_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemas_are_plain_names() {
        assert!(is_plain("blog") && is_plain("shop_2"));
        for odd in ["", "Blog", "2shop", "a-b", "a.b", "a\"b", "a b", "a;drop", &"a".repeat(64)] {
            assert!(!is_plain(odd), "{odd}");
        }
    }

    #[test]
    fn each_schema_has_its_own_lock_and_it_never_changes() {
        assert_ne!(lock_key("blog"), lock_key("shop"));
        // Another value would let an old and a new version migrate at once.
        assert_eq!(lock_key("blog"), -9_094_820_443_262_279_553);
    }
}
