//! The HTTP interface of booking-api as its clients know it.

use std::io::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

use super::strategy::Strategy;
use crate::measure::connection::Response;
use crate::measure::http::{fetch, post};

/// How a booking was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    /// 201: the seats are his.
    Booked,
    /// 409 with how many seats remain.
    SoldOut,
    /// 423: the lock was not had in time, and nothing was booked.
    Locked,
    /// 503: a store is away, or it is not known how a commit ended; the same key may be sent again.
    Unavailable,
    /// Anything else, by its status.
    Unexpected(u16),
}

/// The member that only the problem "sold out" has.
const SOLD_OUT: &[u8] = b"\"remaining\"";

impl Answer {
    pub(crate) fn of(response: &Response<'_>) -> Self {
        match response.status {
            201 => Self::Booked,
            // There are other conflicts, which none of the lab's requests should meet.
            409 if response.body.windows(SOLD_OUT.len()).any(|part| part == SOLD_OUT) => Self::SoldOut,
            423 => Self::Locked,
            503 => Self::Unavailable,
            other => Self::Unexpected(other),
        }
    }
}

/// A request to book one seat.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wish<'a> {
    pub(crate) event: i64,
    pub(crate) buyer: &'a str,
    pub(crate) key: &'a str,
    /// The payment, in the middle of the booking.
    pub(crate) work: Duration,
}

impl Wish<'_> {
    /// Writes the whole request. Called once a request, so without a detour over a `String`.
    pub(crate) fn write(&self, into: &mut Vec<u8>) {
        let Self { event, buyer, key, work } = self;
        let length = r#"{"seats":1,"buyer":""}"#.len() + buyer.len();
        // Writing to a Vec does not fail.
        let _ = write!(into, "POST /events/{event}/bookings");
        if !work.is_zero() {
            let _ = write!(into, "?work_ms={}", work.as_millis());
        }
        let _ = write!(
            into,
            " HTTP/1.1\r\nhost: booking\r\ncontent-type: application/json\r\nidempotency-key: {key}\r\n\
             content-length: {length}\r\n\r\n{{\"seats\":1,\"buyer\":\"{buyer}\"}}"
        );
    }
}

/// The id in `Location: /bookings/{id}`, which costs less to read than the body.
pub(crate) fn booking_id(response: &Response<'_>) -> Option<i64> {
    let location = std::str::from_utf8(response.header("location")?).ok()?;
    location.strip_prefix("/bookings/")?.parse().ok()
}

/// An event, as its page shows it; what the lab reads of it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Event {
    pub(crate) id: i64,
    pub(crate) booked: i64,
}

/// What the service says about an event's bookings.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
pub(crate) struct Audit {
    pub(crate) bookings: i64,
    pub(crate) cancelled: i64,
    pub(crate) seats_sold: i64,
    pub(crate) oversold: i64,
    pub(crate) booked: i64,
    pub(crate) duplicate_keys: i64,
    pub(crate) duplicate_seats: i64,
    pub(crate) fences: Fences,
}

/// The fences of an event's bookings, in the order of the bookings.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
pub(crate) struct Fences {
    pub(crate) out_of_order: i64,
}

/// Makes an event. The inner error is the service's reason not to have this strategy.
///
/// # Errors
/// No answer, or one that means neither.
pub(crate) async fn create_event(
    replica: SocketAddr,
    name: &str,
    capacity: u32,
    strategy: Strategy,
) -> anyhow::Result<Result<i64, String>> {
    let document = serde_json::json!({ "name": name, "capacity": capacity, "strategy": strategy.as_str() });
    let (status, body) = post(replica, "/events", &document).await.context("POST /events")?;
    match status {
        201 => {
            let event: Event = serde_json::from_slice(&body).context("the answer to POST /events")?;
            Ok(Ok(event.id))
        }
        422 => Ok(Err(reason(&body))),
        _ => bail!("POST /events answered {status}: {}", String::from_utf8_lossy(&body)),
    }
}

/// What a problem document says of its fields, or else in general.
fn reason(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Problem {
        #[serde(default)]
        detail: String,
        #[serde(default)]
        errors: Vec<Field>,
    }
    #[derive(Deserialize)]
    struct Field {
        detail: String,
    }
    let Ok(problem) = serde_json::from_slice::<Problem>(body) else {
        return String::from_utf8_lossy(body).into_owned();
    };
    let fields: Vec<String> = problem.errors.into_iter().map(|field| field.detail).collect();
    if fields.is_empty() { problem.detail } else { fields.join("; ") }
}

/// The event's page.
pub(crate) async fn event(replica: SocketAddr, id: i64) -> anyhow::Result<Event> {
    read(replica, &format!("/events/{id}")).await
}

/// What the service says of the event's bookings.
pub(crate) async fn audit(replica: SocketAddr, id: i64) -> anyhow::Result<Audit> {
    read(replica, &format!("/events/{id}/audit")).await
}

async fn read<T: serde::de::DeserializeOwned>(replica: SocketAddr, path: &str) -> anyhow::Result<T> {
    let (status, body) = fetch(replica, path).await.with_context(|| format!("GET {path}"))?;
    if status != 200 {
        bail!("GET {path} answered {status}: {}", String::from_utf8_lossy(&body));
    }
    serde_json::from_slice(&body).with_context(|| format!("the answer to GET {path}"))
}

#[cfg(test)]
mod tests {
    use super::{Wish, reason};
    use std::time::Duration;

    #[test]
    fn a_request_is_whole() {
        let mut bytes = Vec::new();
        let wish = Wish { event: 7, buyer: "buyer-01", key: "r-1-2", work: Duration::from_millis(2) };
        wish.write(&mut bytes);
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.starts_with("POST /events/7/bookings?work_ms=2 HTTP/1.1\r\n"), "{text}");
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("\r\nidempotency-key: r-1-2\r\n"), "{head}");
        assert!(head.ends_with(&format!("content-length: {}", body.len())), "{head}");
        assert_eq!(body, r#"{"seats":1,"buyer":"buyer-01"}"#);
        let mut bytes = Vec::new();
        Wish { work: Duration::ZERO, ..wish }.write(&mut bytes);
        assert!(bytes.starts_with(b"POST /events/7/bookings HTTP/1.1\r\n"));
    }

    #[test]
    fn the_reason_is_that_of_the_field() {
        let body = br#"{"detail":"not made","errors":[{"pointer":"/strategy","detail":"needs a cluster"}]}"#;
        assert_eq!(reason(body), "needs a cluster");
        assert_eq!(reason(br#"{"detail":"not made"}"#), "not made");
        assert_eq!(reason(b"oops"), "oops");
    }
}
