//! The blog's rows: authors, posts, their tags, their comments.

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

const LEDGER: Ledger = Ledger { service: "blog", relation: "blog.posts", generator: content::GENERATOR };

/// Second half of the advisory lock's key.
const LOCK: i32 = 1;

/// The tables that lose their constraints and indexes for the load; `blog.authors` is too small to gain by it.
const LARGE_TABLES: [&str; 3] = ["blog.posts", "blog.post_tags", "blog.comments"];

/// What is vacuumed at the end, each list by a connection of its own.
const VACUUMED: [&[&str]; 2] = [
    &["vacuum (analyze) blog.posts"],
    &["vacuum (analyze) blog.comments", "vacuum (analyze) blog.post_tags", "vacuum (analyze) blog.authors"],
];

/// Fills the blog, or finishes what an interrupted run began.
///
/// # Errors
/// [`Failure::Usage`] when there are rows that the lab did not make, or of another number and `plan.replace` is not
/// set; [`Failure::Broken`] when what was loaded is not what had to be loaded; otherwise an error of the database.
pub(crate) async fn seed(plan: &Plan) -> anyhow::Result<Seeded> {
    let mut db = session::open(&plan.database_url).await?;
    let migrated: bool = sqlx::query_scalar("select to_regclass('blog.posts') is not null").fetch_one(&mut db).await?;
    if !migrated {
        bail!("the database has no table blog.posts: run `blog-api migrate` first");
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
    load_posts(&mut db, plan, &content).await?;
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

/// Opens the ledger, or finds it open. Afterwards the large tables are bare and the authors are in.
async fn begin(db: &mut PgConnection, plan: &Plan, content: &Content) -> anyhow::Result<()> {
    let (Progress::Begun { items, same_generator } | Progress::Finished { items, same_generator }) =
        LEDGER.progress(db).await?
    else {
        let foreign: bool =
            sqlx::query_scalar("select exists (select from blog.posts) or exists (select from blog.authors)")
                .fetch_one(&mut *db)
                .await?;
        if foreign {
            return Err(Failure::usage(
                "the schema blog has rows that the lab did not make, and it will not mix them: \
                 use another database, or drop the schemas blog and lab and run `blog-api migrate`",
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
            "--posts {}: the database was seeded with {items} posts; say --posts {items}, or replace them by `lab up --fresh`",
            plan.items
        ))
        .into());
    }
    note(&format!("replacing the {} posts of an earlier run", grouped(items)));
    Ok(open_ledger(db, plan, content, true).await?)
}

async fn open_ledger(db: &mut PgConnection, plan: &Plan, content: &Content, truncate: bool) -> Result<(), sqlx::Error> {
    let mut tx = db.begin().await?;
    if truncate {
        sqlx::query("truncate blog.authors, blog.posts, blog.post_tags, blog.comments").execute(&mut *tx).await?;
    }
    LEDGER.open(&mut tx, plan.items).await?;
    structure::take_down(&mut tx, LEDGER.service, &LARGE_TABLES).await?;
    load::authors(&mut tx, content).await?;
    // Set before the first row, so that a post that somebody writes meanwhile gets an id of its own.
    let last_comment = content.comments_before(plan.items + 1);
    for (table, last) in [
        ("blog.authors", u64::from(content::AUTHORS)),
        ("blog.posts", plan.items),
        ("blog.comments", last_comment.max(1)),
    ] {
        sqlx::query("select setval(pg_get_serial_sequence($1, 'id'), $2)")
            .bind(table)
            .bind(last.cast_signed())
            .execute(&mut *tx)
            .await?;
    }
    tx.commit().await
}

/// Loads the chunks that are not in yet.
async fn load_posts(db: &mut PgConnection, plan: &Plan, content: &Arc<Content>) -> anyhow::Result<()> {
    let present: HashSet<u64> = LEDGER.chunks(db).await?.iter().map(|chunk| chunk.first).collect();
    let missing: Arc<[_]> =
        bulk::chunks(plan.items, load::CHUNK).filter(|chunk| !present.contains(&chunk.start)).collect();
    let left: u64 = missing.iter().map(|chunk| chunk.end - chunk.start).sum();
    let next = Arc::new(AtomicUsize::new(0));
    together(Bar::new("posts", plan.items, plan.items - left), |steps| {
        let stream = |_| {
            let (missing, next, content, steps) = (missing.clone(), next.clone(), content.clone(), steps.clone());
            let database_url = plan.database_url.clone();
            async move {
                let mut db = session::open(&database_url).await?;
                let mut loader = load::Loader::new(&content);
                while let Some(chunk) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
                    loader.load(&mut db, &LEDGER, chunk.clone()).await.with_context(|| {
                        format!(
                            "cannot load posts {} to {}; start again to go on from here",
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
