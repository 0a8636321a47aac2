//! What was loaded, held against what had to be loaded.

use anyhow::Context as _;
use sqlx::postgres::PgConnection;

use super::content::{self, Content};
use crate::screen::Bar;
use crate::seed::filling::Filling as _;
use crate::seed::{Plan, structure};

/// Rows by id, so that what somebody writes meanwhile does not count; and what their prices come to, which no two generators
/// have in common.
const SUMS: &str = "
    select (select count(*) from shop.categories where id <= $1),
           (select count(*) from shop.products where id <= $2),
           (select coalesce(sum(price_cents), 0)::bigint from shop.products where id <= $2 and version = 1),
           (select count(*) from shop.products where id <= $2 and version > 1)";

/// The sizes of all categories, by seeded products.
const SIZES: &str = "
    select c.id, count(p.id)
    from shop.categories c
    left join shop.products p on p.category_id = c.id and p.id <= $2
    where c.id <= $1
    group by c.id
    order by c.id";

/// Products whose words nobody finds: the trigger that fills the search was not there.
const NOT_SEARCHED: &str = "select count(*) from shop.products where search = ''";

/// Sequences that would give out an id that is taken.
const SEQUENCES_BEHIND: &str = "
    select t.name
    from (values ('shop.categories', (select max(id) from shop.categories)),
                 ('shop.products', (select max(id) from shop.products))) as t (name, last)
    where coalesce(pg_sequence_last_value(pg_get_serial_sequence(t.name, 'id')::regclass), 0) < t.last";

/// Returns one line per thing that is not as it should be.
pub(super) async fn verify(db: &mut PgConnection, plan: &Plan, content: &Content) -> anyhow::Result<Vec<String>> {
    let mut broken = Vec::new();
    let mut bar = Bar::new("checks", 4, 0);
    let (categories, products) = (i64::from(content::CATEGORIES), plan.items.cast_signed());
    let expected = content.totals(plan.items);
    let sums: (i64, i64, i64, i64) = sqlx::query_as(SUMS)
        .bind(categories)
        .bind(products)
        .fetch_one(&mut *db)
        .await
        .context("cannot count the rows")?;
    if sums.0 != categories {
        broken.push(format!("shop.categories has {} seeded rows instead of {categories}", sums.0));
    }
    if sums.1 != products {
        broken.push(format!("shop.products has {} seeded rows instead of {products}", sums.1));
    }
    // Somebody who changes a product meanwhile changes the sum as well.
    if sums.3 == 0 && sums.2.unsigned_abs() != expected.prices {
        broken.push(format!("the seeded prices come to {} instead of {}", sums.2, expected.prices));
    }
    bar.advance(1);
    let sizes: Vec<(i64, i64)> = sqlx::query_as(SIZES)
        .bind(categories)
        .bind(products)
        .fetch_all(&mut *db)
        .await
        .context("cannot count the products of the categories")?;
    let wrong = sizes.iter().zip(&expected.sizes).filter(|((_, size), expected)| size.unsigned_abs() != **expected);
    let wrong = wrong.count();
    if wrong != 0 {
        broken.push(format!("{wrong} categories do not have the products that they should have"));
    }
    bar.advance(1);
    let lost: i64 = sqlx::query_scalar(NOT_SEARCHED).fetch_one(&mut *db).await.context("cannot check the search")?;
    if lost != 0 {
        broken.push(format!("{lost} products cannot be found by any word"));
    }
    bar.advance(1);
    broken.extend(structure::not_in_order(db, Content::LEDGER.service, SEQUENCES_BEHIND).await?);
    bar.done();
    Ok(broken)
}
