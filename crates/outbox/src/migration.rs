//! The tables, in versions.

use std::time::Duration;

use fenced_cache::ConfigError;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::time::sleep;
use tracing::info;

use crate::outbox::Outbox;
use crate::schema::Schema;

/// Tables that come together, with a table of the versions that are installed.
pub(crate) struct Part {
    /// For the log, and the lock.
    pub(crate) name: &'static str,
    /// One entry per version, in order; an entry that was released is never changed. Every statement may run twice.
    pub(crate) versions: &'static [&'static str],
    pub(crate) table: &'static str,
}

const INVALIDATIONS: Part =
    Part { name: "outbox", versions: &[include_str!("migrations/0001_outbox.sql")], table: "outbox_version" };

/// Between two tries to become the one process that migrates.
const LOCK_POLL: Duration = Duration::from_millis(50);

impl Outbox {
    /// The statements that create or bring up to date everything this crate needs in `schema`, for a migrator of
    /// one's own or a person with `psql`. The schema must exist; running the text again changes nothing.
    ///
    /// # Errors
    /// [`ConfigError`] if `schema` is not a plain lower-case identifier.
    pub fn ddl(schema: &str) -> Result<String, ConfigError> {
        Ok(INVALIDATIONS.ddl(&Schema::new(schema)?))
    }

    /// Installs what is missing, in one transaction: the schema, and every version of the tables that is not there
    /// yet. An installed version is not touched, so that a start beside running replicas takes no table lock.
    ///
    /// Any number of processes may call this at once: an advisory lock lets one work and the others find it done.
    /// A database that a newer release has migrated further is left as it is. There is no time limit: a migration
    /// may have to wait for one that is running.
    ///
    /// # Errors
    /// Whatever the database says; then nothing has changed.
    pub async fn migrate(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        INVALIDATIONS.migrate(connection, self.schema()).await
    }

    /// Whether every version that this build knows is there: for a readiness check.
    ///
    /// # Errors
    /// Whatever the database says.
    pub async fn installed(&self, connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
        INVALIDATIONS.is_installed(connection, self.schema()).await
    }
}

impl Part {
    pub(crate) fn ddl(&self, schema: &Schema) -> String {
        let mut text = schema.fill(&self.version_table());
        for (version, statements) in self.numbered() {
            text.push_str("\n\n");
            text.push_str(&schema.fill(statements));
            text.push_str(&schema.fill(&self.install(version)));
        }
        text
    }

    pub(crate) async fn migrate(&self, connection: &mut PgConnection, schema: &Schema) -> Result<(), sqlx::Error> {
        let mut transaction = loop {
            let mut transaction = connection.begin().await?;
            // One lock for all parts: each of them may make the schema.
            let locked = sqlx::query_scalar("select pg_try_advisory_xact_lock($1)").bind(schema.lock_key("migration"));
            if locked.fetch_one(&mut *transaction).await? {
                break transaction;
            }
            // Not a statement that waits: its snapshot would hold up a `create index concurrently` elsewhere.
            transaction.rollback().await?;
            sleep(LOCK_POLL).await;
        };
        let exists: bool = sqlx::query_scalar("select exists (select from pg_namespace where nspname = $1)")
            .bind(schema.name())
            .fetch_one(&mut *transaction)
            .await?;
        // `create schema if not exists` asks for the right to create schemas even where there is nothing to create.
        if !exists {
            run(&mut transaction, schema.fill("create schema {schema}")).await?;
        }
        let there = self.installed(&mut transaction, schema).await?;
        if there.is_none() {
            run(&mut transaction, schema.fill(&self.version_table())).await?;
        }
        for (version, statements) in self.numbered().filter(|(version, _)| Some(*version) > there) {
            run(&mut transaction, schema.fill(statements) + &schema.fill(&self.install(version))).await?;
            info!(schema = schema.name(), part = self.name, version, "outbox installed");
        }
        transaction.commit().await
    }

    pub(crate) async fn is_installed(
        &self,
        connection: &mut PgConnection,
        schema: &Schema,
    ) -> Result<bool, sqlx::Error> {
        Ok(self.installed(connection, schema).await? >= self.numbered().last().map(|(version, _)| version))
    }

    /// The newest version; `None` if there is none.
    async fn installed(&self, connection: &mut PgConnection, schema: &Schema) -> Result<Option<i32>, sqlx::Error> {
        let table = schema.fill("{schema}.") + self.table;
        let exists: bool =
            sqlx::query_scalar("select to_regclass($1) is not null").bind(&table).fetch_one(&mut *connection).await?;
        if !exists {
            return Ok(None);
        }
        let newest = AssertSqlSafe(format!("select max(version) from {table}"));
        sqlx::query_scalar(newest).fetch_one(connection).await
    }

    fn numbered(&self) -> impl Iterator<Item = (i32, &'static str)> {
        (1..).zip(self.versions.iter().copied())
    }

    fn version_table(&self) -> String {
        let table = self.table;
        format!(
            "create table if not exists {{schema}}.{table} (\
             version int primary key, installed_at timestamptz not null default clock_timestamp());"
        )
    }

    fn install(&self, version: i32) -> String {
        let table = self.table;
        format!("\ninsert into {{schema}}.{table} (version) values ({version}) on conflict do nothing;\n")
    }
}

// Text out of constants and a validated schema name.
async fn run(connection: &mut PgConnection, statements: String) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(statements)).execute(connection).await.map(drop)
}
