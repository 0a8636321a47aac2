//! The shop's rows: categories and their products.

mod content;
mod load;
mod verify;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, bail};
use sqlx::Connection as _;
use sqlx::postgres::PgConnection;

use super::ledger::{Ledger, Progress};
use super::structure;
use super::together::together;
use super::{Plan, Seeded, bulk, session};
use crate::exit::Failure;
use crate::screen::{Bar, grouped, note};

use content::Content;

const LEDGER: Ledger = Ledger { service: "shop", relation: "shop.products", generator: content::GENERATOR };

/// Second half of the advisory lock's key.
const LOCK: i32 = 3;

/// The tables that lose their constraints and indexes for the load; `shop.categories` is too small to gain by it.
const LARGE_TABLES: [&str; 1] = ["shop.products"];

/// What is vacuumed at the end.
const VACUUMED: [&[&str]; 1] = [&["vacuum (analyze) shop.products", "vacuum (analyze) shop.categories"]];

/// Fills the shop, or finishes what an interrupted run began.
///
/// # Errors
/// [`Failure::Usage`] when there are rows that the lab did not make, or of another number and `plan.replace` is not
/// set; [`Failure::Broken`] when what was loaded is not what had to be loaded; otherwise an error of the database.
pub(crate) async fn seed(plan: &Plan) -> anyhow::Result<Seeded> {
    let mut db = session::open(&plan.database_url).await?;
    let migrated: bool =
        sqlx::query_scalar("select to_regclass('shop.products') is not null").fetch_one(&mut db).await?;
    if !migrated {
        bail!("the database has no table shop.products: run `shop-api migrate` first");
    }
    if is_finished(&mut db, plan).await? {
        return Ok(Seeded::Before);
    }
    session::exclude_others(&mut db, &LEDGER, LOCK).await?;
    LEDGER.create(&mut db).await.context("cannot create the schema lab")?;
    if is_finished(&mut db, plan).await? {
        return Ok(Seeded::Now);
    }
    let content = Arc::new(Content::new());
    begin(&mut db, plan, &content).await?;
    load_products(&mut db, plan, &content).await?;
    bulk::restore_structure(&mut db, LEDGER.service, plan).await?;
    bulk::vacuum(plan, &VACUUMED).await?;
    let broken = verify::verify(&mut db, plan, &content).await?;
    if !broken.is_empty() {
        return Err(Failure::Broken(broken).into());
    }
    LEDGER.finish(&mut db).await?;
    // Written out now, the pages do not get in the way of what is measured next. Not everybody may ask for it.
    if let Err(error) = sqlx::query("checkpoint").execute(&mut db).await {
        tracing::debug!(%error, "no checkpoint after the seeding");
    }
    Ok(Seeded::Now)
}

async fn is_finished(db: &mut PgConnection, plan: &Plan) -> anyhow::Result<bool> {
    Ok(LEDGER.progress(db).await? == Progress::Finished { items: plan.items, same_generator: true })
}

/// Opens the ledger, or finds it open. Afterwards the products' table is bare and the categories are in.
async fn begin(db: &mut PgConnection, plan: &Plan, content: &Content) -> anyhow::Result<()> {
    let (Progress::Begun { items, same_generator } | Progress::Finished { items, same_generator }) =
        LEDGER.progress(db).await?
    else {
        let foreign: bool =
            sqlx::query_scalar("select exists (select from shop.products) or exists (select from shop.categories)")
                .fetch_one(&mut *db)
                .await?;
        if foreign {
            return Err(Failure::usage(
                "the schema shop has rows that the lab did not make, and it will not mix them: \
                 use another database, or drop the schemas shop and lab and run `shop-api migrate`",
            )
            .into());
        }
        return Ok(open_ledger(db, plan, content, false).await?);
    };
    if items == plan.items && same_generator {
        return Ok(());
    }
    if !plan.replace {
        return Err(Failure::usage(format!(
            "--products {}: the database was seeded with {items} products; say --products {items}, or replace them by `lab up --fresh`",
            plan.items
        ))
        .into());
    }
    note(&format!("replacing the {} products of an earlier run", grouped(items)));
    Ok(open_ledger(db, plan, content, true).await?)
}

async fn open_ledger(db: &mut PgConnection, plan: &Plan, content: &Content, truncate: bool) -> Result<(), sqlx::Error> {
    let mut tx = db.begin().await?;
    if truncate {
        sqlx::query("truncate shop.categories, shop.products").execute(&mut *tx).await?;
    }
    LEDGER.open(&mut tx, plan.items).await?;
    structure::take_down(&mut tx, LEDGER.service, &LARGE_TABLES).await?;
    load::categories(&mut tx, content).await?;
    // Set before the first row, so that a product that somebody adds meanwhile gets an id of its own.
    for (table, last) in [("shop.categories", u64::from(content::CATEGORIES)), ("shop.products", plan.items)] {
        sqlx::query("select setval(pg_get_serial_sequence($1, 'id'), $2)")
            .bind(table)
            .bind(last.cast_signed())
            .execute(&mut *tx)
            .await?;
    }
    tx.commit().await
}

/// Loads the chunks that are not in yet.
async fn load_products(db: &mut PgConnection, plan: &Plan, content: &Arc<Content>) -> anyhow::Result<()> {
    let present: HashSet<u64> = LEDGER.chunks(db).await?.iter().map(|chunk| chunk.first).collect();
    let all = bulk::chunks(plan.items, load::CHUNK);
    let missing: Arc<[_]> = all.filter(|chunk| !present.contains(&chunk.start)).collect();
    let left: u64 = missing.iter().map(|chunk| chunk.end - chunk.start).sum();
    let next = Arc::new(AtomicUsize::new(0));
    together(Bar::new("products", plan.items, plan.items - left), |steps| {
        let stream = |_| {
            let (missing, next, content, steps) = (missing.clone(), next.clone(), content.clone(), steps.clone());
            let database_url = plan.database_url.clone();
            async move {
                let mut db = session::open(&database_url).await?;
                let mut loader = load::Loader::new(&content);
                while let Some(chunk) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
                    loader.load(&mut db, &LEDGER, chunk.clone()).await.with_context(|| {
                        format!(
                            "cannot load products {} to {}; start again to go on from here",
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
