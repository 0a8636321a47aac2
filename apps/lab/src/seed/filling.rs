//! The way from an empty table to a verified one, which every service's seeding goes.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, bail};
use sqlx::Connection as _;
use sqlx::postgres::PgConnection;

use super::copy::CopyBuffer;
use super::ledger::{Chunk, Ledger, Progress};
use super::together::together;
use super::{Plan, Seeded, bulk, session, structure};
use crate::exit::Failure;
use crate::screen::{Bar, grouped, note};

/// What one service's tables are filled with.
pub(super) trait Filling: Send + Sync + 'static {
    /// Its relation is the table of the items.
    const LEDGER: Ledger;
    /// Second half of the advisory lock's key.
    const LOCK: i32;
    /// What the items are called; so is the flag that says how many there are.
    const ITEMS: &'static str;
    /// Items in one transaction.
    const CHUNK: u64;
    /// The tables that lose their constraints and indexes for the load.
    const LARGE_TABLES: &'static [&'static str];
    /// What is vacuumed at the end, each list by a connection of its own.
    const VACUUMED: &'static [&'static [&'static str]];
    /// Asks whether there are rows.
    const OCCUPIED: &'static str;
    /// Takes all rows away.
    const TRUNCATE: &'static str;

    /// Loads what is small, before all items.
    fn load_few(&self, db: &mut PgConnection) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// The last id of each table that has a sequence, when there are so many items.
    fn last_ids(&self, items: u64) -> Vec<(&'static str, u64)>;

    /// Loads these items, in a transaction; `buffer` serves chunk after chunk. Returns how many rows that were.
    fn load(
        &self,
        db: &mut PgConnection,
        buffer: &mut CopyBuffer,
        items: Range<u64>,
    ) -> impl Future<Output = Result<u64, sqlx::Error>> + Send;

    /// Returns one line per thing that is not as it should be.
    fn verify(&self, db: &mut PgConnection, plan: &Plan) -> impl Future<Output = anyhow::Result<Vec<String>>> + Send;
}

/// Fills the tables, or finishes what an interrupted run began. `content` makes what they are filled with.
///
/// # Errors
/// [`Failure::Usage`] when there are rows that the lab did not make, or of another number and `plan.replace` is not
/// set; [`Failure::Broken`] when what was loaded is not what had to be loaded; otherwise an error of the database.
pub(super) async fn fill<F: Filling>(plan: &Plan, content: impl FnOnce() -> F) -> anyhow::Result<Seeded> {
    let Ledger { service, relation, .. } = F::LEDGER;
    let mut db = session::open(&plan.database_url).await?;
    let migrated: bool =
        sqlx::query_scalar("select to_regclass($1) is not null").bind(relation).fetch_one(&mut db).await?;
    if !migrated {
        bail!("the database has no table {relation}: run `{service}-api migrate` first");
    }
    if is_finished::<F>(&mut db, plan).await? {
        return Ok(Seeded::Before);
    }
    session::exclude_others(&mut db, &F::LEDGER, F::LOCK).await?;
    F::LEDGER.create(&mut db).await.context("cannot create the schema lab")?;
    if is_finished::<F>(&mut db, plan).await? {
        return Ok(Seeded::Now);
    }
    let content = Arc::new(content());
    begin(&mut db, plan, &*content).await?;
    load(&mut db, plan, &content).await?;
    bulk::restore_structure(&mut db, service, plan).await?;
    bulk::vacuum(plan, F::VACUUMED).await?;
    let broken = content.verify(&mut db, plan).await?;
    if !broken.is_empty() {
        return Err(Failure::Broken(broken).into());
    }
    F::LEDGER.finish(&mut db).await?;
    // Written out now, the pages do not get in the way of what is measured next. Not everybody may ask for it.
    if let Err(error) = sqlx::query("checkpoint").execute(&mut db).await {
        tracing::debug!(%error, "no checkpoint after the seeding");
    }
    Ok(Seeded::Now)
}

async fn is_finished<F: Filling>(db: &mut PgConnection, plan: &Plan) -> anyhow::Result<bool> {
    Ok(F::LEDGER.progress(db).await? == Progress::Finished { items: plan.items, same_generator: true })
}

/// Opens the ledger, or finds it open. Afterwards the large tables are bare and what is small is in.
async fn begin<F: Filling>(db: &mut PgConnection, plan: &Plan, content: &F) -> anyhow::Result<()> {
    let (Progress::Begun { items, same_generator } | Progress::Finished { items, same_generator }) =
        F::LEDGER.progress(db).await?
    else {
        let foreign: bool = sqlx::query_scalar(F::OCCUPIED).fetch_one(&mut *db).await?;
        if foreign {
            let service = F::LEDGER.service;
            return Err(Failure::usage(format!(
                "the schema {service} has rows that the lab did not make, and it will not mix them: \
                 use another database, or drop the schemas {service} and lab and run `{service}-api migrate`"
            ))
            .into());
        }
        return Ok(open_ledger(db, plan, content, false).await?);
    };
    if items == plan.items && same_generator {
        return Ok(());
    }
    let what = F::ITEMS;
    if !plan.replace {
        return Err(Failure::usage(format!(
            "--{what} {}: the database was seeded with {items} {what}; say --{what} {items}, or replace them by `lab up --fresh`",
            plan.items
        ))
        .into());
    }
    note(&format!("replacing the {} {what} of an earlier run", grouped(items)));
    Ok(open_ledger(db, plan, content, true).await?)
}

async fn open_ledger<F: Filling>(
    db: &mut PgConnection,
    plan: &Plan,
    content: &F,
    truncate: bool,
) -> Result<(), sqlx::Error> {
    let mut tx = db.begin().await?;
    if truncate {
        sqlx::query(F::TRUNCATE).execute(&mut *tx).await?;
    }
    F::LEDGER.open(&mut tx, plan.items).await?;
    structure::take_down(&mut tx, F::LEDGER.service, F::LARGE_TABLES).await?;
    content.load_few(&mut tx).await?;
    // Set before the first row, so that what somebody writes meanwhile gets an id of its own.
    for (table, last) in content.last_ids(plan.items) {
        sqlx::query("select setval(pg_get_serial_sequence($1, 'id'), $2)")
            .bind(table)
            .bind(last.cast_signed())
            .execute(&mut *tx)
            .await?;
    }
    tx.commit().await
}

/// Loads the chunks that are not in yet.
async fn load<F: Filling>(db: &mut PgConnection, plan: &Plan, content: &Arc<F>) -> anyhow::Result<()> {
    let present: HashSet<u64> = F::LEDGER.chunks(db).await?.iter().map(|chunk| chunk.first).collect();
    let missing: Arc<[_]> =
        bulk::chunks(plan.items, F::CHUNK).filter(|chunk| !present.contains(&chunk.start)).collect();
    let left: u64 = missing.iter().map(|chunk| chunk.end - chunk.start).sum();
    let next = Arc::new(AtomicUsize::new(0));
    together(Bar::new(F::ITEMS, plan.items, plan.items - left), |steps| {
        let stream = |_| {
            let (missing, next, content, steps) = (missing.clone(), next.clone(), content.clone(), steps.clone());
            let database_url = plan.database_url.clone();
            async move {
                let mut db = session::open(&database_url).await?;
                let mut buffer = CopyBuffer::default();
                while let Some(chunk) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
                    load_chunk(&mut db, &*content, &mut buffer, chunk.clone()).await.with_context(|| {
                        format!(
                            "cannot load {} {} to {}; start again to go on from here",
                            F::ITEMS,
                            chunk.start,
                            chunk.end - 1
                        )
                    })?;
                    steps.done(chunk.end - chunk.start);
                }
                Ok(())
            }
        };
        (0..plan.streams).map(stream).collect()
    })
    .await
}

/// Loads a chunk and its line in the ledger, both or neither.
async fn load_chunk<F: Filling>(
    db: &mut PgConnection,
    content: &F,
    buffer: &mut CopyBuffer,
    items: Range<u64>,
) -> Result<(), sqlx::Error> {
    let mut tx = db.begin().await?;
    let rows = content.load(&mut tx, buffer, items.clone()).await?;
    let chunk = Chunk { first: items.start, items: items.end - items.start, rows };
    F::LEDGER.record(&mut tx, chunk).await?;
    tx.commit().await
}
