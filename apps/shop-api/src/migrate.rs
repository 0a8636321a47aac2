//! `shop-api migrate`.

use service::Migrations;
use service::config::DatabaseUrl;
use sqlx::migrate::Migrator;
use sqlx::postgres::PgPoolOptions;
use sqlx::{ConnectOptions as _, Connection as _};

use outbox::Outbox;

static MIGRATOR: Migrator = sqlx::migrate!();

/// The migrations of the schema `shop`.
pub const MIGRATIONS: Migrations = Migrations::new(crate::SCHEMA, &MIGRATOR);

/// Makes the schema `shop` with all that is in it, or brings it up to date. Safe to run again, and twice at once.
///
/// # Errors
/// When the database cannot be reached, or says no.
pub async fn migrate(url: &DatabaseUrl) -> anyhow::Result<()> {
    // The outbox first: a database that has the shop's own migrations, which replicas look for, has everything.
    let outbox = Outbox::new(PgPoolOptions::new().connect_lazy_with(url.options()), crate::SCHEMA)?;
    let mut connection = url.options().application_name("shop-migrate").connect().await?;
    outbox.migrate(&mut connection).await?;
    outbox.migrate_events(&mut connection).await?;
    connection.close().await?;
    MIGRATIONS.run(url).await?;
    Ok(())
}
