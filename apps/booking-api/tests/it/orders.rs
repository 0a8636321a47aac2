//! Events and orders without HTTP, for the tests of single strategies.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ::http::HeaderMap;
use booking_api::domain::{BookingId, Capacity, Event, EventId, EventName, Fingerprint, Seats};
use booking_api::model::Audit;
use booking_api::store::Store;
use booking_api::store::audit::audit;
use booking_api::store::events::{NewEvent, create, facts};
use booking_api::strategies::{Cancel, Idempotency, Order};
use metrics::{Counter, CounterFn, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use service::conditional::IfMatch;
use service::config::DatabaseArgs;
use sqlx::PgPool;
use testbed::Database;
pub(crate) use testbed::api::{SOON, until};
use tokio::time::Instant;

use crate::stage::{migrated, until_waiting};

/// A migrated database of a test's own.
pub(crate) struct Bench {
    pub(crate) database: Database,
    pub(crate) store: Store,
}

impl Bench {
    pub(crate) async fn set() -> Self {
        let database = migrated().await;
        let store = store(&database.url());
        Self { database, store }
    }

    /// Another replica's pools.
    pub(crate) fn another(&self) -> Store {
        store(&self.database.url())
    }

    pub(crate) fn pool(&self) -> &PgPool {
        &self.store.pool
    }

    pub(crate) async fn event(&self, strategy: &str, capacity: i32) -> Event {
        let new = NewEvent {
            name: EventName::parse("Concert".to_owned()).unwrap(),
            capacity: Capacity::of_row(capacity),
            strategy: strategy.parse().unwrap(),
        };
        let (made, _) = create(self.pool(), &new).await.unwrap();
        facts(self.pool(), EventId::of_row(made.id)).await.unwrap().unwrap()
    }

    pub(crate) async fn audit(&self, event: &Event) -> Audit {
        audit(self.pool(), event.id).await.unwrap().unwrap()
    }

    /// Counts what is sold, by its own look; nothing is sold twice or beyond the capacity, and the page agrees.
    pub(crate) async fn sold(&self, event: &Event) -> i64 {
        let audit = self.audit(event).await;
        assert_eq!(
            (audit.oversold, audit.drift, audit.duplicate_seats, audit.duplicate_keys),
            (0, 0, 0, 0),
            "{audit:?}"
        );
        audit.seats_sold
    }

    /// Waits until so many sessions wait for a lock of PostgreSQL's.
    pub(crate) async fn until_waiting(&self, sessions: i64) {
        until_waiting(self.pool(), sessions).await;
    }
}

/// The pools of one replica.
pub(crate) fn store(url: &str) -> Store {
    let args = DatabaseArgs {
        database_pool: 8,
        database_wait: SOON,
        database_statement_timeout: SOON,
        ..DatabaseArgs::new(url.parse().unwrap())
    };
    Store::new(service::postgres::pool(&args, "orders"), service::postgres::pool(&args, "orders"))
}

/// An order without a key and a payment, that may wait for as long as a test may take.
pub(crate) fn order(event: &Event, seats: i32) -> Order {
    let deadline = Instant::now() + SOON;
    let seats = Seats::parse(seats.into()).unwrap();
    Order { event: *event, seats, buyer: None, key: None, work: Duration::ZERO, deadline }
}

/// The same under a key.
pub(crate) fn keyed(event: &Event, seats: i32, key: &str) -> Order {
    let order = order(event, seats);
    let fingerprint = Fingerprint::of(event.id, order.seats, None);
    Order { key: Some(Idempotency { key: key.parse().unwrap(), fingerprint }), ..order }
}

/// The same, with so little time that it does not wait.
pub(crate) fn impatient(order: Order) -> Order {
    Order { deadline: Instant::now() + Duration::from_millis(50), ..order }
}

pub(crate) fn cancel(event: &Event, booking: i64) -> Cancel {
    Cancel {
        event: *event,
        booking: BookingId::of_row(booking),
        expected: IfMatch::read(&HeaderMap::new()).unwrap(),
        deadline: Instant::now() + SOON,
    }
}

/// Counts what this test's thread counts: a test runs on one, with all of its tasks.
#[derive(Clone, Default)]
pub(crate) struct Counted(Arc<Mutex<HashMap<String, Arc<Count>>>>);

#[derive(Default)]
struct Count(AtomicU64);

impl CounterFn for Count {
    fn increment(&self, value: u64) {
        self.0.fetch_add(value, Ordering::SeqCst);
    }

    fn absolute(&self, value: u64) {
        self.0.fetch_max(value, Ordering::SeqCst);
    }
}

impl Counted {
    /// What was counted under this name, whatever the labels.
    pub(crate) fn of(&self, name: &str) -> u64 {
        self.0.lock().unwrap().get(name).map_or(0, |count| count.0.load(Ordering::SeqCst))
    }
}

impl Recorder for Counted {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(Arc::clone(self.0.lock().unwrap().entry(key.name().to_owned()).or_default()))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}
