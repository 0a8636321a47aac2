//! Constraints and indexes out of the way of a bulk load, and back again.
//!
//! They belong to the service's migrations, so nothing about them is known here: what is there is read
//! from the catalog, put on record in `lab.seed_structure` in the transaction that drops it, and made again from
//! that record, one transaction each. A load that is interrupted at any point leaves the record of
//! what is still missing.

use anyhow::Context as _;
use sqlx::Row as _;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _};

/// Something to make again: `definition` is the complete statement.
#[derive(Debug, Clone)]
pub(crate) struct Piece {
    pub(crate) ordinal: i32,
    pub(crate) relation: String,
    pub(crate) name: String,
    pub(crate) definition: String,
    /// Foreign keys come last: they need the keys that they refer to.
    pub(crate) foreign: bool,
}

/// What hangs on the tables `$1` and slows a load: foreign keys first, since they depend on the keys
/// they refer to, then primary keys and unique constraints, then the indexes that belong to no constraint.
/// With an empty search path the catalog qualifies every name.
const PIECES: &str = "
    with tables as (select t::regclass as oid from unnest($1::text[]) as t)
    select * from (
        select case when c.contype = 'f' then 1 else 2 end as rank,
               c.conrelid::regclass::text as relation,
               c.conname::text as name,
               format('alter table %s add constraint %I %s', c.conrelid::regclass, c.conname, pg_get_constraintdef(c.oid)) as definition,
               format('alter table %s drop constraint %I', c.conrelid::regclass, c.conname) as removal
        from pg_constraint c
        where c.contype in ('p', 'u', 'x', 'f')
          and (c.conrelid in (select oid from tables) or (c.contype = 'f' and c.confrelid in (select oid from tables)))
        union all
        select 3,
               i.indrelid::regclass::text,
               r.relname::text,
               pg_get_indexdef(i.indexrelid),
               format('drop index %s', i.indexrelid::regclass)
        from pg_index i
        join pg_class r on r.oid = i.indexrelid
        where i.indrelid in (select oid from tables)
          and not exists (select from pg_constraint c where c.conindid = i.indexrelid and c.contype in ('p', 'u', 'x'))
    ) pieces
    order by rank, relation, name";

/// Takes down what hangs on `tables` and puts it on record. Belongs into one transaction with the opening of
/// the ledger. Returns how many pieces came down.
pub(crate) async fn take_down(db: &mut PgConnection, service: &str, tables: &[&str]) -> Result<usize, sqlx::Error> {
    // A reader that holds a table for longer than this is not waited for: everybody else would queue up behind.
    sqlx::query("set local lock_timeout = '10s'").execute(&mut *db).await?;
    let pieces = sqlx::query(PIECES).bind(tables).fetch_all(&mut *db).await?;
    let next: i32 =
        sqlx::query_scalar("select coalesce(max(ordinal), 0) + 1 from lab.seed_structure where service = $1")
            .bind(service)
            .fetch_one(&mut *db)
            .await?;
    for (ordinal, piece) in (next..).zip(&pieces) {
        sqlx::query(
            "insert into lab.seed_structure (service, ordinal, relation, name, definition) values ($1, $2, $3, $4, $5)",
        )
        .bind(service)
        .bind(ordinal)
        .bind(piece.try_get::<String, _>("relation")?)
        .bind(piece.try_get::<String, _>("name")?)
        .bind(piece.try_get::<String, _>("definition")?)
        .execute(&mut *db)
        .await?;
    }
    for piece in &pieces {
        // The statement was put together by the server, with its own quoting.
        sqlx::raw_sql(AssertSqlSafe(piece.try_get::<String, _>("removal")?)).execute(&mut *db).await?;
    }
    Ok(pieces.len())
}

/// What is still missing, in the order in which it can be made again: keys and indexes, then foreign keys.
pub(crate) async fn missing(db: &mut PgConnection, service: &str) -> Result<Vec<Piece>, sqlx::Error> {
    let rows = sqlx::query(
        "select ordinal, relation, name, definition, definition ~* ' foreign key ' as foreign_key
         from lab.seed_structure where service = $1
         order by foreign_key, ordinal",
    )
    .bind(service)
    .fetch_all(db)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(Piece {
                ordinal: row.try_get("ordinal")?,
                relation: row.try_get("relation")?,
                name: row.try_get("name")?,
                definition: row.try_get("definition")?,
                foreign: row.try_get("foreign_key")?,
            })
        })
        .collect()
}

/// What a seeding has left undone, a line each: the tables that `sequences_behind` finds, and what was not made again.
pub(crate) async fn not_in_order(
    db: &mut PgConnection,
    service: &str,
    sequences_behind: &'static str,
) -> anyhow::Result<Vec<String>> {
    let behind: Vec<String> =
        sqlx::query_scalar(sequences_behind).fetch_all(&mut *db).await.context("cannot check the sequences")?;
    let mut left: Vec<String> =
        behind.into_iter().map(|table| format!("the sequence of {table} is behind its rows")).collect();
    let missing = missing(db, service).await?;
    left.extend(missing.into_iter().map(|piece| format!("{} of {} was not made again", piece.name, piece.relation)));
    Ok(left)
}

/// Makes one piece again and strikes it off the record, in one transaction.
pub(crate) async fn restore(db: &mut PgConnection, service: &str, piece: &Piece) -> Result<(), sqlx::Error> {
    let mut tx = db.begin().await?;
    sqlx::raw_sql(AssertSqlSafe(piece.definition.clone())).execute(&mut *tx).await?;
    sqlx::query("delete from lab.seed_structure where service = $1 and ordinal = $2")
        .bind(service)
        .bind(piece.ordinal)
        .execute(&mut *tx)
        .await?;
    tx.commit().await
}
