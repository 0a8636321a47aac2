//! The shop's own types. Each is made by parsing, so that a value of the type is right wherever it turns up:
//! nothing hostile in a path, a query string or a body reaches SQL or a key of the cache unparsed.

mod listing;
mod price;
mod product;

use std::fmt;
use std::str::FromStr;

pub use listing::{Listing, Phrase, Search};
pub use price::{Amount, Currency, Percent, Price};
pub use product::{Description, Name, Stock};
pub use service::paging::Limit;
pub use service::parse::Invalid;

/// The id of a row in a URL, and a type of its own for each table.
macro_rules! ids {
    ($($(#[$doc:meta])* $id:ident),*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $id(i64);

        impl $id {
            /// The id of a row.
            #[must_use]
            pub fn of_row(id: i64) -> Self {
                Self(id)
            }

            /// The number.
            #[must_use]
            pub fn get(self) -> i64 {
                self.0
            }
        }

        impl FromStr for $id {
            type Err = Invalid;

            fn from_str(text: &str) -> Result<Self, Invalid> {
                service::parse::row_id(text).map(Self)
            }
        }

        impl fmt::Display for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        service::parsed_text!($id);
    )*};
}

ids!(
    /// The id of a product: a whole number from 1 on.
    ProductId,
    /// The id of a category: a whole number from 1 on.
    CategoryId
);
