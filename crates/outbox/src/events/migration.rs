//! The events' tables, in versions of their own: a service without events has none of them.

use fenced_cache::ConfigError;
use sqlx::PgConnection;

use crate::migration::Part;
use crate::outbox::Outbox;
use crate::schema::Schema;

const EVENTS: Part =
    Part { name: "event", versions: &[include_str!("../migrations/events_0001.sql")], table: "outbox_event_version" };

impl Outbox {
    /// As [`ddl`](Self::ddl), for the tables of events.
    ///
    /// # Errors
    /// [`ConfigError`] if `schema` is not a plain lower-case identifier.
    pub fn events_ddl(schema: &str) -> Result<String, ConfigError> {
        Ok(EVENTS.ddl(&Schema::new(schema)?))
    }

    /// As [`migrate`](Self::migrate), for the tables of events: `outbox_event`, `outbox_event_pending`,
    /// `outbox_event_counter`, `outbox_event_reader`, `outbox_event_aside` and `outbox_event_version`.
    ///
    /// # Errors
    /// Whatever the database says; then nothing has changed.
    pub async fn migrate_events(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        EVENTS.migrate(connection, self.schema()).await
    }

    /// Whether every version of the events' tables that this build knows is there: for a readiness check.
    ///
    /// # Errors
    /// Whatever the database says.
    pub async fn events_installed(&self, connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
        EVENTS.is_installed(connection, self.schema()).await
    }
}
