//! What buyers were answered: the one side of the judgement, the rows of the database being the other.

use std::time::Instant;

use crate::measure::latencies::{Latencies, as_f64};
use crate::measure::statistics::jain;

/// One order of one buyer: it has a key of its own, whatever it takes to send it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) buyer: usize,
    /// Counted per buyer.
    pub(crate) number: u32,
}

/// An order that was answered 201.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Booked {
    pub(crate) order: Order,
    /// Its place in the list of replicas.
    pub(crate) replica: usize,
    /// The booking's id in the answer.
    pub(crate) id: i64,
    /// When it was sent for the first time.
    pub(crate) sent: Instant,
    pub(crate) ended: Instant,
}

/// All that the buyers of one event were answered.
#[derive(Debug, Clone)]
pub(crate) struct Ledger {
    /// Begins every key, and no key of anybody else.
    pub(crate) run: String,
    pub(crate) buyers: usize,
    pub(crate) replicas: usize,
    pub(crate) booked: Vec<Booked>,
    /// Orders whose buyer was told that nothing was booked.
    pub(crate) refused: Vec<Order>,
    /// Orders whose buyer ended without a word that he could rely on.
    pub(crate) open: Vec<Order>,
    /// Buyers who ended because all was sold.
    pub(crate) sold_out: usize,
    /// Answers 423.
    pub(crate) locked: u64,
    /// Answers 503.
    pub(crate) unavailable: u64,
    /// Requests without an answer.
    pub(crate) unanswered: u64,
    /// Answers that the interface does not have.
    pub(crate) unexpected: u64,
    /// What the first of the unanswered and the unexpected was.
    pub(crate) first_failure: Option<String>,
    pub(crate) started: Instant,
    pub(crate) ended: Instant,
}

impl Ledger {
    pub(crate) fn new(run: String, buyers: usize, replicas: usize) -> Self {
        let now = Instant::now();
        Self {
            run,
            buyers,
            replicas,
            booked: Vec::new(),
            refused: Vec::new(),
            open: Vec::new(),
            sold_out: 0,
            locked: 0,
            unavailable: 0,
            unanswered: 0,
            unexpected: 0,
            first_failure: None,
            started: now,
            ended: now,
        }
    }

    /// A buyer who does not order any more, and has no booking for this order.
    pub(crate) fn gives_up(&mut self, order: Order, doubt: bool) {
        if doubt { self.open.push(order) } else { self.refused.push(order) }
    }

    /// Whether every buyer went on until he was told that all was sold.
    pub(crate) fn all_sold_out(&self) -> bool {
        self.sold_out == self.buyers
    }

    pub(crate) fn key(&self, order: Order) -> String {
        key(&self.run, order)
    }

    /// What the buyers got between two moments.
    pub(crate) fn window(&self, from: Instant, until: Instant) -> Window {
        let mut window = Window {
            seconds: until.saturating_duration_since(from).as_secs_f64(),
            waits: Latencies::default(),
            per_buyer: vec![0; self.buyers],
            per_replica: vec![0; self.replicas],
            buyers_of: (0..self.replicas).map(|replica| buyers_of(replica, self.buyers, self.replicas)).collect(),
        };
        for booked in self.booked.iter().filter(|booked| booked.ended >= from && booked.ended < until) {
            window.waits.record(booked.ended - booked.sent);
            window.per_buyer[booked.order.buyer] += 1;
            window.per_replica[booked.replica] += 1;
        }
        window
    }
}

/// The key of an order: the same each time that it is sent, and nobody else's.
pub(crate) fn key(run: &str, order: Order) -> String {
    format!("{run}-{}-{}", order.buyer, order.number)
}

/// The buyer's name.
pub(crate) fn name(buyer: usize) -> String {
    format!("buyer-{buyer:03}")
}

/// A beginning for keys that nobody used before.
///
/// # Errors
/// The system has no random numbers.
pub(crate) fn new_run() -> anyhow::Result<String> {
    let mut random = [0_u8; 8];
    getrandom::fill(&mut random).map_err(|error| anyhow::anyhow!("no random numbers: {error}"))?;
    Ok(format!("lab-{:016x}", u64::from_le_bytes(random)))
}

/// How many buyers a replica has, when they are dealt to them in turn.
fn buyers_of(replica: usize, buyers: usize, replicas: usize) -> usize {
    (buyers + replicas - 1 - replica) / replicas
}

/// What buyers got between two moments.
#[derive(Debug, Clone)]
pub(crate) struct Window {
    pub(crate) seconds: f64,
    /// From when an order was first sent to its 201: what a buyer waits, refused tries included.
    pub(crate) waits: Latencies,
    pub(crate) per_buyer: Vec<u64>,
    pub(crate) per_replica: Vec<u64>,
    buyers_of: Vec<usize>,
}

impl Window {
    pub(crate) fn bookings(&self) -> u64 {
        self.waits.count()
    }

    pub(crate) fn per_second(&self) -> f64 {
        if self.seconds > 0.0 { as_f64(self.bookings()) / self.seconds } else { 0.0 }
    }

    /// Adds another window on the same buyers.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.seconds += other.seconds;
        self.waits.merge(&other.waits);
        for (mine, theirs) in [(&mut self.per_buyer, &other.per_buyer), (&mut self.per_replica, &other.per_replica)] {
            mine.iter_mut().zip(theirs).for_each(|(mine, theirs)| *mine += theirs);
        }
    }

    /// Jain's index over the buyers: 1 when all got the same, 1/n when one got everything.
    pub(crate) fn fairness_of_buyers(&self) -> Option<f64> {
        jain(&self.per_buyer.iter().copied().map(as_f64).collect::<Vec<_>>())
    }

    /// The same over the replicas, each by what one of its buyers got.
    pub(crate) fn fairness_of_replicas(&self) -> Option<f64> {
        let each = self.per_replica.iter().zip(&self.buyers_of).filter(|(_, buyers)| **buyers > 0);
        jain(&each.map(|(&got, &buyers)| as_f64(got) / as_f64(buyers as u64)).collect::<Vec<_>>())
    }
}

#[cfg(test)]
mod tests {
    use super::{Booked, Ledger, Order, buyers_of, new_run};
    use std::time::Duration;

    fn ledger(got: &[(usize, u64)]) -> Ledger {
        let mut ledger = Ledger::new("run".to_owned(), 4, 3);
        let start = ledger.started;
        for (number, &(buyer, after_ms)) in (0..).zip(got) {
            let sent = start + Duration::from_millis(after_ms);
            ledger.booked.push(Booked {
                order: Order { buyer, number },
                replica: buyer % 3,
                id: i64::from(number),
                sent,
                ended: sent + Duration::from_millis(5),
            });
        }
        ledger
    }

    #[test]
    fn a_window_has_what_ended_in_it() {
        let ledger = ledger(&[(0, 0), (1, 10), (2, 20), (3, 30), (0, 90)]);
        let (start, ms) = (ledger.started, Duration::from_millis);
        let mut window = ledger.window(start, start + ms(50));
        assert_eq!((window.bookings(), window.per_buyer.clone()), (4, vec![1, 1, 1, 1]));
        assert!((window.per_second() - 80.0).abs() < 1e-6);
        assert_eq!(window.fairness_of_buyers(), Some(1.0));
        // Two buyers share the first replica, and got as much as the others.
        assert_eq!((window.per_replica.clone(), window.fairness_of_replicas()), (vec![2, 1, 1], Some(1.0)));
        window.merge(&ledger.window(start + ms(50), start + ms(100)));
        assert_eq!((window.bookings(), window.per_buyer), (5, vec![2, 1, 1, 1]));
    }

    #[test]
    fn every_buyer_has_a_replica() {
        for (buyers, replicas) in [(64, 3), (4, 3), (2, 3), (3, 3)] {
            let dealt: Vec<usize> =
                (0..replicas).map(|replica| (0..buyers).filter(|buyer| buyer % replicas == replica).count()).collect();
            let said: Vec<usize> = (0..replicas).map(|replica| buyers_of(replica, buyers, replicas)).collect();
            assert_eq!(dealt, said);
        }
    }

    #[test]
    fn runs_do_not_meet() {
        assert_ne!(new_run().unwrap(), new_run().unwrap());
    }
}
