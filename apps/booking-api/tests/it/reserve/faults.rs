//! Redis forgets, lies, and is away; processes die.

use booking_api::strategies::Refusal;
use testbed::Cut;

use super::*;

async fn set_bit(client: &Client, key: String, seat: i32, free: i32) {
    let args: Vec<Value> = vec![key.into(), seat.into(), free.into()];
    client.custom::<i64, _>(fred::cmd!("SETBIT"), args).await.unwrap();
}

#[tokio::test]
async fn a_redis_that_comes_back_empty_loses_no_sale_and_doubles_none() {
    let stage = Stage::set(120).await;
    let replicas = [stage.replica(), stage.replica()];
    let buyers = join_all((0..8).map(async |buyer| {
        let mut sold = 0;
        loop {
            match replicas[buyer % 2].book(&order(&stage.event, 1)).await {
                Ok(Outcome::Booked(made)) => sold += i64::from(made.booking.seats),
                Ok(Outcome::SoldOut { .. }) => return sold,
                // Booked nothing, and may ask again.
                Err(Refusal::Unavailable { .. }) => {}
                other => panic!("{other:?}"),
            }
        }
    }));
    let fault = async {
        for sold in [20, 60] {
            until("some are sold", async || (stage.sold().await >= sold).then_some(())).await;
            stage.redis.restart_empty().await.unwrap();
        }
    };
    let (sold, ()) = tokio::join!(buyers, fault);
    assert_eq!(sold.iter().sum::<i64>(), 120);
    assert_eq!(stage.sold().await, 120);
    assert!(is_sold_out(&replicas[0], &stage.event).await);
}

#[tokio::test]
async fn a_seat_that_is_claimed_is_not_sold_again() {
    let stage = Stage::set(3).await;
    let counted = Counted::default();
    let _counting = metrics::set_default_local_recorder(&counted);
    let (reserve, client) = (stage.patient_replica(), stage.client().await);
    assert_eq!(seats(&reserve, &order(&stage.event, 1)).await, [1]);
    set_bit(&client, stage.key("free"), 1, 1).await;
    assert_eq!(seats(&reserve, &order(&stage.event, 1)).await, [2]);
    assert_eq!(counted.of(RESERVATION_CONFLICTS), 1);
    assert_eq!(stage.pool(&client).await, 1, "the wrong bit is gone with it");
    assert_eq!(stage.sold().await, 2);
}

/// As after a restart with an old file: everything seems to be free. Two conflicts are enough to see it.
#[tokio::test]
async fn a_pool_that_is_wrong_as_a_whole_is_made_anew() {
    let stage = Stage::set(40).await;
    let counted = Counted::default();
    let _counting = metrics::set_default_local_recorder(&counted);
    let (reserve, client) = (stage.patient_replica(), stage.client().await);
    for _ in 0..3 {
        booked(&reserve, &order(&stage.event, 10)).await;
    }
    for seat in 1..=30 {
        set_bit(&client, stage.key("free"), seat, 1).await;
    }
    assert_eq!(seats(&reserve, &order(&stage.event, 1)).await, [31]);
    assert_eq!(counted.of(RESERVATION_CONFLICTS), 2);
    assert_eq!(stage.pool(&client).await, 9);
    assert_eq!(stage.sold().await, 31);
}

#[tokio::test]
async fn a_seat_that_does_not_exist_is_not_sold() {
    let stage = Stage::set(2).await;
    let counted = Counted::default();
    let _counting = metrics::set_default_local_recorder(&counted);
    let (reserve, client) = (stage.patient_replica(), stage.client().await);
    booked(&reserve, &order(&stage.event, 1)).await;
    set_bit(&client, stage.key("free"), 9, 1).await;
    // 2 and 9, of which one is somebody else's in the next moment: there is one left, and not two.
    assert_eq!(reserve.book(&order(&stage.event, 2)).await.unwrap(), Outcome::SoldOut { remaining: 1 });
    assert_eq!(counted.of(RESERVATION_CONFLICTS), 1);
    assert_eq!(seats(&reserve, &order(&stage.event, 1)).await, [2]);
    assert!(is_sold_out(&reserve, &stage.event).await);
    assert_eq!(stage.sold().await, 2);
}

#[tokio::test]
async fn reservations_of_a_dead_process_are_found_by_the_sweep() {
    let stage = Stage::set(3).await;
    let counted = Counted::default();
    let _counting = metrics::set_default_local_recorder(&counted);
    let (reserve, client) = (stage.patient_replica(), stage.client().await);
    booked(&reserve, &order(&stage.event, 1)).await;
    stage.pool(&client).await;
    stage.reserve_and_die(&client, 2).await;
    // Two look for it, and it is counted once.
    let _sweeping = [stage.replica(), stage.replica()];
    assert_eq!(stage.pool(&client).await, 2);
    assert_eq!(counted.of(RESERVATIONS_LEAKED), 1);
    assert_eq!(seats(&reserve, &order(&stage.event, 2)).await, [2, 3]);
    assert_eq!(stage.sold().await, 3);
}

/// Who needs the seat does not wait for the sweep.
#[tokio::test]
async fn a_buyer_finds_reservations_of_a_dead_process() {
    let stage = Stage::set(1).await;
    let (patient, client) = (stage.patient_replica(), stage.client().await);
    let cancelled = booked(&patient, &order(&stage.event, 1)).await;
    patient.cancel(&cancel(&stage.event, cancelled.id)).await.unwrap();
    stage.pool(&client).await;
    stage.reserve_and_die(&client, 1).await;
    let buyer = stage.replica();
    assert_eq!(seats(&buyer, &order(&stage.event, 1)).await, [1]);
}

#[tokio::test]
async fn a_claim_that_was_not_confirmed_is_not_leaked() {
    let stage = Stage::set(3).await;
    let counted = Counted::default();
    let _counting = metrics::set_default_local_recorder(&counted);
    let (reserve, client) = (stage.patient_replica(), stage.client().await);
    booked(&reserve, &order(&stage.event, 2)).await;
    stage.pool(&client).await;
    // As it was before the confirmation, which came a second after the epoch.
    client.hset::<(), _, _>(stage.key("held"), ("unconfirmed", "1000 1 2")).await.unwrap();
    let _sweeping = stage.replica();
    assert_eq!(stage.pool(&client).await, 1);
    assert_eq!(counted.of(RESERVATIONS_LEAKED), 0);
    assert_eq!(stage.sold().await, 2);
}

/// A cancellation whose last command never reached Redis, or a write that Redis has lost.
#[tokio::test]
async fn seats_that_nobody_knows_of_are_found_before_it_is_sold_out() {
    let stage = Stage::set(5).await;
    let counted = Counted::default();
    let _counting = metrics::set_default_local_recorder(&counted);
    let (reserve, client) = (stage.patient_replica(), stage.client().await);
    booked(&reserve, &order(&stage.event, 2)).await;
    stage.pool(&client).await;
    for seat in [3, 4] {
        set_bit(&client, stage.key("free"), seat, 0).await;
    }
    assert_eq!(seats(&reserve, &order(&stage.event, 3)).await, [3, 4, 5]);
    assert_eq!(counted.of(RESERVATIONS_LEAKED), 2);
    assert!(is_sold_out(&reserve, &stage.event).await);
    assert_eq!(stage.sold().await, 5);
}

#[tokio::test]
async fn without_redis_nothing_is_booked_and_cancellations_go_on() {
    let stage = Stage::set(2).await;
    let reserve = stage.patient_replica();
    let booking = booked(&reserve, &order(&stage.event, 2)).await;
    stage.redis.kill().await;
    let refused = reserve.book(&order(&stage.event, 1)).await;
    assert!(matches!(refused, Err(Refusal::Unavailable { .. })), "{refused:?}");
    let cancelled = reserve.cancel(&cancel(&stage.event, booking.id)).await.unwrap();
    assert!(matches!(cancelled, Cancellation::Cancelled { seats: 2, .. }), "{cancelled:?}");
    assert_eq!(stage.sold().await, 0);
    stage.redis.start_again().await.unwrap();
    let again = async || match reserve.book(&order(&stage.event, 2)).await {
        Ok(Outcome::Booked(made)) => Some(made.booking),
        Err(Refusal::Unavailable { .. }) => None,
        other => panic!("{other:?}"),
    };
    until("it books again", again).await;
    assert_eq!(stage.sold().await, 2);
}

/// What a stopped Redis was asked, it does when it goes on; nobody wants it any more then.
#[tokio::test]
async fn a_reservation_that_comes_too_late_is_given_back() {
    let stage = Stage::set(5).await;
    let reserve = stage.patient_replica();
    assert_eq!(seats(&reserve, &order(&stage.event, 1)).await, [1]);
    stage.pool(&stage.client().await).await;
    stage.redis.pause();
    let refused = reserve.book(&order(&stage.event, 4)).await;
    assert!(matches!(refused, Err(Refusal::Unavailable { .. })), "{refused:?}");
    stage.redis.resume();
    // If they were still reserved, this would wait for them in vain.
    assert_eq!(seats(&reserve, &order(&stage.event, 4)).await, [2, 3, 4, 5]);
    assert_eq!(stage.sold().await, 5);
}

/// The script has run, and its answer is lost: the same token gets the same seats.
#[tokio::test]
async fn a_reservation_that_is_not_answered_is_made_once() {
    let stage = Stage::set(5).await;
    let proxy = FaultProxy::start(stage.redis.url()).await.unwrap();
    let reserve = replica(stage.bench.another(), &proxy.url(), Duration::from_secs(3600));
    assert_eq!(seats(&reserve, &order(&stage.event, 1)).await, [1]);
    stage.pool(&stage.client().await).await;
    let lost = proxy.cut_when(Direction::ClientToServer, "EVALSHA", Cut::After);
    assert_eq!(seats(&reserve, &order(&stage.event, 1)).await, [2]);
    assert_eq!(lost.count(), 1);
    assert_eq!(stage.pool(&stage.client().await).await, 3);
}

#[tokio::test]
async fn a_commit_that_is_not_answered_books_once() {
    for cut in [Cut::Before, Cut::After] {
        let stage = Stage::set(2).await;
        let proxy = FaultProxy::start(stage.bench.database.url()).await.unwrap();
        let reserve = replica(store(&proxy.url()), &stage.redis.url(), Duration::from_secs(3600));
        proxy.cut_when(Direction::ClientToServer, "COMMIT", cut);
        let booking = booked(&reserve, &order(&stage.event, 1)).await;
        assert_eq!(stage.sold().await, 1, "{cut:?}");
        proxy.cut_when(Direction::ClientToServer, "COMMIT", cut);
        let cancelled = reserve.cancel(&cancel(&stage.event, booking.id)).await.unwrap();
        assert!(matches!(cancelled, Cancellation::Cancelled { seats: 1, .. }), "{cut:?}: {cancelled:?}");
        assert_eq!(stage.sold().await, 0, "{cut:?}");
        assert_eq!(seats(&reserve, &order(&stage.event, 2)).await, [1, 2]);
        assert_eq!(stage.pool(&stage.client().await).await, 0);
    }
}
