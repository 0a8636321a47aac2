//! `pg-conditional`: one guarded `update`, which takes the seats, and inserts the booking and its key in the same
//! statement. No lock: the row is locked for as long as the statement runs, and nothing is held during the payment.

use service::postgres::is_cut;
use sqlx::Connection as _;
use tokio::time::Instant;

use super::{Cancel, Cancellation, Order, Outcome, Refusal, refused_by_schema};
use crate::store::{Change, Store, bookings, events, keys};

/// How often a statement is sent again that somebody with the same key, or a dead connection, got in the way of.
const AGAIN: u32 = 3;

/// How often one statement may still be sent, and whether one of those sent may have been committed unheard.
struct Attempts {
    left: u32,
    doubt: Option<String>,
}

impl Attempts {
    fn again(&mut self, error: sqlx::Error) -> Result<(), Refusal> {
        if self.left == 0 {
            return Err(self.failed(error));
        }
        self.left -= 1;
        Ok(())
    }

    /// What a failure means, which is no answer to what became of an earlier statement.
    fn failed(&mut self, error: sqlx::Error) -> Refusal {
        self.doubt.take().map_or(Refusal::Database(error), Refusal::InDoubt)
    }
}

/// Bookings by one statement.
#[derive(Clone, Debug)]
pub struct Conditional {
    store: Store,
}

impl Conditional {
    /// Bookings in this store.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    /// Books, if there is room.
    ///
    /// # Errors
    /// [`Refusal`]
    pub async fn book(&self, order: &Order) -> Result<Outcome, Refusal> {
        if let Some(stored) = self.store.stored_before_payment(order).await? {
            return Ok(stored);
        }
        order.pay().await;
        let mut attempts = Attempts { left: AGAIN, doubt: None };
        loop {
            let mut db = match self.store.pool.acquire().await {
                Ok(db) => db,
                Err(error) => return Err(attempts.failed(error)),
            };
            match bookings::insert_if_room(&mut db, order).await {
                Ok(Some(made)) => return Ok(Outcome::Booked(made)),
                Ok(None) => break,
                Err(error) if keys::is_taken(&error) => {
                    if let Some(stored) = self.store.stored(order).await.map_err(|error| attempts.failed(error))? {
                        return Ok(stored);
                    }
                    // Whoever had the key has rolled back, or it was pruned.
                    attempts.again(error)?;
                }
                Err(error) if refused_by_schema(order, &error) => break,
                // The statement commits by itself, so it may have been committed. Under a key it can be sent again: at most
                // one of the two stays. Without one there is nothing to know it by.
                Err(error) if is_cut(&error) => {
                    attempts.doubt = Some(error.to_string());
                    if order.key.is_none() || Instant::now() >= order.deadline {
                        return Err(attempts.failed(error));
                    }
                    attempts.again(error)?;
                }
                Err(error) => return Err(attempts.failed(error)),
            }
        }
        // The seats may be gone to this very order's first try.
        if let Some(stored) = self.store.stored(order).await.map_err(|error| attempts.failed(error))? {
            return Ok(stored);
        }
        Ok(Outcome::SoldOut { remaining: events::remaining(&self.store.pool, order.event.id).await? })
    }

    /// Cancels.
    ///
    /// # Errors
    /// [`Refusal`]
    pub async fn cancel(&self, cancel: &Cancel) -> Result<Cancellation, Refusal> {
        let mut db = self.store.pool.acquire().await?;
        let mut transaction = db.begin().await?;
        let cancellation = bookings::cancel(&mut transaction, cancel.booking, &cancel.expected).await?;
        let Cancellation::Cancelled { seats, .. } = cancellation else { return Ok(cancellation) };
        events::give_back(&mut transaction, cancel.event.id, seats).await?;
        let committed = transaction.commit().await;
        // Whoever asks in case of doubt takes a connection of its own.
        drop(db);
        self.store.confirm(committed, Change::Cancelled(cancel.booking)).await?;
        Ok(cancellation)
    }
}
