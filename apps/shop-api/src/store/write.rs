//! What changes rows. Each function works inside of a transaction that its caller commits, together with what the strategy
//! records of the change.

use bytes::Bytes;
use service::FieldProblem;
use service::conditional::IfMatch;
use sqlx::PgConnection;

use super::read::ProductRow;
use super::{Bulk, LoadError, Store};
use crate::domain::{CategoryId, Currency, Description, Name, Price, ProductId, Stock};
use crate::error::Error;
use crate::model::Product;

/// A product to be added.
#[derive(Clone, Debug)]
pub struct NewProduct {
    /// Its category, for its whole life.
    pub category: CategoryId,
    /// Its name.
    pub name: Name,
    /// What is said about it.
    pub description: Description,
    /// What it costs.
    pub price: Price,
    /// How many there are.
    pub stock: Stock,
}

/// What a product shall be from now on.
#[derive(Clone, Debug)]
pub struct ProductUpdate {
    /// Its name.
    pub name: Name,
    /// What is said about it.
    pub description: Description,
    /// What it costs, in the currency that it has.
    pub price: Price,
    /// How many there are.
    pub stock: Stock,
}

/// A product as a transaction leaves it: what `returning` gave, ready to be sent and to be cached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The product.
    pub id: ProductId,
    /// Its version.
    pub version: u64,
    /// The document.
    pub json: Bytes,
}

impl State {
    pub(super) fn of_row(row: ProductRow) -> Result<Self, LoadError> {
        let product = Product::from(row);
        let json = serde_json::to_vec(&product)?.into();
        Ok(Self { id: ProductId::of_row(product.id), version: product.version.unsigned_abs(), json })
    }
}

/// What a change touched: everything that a strategy needs to know to find the cached documents which show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Touched {
    /// The category in which it happened.
    pub category: CategoryId,
    /// What happened.
    pub what: What,
}

/// What happened to products.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// There is a new one. Somebody may have asked for its id before, and been told that there is no such product.
    Created(State),
    /// One is another now.
    Changed(State),
    /// One is gone.
    Deleted {
        /// Which one.
        id: ProductId,
        /// The last version that it had.
        version: u64,
    },
    /// All of the category have a new price.
    Repriced(Bulk),
}

/// A change of rows, not yet committed.
#[derive(Clone, Debug)]
pub struct Change<T> {
    /// What the client gets.
    pub value: T,
    /// What it touched.
    pub touched: Touched,
}

impl Change<State> {
    fn of_state(category: i64, state: State) -> Self {
        let touched = Touched { category: CategoryId::of_row(category), what: What::Changed(state.clone()) };
        Self { value: state, touched }
    }
}

impl Store {
    /// Adds a product.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there is no such category, else the database's.
    pub async fn create(db: &mut PgConnection, new: &NewProduct) -> Result<Change<State>, Error> {
        let row = sqlx::query_as!(
            ProductRow,
            "insert into shop.products (category_id, name, description, price_cents, currency, stock)
             select c.id, $2, $3, $4, $5, $6 from shop.categories c where c.id = $1
             returning id, category_id, name, description, price_cents, currency, stock, version, updated_at",
            new.category.get(),
            new.name.as_str(),
            new.description.as_str(),
            new.price.amount.get(),
            new.price.currency.as_str(),
            new.stock.get()
        )
        .fetch_optional(db)
        .await?
        .ok_or_else(|| Error::field("/category_id", format!("there is no category {}", new.category)))?;
        let state = State::of_row(row)?;
        let touched = Touched { category: new.category, what: What::Created(state.clone()) };
        Ok(Change { value: state, touched })
    }

    /// Changes a product, if its version is one that the client expects.
    ///
    /// # Errors
    /// [`Error::NoSuchProduct`], [`Error::PreconditionFailed`], [`Error::Invalid`] for another currency than the
    /// product's, else the database's.
    pub async fn update(
        db: &mut PgConnection,
        id: ProductId,
        expected: &IfMatch,
        update: &ProductUpdate,
    ) -> Result<Change<State>, Error> {
        lock(db, id, expected, Some(update.price.currency)).await?;
        let row = sqlx::query_as!(
            ProductRow,
            "update shop.products
             set name = $2, description = $3, price_cents = $4, stock = $5
             where id = $1
             returning id, category_id, name, description, price_cents, currency, stock, version, updated_at",
            id.get(),
            update.name.as_str(),
            update.description.as_str(),
            update.price.amount.get(),
            update.stock.get()
        )
        .fetch_one(db)
        .await?;
        Ok(Change::of_state(row.category_id, State::of_row(row)?))
    }

    /// Changes the price of a product, if its version is one that the client expects.
    ///
    /// # Errors
    /// As [`update`](Self::update).
    pub async fn set_price(
        db: &mut PgConnection,
        id: ProductId,
        expected: &IfMatch,
        price: Price,
    ) -> Result<Change<State>, Error> {
        lock(db, id, expected, Some(price.currency)).await?;
        let row = sqlx::query_as!(
            ProductRow,
            "update shop.products
             set price_cents = $2
             where id = $1
             returning id, category_id, name, description, price_cents, currency, stock, version, updated_at",
            id.get(),
            price.amount.get()
        )
        .fetch_one(db)
        .await?;
        Ok(Change::of_state(row.category_id, State::of_row(row)?))
    }

    /// Deletes a product, if its version is one that the client expects.
    ///
    /// # Errors
    /// [`Error::NoSuchProduct`], [`Error::PreconditionFailed`], else the database's.
    pub async fn delete(db: &mut PgConnection, id: ProductId, expected: &IfMatch) -> Result<Change<()>, Error> {
        lock(db, id, expected, None).await?;
        let row = sqlx::query!("delete from shop.products where id = $1 returning category_id, version", id.get())
            .fetch_one(db)
            .await?;
        let what = What::Deleted { id, version: row.version.unsigned_abs() };
        let touched = Touched { category: CategoryId::of_row(row.category_id), what };
        Ok(Change { value: (), touched })
    }
}

/// Locks the row and checks what the client takes for granted of it.
async fn lock(
    db: &mut PgConnection,
    id: ProductId,
    expected: &IfMatch,
    currency: Option<Currency>,
) -> Result<(), Error> {
    let row = sqlx::query!("select version, currency from shop.products where id = $1 for update", id.get())
        .fetch_optional(db)
        .await?
        .ok_or(Error::NoSuchProduct(id))?;
    expected.check(row.version)?;
    match currency {
        Some(currency) if currency.as_str() != row.currency => Err(Error::Invalid(vec![FieldProblem::new(
            "/price/currency",
            format!("the product is priced in {}", row.currency),
        )])),
        _ => Ok(()),
    }
}
