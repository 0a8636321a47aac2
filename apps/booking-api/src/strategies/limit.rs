//! Statements that may wait for others, until a deadline.

use sqlx::PgConnection;
use sqlx::pool::PoolConnection;
use sqlx::{PgPool, Postgres};
use tokio::time::{Instant, timeout_at};

use super::Refusal;

/// A connection of the pool for those who wait, if there is one free before the deadline.
pub(super) async fn acquire(pool: &PgPool, deadline: Instant) -> Result<PoolConnection<Postgres>, Refusal> {
    match timeout_at(deadline, pool.acquire()).await {
        Ok(connection) => Ok(connection?),
        Err(_) => Err(Refusal::Locked),
    }
}

/// Ends the statements of this transaction at the deadline. A limit for each lock (`lock_timeout`) would begin anew at each
/// row.
pub(super) async fn until(db: &mut PgConnection, deadline: Instant) -> Result<(), sqlx::Error> {
    // 0 would be no limit.
    let left = deadline.saturating_duration_since(Instant::now()).as_millis().max(1);
    sqlx::query!(r#"select set_config('statement_timeout', $1, true) as "set!""#, format!("{left}ms"))
        .fetch_one(db)
        .await?;
    Ok(())
}

/// What follows in this transaction has the connection's usual limit again.
pub(super) async fn lift(db: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query!("set local statement_timeout to default").execute(db).await?;
    Ok(())
}

/// What an error means of a statement with the limit of [`until`]: one that was ended by it has not had its locks.
pub(super) fn late(error: sqlx::Error) -> Refusal {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    if code.is_some_and(|code| code == "57014") { Refusal::Locked } else { error.into() }
}
