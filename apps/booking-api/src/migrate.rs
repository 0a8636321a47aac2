//! `booking-api migrate`.

use service::Migrations;
use sqlx::migrate::Migrator;

static MIGRATOR: Migrator = sqlx::migrate!();

/// The migrations of the schema `booking`. Safe to run again, and twice at once.
pub const MIGRATIONS: Migrations = Migrations::new(crate::SCHEMA, &MIGRATOR);
