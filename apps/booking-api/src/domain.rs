//! The booking's own types. Each is made by parsing, so that a value of the type is right wherever it turns up:
//! nothing hostile in a path, a query string, a header or a body reaches SQL or a key of Redis unparsed.

mod key;
mod seats;
mod strategy;

use std::fmt;
use std::str::FromStr;

pub use key::{Fingerprint, IdempotencyKey};
pub use seats::{Buyer, Capacity, EventName, Seats};
pub use service::parse::Invalid;
pub use strategy::Strategy;

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
    /// The id of an event: a whole number from 1 on.
    EventId,
    /// The id of a booking: a whole number from 1 on.
    BookingId
);

/// What every booking and cancellation has to know about its event; none of it ever changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its id.
    pub id: EventId,
    /// How many seats it has.
    pub capacity: Capacity,
    /// How its seats are kept from being sold twice.
    pub strategy: Strategy,
}
