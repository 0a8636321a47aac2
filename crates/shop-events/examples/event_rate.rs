//! How many events per second go from writers through the outbox's relay and Redis to a subscriber, and how long each takes.
//!
//! ```text
//! cargo run --release -p shop-events --example event_rate -- [seconds, 10] [events per second, 5000] [products, 1000]
//! ```
//!
//! Writers are paced (an open loop), so that what is measured is a load that is sustained, and not the fastest that the writers
//! can be. Every event changes its product's row, under whose lock its version is counted: the subscriber checks that no number
//! is missing or comes twice, and that each product's versions come in order. Anything else ends this with an error.
#![expect(clippy::unwrap_used, reason = "a measurement that cannot go on ends")]

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fenced_cache::Effects;
use outbox::Outbox;
use outbox::events::{EventSettings, Message};
use shop_events::{Heard, Publisher, ShopEvent, Subscription, decode};
use sqlx::postgres::PgPoolOptions;
use sqlx::{Connection as _, PgConnection};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

/// Each writer commits so many events at once: one per row, as a handler that changes a few products does.
const TOGETHER: i64 = 5;
const WRITERS: i64 = 16;

#[tokio::main]
async fn main() {
    let mut numbers = std::env::args().skip(1).map(|text| text.parse::<i64>().expect("a whole number"));
    let seconds = numbers.next().unwrap_or(10);
    let rate = numbers.next().unwrap_or(5_000);
    let products = numbers.next().unwrap_or(1_000);
    // Durable, as in production: each COMMIT waits for the disk.
    let postgres = testbed::PostgresServer::builder().durable(true).start().await.unwrap();
    let redis = testbed::redis().await;
    let url = postgres.url("postgres");
    let pool = PgPoolOptions::new().max_connections(20).connect_lazy(&url).unwrap();
    let outbox = Outbox::new(pool.clone(), "shop").unwrap();
    let mut connection = PgConnection::connect(&url).await.unwrap();
    outbox.migrate_events(&mut connection).await.unwrap();
    sqlx::raw_sql("create table shop.products (id bigint primary key, version bigint not null)")
        .execute(&mut connection)
        .await
        .unwrap();
    sqlx::query("insert into shop.products select id, 0 from generate_series(1, $1) as id")
        .bind(products)
        .execute(&mut connection)
        .await
        .unwrap();
    let subscription = Subscription::open(&Subscription::config(&redis.url()).unwrap()).await.unwrap();
    let publisher = Arc::new(Publisher::new(&redis.url()).unwrap());
    let stop = CancellationToken::new();
    let relay = outbox.start_events(EventSettings::default(), publisher, stop.clone()).unwrap();

    let total = seconds * rate / TOGETHER * TOGETHER;
    let listening = tokio::spawn(listen(subscription, u64::try_from(total).unwrap()));
    let begun = Instant::now();
    let per_writer = total / TOGETHER;
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let outbox = outbox.clone();
            tokio::spawn(async move {
                for turn in (writer..per_writer).step_by(usize::try_from(WRITERS).unwrap()) {
                    let due = Duration::from_secs_f64((turn * TOGETHER) as f64 / rate as f64);
                    sleep_until(begun + due).await;
                    write(&outbox, turn, products).await;
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let written = begun.elapsed();
    let mut delays = listening.await.unwrap();
    let heard = begun.elapsed();
    stop.cancel();
    relay.stopped().await;
    delays.sort_unstable();
    let at = |permille: usize| delays[(delays.len() - 1) * permille / 1_000];
    println!("{total} events of {products} products in {WRITERS} writers, {TOGETHER} per COMMIT, wanted: {rate}/s");
    println!("written in {written:.2?}: {:.0}/s", total as f64 / written.as_secs_f64());
    println!(
        "heard in {heard:.2?}: {:.0}/s, no gap, no number twice, every product in order",
        total as f64 / heard.as_secs_f64()
    );
    println!("insert to heard: p50 {:.1?}, p99 {:.1?}, max {:.1?}", at(500), at(990), at(1_000));
}

async fn write(outbox: &Outbox, turn: i64, products: i64) {
    let mut transaction = outbox.begin().await.unwrap();
    let first = turn * 7_919 % products;
    // Ascending, so that two writers never wait for each other in a circle.
    let mut ids: Vec<i64> = (0..TOGETHER).map(|n| (first + n * 13) % products + 1).collect();
    ids.sort_unstable();
    let mut events = Vec::new();
    for id in ids {
        let version =
            sqlx::query_scalar("update shop.products set version = version + 1 where id = $1 returning version")
                .bind(id)
                .fetch_one(transaction.connection())
                .await
                .unwrap();
        events.push(ShopEvent::ProductChanged { product_id: id, category_id: 1, version }.to_payload());
    }
    transaction.events(events).await.unwrap();
    let _ = transaction.commit((), Effects::deferred()).await.unwrap();
}

async fn listen(mut subscription: Subscription, total: u64) -> Vec<Duration> {
    let mut delays = Vec::new();
    let mut versions: HashMap<i64, i64> = HashMap::new();
    let mut next = 1;
    while next <= total {
        let heard = timeout(Duration::from_secs(30), subscription.next()).await.expect("something is heard");
        let Heard::Message(bytes) = heard else { panic!("{heard:?}") };
        let Message::Event(event) = decode(&bytes).unwrap() else { continue };
        assert_eq!(event.number, next, "a gap, or a number twice");
        next += 1;
        delays.push(SystemTime::now().duration_since(event.recorded_at).unwrap_or_default());
        let ShopEvent::ProductChanged { product_id, version, .. } = ShopEvent::parse(&event.payload).unwrap() else {
            panic!("{event:?}")
        };
        let before = versions.insert(product_id, version).unwrap_or(0);
        assert_eq!(version, before + 1, "product {product_id} is out of order");
    }
    delays
}
