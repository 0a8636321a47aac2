//! What the load does to PostgreSQL, looked at once a second.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::PgPool;

use crate::measure::postgres::Activity;

/// How often it is looked at, and how long a look may take.
const EVERY: Duration = Duration::from_secs(1);

/// One look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Look {
    pub(crate) at: Instant,
    /// Statements that the services have sent until now; absent where the server does not count them.
    pub(crate) statements: Option<i64>,
    /// Sessions that execute something just now, those of the lab not included.
    pub(crate) active: i64,
}

/// All looks. One that found no database is missing.
pub(crate) type Looks = Arc<Mutex<Vec<Look>>>;

/// Looks until it is dropped.
pub(crate) async fn watch(database: PgPool, looks: Looks) {
    let activity = Activity::find(&database).await.ok().flatten();
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Ok(Ok(look)) = tokio::time::timeout(EVERY, look(&database, activity.as_ref())).await {
            looks.lock().unwrap_or_else(PoisonError::into_inner).push(look);
        }
    }
}

async fn look(database: &PgPool, activity: Option<&Activity>) -> anyhow::Result<Look> {
    let statements = match activity {
        Some(activity) => Some(activity.read(&[]).await?),
        None => None,
    };
    let active = sqlx::query_scalar(
        "select count(*) from pg_stat_activity where datname = current_database() and state = 'active' \
         and backend_type = 'client backend' and application_name <> 'lab' and pid <> pg_backend_pid()",
    )
    .fetch_one(database)
    .await?;
    Ok(Look { at: Instant::now(), statements, active })
}
