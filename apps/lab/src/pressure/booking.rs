//! Buyers of one event after the other, and the judgement of all that they bought.

mod sales;

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde::Serialize;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use super::addresses::{Addresses, Route};
use super::allowed::Allowed;
use super::arrivals::Arrivals;
use super::client::{Client, Target};
use super::failure::Method;
use super::log::{Log, Progress};
use super::pressed::Pressed;
use super::running::Running;
use super::sender::{Reply, Sender};
use crate::booking::api::{Answer, Wish, booking_id, create_event};
use crate::booking::judge::{self, Judgement};
use crate::booking::ledger::{Booked as Sold, Ledger, Order, key, name, new_run};
use crate::booking::strategy::Strategy;
use sales::{Sale, Sales};

/// How long the service may take to count what is booked, when nobody books any more.
const SETTLE: Duration = Duration::from_secs(15);

/// How hard booking is pressed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct BookingConfig {
    pub(crate) strategy: Strategy,
    /// Seats of each event. When they are sold, the buyers go on with another one: what oversells does so at the end.
    pub(crate) capacity: u32,
    pub(crate) buyers: usize,
    /// The payment in the middle of each booking.
    pub(crate) work: Duration,
    /// Orders a second, due whether or not earlier ones are answered. Without it each buyer orders when his last order is
    /// answered.
    pub(crate) rate: Option<f64>,
    pub(crate) route: Route,
    /// A connection is renewed after this time to twice this time.
    pub(crate) life: Duration,
    /// How long one try may take.
    pub(crate) answer: Duration,
    /// How long an order is tried.
    pub(crate) deadline: Duration,
    /// Between two tries of an order.
    pub(crate) pause: Duration,
}

impl Default for BookingConfig {
    fn default() -> Self {
        Self {
            strategy: Strategy::RedisFenced,
            capacity: 200,
            buyers: 16,
            work: Duration::from_millis(5),
            rate: None,
            route: Route::Service,
            life: Duration::from_secs(4),
            answer: Duration::from_secs(15),
            deadline: Duration::from_secs(45),
            pause: Duration::from_millis(20),
        }
    }
}

/// What was bought, and what the rows say of it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Booked {
    pub(crate) strategy: Strategy,
    /// Events that were sold one after the other.
    pub(crate) events: usize,
    pub(crate) capacity: u32,
    /// Orders that were answered 201.
    pub(crate) booked: u64,
    /// Orders whose buyer ended without a word that he could rely on.
    pub(crate) open: u64,
    /// Seats that are booked by the rows.
    pub(crate) sold: i64,
    pub(crate) oversold: i64,
    /// Live bookings beyond the first of the same order, and numbered seats beyond their first owner.
    pub(crate) doubled: i64,
    /// Answered 201, and not there.
    pub(crate) lost: i64,
    /// Events whose seats the service counts wrongly.
    pub(crate) miscounted: usize,
    /// Of each event.
    pub(crate) judgements: Vec<(i64, Judgement)>,
}

impl Booked {
    /// In one line.
    pub(crate) fn line(&self) -> String {
        let Self { strategy, events, capacity, booked, open, oversold, doubled, lost, miscounted, .. } = self;
        format!(
            "{strategy}: {booked} booked in {events} events of {capacity} seats, {open} in doubt, {oversold} oversold, \
             {doubled} doubled, {lost} lost, {miscounted} miscounted"
        )
    }

    /// What did not hold, as far as the strategy promises it under this fault.
    pub(crate) fn broken(&self, allowed: &Allowed) -> Vec<String> {
        let mut broken: Vec<String> = self
            .judgements
            .iter()
            .flat_map(|(event, judged)| {
                judged.broken(self.strategy, &format!("event {event}"), !allowed.disturbed, false)
            })
            .collect();
        if self.booked == 0 {
            broken.push("nothing was proved: nobody booked anything".to_owned());
        }
        broken
    }
}

/// A load on booking. Dropped, it stops.
#[derive(Debug)]
pub(crate) struct BookingPressure {
    running: Running<Vec<(i64, Ledger)>>,
    config: BookingConfig,
    addresses: Addresses,
}

impl BookingPressure {
    /// Makes the first event, and begins.
    ///
    /// # Errors
    /// The service does not take events of this strategy.
    pub(crate) async fn start(config: BookingConfig, addresses: Addresses, database: PgPool) -> anyhow::Result<Self> {
        ensure!(config.buyers > 0 && config.capacity > 0, "a sale needs a buyer and a seat");
        ensure!(config.rate.is_none_or(|rate| rate > 0.0), "a rate is above 0");
        let address = addresses.pick(config.route, 0).context("no replica of booking is ready")?;
        let first = match create_event(address, "lab: under pressure", config.capacity, config.strategy).await? {
            Ok(event) => event,
            Err(reason) => bail!("booking-api does not take events of {}: {reason}", config.strategy),
        };
        let log = Arc::new(Log::new());
        let stopping = CancellationToken::new();
        let work = {
            let (config, addresses) = (config.clone(), addresses.clone());
            let (log, stopping) = (Arc::clone(&log), stopping.clone());
            move || press(config, addresses, log, stopping, first)
        };
        let running = Running::start("booking pressure", database, log, stopping, work);
        Ok(Self { running, config, addresses })
    }

    /// Remembers this moment under this name; a new window of the findings begins.
    pub(crate) fn mark(&self, text: &str) -> Instant {
        self.running.mark(text)
    }

    /// The counters so far.
    #[expect(dead_code, reason = "no fault shows it while it goes on yet")]
    pub(crate) fn progress(&self) -> Progress {
        self.running.progress()
    }

    /// Lets the buyers finish their orders, and judges all of them by the rows.
    ///
    /// # Errors
    /// The load ended by itself, or the database does not answer.
    pub(crate) async fn stop(self, database: &PgPool) -> anyhow::Result<Pressed> {
        let Self { running, config, addresses } = self;
        let log = Arc::clone(&running.log);
        let (sales, looks) = running.stop().await?;
        let mut pressed = Pressed::of(&log, addresses.service(), &looks);
        pressed.booking = Some(judged(&config, sales, database).await?);
        Ok(pressed)
    }
}

async fn judged(config: &BookingConfig, sales: Vec<(i64, Ledger)>, database: &PgPool) -> anyhow::Result<Booked> {
    let deadline = Instant::now() + SETTLE;
    let mut booked = Booked {
        strategy: config.strategy,
        events: sales.len(),
        capacity: config.capacity,
        booked: 0,
        open: 0,
        sold: 0,
        oversold: 0,
        doubled: 0,
        lost: 0,
        miscounted: 0,
        judgements: Vec::new(),
    };
    for (event, ledger) in sales {
        let ledger = [ledger];
        let judged = loop {
            let judged = judge::judge(database, event, &ledger).await?;
            // What a dead replica left undone is tidied up by another one, a little later.
            if judged.rows.counted == judged.rows.seats_sold || Instant::now() > deadline {
                break judged;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        let [ledger] = ledger;
        booked.booked += ledger.booked.len() as u64;
        booked.open += ledger.open.len() as u64;
        booked.sold += judged.rows.seats_sold;
        booked.oversold += judged.rows.oversold;
        booked.doubled += judged.doubled + judged.rows.duplicate_seats;
        booked.lost += judged.lost;
        booked.miscounted += usize::from(judged.rows.counted != judged.rows.seats_sold);
        booked.judgements.push((event, judged));
    }
    Ok(booked)
}

/// All of the load, on its thread.
pub(super) async fn press(
    config: BookingConfig,
    addresses: Addresses,
    log: Arc<Log>,
    stopping: CancellationToken,
    first: i64,
) -> anyhow::Result<Vec<(i64, Ledger)>> {
    let run = new_run()?;
    let arrivals = config.rate.map(Arrivals::new).map(Rc::new);
    let sales = Rc::new(Sales::new(&config, addresses.clone(), run.clone(), first, stopping.clone()));
    let mut buyers = tokio::task::JoinSet::new();
    for number in 0..config.buyers {
        let target = Target::Any(addresses.clone(), config.route);
        let sender = Sender {
            client: Client::new(target, config.answer, config.life, number),
            log: Arc::clone(&log),
            deadline: config.deadline,
            pause: config.pause,
            stopping: stopping.clone(),
        };
        let buyer = Buyer {
            number,
            name: name(number),
            run: run.clone(),
            work: config.work,
            sales: Rc::clone(&sales),
            arrivals: arrivals.clone(),
            sender,
            stopping: stopping.clone(),
        };
        buyers.spawn_local(buyer.run());
    }
    let pace = async {
        match &arrivals {
            Some(arrivals) => match arrivals.run().await {},
            None => std::future::pending::<()>().await,
        }
    };
    tokio::select! {
        () = stopping.cancelled() => {}
        () = pace => {}
        Some(ended) = buyers.join_next() => ended.context("a buyer panicked")?,
    }
    if let Some(arrivals) = &arrivals {
        let unsent = arrivals.end();
        log.count(|counts| counts.unsent += unsent);
    }
    while let Some(ended) = buyers.join_next().await {
        ended.context("a buyer panicked")?;
    }
    Ok(sales.ledgers())
}

struct Buyer {
    number: usize,
    name: String,
    run: String,
    work: Duration,
    sales: Rc<Sales>,
    arrivals: Option<Rc<Arrivals>>,
    sender: Sender,
    stopping: CancellationToken,
}

/// A word that a buyer can rely on.
#[derive(Debug, Clone, Copy)]
enum Word {
    Booked(i64),
    SoldOut,
}

impl Buyer {
    async fn run(mut self) {
        let mut request = Vec::with_capacity(512);
        for number in 0.. {
            let due = match &self.arrivals {
                Some(arrivals) => arrivals.next().await,
                None if self.stopping.is_cancelled() => None,
                None => Some(Instant::now()),
            };
            let Some(due) = due else { return };
            let Some(sale) = self.sales.open().await else { return };
            let order = Order { buyer: self.number, number };
            let key = key(&self.run, order);
            request.clear();
            Wish { event: sale.event, buyer: &self.name, key: &key, work: self.work }.write(&mut request);
            self.place(&sale, order, due, &request).await;
        }
    }

    async fn place(&mut self, sale: &Sale, order: Order, due: Instant, request: &[u8]) {
        let sent = Instant::now();
        let word = self
            .sender
            .send(Method::Post, due, request, |response| match (Answer::of(response), booking_id(response)) {
                (Answer::Booked, Some(id)) => Reply::Good(Word::Booked(id)),
                (Answer::SoldOut, _) => Reply::Good(Word::SoldOut),
                (Answer::Locked, _) => Reply::Wait,
                _ => Reply::Bad,
            })
            .await;
        let mut ledger = sale.ledger.borrow_mut();
        match word.answer {
            Some(Word::Booked(id)) => {
                ledger.booked.push(Sold { order, replica: 0, id, sent, ended: Instant::now() });
            }
            Some(Word::SoldOut) => {
                ledger.sold_out += 1;
                ledger.gives_up(order, word.failed > 0);
                sale.over.set(true);
            }
            None => ledger.gives_up(order, word.failed > 0),
        }
    }
}
