//! What the database itself knows about its seeding: the schema `lab`.
//!
//! Each chunk of rows commits together with its line here. So whatever happens between two commits
//! (Ctrl-C, a kill, a power cut), the ledger and the rows agree, and a later run goes on from there.

use sqlx::postgres::PgConnection;
use sqlx::{Connection as _, Row as _};

/// One service's seeding. `relation` ties the ledger to the table that was filled: a schema that was
/// dropped and migrated again has another one, and its ledger is void.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ledger {
    pub(crate) service: &'static str,
    pub(crate) relation: &'static str,
    pub(crate) generator: i32,
}

/// How far the seeding of a service has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Nobody has begun.
    Untouched,
    /// Begun for so many posts, with this generator or another.
    Begun { items: u64, same_generator: bool },
    /// Loaded, restored and verified.
    Finished { items: u64, same_generator: bool },
}

/// A committed chunk: the number of its first item, and what was loaded with it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Chunk {
    pub(crate) first: u64,
    pub(crate) items: u64,
    pub(crate) rows: u64,
}

impl Ledger {
    /// Makes the schema `lab` where it is missing. Call it under the seeder's lock: `if not exists` is not
    /// safe against two sessions that create the same thing at once.
    pub(crate) async fn create(&self, db: &mut PgConnection) -> Result<(), sqlx::Error> {
        sqlx::raw_sql(
            "create schema if not exists lab;
             create table if not exists lab.seed_run (
                 service text primary key,
                 relation oid not null,
                 generator int not null,
                 items bigint not null,
                 started_at timestamptz not null default now(),
                 finished_at timestamptz
             );
             create table if not exists lab.seed_chunk (
                 service text not null,
                 first bigint not null,
                 items bigint not null,
                 rows bigint not null,
                 primary key (service, first)
             );
             create table if not exists lab.seed_structure (
                 service text not null,
                 ordinal int not null,
                 relation text not null,
                 name text not null,
                 definition text not null,
                 primary key (service, ordinal)
             )",
        )
        .execute(db)
        .await?;
        Ok(())
    }

    /// Reads how far it is; works without the schema, and changes nothing.
    pub(crate) async fn progress(&self, db: &mut PgConnection) -> Result<Progress, sqlx::Error> {
        let exists: bool =
            sqlx::query_scalar("select to_regclass('lab.seed_run') is not null").fetch_one(&mut *db).await?;
        if !exists {
            return Ok(Progress::Untouched);
        }
        let row = sqlx::query(
            "select items, generator = $3 as same_generator, finished_at is not null as finished
             from lab.seed_run where service = $1 and relation = to_regclass($2)",
        )
        .bind(self.service)
        .bind(self.relation)
        .bind(self.generator)
        .fetch_optional(db)
        .await?;
        let Some(row) = row else { return Ok(Progress::Untouched) };
        let items = row.try_get::<i64, _>("items")?.unsigned_abs();
        let same_generator = row.try_get("same_generator")?;
        Ok(if row.try_get("finished")? {
            Progress::Finished { items, same_generator }
        } else {
            Progress::Begun { items, same_generator }
        })
    }

    /// Opens the ledger for `items` items; an older one of the service is gone.
    pub(crate) async fn open(&self, db: &mut PgConnection, items: u64) -> Result<(), sqlx::Error> {
        self.clear(db).await?;
        sqlx::query(
            "insert into lab.seed_run (service, relation, generator, items) values ($1, to_regclass($2), $3, $4)",
        )
        .bind(self.service)
        .bind(self.relation)
        .bind(self.generator)
        .bind(items.cast_signed())
        .execute(db)
        .await?;
        Ok(())
    }

    /// Forgets runs and chunks. What was taken down from the tables stays on record, because it is
    /// still missing there.
    pub(crate) async fn clear(&self, db: &mut PgConnection) -> Result<(), sqlx::Error> {
        for statement in
            ["delete from lab.seed_chunk where service = $1", "delete from lab.seed_run where service = $1"]
        {
            sqlx::query(statement).bind(self.service).execute(&mut *db).await?;
        }
        Ok(())
    }

    /// The chunks that are in, by their first item.
    pub(crate) async fn chunks(&self, db: &mut PgConnection) -> Result<Vec<Chunk>, sqlx::Error> {
        let rows = sqlx::query("select first, items, rows from lab.seed_chunk where service = $1 order by first")
            .bind(self.service)
            .fetch_all(db)
            .await?;
        rows.iter()
            .map(|row| {
                Ok(Chunk {
                    first: row.try_get::<i64, _>("first")?.unsigned_abs(),
                    items: row.try_get::<i64, _>("items")?.unsigned_abs(),
                    rows: row.try_get::<i64, _>("rows")?.unsigned_abs(),
                })
            })
            .collect()
    }

    /// Records a chunk; belongs into the transaction of its rows. A chunk that is in already is an error, so
    /// even a seeder that lost its lock without noticing cannot load it twice.
    pub(crate) async fn record(&self, db: &mut PgConnection, chunk: Chunk) -> Result<(), sqlx::Error> {
        sqlx::query("insert into lab.seed_chunk (service, first, items, rows) values ($1, $2, $3, $4)")
            .bind(self.service)
            .bind(chunk.first.cast_signed())
            .bind(chunk.items.cast_signed())
            .bind(chunk.rows.cast_signed())
            .execute(db)
            .await?;
        Ok(())
    }

    /// Marks the seeding as done. Waits for the disk, and with it for every commit before.
    pub(crate) async fn finish(&self, db: &mut PgConnection) -> Result<(), sqlx::Error> {
        let mut tx = db.begin().await?;
        sqlx::query("set local synchronous_commit = on").execute(&mut *tx).await?;
        sqlx::query("update lab.seed_run set finished_at = now() where service = $1")
            .bind(self.service)
            .execute(&mut *tx)
            .await?;
        tx.commit().await
    }
}
