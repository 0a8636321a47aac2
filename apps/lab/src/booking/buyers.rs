//! The buyers: so many at once, each with a connection of his own to one replica, each with his next order as soon as
//! the last one is answered.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use super::api::{Answer, Wish, booking_id};
use super::ledger::{Booked, Ledger, Order, key, name, new_run};
use crate::measure::connection::Line;
use crate::measure::own_thread::on_own_thread;

/// Unexpected answers to one order after which its buyer gives up: the interface is not the one that he knows.
const PATIENCE: u32 = 20;

/// Buyers of one event.
#[derive(Debug, Clone)]
pub(crate) struct Buyers {
    /// Buyers are dealt to them in turn, so each replica has several connections.
    pub(crate) replicas: Vec<SocketAddr>,
    pub(crate) buyers: usize,
    pub(crate) event: i64,
    /// The payment in the middle of each booking.
    pub(crate) work: Duration,
    /// When no new order is begun any more. An event that is sold out ends them sooner.
    pub(crate) time: Duration,
    /// Most orders that are answered 201, all buyers together; some more may be under way then.
    pub(crate) bookings: Option<usize>,
    /// How long one request may take.
    pub(crate) answer: Duration,
    /// The pause before an order is sent again. Much less than the service's Retry-After: these buyers are impatient.
    pub(crate) pause: Duration,
}

impl Buyers {
    /// Buyers who go on until the time is over or all is sold.
    pub(crate) fn new(replicas: &[SocketAddr], buyers: usize, event: i64, time: Duration) -> Self {
        Self {
            replicas: replicas.to_vec(),
            buyers,
            event,
            work: Duration::ZERO,
            time,
            bookings: None,
            answer: Duration::from_secs(15),
            pause: Duration::from_millis(5),
        }
    }

    /// Lets them book, on a thread of its own, and returns when all of them have ended. Dropping the future ends them.
    ///
    /// # Errors
    /// There is nobody to book, or nowhere. What requests were answered is in the ledger.
    pub(crate) async fn run(self) -> anyhow::Result<Ledger> {
        ensure!(!self.replicas.is_empty() && self.buyers > 0, "a sale needs a replica and a buyer");
        on_own_thread("buyers", move || async move {
            let ledger = Ledger::new(new_run()?, self.buyers, self.replicas.len());
            let sale = Rc::new(Sale {
                until: ledger.started + self.time,
                run: ledger.run.clone(),
                ledger: RefCell::new(ledger),
                plan: self,
            });
            let mut buyers = tokio::task::JoinSet::new();
            for buyer in 0..sale.plan.buyers {
                buyers.spawn_local(buy(Rc::clone(&sale), buyer));
            }
            while let Some(ended) = buyers.join_next().await {
                ended.context("a buyer panicked")?;
            }
            let mut ledger = sale.ledger.borrow().clone();
            ledger.ended = Instant::now();
            Ok(ledger)
        })
        .await
    }
}

/// What all buyers share.
struct Sale {
    plan: Buyers,
    run: String,
    until: Instant,
    ledger: RefCell<Ledger>,
}

impl Sale {
    fn over(&self) -> bool {
        let most = self.plan.bookings;
        Instant::now() >= self.until || most.is_some_and(|most| self.ledger.borrow().booked.len() >= most)
    }
}

async fn buy(sale: Rc<Sale>, buyer: usize) {
    let replica = buyer % sale.plan.replicas.len();
    let mut line = Line::new(sale.plan.replicas[replica], sale.plan.answer);
    let name = name(buyer);
    let mut request = Vec::with_capacity(512);
    for number in 0.. {
        if sale.over() {
            return;
        }
        let order = Order { buyer, number };
        request.clear();
        let key = key(&sale.run, order);
        Wish { event: sale.plan.event, buyer: &name, key: &key, work: sale.plan.work }.write(&mut request);
        if !place(&sale, &mut line, &request, order, replica).await {
            return;
        }
    }
}

/// Sends one order until it is answered; whether the buyer goes on.
async fn place(sale: &Sale, line: &mut Line, request: &[u8], order: Order, replica: usize) -> bool {
    let sent = Instant::now();
    // Whether an earlier try may have booked.
    let mut doubt = false;
    let mut unexpected = 0;
    loop {
        let outcome = line.exchange(request).await;
        let ended = Instant::now();
        {
            let mut ledger = sale.ledger.borrow_mut();
            match outcome {
                Ok(response) => match (Answer::of(&response), booking_id(&response)) {
                    (Answer::Booked, Some(id)) => {
                        ledger.booked.push(Booked { order, replica, id, sent, ended });
                        return true;
                    }
                    (Answer::SoldOut, _) => {
                        ledger.sold_out += 1;
                        ledger.gives_up(order, doubt);
                        return false;
                    }
                    (Answer::Locked, _) => ledger.locked += 1,
                    (Answer::Unavailable, _) => {
                        ledger.unavailable += 1;
                        doubt = true;
                    }
                    (Answer::Booked | Answer::Unexpected(_), _) => {
                        ledger.unexpected += 1;
                        unexpected += 1;
                        doubt = true;
                        let body = String::from_utf8_lossy(response.body);
                        ledger.first_failure.get_or_insert_with(|| format!("{}: {body}", response.status));
                    }
                },
                Err(error) => {
                    ledger.unanswered += 1;
                    doubt = true;
                    ledger.first_failure.get_or_insert_with(|| error.to_string());
                }
            }
        }
        if unexpected >= PATIENCE || sale.over() {
            sale.ledger.borrow_mut().gives_up(order, doubt);
            return false;
        }
        tokio::time::sleep(sale.plan.pause).await;
    }
}

#[cfg(test)]
mod tests {
    use super::Buyers;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    /// A shop that answers each order by its number, counted over all of its connections.
    async fn shop(answer: fn(u64) -> String) -> std::net::SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let orders = Arc::new(AtomicU64::new(0));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let orders = orders.clone();
                tokio::spawn(async move {
                    let mut input = Vec::new();
                    while let Ok(1..) = stream.read_buf(&mut input).await {
                        if !input.ends_with(b"}") {
                            continue;
                        }
                        input.clear();
                        let head = answer(orders.fetch_add(1, Ordering::Relaxed));
                        let whole = format!("HTTP/1.1 {head}\r\ncontent-length: 15\r\n\r\n{{\"remaining\":0}}");
                        if head.is_empty() || stream.write_all(whole.as_bytes()).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        address
    }

    #[tokio::test]
    async fn buyers_go_on_until_all_is_sold_and_send_again_what_was_not_answered() {
        let shop = shop(|order| match order {
            // The connection is closed without a word.
            3 => String::new(),
            5 => "423 Locked".to_owned(),
            7 => "503 Service Unavailable".to_owned(),
            ..20 => format!("201 Created\r\nlocation: /bookings/{order}"),
            _ => "409 Conflict".to_owned(),
        })
        .await;
        let ledger = Buyers::new(&[shop, shop], 4, 1, Duration::from_secs(30)).run().await.unwrap();
        assert_eq!((ledger.booked.len(), ledger.sold_out), (17, 4));
        assert!(ledger.all_sold_out());
        assert_eq!((ledger.locked, ledger.unavailable, ledger.unanswered, ledger.unexpected), (1, 1, 1, 0));
        assert_eq!(ledger.refused.len() + ledger.open.len(), 4);
        let mut ids: Vec<i64> = ledger.booked.iter().map(|booked| booked.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 17);
    }

    #[tokio::test]
    async fn buyers_stop_when_enough_is_booked_or_nobody_understands_them() {
        let open = shop(|order| format!("201 Created\r\nlocation: /bookings/{order}")).await;
        let buyers = Buyers { bookings: Some(10), ..Buyers::new(&[open], 2, 1, Duration::from_secs(60)) };
        let ledger = buyers.run().await.unwrap();
        assert!((10..=11).contains(&ledger.booked.len()), "{}", ledger.booked.len());
        let other = shop(|_| "404 Not Found".to_owned()).await;
        let ledger = Buyers::new(&[other], 1, 1, Duration::from_secs(60)).run().await.unwrap();
        assert_eq!((ledger.booked.len(), ledger.open.len(), ledger.unexpected), (0, 1, 20));
        assert!(ledger.first_failure.unwrap().starts_with("404"));
    }
}
