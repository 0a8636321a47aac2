//! One acquisition of a granted lock: the protocol's section 3.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::Shared;
use super::commands::{Acquired, Freed, LockKeys, Ticket};
use super::table::Registration;
use super::timing::margin;
use crate::attend::{Caller, Lease, Pace, RETRY, Term};
use crate::error::{LockError, RedisError};
use crate::redis::session::Session;
use crate::slot::{Message, Slot};

#[derive(Debug)]
pub(crate) struct Acquisition {
    shared: Arc<Shared>,
    keys: LockKeys,
    token: String,
    ticket: Ticket,
    /// When the latest ACQUIRE was sent: what it did is undone by time after a first lease.
    asked: Option<Instant>,
    _registration: Registration,
}

/// Why a wait ended.
enum Woken {
    Granted(Term),
    Ask,
    Stopped,
    Late,
    Unwanted,
}

impl Acquisition {
    pub(crate) fn new(shared: &Arc<Shared>, keys: LockKeys, (token, registration): (String, Registration)) -> Self {
        Self {
            shared: Arc::clone(shared),
            keys,
            token,
            ticket: Ticket::First,
            asked: None,
            _registration: registration,
        }
    }

    /// Waits for the grant, or for a reason to ask.
    ///
    /// `asked` is the last moment at which this waiter is known not to have owned the lock: it was answered
    /// 'waiting' later than that. A grant is younger, but nobody says by how much, so its lease is counted from there.
    async fn wait(&self, caller: &mut Caller, slot: &Slot, asked: Instant, seen: u64, left: Duration) -> Woken {
        let timing = &self.shared.timing;
        let until = asked + timing.first_lease - margin(timing.first_lease);
        let poll = Instant::now() + timing.poll.min(left + Duration::from_millis(1));
        let deadline = caller.deadline;
        tokio::select! {
            biased;
            message = slot.next() => match message {
                // A fence that the queue had seen already belongs to an earlier grant, which came to nothing.
                Message::Grant(fence) if fence > seen && Instant::now() < until => Woken::Granted(Term { fence, until }),
                Message::Grant(_) => {
                    self.shared.grants.expired.increment(1);
                    Woken::Ask
                }
                Message::Stop => Woken::Stopped,
                Message::Release | Message::Raise(_) | Message::Resync => Woken::Ask,
            },
            () = caller.gone() => Woken::Unwanted,
            () = sleep_until(poll.min(deadline)) => if Instant::now() >= deadline { Woken::Late } else { Woken::Ask },
        }
    }

    /// RELEASE, and what follows from its reply.
    async fn release(&mut self, session: &Session) -> Result<bool, RedisError> {
        let freed = self.shared.words.release(&session.client, &self.keys, &self.token, self.ticket).await;
        match freed.inspect_err(|error| Shared::note(session, error))? {
            Freed::NotOwner => Ok(false),
            Freed::Done => Ok(true),
            Freed::HandedOver { next, fence } => {
                self.shared.handed_over(&next, fence, &self.keys);
                Ok(true)
            }
        }
    }
}

impl Lease for Acquisition {
    async fn obtain(&mut self, caller: &mut Caller, slot: &Slot) -> Result<Term, LockError> {
        let mut late = LockError::Timeout;
        loop {
            let Some(session) = self.shared.link.session() else {
                late = RedisError::Away.into();
                let deadline = caller.deadline;
                tokio::select! {
                    () = self.shared.link.connected() => continue,
                    () = caller.gone() => return Err(late),
                    () = self.shared.closing.cancelled() => return Err(LockError::closed()),
                    () = sleep_until(deadline) => return Err(late),
                }
            };
            let asked = Instant::now();
            self.asked = Some(asked);
            let asking = self.shared.words.acquire(&session.client, &self.keys, &self.token, self.ticket, caller.wait);
            let Some(acquired) = caller.unless_gone(asking, &late).await else {
                if self.ticket == Ticket::First {
                    self.ticket = Ticket::Unknown;
                }
                return Err(late);
            };
            let woken = match acquired {
                Ok(Acquired::Owned { fence, left }) => {
                    let until = asked + left.saturating_sub(margin(left));
                    if let Ticket::Known(_) = self.ticket {
                        self.shared.grants.poll.increment(1);
                    }
                    if Instant::now() < until { Woken::Granted(Term { fence, until }) } else { Woken::Ask }
                }
                Ok(Acquired::Contended) => return Err(LockError::Contended),
                Ok(Acquired::Waiting { ticket, seen, left }) => {
                    self.ticket = Ticket::Known(ticket);
                    late = LockError::Timeout;
                    self.wait(caller, slot, asked, seen, left).await
                }
                Err(error) => {
                    Shared::note(&session, &error);
                    if self.ticket == Ticket::First {
                        self.ticket = Ticket::Unknown;
                    }
                    late = error.into();
                    // Again, but not in a circle that burns the processor while the connection is being given up.
                    tokio::select! {
                        () = caller.gone() => Woken::Unwanted,
                        () = sleep(RETRY) => Woken::Ask,
                    }
                }
            };
            match woken {
                Woken::Granted(term) => return Ok(term),
                Woken::Ask if Instant::now() < caller.deadline => {}
                Woken::Ask | Woken::Late | Woken::Unwanted => return Err(late),
                Woken::Stopped => return Err(LockError::closed()),
            }
        }
    }

    async fn extend(&mut self, floor: u64) -> Result<Option<Term>, LockError> {
        let lease = self.shared.timing.lease;
        let session = self.shared.link.session().ok_or(RedisError::Away)?;
        let until = Instant::now() + lease - margin(lease);
        let extended = self.shared.words.extend(&session.client, &self.keys, &self.token, floor).await;
        let fence = extended.inspect_err(|error| Shared::note(&session, error))?;
        Ok(fence.map(|fence| Term { fence, until }))
    }

    async fn free(&mut self) -> Result<bool, LockError> {
        let session = self.shared.link.session().ok_or(RedisError::Away)?;
        Ok(self.release(&session).await?)
    }

    /// The cancellation: RELEASE, after the ACQUIRE was answered or has failed.
    async fn abandon(&mut self) {
        let Some(asked) = self.asked else { return };
        // Later than this, whatever was granted has ended and whoever is in the queue is passed over.
        let pointless = asked + self.shared.timing.first_lease + self.shared.timing.command_timeout;
        while Instant::now() < pointless {
            if timeout_at(pointless, self.shared.link.connected()).await.is_err() {
                return;
            }
            let Some(session) = self.shared.link.session() else { continue };
            if self.release(&session).await.is_ok() {
                return;
            }
            sleep(RETRY).await;
        }
    }

    fn pace(&self) -> Option<Pace> {
        let timing = &self.shared.timing;
        Some(Pace { every: timing.lease / 3, after_error: timing.command_timeout })
    }
}
