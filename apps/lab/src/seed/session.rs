//! Connections as a seeder needs them, and the lock that keeps two seeders apart.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions as _, Connection as _};

use crate::screen::note;

use super::ledger::{Ledger, Progress};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(10);

/// How long another seeder may make no progress at all before this one gives up on it. The longest
/// step without a sign of life is one index over all comments.
const PATIENCE: Duration = Duration::from_secs(300);

/// First half of the advisory lock's key; the second is the service's number. "lab " as ASCII.
const LOCK_CLASS: i32 = 0x6c61_6220;

/// Opens a session for loading and for building indexes.
///
/// A commit need not wait for the disk: a crash may then lose the last chunks, but only together with their lines
/// in the ledger, and a later run loads them again. [`Ledger::finish`] waits for all of it. A table that somebody else has
/// locked is waited for, but not for ever.
pub(crate) async fn open(database_url: &str) -> anyhow::Result<PgConnection> {
    let options: PgConnectOptions = database_url.parse().context("DATABASE_URL")?;
    let options = options.application_name("lab-seed").disable_statement_logging();
    let shown = format!("{}:{}/{}", options.get_host(), options.get_port(), options.get_database().unwrap_or("?"));
    let mut db = tokio::time::timeout(CONNECT, PgConnection::connect_with(&options))
        .await
        .with_context(|| {
            format!("PostgreSQL at {shown} does not answer within {} s; check DATABASE_URL", CONNECT.as_secs())
        })?
        .with_context(|| format!("cannot connect to PostgreSQL at {shown}; check DATABASE_URL"))?;
    sqlx::raw_sql(
        "set search_path = pg_catalog;
         set synchronous_commit = off;
         set maintenance_work_mem = '256MB';
         set work_mem = '64MB';
         set statement_timeout = 0;
         set lock_timeout = '60s';
         set client_min_messages = warning",
    )
    .execute(&mut db)
    .await
    .context("cannot set up the session")?;
    Ok(db)
}

/// Waits until this session is the only seeder of `ledger`'s service in its database. The lock goes
/// with the session, so a seeder that dies leaves none behind. Returns whether it had to wait.
pub(crate) async fn exclude_others(db: &mut PgConnection, ledger: &Ledger, lock: i32) -> anyhow::Result<bool> {
    let mut waited = false;
    let mut seen = None;
    let mut last_sign = Instant::now();
    loop {
        let held: bool = sqlx::query_scalar("select pg_try_advisory_lock($1, $2)")
            .bind(LOCK_CLASS)
            .bind(lock)
            .fetch_one(&mut *db)
            .await?;
        if held {
            return Ok(waited);
        }
        let now = signs_of_life(db, ledger).await?;
        if seen.as_ref() != Some(&now) {
            let loaded = now.loaded;
            note(&format!("another seeder is at work ({loaded} loaded); waiting for it"));
            seen = Some(now);
            last_sign = Instant::now();
        }
        if last_sign.elapsed() > PATIENCE {
            bail!(
                "another seeder of {} holds the lock and has done nothing for {} s; end its session (pg_stat_activity, application_name lab-seed)",
                ledger.service,
                PATIENCE.as_secs()
            );
        }
        waited = true;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Signs {
    progress: Progress,
    loaded: i64,
    missing: i64,
}

async fn signs_of_life(db: &mut PgConnection, ledger: &Ledger) -> Result<Signs, sqlx::Error> {
    let progress = ledger.progress(&mut *db).await?;
    if progress == Progress::Untouched {
        return Ok(Signs { progress, loaded: 0, missing: 0 });
    }
    let (loaded, missing) = sqlx::query_as(
        "select (select coalesce(sum(items), 0)::bigint from lab.seed_chunk where service = $1),
                (select count(*) from lab.seed_structure where service = $1)",
    )
    .bind(ledger.service)
    .fetch_one(db)
    .await?;
    Ok(Signs { progress, loaded, missing })
}
