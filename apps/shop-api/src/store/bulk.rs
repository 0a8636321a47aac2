//! New prices for all products of a category.

use sqlx::PgConnection;

use super::read::ProductRow;
use super::{Change, State, Store, Touched, What};
use crate::domain::{CategoryId, Percent, ProductId};
use crate::error::Error;
use crate::model::Repriced;

/// Documents that are written between two looks at whatever else there is to do.
const AT_ONCE: usize = 64;

/// What a strategy has to know of the rows of a bulk change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// How many there are.
    Count,
    /// Which ones.
    Ids,
    /// What each is now.
    States,
}

/// The rows of a bulk change, in the detail that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bulk {
    /// All products of the category, whichever these are.
    All,
    /// These.
    Ids(Vec<ProductId>),
    /// These, and what each is now.
    States(Vec<State>),
}

impl Bulk {
    /// Where the bulk is known product by product: its products.
    pub fn ids(&self) -> impl Iterator<Item = ProductId> {
        let (ids, states) = match self {
            Self::All => (&[][..], &[][..]),
            Self::Ids(ids) => (&ids[..], &[][..]),
            Self::States(states) => (&[][..], &states[..]),
        };
        ids.iter().copied().chain(states.iter().map(|state| state.id))
    }
}

impl Store {
    /// Changes the price of each product of a category, rounded to the nearest coin, half a coin up.
    ///
    /// # Errors
    /// [`Error::NoSuchCategory`], [`Error::Invalid`] if a price gets too high, else the database's.
    pub async fn reprice(
        db: &mut PgConnection,
        category: CategoryId,
        percent: Percent,
        detail: Detail,
    ) -> Result<Change<Repriced>, Error> {
        // Thousands of rows may take longer than what a client usually waits for.
        sqlx::query!("select set_config('statement_timeout', '10s', true)").fetch_one(&mut *db).await?;
        // Two at once would lock the same rows, each in its own order. No lock that a new product's foreign key waits for.
        sqlx::query_scalar!("select id from shop.categories where id = $1 for no key update", category.get())
            .fetch_optional(&mut *db)
            .await?
            .ok_or(Error::NoSuchCategory(category))?;
        let bulk = match detail {
            Detail::Count => {
                let done = sqlx::query!(
                    "update shop.products set price_cents = (price_cents * $2::bigint + 50) / 100 where category_id = $1",
                    category.get(),
                    percent.factor()
                )
                .execute(db)
                .await?;
                (done.rows_affected(), Bulk::All)
            }
            Detail::Ids => {
                let ids = sqlx::query_scalar!(
                    "update shop.products set price_cents = (price_cents * $2::bigint + 50) / 100 where category_id = $1
                     returning id",
                    category.get(),
                    percent.factor()
                )
                .fetch_all(db)
                .await?;
                (ids.len() as u64, Bulk::Ids(ids.into_iter().map(ProductId::of_row).collect()))
            }
            Detail::States => {
                let rows = sqlx::query_as!(
                    ProductRow,
                    "update shop.products set price_cents = (price_cents * $2::bigint + 50) / 100 where category_id = $1
                     returning id, category_id, name, description, price_cents, currency, stock, version, updated_at",
                    category.get(),
                    percent.factor()
                )
                .fetch_all(db)
                .await?;
                let mut states = Vec::with_capacity(rows.len());
                for row in rows {
                    states.push(State::of_row(row)?);
                    // Thousands of documents in one go would hold up everything else that this thread has to do.
                    if states.len() % AT_ONCE == 0 {
                        tokio::task::yield_now().await;
                    }
                }
                (states.len() as u64, Bulk::States(states))
            }
        };
        let (products, bulk) = bulk;
        let value = Repriced { category_id: category.get(), percent: percent.get(), products };
        Ok(Change { value, touched: Touched { category, what: What::Repriced(bulk) } })
    }
}
