//! `redis-reserve` on a real PostgreSQL and a real Redis.

mod faults;
mod scripts;

use std::time::Duration;

use booking_api::domain::Event;
use booking_api::metrics::{RESERVATION_CONFLICTS, RESERVATIONS_LEAKED};
use booking_api::model::Booking;
use booking_api::store::Store;
use booking_api::strategies::reserve::{Reserve, ReserveSettings};
use booking_api::strategies::{Cancellation, Order, Outcome};
use fred::clients::Client;
use fred::interfaces::{ClientLike, HashesInterface, KeysInterface, LuaInterface};
use fred::types::config::Config;
use fred::types::{Builder, Value};
use futures_util::future::join_all;
use sqlx::Connection as _;
use testbed::{Direction, FaultProxy, RedisServer};

use crate::orders::{Bench, Counted, SOON, cancel, impatient, keyed, order, store, until};

/// Stores, and an event.
struct Stage {
    bench: Bench,
    redis: RedisServer,
    event: Event,
}

impl Stage {
    async fn set(capacity: i32) -> Self {
        let (bench, redis) = tokio::join!(Bench::set(), testbed::redis());
        let event = bench.event("redis-reserve", capacity).await;
        Self { bench, redis, event }
    }

    /// A replica that finds what is leaked soon, which no test waits for unless it leaks something.
    fn replica(&self) -> Reserve {
        replica(self.bench.another(), &self.redis.url(), Duration::from_millis(100))
    }

    /// A replica that finds nothing during a test.
    fn patient_replica(&self) -> Reserve {
        replica(self.bench.another(), &self.redis.url(), Duration::from_secs(3600))
    }

    async fn client(&self) -> Client {
        let client = Builder::from_config(Config::from_url(&self.redis.url()).unwrap()).build().unwrap();
        client.init().await.unwrap();
        client
    }

    async fn sold(&self) -> i64 {
        self.bench.sold(&self.event).await
    }

    fn key(&self, part: &str) -> String {
        format!("booking:r:{{{}}}:{part}", self.event.id)
    }

    fn keys(&self) -> Vec<String> {
        ["free", "held", "generation"].map(|part| self.key(part)).to_vec()
    }

    /// Reserves as a process does that dies before it claims.
    async fn reserve_and_die(&self, client: &Client, seats: i64) {
        let script = include_str!("../../src/strategies/reserve/scripts/reserve.lua");
        let args: Vec<Value> = vec!["the dead one's".into(), seats.into()];
        let reply: Vec<i64> = client
            .eval(script, self.keys(), args)
            .await
            .map(|reply: Value| reply.into_array().into_iter().skip(1).filter_map(|seat| seat.as_i64()).collect())
            .unwrap();
        assert_eq!(reply.len(), usize::try_from(seats).unwrap());
    }

    /// Seats in the pool, and reservations; waits until those that are claimed are confirmed.
    async fn pool(&self, client: &Client) -> i64 {
        until("all is confirmed", async || {
            let held: i64 = client.hlen(self.key("held")).await.unwrap();
            (held == 0).then_some(())
        })
        .await;
        client.custom(fred::cmd!("BITCOUNT"), vec![self.key("free")]).await.unwrap()
    }
}

fn replica(store: Store, redis_url: &str, reservation_timeout: Duration) -> Reserve {
    Reserve::start(store, ReserveSettings { redis_url: redis_url.to_owned(), reservation_timeout }).unwrap()
}

async fn booked(reserve: &Reserve, order: &Order) -> Booking {
    match reserve.book(order).await.unwrap() {
        Outcome::Booked(made) => made.booking,
        outcome => panic!("{outcome:?}"),
    }
}

async fn seats(reserve: &Reserve, order: &Order) -> Vec<i32> {
    booked(reserve, order).await.seat_numbers.unwrap()
}

/// Whether it is sold out, and not a seat left.
async fn is_sold_out(reserve: &Reserve, event: &Event) -> bool {
    reserve.book(&order(event, 1)).await.unwrap() == Outcome::SoldOut { remaining: 0 }
}

#[tokio::test]
async fn concurrent_buyers_sell_out_exactly() {
    let stage = Stage::set(97).await;
    let counted = Counted::default();
    let _counting = metrics::set_default_local_recorder(&counted);
    let replicas = [stage.patient_replica(), stage.patient_replica()];
    let sold = join_all((0..16).map(async |buyer| {
        let mut sold = 0;
        loop {
            match replicas[buyer % 2].book(&order(&stage.event, 1)).await.unwrap() {
                Outcome::Booked(made) => sold += made.booking.seats,
                Outcome::SoldOut { remaining } => {
                    assert_eq!(remaining, 0);
                    return sold;
                }
                outcome => panic!("{outcome:?}"),
            }
        }
    }))
    .await;
    assert_eq!(sold.iter().sum::<i32>(), 97);
    assert_eq!(stage.sold().await, 97);
    assert_eq!(stage.pool(&stage.client().await).await, 0);
    assert_eq!((counted.of(RESERVATION_CONFLICTS), counted.of(RESERVATIONS_LEAKED)), (0, 0));
}

#[tokio::test]
async fn orders_of_all_sizes_end_booked_or_sold_out() {
    let stage = Stage::set(60).await;
    let replicas = [stage.patient_replica(), stage.patient_replica()];
    let outcomes = join_all((0..24_i32).map(async |buyer| {
        let seats = 1 + buyer % 10;
        let order = Order { work: Duration::from_millis(2), ..order(&stage.event, seats) };
        match replicas[usize::from(buyer % 2 == 0)].book(&order).await.unwrap() {
            Outcome::Booked(made) => i64::from(made.booking.seats),
            Outcome::SoldOut { remaining } => {
                assert!(remaining < i64::from(seats));
                0
            }
            outcome => panic!("{outcome:?}"),
        }
    }))
    .await;
    assert_eq!(stage.sold().await, outcomes.iter().sum::<i64>());
}

#[tokio::test]
async fn seats_are_given_back_once_and_sold_again() {
    let stage = Stage::set(5).await;
    let reserve = stage.patient_replica();
    let first = booked(&reserve, &order(&stage.event, 3)).await;
    assert_eq!(first.seat_numbers.as_deref(), Some(&[1, 2, 3][..]));
    assert_eq!(seats(&reserve, &order(&stage.event, 2)).await, [4, 5]);
    let twice = (0..4).map(async |_| reserve.cancel(&cancel(&stage.event, first.id)).await.unwrap());
    let cancellations = join_all(twice).await;
    let cancelled =
        cancellations.iter().filter(|ended| matches!(ended, Cancellation::Cancelled { seats: 3, .. })).count();
    let already = cancellations.iter().filter(|ended| **ended == Cancellation::Already).count();
    assert_eq!((cancelled, already), (1, 3));
    assert_eq!(stage.sold().await, 2);
    assert_eq!(seats(&reserve, &order(&stage.event, 3)).await, [1, 2, 3]);
    // Who has them now keeps them.
    assert_eq!(reserve.cancel(&cancel(&stage.event, first.id)).await.unwrap(), Cancellation::Already);
    assert!(is_sold_out(&reserve, &stage.event).await);
    assert_eq!(stage.sold().await, 5);
}

#[tokio::test]
async fn a_repetition_books_nothing_even_when_its_own_seats_were_the_last() {
    let stage = Stage::set(2).await;
    let replicas = [stage.patient_replica(), stage.patient_replica()];
    let book = async |n: usize| replicas[n % 2].book(&keyed(&stage.event, 2, "same")).await.unwrap();
    let outcomes = join_all((0..6).map(book)).await;
    let booked = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Booked(_))).count();
    let replayed = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Replayed(_))).count();
    assert_eq!((booked, replayed), (1, 5), "{outcomes:?}");
    assert_eq!(replicas[0].book(&keyed(&stage.event, 1, "same")).await.unwrap(), Outcome::KeyReused);
    assert_eq!(stage.sold().await, 2);
}

/// A repetition that meets its first try's key gives its own seats back.
#[tokio::test]
async fn a_repetition_takes_no_seats() {
    let stage = Stage::set(10).await;
    let reserve = stage.patient_replica();
    booked(&reserve, &keyed(&stage.event, 2, "same")).await;
    let again = reserve.book(&keyed(&stage.event, 2, "same")).await.unwrap();
    assert!(matches!(again, Outcome::Replayed(_)), "{again:?}");
    assert_eq!(stage.pool(&stage.client().await).await, 8);
}

#[tokio::test]
async fn seats_that_are_reserved_are_not_sold_out() {
    let stage = Stage::set(2).await;
    let reserve = stage.patient_replica();
    booked(&reserve, &order(&stage.event, 1)).await;
    stage.reserve_and_die(&stage.client().await, 1).await;
    let locked = reserve.book(&impatient(order(&stage.event, 1))).await;
    assert!(matches!(locked, Err(booking_api::strategies::Refusal::Locked)), "{locked:?}");
    assert_eq!(reserve.book(&order(&stage.event, 2)).await.unwrap(), Outcome::SoldOut { remaining: 1 });
}

#[tokio::test]
async fn the_schema_knows_what_a_seat_is() {
    let stage = Stage::set(3).await;
    let mut db = stage.bench.pool().acquire().await.unwrap();
    let booking: i64 = sqlx::query_scalar("insert into booking.bookings (event_id, seats) values ($1, 1) returning id")
        .bind(stage.event.id.get())
        .fetch_one(&mut *db)
        .await
        .unwrap();
    for (seat, capacity, constraint) in [
        (4, 3, "claims_seat_check"),
        (0, 3, "claims_seat_check"),
        // A capacity that is not the event's.
        (4, 4, "claims_event_id_capacity_fkey"),
    ] {
        let refused =
            sqlx::query("insert into booking.claims (event_id, seat, capacity, booking_id) values ($1, $2, $3, $4)")
                .bind(stage.event.id.get())
                .bind(seat)
                .bind(capacity)
                .bind(booking)
                .execute(&mut *db)
                .await
                .unwrap_err();
        assert_eq!(booking_api::store::violated(&refused), Some(constraint), "{seat} {capacity}");
    }
}

/// Two replicas find no pool while a claim is in flight that nobody but PostgreSQL knows of.
#[tokio::test]
async fn a_rebuild_waits_for_the_claims_in_flight_and_is_made_once() {
    let stage = Stage::set(4).await;
    let counted = Counted::default();
    let _counting = metrics::set_default_local_recorder(&counted);
    let replicas = [stage.patient_replica(), stage.patient_replica()];
    let mut db = stage.bench.pool().acquire().await.unwrap();
    let mut claiming = db.begin().await.unwrap();
    sqlx::query(
        "with made as (insert into booking.bookings (event_id, seats, seat_numbers) values ($1, 1, '{1}') returning id)
         insert into booking.claims (event_id, seat, capacity, booking_id) select $1, 1, $2, id from made",
    )
    .bind(stage.event.id.get())
    .bind(stage.event.capacity.get())
    .execute(&mut *claiming)
    .await
    .unwrap();
    let orders = replicas.map(|reserve| {
        let order = order(&stage.event, 1);
        tokio::spawn(async move { seats(&reserve, &order).await })
    });
    stage.bench.until_waiting(2).await;
    claiming.commit().await.unwrap();
    let mut taken: Vec<i32> = join_all(orders).await.into_iter().flat_map(Result::unwrap).collect();
    taken.sort_unstable();
    assert_eq!(taken, [2, 3]);
    assert_eq!(stage.pool(&stage.client().await).await, 1);
    assert_eq!(stage.sold().await, 3);
    assert_eq!(counted.of(RESERVATION_CONFLICTS), 0);
}

/// Else it could take the seat for claimed, and not hear of its return, for which there is no pool yet.
#[tokio::test]
async fn a_rebuild_waits_for_the_cancellations_in_flight() {
    let stage = Stage::set(1).await;
    let (reserve, client) = (stage.patient_replica(), stage.client().await);
    let proxy = FaultProxy::start(stage.bench.database.url()).await.unwrap();
    let cancelling = replica(store(&proxy.url()), &stage.redis.url(), Duration::from_secs(3600));
    let booking = booked(&reserve, &order(&stage.event, 1)).await;
    stage.pool(&client).await;
    let commit = proxy.hold_when(Direction::ClientToServer, "COMMIT");
    let cancel = cancel(&stage.event, booking.id);
    let cancellation = tokio::spawn(async move { cancelling.cancel(&cancel).await.unwrap() });
    commit.reached().await;
    client.del::<(), _>(stage.keys()).await.unwrap();
    let order = order(&stage.event, 1);
    let again = tokio::spawn(async move { seats(&reserve, &order).await });
    stage.bench.until_waiting(1).await;
    commit.release();
    assert!(matches!(cancellation.await.unwrap(), Cancellation::Cancelled { seats: 1, .. }));
    assert_eq!(again.await.unwrap(), [1]);
    assert_eq!(stage.sold().await, 1);
}

/// Reservations survive the pool that they come from.
#[tokio::test]
async fn what_is_reserved_is_not_in_a_new_pool() {
    let stage = Stage::set(3).await;
    let (reserve, client) = (stage.patient_replica(), stage.client().await);
    assert_eq!(seats(&reserve, &order(&stage.event, 1)).await, [1]);
    stage.reserve_and_die(&client, 1).await;
    client.del::<(), _>(vec![stage.key("free"), stage.key("generation")]).await.unwrap();
    assert_eq!(seats(&reserve, &order(&stage.event, 1)).await, [3]);
    assert_eq!(stage.sold().await, 2);
}

#[tokio::test]
async fn closing_waits_for_what_is_to_be_confirmed() {
    let stage = Stage::set(3).await;
    let reserve = stage.patient_replica();
    booked(&reserve, &order(&stage.event, 3)).await;
    tokio::time::timeout(SOON, reserve.close()).await.unwrap();
    let held: i64 = stage.client().await.hlen(stage.key("held")).await.unwrap();
    assert_eq!(held, 0);
}
