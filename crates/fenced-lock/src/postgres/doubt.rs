//! A commit whose answer did not come.

use std::fmt;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::{PgPool, Postgres};
use thiserror::Error;
use tokio::time::{Instant, sleep, timeout_at};

/// A transaction that may have been committed, may be committed yet, or not.
///
/// A plain look at the data can say 'not there' and be wrong a moment later, because the server may still be about to
/// commit. So first [`settled`](Self::settled), then look.
#[derive(Debug)]
pub struct Doubt {
    pool: PgPool,
    transaction: String,
    cause: Option<sqlx::Error>,
}

/// PostgreSQL could not be asked in time, or the transaction is still in progress: still in doubt.
#[derive(Debug, Error)]
#[error("the transaction is still in doubt")]
pub struct Unsettled(#[source] Option<sqlx::Error>);

const PAUSE_FIRST: Duration = Duration::from_millis(5);
const PAUSE_LAST: Duration = Duration::from_millis(250);

impl Doubt {
    pub(crate) fn new(pool: PgPool, transaction: String, cause: Option<sqlx::Error>) -> Self {
        Self { pool, transaction, cause }
    }

    /// Waits until the transaction has ended, one way or the other, and gives a connection on which its effects, if it
    /// was committed, are to be seen by the next statement. Look there for what was written, by its idempotency key:
    /// that also holds on a server that took over and has never heard of the transaction.
    ///
    /// # Errors
    /// [`Unsettled`] if that is not known after `limit`.
    pub async fn settled(&self, limit: Duration) -> Result<PoolConnection<Postgres>, Unsettled> {
        let deadline = Instant::now() + limit;
        let mut pause = PAUSE_FIRST;
        loop {
            let failure = match timeout_at(deadline, self.ask()).await {
                Ok(Ok(Some(connection))) => return Ok(connection),
                Ok(Ok(None)) => None,
                Ok(Err(error)) => Some(error),
                Err(_) => return Err(Unsettled(None)),
            };
            if Instant::now() + pause >= deadline {
                return Err(Unsettled(failure));
            }
            sleep(pause).await;
            pause = (2 * pause).min(PAUSE_LAST);
        }
    }

    /// A connection, if the transaction has ended.
    async fn ask(&self) -> Result<Option<PoolConnection<Postgres>>, sqlx::Error> {
        let mut connection = self.pool.acquire().await?;
        let sql = "select coalesce(pg_xact_status($1::xid8), 'forgotten')";
        let status: Result<String, _> =
            sqlx::query_scalar(sql).bind(&self.transaction).fetch_one(&mut *connection).await;
        match status {
            Ok(status) if status == "in progress" => Ok(None),
            Ok(_) => Ok(Some(connection)),
            // 'In the future': another server, which never had it.
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("22023") => Ok(Some(connection)),
            Err(error) => Err(error),
        }
    }
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            Some(cause) => cause.fmt(f),
            None => f.write_str("its answer was not awaited"),
        }
    }
}
