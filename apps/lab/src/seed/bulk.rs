//! What every service's seeding does alike: chunks, rows on their way to the server, and tables put in order again.

use std::ops::Range;

use anyhow::Context as _;
use sqlx::postgres::PgConnection;

use super::copy::CopyBuffer;
use super::structure::{self, Piece};
use super::together::together;
use super::{Plan, session};
use crate::screen::Bar;

/// Bytes per message to the server.
const MESSAGE: usize = 256 * 1024;

/// The chunks of `items` items, as ranges of ids.
pub(super) fn chunks(items: u64, size: u64) -> impl Iterator<Item = Range<u64>> {
    (0..items.div_ceil(size)).map(move |n| n * size + 1..((n + 1) * size).min(items) + 1)
}

/// Sends the rows that `write` makes for each id. Returns how many the server took.
pub(super) async fn copy(
    db: &mut PgConnection,
    buffer: &mut CopyBuffer,
    table: &str,
    columns: &str,
    ids: Range<u64>,
    mut write: impl FnMut(&mut CopyBuffer, u64),
) -> Result<u64, sqlx::Error> {
    let statement = format!("copy {table} ({columns}) from stdin (format binary)");
    let mut copy = db.copy_in_raw(&statement).await?;
    buffer.clear();
    buffer.begin();
    for id in ids {
        write(buffer, id);
        if buffer.as_bytes().len() >= MESSAGE {
            copy.send(buffer.as_bytes()).await?;
            buffer.clear();
        }
    }
    buffer.end();
    copy.send(buffer.as_bytes()).await?;
    copy.finish().await
}

/// Makes keys and indexes again, those of different tables at the same time, then the foreign keys.
pub(super) async fn restore_structure(db: &mut PgConnection, service: &'static str, plan: &Plan) -> anyhow::Result<()> {
    let missing = structure::missing(db, service).await?;
    let (foreign, own): (Vec<Piece>, Vec<Piece>) = missing.into_iter().partition(|piece| piece.foreign);
    let mut by_table: Vec<Vec<Piece>> = Vec::new();
    for piece in own {
        match by_table.iter_mut().find(|pieces| pieces[0].relation == piece.relation) {
            Some(pieces) => pieces.push(piece),
            None => by_table.push(vec![piece]),
        }
    }
    restore_pieces("keys and indexes", service, by_table, plan).await?;
    // Foreign keys lock the table that they refer to, which is one and the same: they come one by one.
    restore_pieces("foreign keys", service, vec![foreign], plan).await
}

/// Makes the pieces again, each list in its order and the lists at the same time.
async fn restore_pieces(
    label: &'static str,
    service: &'static str,
    lists: Vec<Vec<Piece>>,
    plan: &Plan,
) -> anyhow::Result<()> {
    let total: usize = lists.iter().map(Vec::len).sum();
    together(Bar::new(label, total as u64, 0), |steps| {
        let worker = |pieces: Vec<Piece>| {
            let (steps, database_url) = (steps.clone(), plan.database_url.clone());
            async move {
                let mut db = session::open(&database_url).await?;
                for piece in &pieces {
                    structure::restore(&mut db, service, piece)
                        .await
                        .with_context(|| format!("cannot make {} of {} again", piece.name, piece.relation))?;
                    steps.done(1);
                }
                Ok(())
            }
        };
        lists.into_iter().map(worker).collect()
    })
    .await
}

/// Statistics for the planner, and visibility and hint bits for readers, before anybody measures; what is
/// not done here, autovacuum would do in the middle of an experiment.
pub(super) async fn vacuum(plan: &Plan, lists: &'static [&'static [&'static str]]) -> anyhow::Result<()> {
    let tables: usize = lists.iter().map(|list| list.len()).sum();
    together(Bar::new("vacuumed tables", tables as u64, 0), |steps| {
        let worker = |statements: &'static [&'static str]| {
            let (steps, database_url) = (steps.clone(), plan.database_url.clone());
            async move {
                let mut db = session::open(&database_url).await?;
                for statement in statements {
                    sqlx::query(*statement).execute(&mut db).await.context(*statement)?;
                    steps.done(1);
                }
                Ok(())
            }
        };
        lists.iter().copied().map(worker).collect()
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::chunks;

    #[test]
    fn chunks_cover_every_item_once() {
        for posts in [1_000, 5_000, 5_001, 12_345] {
            let mut next = 1;
            for chunk in chunks(posts, 5_000) {
                assert_eq!(chunk.start, next);
                assert!(chunk.end > chunk.start);
                next = chunk.end;
            }
            assert_eq!(next, posts + 1);
        }
    }
}
