//! The tables, in versions.

use std::time::Duration;

use fenced_cache::ConfigError;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::time::sleep;
use tracing::info;

use crate::outbox::Outbox;
use crate::schema::Schema;

/// One entry per version, in order; an entry that was released is never changed. Every statement may run twice.
const VERSIONS: &[&str] = &[include_str!("migrations/0001_outbox.sql")];

/// Between two tries to become the one process that migrates.
const LOCK_POLL: Duration = Duration::from_millis(50);

const VERSION_TABLE: &str = "create table if not exists {schema}.outbox_version (\
     version int primary key, installed_at timestamptz not null default clock_timestamp());";

impl Outbox {
    /// The statements that create or bring up to date everything this crate needs in `schema`, for a migrator of
    /// one's own or a person with `psql`. The schema must exist; running the text again changes nothing.
    ///
    /// # Errors
    /// [`ConfigError`] if `schema` is not a plain lower-case identifier.
    pub fn ddl(schema: &str) -> Result<String, ConfigError> {
        let schema = Schema::new(schema)?;
        let mut text = schema.fill(VERSION_TABLE);
        for (version, statements) in numbered() {
            text.push_str("\n\n");
            text.push_str(&schema.fill(statements));
            text.push_str(&schema.fill(&install(version)));
        }
        Ok(text)
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
        let schema = self.schema();
        let mut transaction = loop {
            let mut transaction = connection.begin().await?;
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
        let there = installed(&mut transaction, schema).await?;
        if there.is_none() {
            run(&mut transaction, schema.fill(VERSION_TABLE)).await?;
        }
        for (version, statements) in numbered().filter(|(version, _)| Some(*version) > there) {
            run(&mut transaction, schema.fill(statements) + &schema.fill(&install(version))).await?;
            info!(schema = schema.name(), version, "outbox installed");
        }
        transaction.commit().await
    }

    /// Whether every version that this build knows is there: for a readiness check.
    ///
    /// # Errors
    /// Whatever the database says.
    pub async fn installed(&self, connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
        Ok(installed(connection, self.schema()).await? >= numbered().last().map(|(version, _)| version))
    }
}

/// The newest version; `None` if there is none.
async fn installed(connection: &mut PgConnection, schema: &Schema) -> Result<Option<i32>, sqlx::Error> {
    let exists: bool = sqlx::query_scalar("select to_regclass($1) is not null")
        .bind(schema.fill("{schema}.outbox_version"))
        .fetch_one(&mut *connection)
        .await?;
    if !exists {
        return Ok(None);
    }
    let newest = AssertSqlSafe(schema.fill("select max(version) from {schema}.outbox_version"));
    sqlx::query_scalar(newest).fetch_one(connection).await
}

fn numbered() -> impl Iterator<Item = (i32, &'static str)> {
    (1..).zip(VERSIONS.iter().copied())
}

fn install(version: i32) -> String {
    format!("\ninsert into {{schema}}.outbox_version (version) values ({version}) on conflict do nothing;\n")
}

// Text out of constants and a validated schema name.
async fn run(connection: &mut PgConnection, statements: String) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(statements)).execute(connection).await.map(drop)
}
