//! The seven strategies that are a lock: read under it, pay, write under it. The same code for each; what differs is what
//! the lock is worth.

use std::time::Duration;

use fenced_lock::{CommitError, LockError, Options, Section, SectionError, Sections, Write};
use service::postgres::is_cut;
use tokio::time::Instant;

use super::locks::{Locks, Missing};
use super::{CUTS, Cancel, Cancellation, Order, Outcome, Refusal, refused_by_schema};
use crate::domain::{BookingId, Event};
use crate::metrics;
use crate::store::{Change, Store, bookings, events, keys};

/// How long a commit in doubt may be asked after.
const SETTLING: Duration = Duration::from_secs(5);

/// Bookings under a lock.
#[derive(Clone, Debug)]
pub struct Locked {
    locks: Locks,
    store: Store,
    max_hold: Duration,
}

/// Why a section has ended without an outcome. It has written nothing, unless the refusal says so.
enum Ended {
    /// The lock is lost, and what was read is out of date: again from the acquisition, never only the write.
    Lost,
    /// Its connection was dead, or somebody else with the same key has come and gone: again.
    Cut(Refusal),
    /// There is nothing to be done.
    For(Refusal),
}

impl Locked {
    /// Bookings under these locks, each held for at most `max_hold`.
    #[must_use]
    pub fn new(locks: Locks, store: Store, max_hold: Duration) -> Self {
        Self { locks, store, max_hold }
    }

    /// The locks.
    #[must_use]
    pub fn locks(&self) -> &Locks {
        &self.locks
    }

    /// Books under the event's lock.
    ///
    /// # Errors
    /// [`Refusal`]
    pub async fn book(&self, order: &Order) -> Result<Outcome, Refusal> {
        let mut attempts = Attempts::new(order.event, order.deadline);
        let sections = self.sections(&order.event).await?;
        loop {
            match self.try_book(sections, order).await {
                Ok(outcome) => return Ok(outcome),
                Err(ended) => attempts.again(ended)?,
            }
        }
    }

    /// Cancels under the event's lock.
    ///
    /// # Errors
    /// [`Refusal`]
    pub async fn cancel(&self, cancel: &Cancel) -> Result<Cancellation, Refusal> {
        let mut attempts = Attempts::new(cancel.event, cancel.deadline);
        let sections = self.sections(&cancel.event).await?;
        loop {
            match self.try_cancel(sections, cancel).await {
                Ok(cancellation) => return Ok(cancellation),
                Err(ended) => attempts.again(ended)?,
            }
        }
    }

    async fn sections(&self, event: &Event) -> Result<&Sections, Refusal> {
        let sections = self.locks.of(event.strategy).await;
        sections.map_err(|Missing(cause)| Refusal::Unavailable { store: "the lock of this event", cause })
    }

    async fn enter(&self, sections: &Sections, event: &Event, deadline: Instant) -> Result<Section, Ended> {
        let left = deadline.saturating_duration_since(Instant::now());
        // Less than the library's shortest wait is no time left.
        let options = Options::within(left).and_then(|options| options.max_hold(self.max_hold));
        let Ok(options) = options else { return Err(Ended::For(Refusal::Locked)) };
        Ok(sections.enter(event.id.get(), options).await?)
    }

    async fn try_book(&self, sections: &Sections, order: &Order) -> Result<Outcome, Ended> {
        let mut section = self.enter(sections, &order.event, order.deadline).await?;
        let lost = section.lost();
        let fence = section.fence().and_then(|fence| i64::try_from(fence).ok());
        let (write, made) = {
            let in_section = async {
                let seen = events::look(&mut *section.reader().await?, order).await?;
                let Some(seen) = seen else { return Err(Ended::For(Refusal::NoSuchEvent)) };
                if let Some(stored) = seen.stored {
                    return Ok(Err(stored));
                }
                let remaining = i64::from(order.event.capacity.get()) - seen.booked;
                if remaining < i64::from(order.seats.get()) {
                    return Ok(Err(Outcome::SoldOut { remaining: remaining.max(0) }));
                }
                section.rest();
                order.pay().await;
                let mut write = section.write().await?;
                match bookings::insert_counted(&mut write, order, fence).await {
                    Ok(made) => Ok(Ok((write, made))),
                    Err(error) => {
                        write.rollback().await;
                        self.not_inserted(order, error).await.map(Err)
                    }
                }
            };
            match lost.run(in_section).await.map_err(|_| Ended::Lost)?? {
                Ok(written) => written,
                Err(outcome) => return Ok(outcome),
            }
        };
        // Not within `lost`: from here on the row is locked, or nothing protects it anyway, and a commit that is dropped
        // half way is one in doubt.
        self.commit(write, Change::Booked(BookingId::of_row(made.booking.id), order.event.id)).await?;
        Ok(Outcome::Booked(made))
    }

    /// What a refused insert means; its transaction has been rolled back.
    async fn not_inserted(&self, order: &Order, error: sqlx::Error) -> Result<Outcome, Ended> {
        if refused_by_schema(order, &error) {
            return Ok(Outcome::SoldOut { remaining: events::remaining(&self.store.pool, order.event.id).await? });
        }
        let Some(key) = order.key.as_ref().filter(|_| keys::is_taken(&error)) else { return Err(error.into()) };
        let mut db = self.store.pool.acquire().await?;
        keys::stored(&mut db, key).await?.ok_or_else(|| Ended::Cut(error.into()))
    }

    async fn try_cancel(&self, sections: &Sections, cancel: &Cancel) -> Result<Cancellation, Ended> {
        let section = self.enter(sections, &cancel.event, cancel.deadline).await?;
        let lost = section.lost();
        let in_section = async {
            let mut write = section.write().await?;
            let cancellation = bookings::cancel(&mut write, cancel.booking, &cancel.expected).await?;
            if let Cancellation::Cancelled { seats, .. } = cancellation {
                events::give_back(&mut write, cancel.event.id, seats).await?;
            }
            Ok::<_, Ended>((write, cancellation))
        };
        let (write, cancellation) = lost.run(in_section).await.map_err(|_| Ended::Lost)??;
        if matches!(cancellation, Cancellation::Cancelled { .. }) {
            self.commit(write, Change::Cancelled(cancel.booking)).await?;
        } else {
            write.rollback().await;
        }
        Ok(cancellation)
    }

    /// Commits. If that is not answered, waits for the transaction to end and asks whether the change was made.
    async fn commit(&self, write: Write, change: Change) -> Result<(), Ended> {
        let doubt = match write.commit().await {
            Ok(()) => return Ok(()),
            Err(CommitError::RolledBack(error)) => return Err(error.into()),
            Err(CommitError::InDoubt(doubt)) => doubt,
            Err(error) => return Err(Ended::For(Refusal::InDoubt(error.to_string()))),
        };
        tracing::warn!(%doubt, "a commit was not answered: asking what became of it");
        let in_doubt = |cause: String| Ended::For(Refusal::InDoubt(cause));
        let mut db = doubt.settled(SETTLING).await.map_err(|error| in_doubt(error.to_string()))?;
        match change.was_made(&mut db).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Ended::Cut(Refusal::RolledBack)),
            Err(error) => Err(in_doubt(error.to_string())),
        }
    }
}

/// How often one order may still be tried.
struct Attempts {
    event: Event,
    deadline: Instant,
    cuts: u32,
    was_lost: bool,
}

impl Attempts {
    fn new(event: Event, deadline: Instant) -> Self {
        Self { event, deadline, cuts: CUTS, was_lost: false }
    }

    /// Whether to begin again, from the acquisition.
    fn again(&mut self, ended: Ended) -> Result<(), Refusal> {
        match ended {
            Ended::For(Refusal::Locked) if self.was_lost => Err(Refusal::Lost),
            Ended::For(refusal) => Err(refusal),
            Ended::Lost if Instant::now() < self.deadline => {
                self.was_lost = true;
                metrics::restarted(self.event.strategy);
                Ok(())
            }
            Ended::Lost => Err(Refusal::Lost),
            Ended::Cut(_) if self.cuts > 0 && Instant::now() < self.deadline => {
                self.cuts -= 1;
                Ok(())
            }
            Ended::Cut(refusal) => Err(refusal),
        }
    }
}

impl From<SectionError> for Ended {
    fn from(error: SectionError) -> Self {
        match error {
            SectionError::Lock(LockError::Lost) => Self::Lost,
            SectionError::Lock(LockError::Backend(cause)) => match cause.downcast_ref::<sqlx::Error>() {
                Some(error) if is_cut(error) => Self::Cut(LockError::Backend(cause).into()),
                _ => Self::For(LockError::Backend(cause).into()),
            },
            SectionError::Lock(error) => Self::For(error.into()),
            SectionError::NoRow => Self::For(Refusal::NoSuchEvent),
            SectionError::Database(error) => error.into(),
            error => Self::For(Refusal::Unavailable { store: "the lock's store", cause: error.to_string() }),
        }
    }
}

/// Of a statement, not of a COMMIT: a transaction whose connection is lost before that is rolled back.
impl From<sqlx::Error> for Ended {
    fn from(error: sqlx::Error) -> Self {
        if is_cut(&error) { Self::Cut(error.into()) } else { Self::For(error.into()) }
    }
}
