//! The documents that the API answers with.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

/// An event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Event)]
pub struct EventDocument {
    /// Counted up from 1.
    #[schema(minimum = 1)]
    pub id: i64,
    /// 1 to 200 characters.
    #[schema(max_length = 200)]
    pub name: String,
    /// How many seats it has.
    #[schema(minimum = 1, maximum = 100_000)]
    pub capacity: i32,
    /// How its seats are kept from being sold twice; fixed for the event's life.
    #[schema(example = "redis-fenced")]
    pub strategy: String,
    /// Seats that are booked. More than the capacity is what an unsafe strategy is there to show.
    #[schema(minimum = 0)]
    pub booked: i64,
    /// Seats that are left; 0 for an event that is oversold.
    #[schema(minimum = 0)]
    pub remaining: i64,
    /// When it was made.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
}

/// One page of the events, oldest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EventPage {
    /// The events of this page.
    #[schema(max_items = 100)]
    pub events: Vec<EventDocument>,
    /// The path of the next page; null on the last one.
    #[schema(required, example = "/events?after=20&limit=20")]
    pub next: Option<String>,
}

/// A booking.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Booking {
    /// Counted up from 1; some numbers are never used.
    #[schema(minimum = 1)]
    pub id: i64,
    /// The event.
    #[schema(minimum = 1)]
    pub event_id: i64,
    /// How many seats.
    #[schema(minimum = 1, maximum = 10)]
    pub seats: i32,
    /// Whose it is, as the client said it.
    #[schema(required, max_length = 100)]
    pub buyer: Option<String>,
    /// The numbers of the seats, where the strategy gives out numbered seats. They stay here after a cancellation.
    #[schema(required, max_items = 10)]
    pub seat_numbers: Option<Vec<i32>>,
    /// The fence of the lock under which it was booked, where the lock has fences.
    #[schema(required)]
    pub fence: Option<i64>,
    /// When it was booked.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// When it was cancelled; null while it is live.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(required)]
    pub cancelled_at: Option<OffsetDateTime>,
}

impl Booking {
    /// 1 while it is live, 2 when it is cancelled: it has no other change. The ETag is this number in quotes.
    #[must_use]
    pub fn version(&self) -> i64 {
        if self.cancelled_at.is_none() { 1 } else { 2 }
    }
}

/// An event's bookings against its capacity, all of one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Audit {
    /// The event.
    #[schema(minimum = 1)]
    pub event_id: i64,
    /// Its strategy.
    #[schema(example = "redis-fenced")]
    pub strategy: String,
    /// Its seats.
    #[schema(minimum = 1)]
    pub capacity: i32,
    /// Bookings, cancelled ones included.
    #[schema(minimum = 0)]
    pub bookings: i64,
    /// Those of them that are cancelled.
    #[schema(minimum = 0)]
    pub cancelled: i64,
    /// Seats of the live bookings.
    #[schema(minimum = 0)]
    pub seats_sold: i64,
    /// Seats sold beyond the capacity.
    #[schema(minimum = 0)]
    pub oversold: i64,
    /// What the event's page says.
    #[schema(minimum = 0)]
    pub booked: i64,
    /// By how much the event's page is wrong: `booked` less `seats_sold`.
    pub drift: i64,
    /// Idempotency keys that have more than one booking.
    #[schema(minimum = 0)]
    pub duplicate_keys: i64,
    /// Numbered seats that are in more than one live booking, or in one of them twice.
    #[schema(minimum = 0)]
    pub duplicate_seats: i64,
    /// The order of the fences.
    pub fences: FenceOrder,
}

/// Whether each booking has a higher fence than the one before it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FenceOrder {
    /// Bookings that have a fence.
    #[schema(minimum = 0)]
    pub checked: i64,
    /// Those whose fence is not higher than that of the booking before.
    #[schema(minimum = 0)]
    pub out_of_order: i64,
}
