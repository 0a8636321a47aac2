//! `booking-api migrate`.

use outbox::Outbox;
use service::Migrations;
use service::config::DatabaseUrl;
use sqlx::migrate::Migrator;
use sqlx::postgres::PgPoolOptions;
use sqlx::{ConnectOptions as _, Connection as _};

static MIGRATOR: Migrator = sqlx::migrate!();

/// The migrations of the schema `booking`.
pub const MIGRATIONS: Migrations = Migrations::new(crate::SCHEMA, &MIGRATOR);

/// Makes the schema `booking` with all that is in it, or brings it up to date. Safe to run again, and twice at once.
///
/// # Errors
/// When the database cannot be reached, or says no.
pub async fn migrate(url: &DatabaseUrl) -> anyhow::Result<()> {
    // The outbox first: a database that has this service's own migrations, which replicas look for, has everything.
    let outbox = Outbox::new(PgPoolOptions::new().connect_lazy_with(url.options()), crate::SCHEMA)?;
    let mut connection = url.options().application_name("booking-migrate").connect().await?;
    outbox.migrate(&mut connection).await?;
    connection.close().await?;
    MIGRATIONS.run(url).await?;
    Ok(())
}
