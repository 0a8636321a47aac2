//! The shop's own types. Each is made by parsing, so that a value of the type is right wherever it turns up:
//! nothing hostile in a path, a query string or a body reaches SQL or a key of the cache unparsed.

mod listing;
mod price;
mod product;

pub use listing::{Listing, Phrase, Search};
pub use price::{Amount, Currency, Percent, Price};
pub use product::{Description, Name, Stock};
pub use service::paging::Limit;
pub use service::parse::Invalid;

service::row_ids!(
    /// The id of a product: a whole number from 1 on.
    ProductId,
    /// The id of a category: a whole number from 1 on.
    CategoryId
);
