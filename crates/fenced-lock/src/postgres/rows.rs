//! The rows that locks are named after.

use std::sync::Arc;

use sqlx::postgres::PgArguments;
use sqlx::query::{Query, QueryAs, QueryScalar};
use sqlx::{AssertSqlSafe, Postgres, SqlSafeStr, SqlStr};

use crate::error::ConfigError;
use crate::name::{Key, Name};

/// One kind of lockable row: `<kind>:<key>` is the lock of the row of `table` with that key. One lock, one row.
///
/// The table has a column `fence bigint not null default 0` (or another name, see
/// [`fence_column`](Self::fence_column)), which only this crate writes.
#[derive(Clone, Debug)]
pub struct Rows {
    kind: Arc<str>,
    table: Arc<str>,
    pub(crate) sql: Arc<Statements>,
}

/// Every statement about the row.
#[derive(Debug)]
pub(crate) struct Statements {
    /// (key, fence): the backend's process id, if the row exists and its fence is lower.
    pub(crate) enter: SqlStr,
    /// The same, but the commit is not waited for.
    pub(crate) enter_relaxed: SqlStr,
    /// (key): the row's fence.
    pub(crate) fence: SqlStr,
    /// (key, fence): the transaction's id, if the row still has this fence, which it then keeps until the end.
    pub(crate) guard: SqlStr,
    /// (key, fence, process id): as `guard`, if this is still the connection that has entered.
    pub(crate) guard_pinned: SqlStr,
    /// (key): locks the row until the end of the transaction; the transaction's id.
    pub(crate) lock: SqlStr,
    /// As `lock`, if nobody has it.
    pub(crate) try_lock: SqlStr,
}

impl Statements {
    fn new(table: &str, key: &str, fence: &str) -> Self {
        let sql = |text: String| AssertSqlSafe(text).into_sql_str();
        // The guard locks: a plain read, or the foreign keys' FOR KEY SHARE, would let the next one enter between
        // it and the commit. Whoever locks has a transaction id, so asking for it costs nothing.
        let lock = format!("select pg_current_xact_id()::text from {table} where {key} = $1");
        Self {
            enter: sql(format!(
                "update {table} set {fence} = $2 where {key} = $1 and {fence} < $2 returning pg_backend_pid()"
            )),
            enter_relaxed: sql(format!(
                "update {table} set {fence} = $2 where {key} = $1 and {fence} < $2 \
                 returning pg_backend_pid(), set_config('synchronous_commit', 'off', true)"
            )),
            fence: sql(format!("select {fence} from {table} where {key} = $1")),
            guard: sql(format!("{lock} and {fence} = $2 for no key update")),
            guard_pinned: sql(format!("{lock} and {fence} = $2 and pg_backend_pid() = $3 for no key update")),
            lock: sql(format!("{lock} for no key update")),
            try_lock: sql(format!("{lock} for no key update nowait")),
        }
    }
}

impl Rows {
    /// Rows of `table` (`events` or `booking.events`) by `key_column`, which must be unique, and a `bigint` for
    /// [`Key::Number`] or a `text` for [`Key::Text`]. `kind` begins the names of their locks.
    ///
    /// # Errors
    /// [`ConfigError`] for a kind that is none (see [`Name::new`]) or an SQL name that is not made of lower-case
    /// letters, digits and `_`.
    pub fn new(kind: &str, table: &str, key_column: &str) -> Result<Self, ConfigError> {
        Name::new(kind, 0)?;
        for part in table.split('.') {
            identifier("table", part)?;
        }
        if table.split('.').count() > 2 {
            return Err(ConfigError::new("table", table, "a name, or a schema and a name"));
        }
        identifier("key column", key_column)?;
        let sql = Arc::new(Statements::new(table, key_column, "fence"));
        Ok(Self { kind: kind.into(), table: format!("{table} {key_column}").into(), sql })
    }

    /// Another name for the column of the fence.
    ///
    /// # Errors
    /// [`ConfigError`] as in [`new`](Self::new).
    pub fn fence_column(self, fence_column: &str) -> Result<Self, ConfigError> {
        identifier("fence column", fence_column)?;
        let (table, key_column) = self.table.split_once(' ').unwrap_or((&self.table, "id"));
        let sql = Arc::new(Statements::new(table, key_column, fence_column));
        Ok(Self { sql, ..self })
    }

    /// What kind of lock protects these rows.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The name of the lock of one row.
    ///
    /// # Errors
    /// [`ConfigError`] for a text key that is empty, too long, or holds a NUL.
    pub fn name(&self, key: impl Into<Key>) -> Result<Name, ConfigError> {
        Name::new(&self.kind, key)
    }
}

fn identifier(setting: &str, name: &str) -> Result<(), ConfigError> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if name.is_empty() || name.len() > 63 || name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(plain)
    {
        return Err(ConfigError::new(setting, name, "1 to 63 lower-case letters, digits and '_', not first a digit"));
    }
    Ok(())
}

/// Binds the key of a row.
pub(crate) trait BindKey: Sized {
    fn bind_key(self, key: &Key) -> Self;
}

macro_rules! bind_key {
    ($type:ty) => {
        impl<T> BindKey for $type {
            fn bind_key(self, key: &Key) -> Self {
                match key {
                    Key::Number(number) => self.bind(*number),
                    Key::Text(text) => self.bind(text.to_string()),
                }
            }
        }
    };
}
bind_key!(QueryScalar<'_, Postgres, T, PgArguments>);
bind_key!(QueryAs<'_, Postgres, T, PgArguments>);

impl BindKey for Query<'_, Postgres, PgArguments> {
    fn bind_key(self, key: &Key) -> Self {
        match key {
            Key::Number(number) => self.bind(*number),
            Key::Text(text) => self.bind(text.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_become_sql() {
        let rows = Rows::new("event", "booking.events", "id").unwrap();
        assert!(rows.sql.enter.as_str().starts_with("update booking.events set fence = $2 where id = $1"));
        let rows = rows.fence_column("epoch").unwrap();
        assert!(rows.sql.enter.as_str().starts_with("update booking.events set epoch = $2 where id = $1"));
        assert_eq!(rows.name(7).unwrap().as_str(), "event:7");
        for wrong in ["", "a b", "A", "1a", "a;drop", "a.b.c", "a\"b"] {
            assert!(Rows::new("event", wrong, "id").is_err(), "{wrong}");
            assert!(Rows::new("event", "events", wrong).is_err() || wrong == "a.b.c", "{wrong}");
        }
    }
}
