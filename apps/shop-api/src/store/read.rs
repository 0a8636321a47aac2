//! Products, pages, searches, and the little that is known of products beside them.

use service::postgres::again_if_cut;
use time::OffsetDateTime;

use super::{Document, LoadError, Store};
use crate::domain::{CategoryId, Listing, ProductId, Search};
use crate::model::{Found, Money, Page, Product, Summary};

/// A row that becomes a [`Product`].
pub(super) struct ProductRow {
    pub(super) id: i64,
    pub(super) category_id: i64,
    pub(super) name: String,
    pub(super) description: String,
    pub(super) price_cents: i64,
    pub(super) currency: String,
    pub(super) stock: i32,
    pub(super) version: i64,
    pub(super) updated_at: OffsetDateTime,
}

impl From<ProductRow> for Product {
    fn from(row: ProductRow) -> Self {
        Self {
            id: row.id,
            category_id: row.category_id,
            name: row.name,
            description: row.description,
            price: Money { amount: row.price_cents, currency: row.currency },
            stock: row.stock,
            version: row.version,
            updated_at: row.updated_at,
        }
    }
}

impl Store {
    /// A product.
    ///
    /// # Errors
    /// [`LoadError`].
    pub async fn product(&self, id: ProductId) -> Result<Option<Document>, LoadError> {
        let row = again_if_cut(|| {
            sqlx::query_as!(
                ProductRow,
                "select id, category_id, name, description, price_cents, currency, stock, version, updated_at
                 from shop.products
                 where id = $1",
                id.get()
            )
            .fetch_optional(&self.pool)
        })
        .await?;
        let Some(product) = row.map(Product::from) else { return Ok(None) };
        Ok(Some(Document::of_version(product.version, &product)?))
    }

    /// A page of a category; `None` if there is no such category.
    ///
    /// # Errors
    /// [`LoadError`].
    pub async fn page(&self, listing: Listing) -> Result<Option<Document>, LoadError> {
        let after = listing.after.map_or(0, ProductId::get);
        // One row more than the page has, if there is one; a category without products is one row without a product.
        let rows = again_if_cut(|| {
            sqlx::query!(
                r#"select c.id as category_id, p.id as "id?", p.name as "name?", p.price_cents as "price_cents?",
                          p.currency as "currency?", p.stock as "stock?", p.version as "version?"
                   from shop.categories c
                   left join lateral (select id, name, price_cents, currency, stock, version
                                      from shop.products
                                      where category_id = c.id and id > $2
                                      order by id
                                      limit $3) p on true
                   where c.id = $1
                   order by p.id"#,
                listing.category.get(),
                after,
                listing.limit.rows()
            )
            .fetch_all(&self.pool)
        })
        .await?;
        if rows.is_empty() {
            return Ok(None);
        }
        let products = rows.into_iter().filter_map(|row| {
            Some(Summary {
                id: row.id?,
                category_id: row.category_id,
                name: row.name?,
                price: Money { amount: row.price_cents?, currency: row.currency? },
                stock: row.stock?,
                version: row.version?,
            })
        });
        let mut items: Vec<Summary> = products.collect();
        let next = listing.limit.cut(&mut items, |last| last.id);
        Ok(Some(Document::of_content(&Page { items, next })?))
    }

    /// The products that match a phrase best.
    ///
    /// # Errors
    /// [`LoadError`].
    pub async fn search(&self, search: &Search) -> Result<Document, LoadError> {
        let limit = i64::try_from(search.limit.get()).unwrap_or(i64::MAX);
        let rows = again_if_cut(|| {
            sqlx::query!(
                "select p.id, p.category_id, p.name, p.price_cents, p.currency, p.stock, p.version
                 from shop.products p, websearch_to_tsquery('pg_catalog.english', $1) as q
                 where p.search @@ q
                 order by ts_rank(p.search, q) desc, p.id
                 limit $2",
                search.phrase.as_str(),
                limit
            )
            .fetch_all(&self.pool)
        })
        .await?;
        let items = rows.into_iter().map(|row| Summary {
            id: row.id,
            category_id: row.category_id,
            name: row.name,
            price: Money { amount: row.price_cents, currency: row.currency },
            stock: row.stock,
            version: row.version,
        });
        Ok(Document::of_content(&Found { items: items.collect() })?)
    }

    /// The category of a product, which never changes.
    ///
    /// # Errors
    /// [`LoadError`].
    pub async fn home(&self, id: ProductId) -> Result<Option<CategoryId>, LoadError> {
        let category = again_if_cut(|| {
            sqlx::query_scalar!("select category_id from shop.products where id = $1", id.get())
                .fetch_optional(&self.pool)
        })
        .await?;
        Ok(category.map(CategoryId::of_row))
    }

    /// What the replicas sign seen versions with.
    ///
    /// # Errors
    /// The database's.
    pub async fn secret(&self) -> Result<Vec<u8>, sqlx::Error> {
        again_if_cut(|| {
            sqlx::query_scalar!("select value from shop.secrets where name = 'seen-version'").fetch_one(&self.pool)
        })
        .await
    }
}
