//! Those who buy. Each does what a good client does: after 423, 503 or no answer at all it asks again with the same key,
//! at the next replica, until it knows.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use crate::measure::connection::Line;

/// Between two attempts. Shorter than any Retry-After, so that the time to recover is the system's and not the client's.
const AGAIN: Duration = Duration::from_millis(25);
/// After 'sold out': somebody may still be in a section whose seats come back.
const SOLD_OUT: Duration = Duration::from_millis(40);
/// Longer than a booking can take that waits for a lock twice.
const WITHIN: Duration = Duration::from_secs(12);
/// How long a purchase that is under way at the end may still ask.
const GRACE: Duration = Duration::from_secs(20);

/// What a buyer knows in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// 201, with this id.
    Booked(i64),
    SoldOut,
    /// Nothing.
    Doubt,
}

/// One purchase under one key.
#[derive(Debug, Clone)]
pub(crate) struct Purchase {
    /// Also the key.
    pub(crate) buyer: String,
    pub(crate) seats: u32,
    pub(crate) answer: Answer,
    pub(crate) attempts: u32,
    /// Attempts whose connection broke or that took too long.
    pub(crate) unanswered: u32,
    pub(crate) began: Instant,
    pub(crate) ended: Instant,
}

impl std::fmt::Display for Purchase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.answer {
            Answer::Booked(_) => write!(f, "booked at attempt {}", self.attempts),
            Answer::SoldOut => write!(f, "sold out at attempt {}", self.attempts),
            Answer::Doubt => write!(f, "nothing, in {} attempts", self.attempts),
        }
    }
}

/// What all buyers of one event share.
#[derive(Debug)]
pub(crate) struct Sale {
    pub(crate) event: i64,
    /// Begins the name of every buyer, so that none is another's.
    pub(crate) name: String,
    /// No new purchase.
    pub(crate) closed: CancellationToken,
    ledger: Mutex<Ledger>,
}

#[derive(Debug, Default)]
struct Ledger {
    purchases: Vec<Purchase>,
    /// Answers that nobody should get, each kind once.
    unexpected: Vec<String>,
}

impl Sale {
    pub(crate) fn new(event: i64, name: String) -> Arc<Self> {
        Arc::new(Self { event, name, closed: CancellationToken::new(), ledger: Mutex::default() })
    }

    fn write(&self, change: impl FnOnce(&mut Ledger)) {
        change(&mut self.ledger.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(crate) fn note(&self, purchase: Purchase) {
        self.write(|ledger| ledger.purchases.push(purchase));
    }

    fn unexpected(&self, what: String) {
        self.write(|ledger| {
            if !ledger.unexpected.contains(&what) && ledger.unexpected.len() < 5 {
                ledger.unexpected.push(what);
            }
        });
    }

    pub(crate) fn purchases(&self) -> Vec<Purchase> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner).purchases.clone()
    }

    pub(crate) fn surprises(&self) -> Vec<String> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner).unexpected.clone()
    }

    /// When somebody else than `victim` was first told 201 after `since`.
    pub(crate) fn first_booking(&self, since: Instant, victim: &str) -> Option<Instant> {
        let ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        let booked = ledger.purchases.iter().filter(|purchase| matches!(purchase.answer, Answer::Booked(_)));
        let others = booked.filter(|purchase| purchase.buyer != victim);
        others.map(|purchase| purchase.ended).filter(|ended| *ended > since).min()
    }

    /// When somebody was last told 201.
    pub(crate) fn last_booking(&self) -> Option<Instant> {
        let ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        let booked = ledger.purchases.iter().filter(|purchase| matches!(purchase.answer, Answer::Booked(_)));
        booked.map(|purchase| purchase.ended).max()
    }
}

/// What is asked for, again and again until it is known.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    pub(crate) buyer: String,
    pub(crate) seats: u32,
    pub(crate) work: Duration,
}

impl Wish {
    fn request(&self, event: i64) -> Vec<u8> {
        let body = format!(r#"{{"seats":{},"buyer":"{}"}}"#, self.seats, self.buyer);
        format!(
            "POST /events/{event}/bookings?work_ms={} HTTP/1.1\r\nhost: lab\r\ncontent-type: application/json\r\n\
             idempotency-key: {}\r\ncontent-length: {}\r\n\r\n{body}",
            self.work.as_millis(),
            self.buyer,
            body.len()
        )
        .into_bytes()
    }
}

#[derive(Debug, Deserialize)]
struct Booked {
    id: i64,
}

/// A client of some replicas, which it asks in turns if it has to.
#[derive(Debug)]
pub(crate) struct Client {
    lines: Vec<Line>,
    at: usize,
}

impl Client {
    /// The first of `replicas` is asked first.
    pub(crate) fn new(replicas: &[SocketAddr], within: Duration) -> Self {
        Self { lines: replicas.iter().map(|&replica| Line::new(replica, within)).collect(), at: 0 }
    }

    /// Buys. Ends without an answer only [`GRACE`] after `closed`.
    pub(crate) async fn buy(&mut self, sale: &Sale, wish: &Wish, closed: &CancellationToken) -> Purchase {
        let request = wish.request(sale.event);
        let began = Instant::now();
        let mut purchase = Purchase {
            buyer: wish.buyer.clone(),
            seats: wish.seats,
            answer: Answer::Doubt,
            attempts: 0,
            unanswered: 0,
            began,
            ended: began,
        };
        let asking = async {
            loop {
                purchase.attempts += 1;
                // Counted before it is known: dropped in the middle, it had no answer.
                purchase.unanswered += 1;
                let answer = self.lines[self.at].exchange(&request).await;
                let again = match answer {
                    Ok(response) => {
                        purchase.unanswered -= 1;
                        match response.status {
                            201 => match serde_json::from_slice::<Booked>(response.body) {
                                Ok(booked) => {
                                    purchase.answer = Answer::Booked(booked.id);
                                    return;
                                }
                                Err(error) => Some(format!("201 without an id: {error}")),
                            },
                            409 => {
                                purchase.answer = Answer::SoldOut;
                                return;
                            }
                            423 | 503 => None,
                            status => Some(format!("{status} {}", String::from_utf8_lossy(response.body))),
                        }
                    }
                    Err(_) => {
                        self.at = (self.at + 1) % self.lines.len();
                        None
                    }
                };
                if let Some(what) = again {
                    sale.unexpected(what);
                    // Whatever it is, it does not say that nothing was booked.
                    purchase.unanswered += 1;
                }
                tokio::time::sleep(AGAIN).await;
            }
        };
        let patience = async {
            closed.cancelled().await;
            tokio::time::sleep(GRACE).await;
        };
        tokio::select! {
            () = asking => {}
            () = patience => {}
        }
        purchase.ended = Instant::now();
        purchase
    }
}

/// One of those who press: buys one seat after the other until the sale is closed.
pub(crate) async fn press(sale: Arc<Sale>, number: usize, replicas: Vec<SocketAddr>, work: Duration) {
    let mut client = Client::new(&replicas, WITHIN);
    let mut purchases = 0_u32;
    while !sale.closed.is_cancelled() {
        let wish = Wish { buyer: format!("{}-{number}-{purchases}", sale.name), seats: 1, work };
        purchases += 1;
        let purchase = client.buy(&sale, &wish, &sale.closed).await;
        let sold_out = purchase.answer == Answer::SoldOut;
        sale.note(purchase);
        if sold_out {
            tokio::select! {
                () = sale.closed.cancelled() => {}
                () = tokio::time::sleep(SOLD_OUT) => {}
            }
        }
    }
}
