//! `/events/{id}/bookings`: seats are sold here.

use std::str::FromStr;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use http::HeaderValue;
use serde::Deserialize;
use service::conditional::EntityTag;
use service::{Json, Path, Query};
use tokio::time::Instant;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Bookings;
use super::bodies::CreateBooking;
use super::headers::{IDEMPOTENT_REPLAYED, Key, created, say_told};
use super::problems::{Always, Locked, Malformed, Missing, Refused, WrongBody};
use crate::domain::{EventId, Fingerprint, Invalid, Strategy};
use crate::error::{self, Error};
use crate::model::Booking;
use crate::pages::Ended;
use crate::store::events;
use crate::strategies::{Idempotency, Order, Outcome};

pub(super) fn router() -> OpenApiRouter<Bookings> {
    OpenApiRouter::new().routes(routes!(create))
}

/// How the booking is made.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct BookingQuery {
    /// How long the payment takes, in milliseconds: between the look at what is left and the booking.
    #[serde(default)]
    #[param(value_type = Option<u16>, minimum = 0, maximum = 10_000, default = 0)]
    work_ms: Work,
    /// The strategy that the client expects the event to have.
    #[param(value_type = Option<String>, example = "redis-fenced")]
    strategy: Option<Strategy>,
}

/// How long the payment takes: 0 to 10,000 ms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Work(Duration);

impl FromStr for Work {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse() {
            Ok(milliseconds @ 0..=10_000_u64) if digits => Ok(Self(Duration::from_millis(milliseconds))),
            _ => Err(Invalid::rule("must be a whole number from 0 to 10000")),
        }
    }
}

service::parsed_text!(Work);

/// Book seats
///
/// All of them or none. With an `Idempotency-Key` the same request can be sent again and books once; the answer to a repetition is the
/// first one's, with `Idempotent-Replayed: true`. A booking that has begun is finished although its client hangs up.
#[utoipa::path(
    post, path = "/events/{id}/bookings", operation_id = "createBooking", tag = "bookings", request_body = CreateBooking, params(
        ("id" = i64, Path, description = "The event's id", minimum = 1),
        BookingQuery,
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters, chosen by the client", max_length = 512),
    ),
    responses(
        (status = 201, description = "The booking", body = Booking, headers(
            ("Location" = String, description = "The booking's path"),
            ("ETag" = String, description = "The version of the booking, in quotes"),
            ("X-Cache-Write" = String, description = "applied: the event's page shows it from now on; pending: soon; deferred: this replica has no cache"),
            ("Idempotent-Replayed" = Option<String>, description = "true if the booking was made by an earlier request with the same key"),
        )),
        Malformed, Missing, Refused, WrongBody, Locked, Always,
    )
)]
async fn create(
    State(bookings): State<Bookings>,
    Path(id): Path<EventId>,
    Query(query): Query<BookingQuery>,
    Key(key): Key,
    Json(body): Json<CreateBooking>,
) -> Result<Response, Error> {
    let (seats, buyer) = body.parse()?;
    let deadline = Instant::now() + bookings.lock_deadline;
    let event = events::facts(&bookings.store.pool, id).await?.ok_or(Error::NoSuchEvent(id))?;
    if let Some(named) = query.strategy.filter(|named| *named != event.strategy) {
        return Err(Error::OtherStrategy { has: event.strategy, named });
    }
    let fingerprint = Fingerprint::of(id, seats, buyer.as_ref());
    let key = key.map(|key| Idempotency { key, fingerprint });
    let repeatable = key.is_some();
    let order = Order { event, seats, buyer, key, work: query.work_ms.0, deadline };
    let strategies = bookings.strategies;
    let change = async move {
        let refused = |refusal| error::Refused { event: id, refusal, repeatable };
        Ok(match strategies.book(&order).await.map_err(refused)? {
            Outcome::Booked(made) => {
                let record = Some(made.record);
                Ended::Changed { value: Outcome::Booked(made), event: id, record }
            }
            // Whoever made it may have died before he told the cache, and this answer promises the same as his.
            value @ Outcome::Replayed(_) => Ended::Changed { value, event: id, record: None },
            value => Ended::Unchanged(value),
        })
    };
    let (outcome, told) = bookings.pages.change(change).await?;
    match outcome {
        Outcome::Booked(made) => Ok(say_told(answer(made.booking), told)),
        Outcome::Replayed(booking) => {
            let mut answer = say_told(answer(booking), told);
            answer.headers_mut().insert(IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
            Ok(answer)
        }
        Outcome::KeyReused => Err(Error::KeyReused),
        Outcome::SoldOut { remaining } => Err(Error::SoldOut { remaining }),
    }
}

fn answer(booking: Booking) -> Response {
    let tag = EntityTag::of_version(booking.version().unsigned_abs());
    created(&format!("/bookings/{}", booking.id), tag, booking)
}
