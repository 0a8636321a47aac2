//! The events that are sold one after the other.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::BookingConfig;
use crate::booking::api::create_event;
use crate::booking::ledger::Ledger;
use crate::booking::strategy::Strategy;
use crate::pressure::addresses::{Addresses, Route};

/// Between two tries to make an event.
const AGAIN: Duration = Duration::from_millis(100);

/// One event.
#[derive(Debug)]
pub(super) struct Sale {
    pub(super) event: i64,
    pub(super) ledger: RefCell<Ledger>,
    /// Somebody was told that all is sold.
    pub(super) over: Cell<bool>,
}

/// All events of one load; the last one is that which is sold.
#[derive(Debug)]
pub(super) struct Sales {
    strategy: Strategy,
    capacity: u32,
    buyers: usize,
    route: Route,
    addresses: Addresses,
    run: String,
    all: RefCell<Vec<Rc<Sale>>>,
    making: Mutex<()>,
    stopping: CancellationToken,
}

impl Sales {
    pub(super) fn new(
        config: &BookingConfig,
        addresses: Addresses,
        run: String,
        first: i64,
        stopping: CancellationToken,
    ) -> Self {
        let sales = Self {
            strategy: config.strategy,
            capacity: config.capacity,
            buyers: config.buyers,
            route: config.route,
            addresses,
            run,
            all: RefCell::default(),
            making: Mutex::new(()),
            stopping,
        };
        sales.begin(first);
        sales
    }

    fn begin(&self, event: i64) -> Rc<Sale> {
        let ledger = RefCell::new(Ledger::new(self.run.clone(), self.buyers, 1));
        let sale = Rc::new(Sale { event, ledger, over: Cell::new(false) });
        self.all.borrow_mut().push(Rc::clone(&sale));
        sale
    }

    fn last(&self) -> Option<Rc<Sale>> {
        self.all.borrow().last().filter(|sale| !sale.over.get()).cloned()
    }

    /// The event that is sold now. One buyer makes it, the others wait for him; `None` when the load ends.
    pub(super) async fn open(&self) -> Option<Rc<Sale>> {
        if let Some(sale) = self.last() {
            return Some(sale);
        }
        let _making = self.making.lock().await;
        for turn in 0.. {
            if self.stopping.is_cancelled() {
                return None;
            }
            if let Some(sale) = self.last() {
                return Some(sale);
            }
            // Whether an event is made twice is nobody's concern: one that nobody sells is never judged.
            if let Some(address) = self.addresses.pick(self.route, turn)
                && let Ok(Ok(event)) = create_event(address, "lab: under pressure", self.capacity, self.strategy).await
            {
                return Some(self.begin(event));
            }
            tokio::time::sleep(AGAIN).await;
        }
        None
    }

    /// What was bought of each event.
    pub(super) fn ledgers(&self) -> Vec<(i64, Ledger)> {
        self.all.borrow().iter().map(|sale| (sale.event, sale.ledger.borrow().clone())).collect()
    }
}
