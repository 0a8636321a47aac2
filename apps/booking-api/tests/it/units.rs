//! `pg-units` on a real PostgreSQL.

use std::time::Duration;

use booking_api::domain::Event;
use booking_api::model::Booking;
use booking_api::strategies::units::Units;
use booking_api::strategies::{Cancellation, Order, Outcome, Refusal};
use futures_util::future::join_all;
use sqlx::Connection as _;
use testbed::{Cut, Direction, FaultProxy};

use crate::orders::{Bench, cancel, impatient, keyed, order, store};

async fn booked(units: &Units, order: &Order) -> Booking {
    match units.book(order).await.unwrap() {
        Outcome::Booked(made) => made.booking,
        outcome => panic!("{outcome:?}"),
    }
}

/// Two replicas.
fn replicas(bench: &Bench) -> [Units; 2] {
    [Units::new(bench.store.clone()), Units::new(bench.another())]
}

#[tokio::test]
async fn concurrent_buyers_sell_out_exactly() {
    let bench = Bench::set().await;
    let event = bench.event("pg-units", 97).await;
    let replicas = replicas(&bench);
    let sold = join_all((0..16).map(async |buyer| {
        let mut sold = 0;
        loop {
            match replicas[buyer % 2].book(&order(&event, 1)).await.unwrap() {
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
    assert_eq!(bench.sold(&event).await, 97);
}

#[tokio::test]
async fn orders_of_all_sizes_end_booked_or_sold_out() {
    let bench = Bench::set().await;
    let event = bench.event("pg-units", 60).await;
    let replicas = replicas(&bench);
    let outcomes = join_all((0..24_i32).map(async |buyer| {
        let seats = 1 + buyer % 10;
        let order = Order { work: Duration::from_millis(2), ..order(&event, seats) };
        let outcome = replicas[usize::from(buyer % 2 == 0)].book(&order).await.unwrap();
        match outcome {
            Outcome::Booked(made) => {
                assert_eq!(made.booking.seats, seats);
                i64::from(seats)
            }
            Outcome::SoldOut { remaining } => {
                assert!(remaining < i64::from(seats));
                0
            }
            outcome => panic!("{outcome:?}"),
        }
    }))
    .await;
    assert_eq!(bench.sold(&event).await, outcomes.iter().sum::<i64>());
}

/// If each kept what it has found and waited for the rest, none of them would ever have ten.
#[tokio::test]
async fn orders_for_all_seats_do_not_hold_each_other_up() {
    let bench = Bench::set().await;
    let event = bench.event("pg-units", 10).await;
    let replicas = replicas(&bench);
    let outcomes = join_all((0..12).map(async |buyer| {
        let order = Order { work: Duration::from_millis(5), ..order(&event, 10) };
        replicas[buyer % 2].book(&order).await.unwrap()
    }))
    .await;
    let sold_out = outcomes.iter().filter(|outcome| **outcome == Outcome::SoldOut { remaining: 0 }).count();
    assert_eq!(sold_out, 11, "{outcomes:?}");
    assert_eq!(bench.sold(&event).await, 10);
}

#[tokio::test]
async fn seats_that_somebody_may_give_back_are_not_sold_out() {
    let bench = Bench::set().await;
    let event = bench.event("pg-units", 3).await;
    let units = Units::new(bench.store.clone());
    let mut other = bench.pool().acquire().await.unwrap();
    let mut holding = other.begin().await.unwrap();
    sqlx::query("select from booking.units where event_id = $1 and seat > 1 for update")
        .bind(event.id.get())
        .execute(&mut *holding)
        .await
        .unwrap();
    assert_eq!(booked(&units, &order(&event, 1)).await.seat_numbers, Some(vec![1]));
    let locked = units.book(&impatient(order(&event, 1))).await;
    assert!(matches!(locked, Err(Refusal::Locked)), "{locked:?}");
    let sold_out = units.book(&impatient(order(&event, 3))).await.unwrap();
    assert_eq!(sold_out, Outcome::SoldOut { remaining: 2 });

    let waiting = tokio::spawn(async move { units.book(&order(&event, 2)).await });
    bench.until_waiting(1).await;
    holding.rollback().await.unwrap();
    let Ok(Outcome::Booked(made)) = waiting.await.unwrap() else { panic!("not booked") };
    assert_eq!(made.booking.seat_numbers, Some(vec![2, 3]));
    assert_eq!(bench.sold(&event).await, 3);
}

#[tokio::test]
async fn who_waits_for_a_sale_is_sold_out_after_it() {
    let bench = Bench::set().await;
    let event = bench.event("pg-units", 2).await;
    let (units, another) = (Units::new(bench.store.clone()), Units::new(bench.another()));
    let mut other = bench.pool().acquire().await.unwrap();
    let mut holding = other.begin().await.unwrap();
    sqlx::query("select from booking.units where event_id = $1 and seat = 2 for update")
        .bind(event.id.get())
        .execute(&mut *holding)
        .await
        .unwrap();
    let first = tokio::spawn(async move { units.book(&order(&event, 2)).await });
    bench.until_waiting(1).await;
    // It has seat 1 and waits for seat 2; so whoever comes now waits for it in turn.
    let second = tokio::spawn(async move { another.book(&order(&event, 1)).await });
    bench.until_waiting(2).await;
    holding.rollback().await.unwrap();
    assert!(matches!(first.await.unwrap(), Ok(Outcome::Booked(_))));
    assert_eq!(second.await.unwrap().unwrap(), Outcome::SoldOut { remaining: 0 });
    assert_eq!(bench.sold(&event).await, 2);
}

#[tokio::test]
async fn seats_are_given_back_once_and_sold_again() {
    let bench = Bench::set().await;
    let event = bench.event("pg-units", 5).await;
    let units = Units::new(bench.store.clone());
    let first = booked(&units, &order(&event, 3)).await;
    let second = booked(&units, &order(&event, 2)).await;
    let cancellations = join_all((0..4).map(async |_| units.cancel(&cancel(&event, first.id)).await.unwrap())).await;
    let cancelled =
        cancellations.iter().filter(|ended| matches!(ended, Cancellation::Cancelled { seats: 3, .. })).count();
    let already = cancellations.iter().filter(|ended| **ended == Cancellation::Already).count();
    assert_eq!((cancelled, already), (1, 3));
    assert_eq!(bench.sold(&event).await, 2);
    let mut again = booked(&units, &order(&event, 3)).await.seat_numbers.unwrap();
    // Who has them now keeps them.
    assert_eq!(units.cancel(&cancel(&event, first.id)).await.unwrap(), Cancellation::Already);
    assert_eq!(units.book(&order(&event, 1)).await.unwrap(), Outcome::SoldOut { remaining: 0 });
    again.extend(second.seat_numbers.unwrap());
    again.sort_unstable();
    assert_eq!(again, [1, 2, 3, 4, 5]);
    assert_eq!(bench.sold(&event).await, 5);
}

#[tokio::test]
async fn a_repetition_books_nothing_even_when_its_own_seats_were_the_last() {
    let bench = Bench::set().await;
    let event = bench.event("pg-units", 2).await;
    let replicas = replicas(&bench);
    let outcomes = join_all((0..6).map(async |n| replicas[n % 2].book(&keyed(&event, 2, "same")).await.unwrap())).await;
    let booked = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Booked(_))).count();
    let replayed = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Replayed(_))).count();
    assert_eq!((booked, replayed), (1, 5), "{outcomes:?}");
    assert_eq!(replicas[0].book(&keyed(&event, 1, "same")).await.unwrap(), Outcome::KeyReused);
    assert_eq!(bench.sold(&event).await, 2);
}

#[tokio::test]
async fn a_commit_that_is_not_answered_books_once() {
    for cut in [Cut::Before, Cut::After] {
        let bench = Bench::set().await;
        let event = bench.event("pg-units", 2).await;
        let proxy = FaultProxy::start(bench.database.url()).await.unwrap();
        let units = Units::new(store(&proxy.url()));
        proxy.cut_when(Direction::ClientToServer, "COMMIT", cut);
        let booking = booked(&units, &order(&event, 1)).await;
        assert_eq!(bench.sold(&event).await, 1, "{cut:?}");
        proxy.cut_when(Direction::ClientToServer, "COMMIT", cut);
        let cancelled = units.cancel(&cancel(&event, booking.id)).await;
        // Where it was not done it is done again; where it was, the answer is the first one's.
        let cancelled = cancelled.unwrap();
        assert!(matches!(cancelled, Cancellation::Cancelled { seats: 1, .. }), "{cut:?}: {cancelled:?}");
        assert_eq!(bench.sold(&event).await, 0, "{cut:?}");
    }
}

#[tokio::test]
async fn a_hundred_thousand_seats_are_made_with_the_event() {
    let bench = Bench::set().await;
    let event: Event = bench.event("pg-units", 100_000).await;
    let units = Units::new(bench.store.clone());
    let booking = booked(&units, &order(&event, 10)).await;
    assert!(booking.seat_numbers.unwrap().iter().all(|seat| (1..=100_000).contains(seat)));
    assert_eq!(bench.sold(&event).await, 10);
}
