//! The booking's own types. Each is made by parsing, so that a value of the type is right wherever it turns up:
//! nothing hostile in a path, a query string, a header or a body reaches SQL or a key of Redis unparsed.

mod key;
mod seats;
mod strategy;

pub use key::{Fingerprint, IdempotencyKey};
pub use seats::{Buyer, Capacity, EventName, Seats};
pub use service::parse::Invalid;
pub use strategy::Strategy;

service::row_ids!(
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
