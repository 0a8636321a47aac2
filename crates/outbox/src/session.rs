//! One connection of the pool, used so that neither a stopped PostgreSQL nor a cancelled caller can do harm.

use std::io;
use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgDatabaseError, PgSeverity, PgTransactionManager};
use sqlx::{Connection, PgConnection, PgPool, Postgres};
// What `sqlx::Transaction` is made of. That type can not give up its connection, so it could not be closed instead of
// being given back to the pool; the trait keeps sqlx' nesting depth, so that a `begin` inside is a savepoint.
use sqlx_core::transaction::TransactionManager;
use tokio::runtime::Handle;
use tokio::time::timeout;

/// A connection whose every statement ends within `deadline`.
///
/// sqlx gives a dropped connection back to the pool only after a ping without a limit. On a server that does not
/// answer, that ping keeps the pool's place until TCP gives up, and such drops soon leave a pool of none. So a
/// connection whose state is not known is closed here at once instead.
#[derive(Debug)]
pub(crate) struct Session {
    connection: Option<PoolConnection<Postgres>>,
    deadline: Duration,
    /// A statement was begun and its answer not read to the end.
    unfinished: bool,
    in_transaction: bool,
}

impl Session {
    /// # Errors
    /// `PoolTimedOut` if there is no connection within `deadline` (or the pool's own, shorter limit).
    pub(crate) async fn acquire(pool: &PgPool, deadline: Duration) -> Result<Self, sqlx::Error> {
        let connection = timeout(deadline, pool.acquire()).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))?;
        Ok(Self { connection: Some(connection), deadline, unfinished: false, in_transaction: false })
    }

    pub(crate) fn connection(&mut self) -> &mut PgConnection {
        self.connection.as_mut().expect("taken by drop alone")
    }

    /// Runs one statement.
    ///
    /// # Errors
    /// An `Io` error of kind `TimedOut` at the deadline; the connection is then closed when this is dropped.
    pub(crate) async fn run<T>(
        &mut self,
        statement: impl for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<T, sqlx::Error>>,
    ) -> Result<T, sqlx::Error> {
        self.unfinished = true;
        let limit = self.deadline;
        let result = timeout(limit, statement(self.connection())).await.unwrap_or_else(|_| {
            let text = format!("PostgreSQL did not answer within {limit:?}");
            Err(sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, text)))
        });
        self.unfinished = match &result {
            Ok(_) | Err(sqlx::Error::RowNotFound) => false,
            Err(error) => !refused(error),
        };
        result
    }

    pub(crate) async fn begin(&mut self) -> Result<(), sqlx::Error> {
        self.run(|connection| Box::pin(PgTransactionManager::begin(connection, None))).await?;
        self.in_transaction = true;
        Ok(())
    }

    /// # Errors
    /// If [`refused`] says so of the error, the transaction was rolled back; else it is in doubt.
    pub(crate) async fn commit(&mut self) -> Result<(), sqlx::Error> {
        self.run(|connection| Box::pin(PgTransactionManager::commit(connection))).await?;
        self.in_transaction = false;
        Ok(())
    }

    pub(crate) async fn rollback(&mut self) -> Result<(), sqlx::Error> {
        self.run(|connection| Box::pin(PgTransactionManager::rollback(connection))).await?;
        self.in_transaction = false;
        Ok(())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        if self.unfinished {
            drop(connection.detach());
        } else if self.in_transaction {
            let Ok(runtime) = Handle::try_current() else { return drop(connection.detach()) };
            let limit = self.deadline;
            runtime.spawn(async move {
                // The caller may have been cancelled inside a statement of its own: the rollback waits for its end.
                PgTransactionManager::start_rollback(&mut connection);
                if !matches!(timeout(limit, connection.ping()).await, Ok(Ok(()))) {
                    drop(connection.detach());
                }
            });
        }
    }
}

/// Whether the server answered with an error and goes on serving this session. It then did not do what it was
/// asked to, and a COMMIT so answered has rolled back. Anything else leaves open what the server did.
pub(crate) fn refused(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(error) = error else { return false };
    let Some(error) = error.try_downcast_ref::<PgDatabaseError>() else { return false };
    // Admin shutdown, crash shutdown, cannot connect now (57P0x), a broken connection (08) and 'completion unknown'
    // (40003) are fatal where PostgreSQL itself says them; a pooler in between may say them as plain errors.
    let code = error.code();
    let unknown = code.starts_with("57P0") || code.starts_with("08") || code == "40003";
    error.severity() == PgSeverity::Error && !unknown
}
