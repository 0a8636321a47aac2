//! The bodies of requests: first JSON of the right shape, then values that are allowed. All that is wrong with the
//! values is told at once.

use serde::Deserialize;
use service::parse::Checked;
use utoipa::ToSchema;

use crate::domain::{Buyer, Capacity, EventName, Seats, Strategy};
use crate::error::Error;
use crate::store::events::NewEvent;

/// An event to be made.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "Redis, live", "capacity": 500, "strategy": "redis-fenced"}))]
pub(super) struct CreateEvent {
    /// 1 to 200 characters.
    #[schema(min_length = 1, max_length = 200)]
    name: String,
    /// How many seats it has.
    #[schema(minimum = 1, maximum = 100_000)]
    capacity: i64,
    /// How its seats are kept from being sold twice; one of none, redis, redis-fenced, redlock, pg-advisory, pg-row, k8s-lease,
    /// pg-conditional, pg-units, redis-reserve. Fixed for the event's life.
    strategy: String,
}

/// Seats to be booked.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"seats": 2, "buyer": "Ada"}))]
pub(super) struct CreateBooking {
    /// How many.
    #[schema(minimum = 1, maximum = 10)]
    seats: i64,
    /// For whom: 1 to 100 characters.
    #[schema(min_length = 1, max_length = 100)]
    buyer: Option<String>,
}

impl CreateEvent {
    pub(super) fn parse(self) -> Result<NewEvent, Error> {
        let mut checked = Checked::new();
        let name = checked.field("/name", EventName::parse(self.name));
        let capacity = checked.field("/capacity", Capacity::parse(self.capacity));
        let strategy = checked.field("/strategy", self.strategy.parse::<Strategy>());
        let event = || Some(NewEvent { name: name?, capacity: capacity?, strategy: strategy? });
        Ok(checked.finish(event())?)
    }
}

impl CreateBooking {
    pub(super) fn parse(self) -> Result<(Seats, Option<Buyer>), Error> {
        let mut checked = Checked::new();
        let seats = checked.field("/seats", Seats::parse(self.seats));
        let buyer = self.buyer.and_then(|buyer| checked.field("/buyer", Buyer::parse(buyer)));
        Ok(checked.finish(seats.map(|seats| (seats, buyer)))?)
    }
}
