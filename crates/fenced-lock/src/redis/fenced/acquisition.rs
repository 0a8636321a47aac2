//! One acquisition of a granted lock: the protocol's section 3.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fred::bytes_utils::Str;
use futures_util::future::{BoxFuture, FutureExt};
use tokio::runtime::Handle;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::Shared;
use super::commands::{Acquired, Freed, LockKeys, Ticket};
use super::table::Registration;
use super::timing::margin;
use crate::attend::{Caller, Lease, Pace, RETRY, Term};
use crate::error::{LockError, RedisError};
use crate::name::Name;
use crate::redis::session::Session;
use crate::slot::{Leaving, Message, Offer, Parting, Slot, Withdrawn};

#[derive(Debug)]
pub(crate) struct Acquisition {
    place: Arc<Place>,
    /// When the latest ACQUIRE was sent: what it did is undone by time after a first lease.
    asked: Option<Instant>,
    _registration: Registration,
}

/// What an acquisition is to Redis. The guard has it too, and sends the release from where it is dropped.
#[derive(Debug)]
struct Place {
    shared: Arc<Shared>,
    keys: LockKeys,
    token: Str,
    /// As [`Ticket::number`].
    ticket: AtomicU64,
}

/// Why a wait ended.
enum Woken {
    Granted(Term),
    Ask,
    Stopped,
    Late,
    Unwanted,
}

impl Place {
    fn ticket(&self) -> Ticket {
        Ticket::from_number(self.ticket.load(Ordering::Relaxed))
    }

    fn set_ticket(&self, ticket: Ticket) {
        self.ticket.store(ticket.number(), Ordering::Relaxed);
    }

    /// What was sent may have been run, and its reply did not come.
    fn unanswered(&self) {
        if self.ticket() == Ticket::First {
            self.set_ticket(Ticket::Unknown);
        }
    }

    fn acquire<'a>(&'a self, session: &'a Session, wait: bool) -> BoxFuture<'a, Result<Acquired, RedisError>> {
        self.shared.words.acquire(&session.client, &self.keys, &self.token, self.ticket(), wait).boxed()
    }

    /// RELEASE, and what follows from its reply.
    async fn give_back(&self, session: &Session) -> Result<bool, RedisError> {
        let freed = self.shared.words.release(&session.client, &self.keys, &self.token, self.ticket()).await;
        match freed.inspect_err(|error| Shared::note(session, error))? {
            Freed::NotOwner => Ok(false),
            Freed::Done => Ok(true),
            Freed::HandedOver { next, fence } => {
                self.shared.handed_over(&next, fence, &self.keys);
                // The next owner runs first, and on this thread: the one who has released, who may well ask again, would
                // push it aside, and another thread would have to be woken for one of them.
                yield_now().await;
                Ok(true)
            }
        }
    }
}

impl Parting for Place {
    fn release(self: Arc<Self>) -> Option<Leaving> {
        let session = self.shared.link.session()?;
        Some(async move { Ok(self.give_back(&session).await?) }.boxed())
    }

    fn runtime(&self) -> &Handle {
        &self.shared.runtime
    }
}

impl Acquisition {
    pub(crate) fn new(shared: &Arc<Shared>, name: &Name, slot: &Arc<Slot>) -> Self {
        let (token, registration) = shared.table.register(slot);
        let place = Arc::new(Place {
            shared: Arc::clone(shared),
            keys: shared.words.keys(name),
            token,
            ticket: AtomicU64::new(Ticket::First.number()),
        });
        slot.parting(Arc::<Place>::clone(&place));
        Self { place, asked: None, _registration: registration }
    }

    /// Waits for the grant, or for a reason to ask.
    ///
    /// `asked` is the last moment at which this waiter is known not to have owned the lock: it was answered
    /// 'waiting' later than that. A grant is younger, but nobody says by how much, so its lease is counted from there.
    async fn wait(&self, caller: &mut Caller, slot: &Arc<Slot>, asked: Instant, seen: u64, left: Duration) -> Woken {
        let Some(answer) = caller.lend() else { return Woken::Unwanted };
        let timing = &self.place.shared.timing;
        let until = asked + timing.first_lease - margin(timing.first_lease);
        slot.offer(Offer { caller: answer, seen, until });
        let poll = Instant::now() + timing.poll.min(left + Duration::from_millis(1));
        // Nobody wakes this task for a grant, and a lease wants its first renewal a third of it after the grant.
        let renewal = asked + (until - asked) / 3;
        let deadline = caller.deadline;
        let mut woken = tokio::select! {
            biased;
            message = slot.offered() => Some(message),
            () = sleep_until(poll.min(deadline).min(renewal)) => None,
        };
        if woken.is_none() && renewal < poll.min(deadline) && !slot.is_held() {
            woken = tokio::select! {
                biased;
                message = slot.offered() => Some(message),
                () = sleep_until(poll.min(deadline)) => None,
            };
        }
        match slot.withdraw() {
            Withdrawn::Held(term) => return Woken::Granted(term),
            Withdrawn::Back(answer) => caller.give_back(answer),
            Withdrawn::Nothing => return Woken::Unwanted,
        }
        match woken {
            None if Instant::now() >= deadline => Woken::Late,
            None | Some(Message::Release | Message::Raise(_) | Message::Resync) => Woken::Ask,
            // A fence that the queue had seen already belongs to an earlier grant, which came to nothing.
            Some(Message::Grant) => {
                self.place.shared.grants.expired.increment(1);
                Woken::Ask
            }
            Some(Message::Stop) => Woken::Stopped,
            Some(Message::Gone | Message::Held) => Woken::Unwanted,
        }
    }
}

impl Lease for Acquisition {
    async fn obtain(&mut self, caller: &mut Caller, slot: &Arc<Slot>) -> Result<Term, LockError> {
        let place = Arc::clone(&self.place);
        let shared = &place.shared;
        // A script that the server has forgotten is sent twice.
        let limit = 2 * shared.timing.command_timeout;
        let mut late = LockError::Timeout;
        loop {
            let Some(session) = shared.link.session() else {
                late = RedisError::Away.into();
                let deadline = caller.deadline;
                tokio::select! {
                    () = shared.link.connected() => continue,
                    () = caller.gone() => return Err(late),
                    () = shared.closing.cancelled() => return Err(LockError::closed()),
                    () = sleep_until(deadline) => return Err(late),
                }
            };
            let asked = Instant::now();
            self.asked = Some(asked);
            let asking = place.acquire(&session, caller.wait);
            let Some(acquired) = caller.unless_gone(asking, limit, &late).await else {
                place.unanswered();
                return Err(late);
            };
            let woken = match acquired {
                Ok(Acquired::Owned { fence, left }) => {
                    let until = asked + left.saturating_sub(margin(left));
                    if let Ticket::Known(_) = place.ticket() {
                        shared.grants.poll.increment(1);
                    }
                    if Instant::now() < until { Woken::Granted(Term { fence, until }) } else { Woken::Ask }
                }
                Ok(Acquired::Contended) => {
                    if place.ticket() == Ticket::First {
                        // Redis has run the only question and has kept nothing of it.
                        self.asked = None;
                    }
                    return Err(LockError::Contended);
                }
                Ok(Acquired::Waiting { ticket, seen, left }) => {
                    place.set_ticket(Ticket::Known(ticket));
                    late = LockError::Timeout;
                    self.wait(caller, slot, asked, seen, left).await
                }
                Err(error) => {
                    Shared::note(&session, &error);
                    place.unanswered();
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
        let Place { shared, keys, token, .. } = &*self.place;
        let lease = shared.timing.lease;
        let session = shared.link.session().ok_or(RedisError::Away)?;
        let until = Instant::now() + lease - margin(lease);
        let extended = shared.words.extend(&session.client, keys, token, floor).boxed().await;
        let fence = extended.inspect_err(|error| Shared::note(&session, error))?;
        Ok(fence.map(|fence| Term { fence, until }))
    }

    async fn free(&mut self) -> Result<bool, LockError> {
        let session = self.place.shared.link.session().ok_or(RedisError::Away)?;
        Ok(self.place.give_back(&session).boxed().await?)
    }

    /// The cancellation: RELEASE, after the ACQUIRE was answered or has failed.
    async fn abandon(&mut self) {
        let Some(asked) = self.asked else { return };
        let shared = Arc::clone(&self.place.shared);
        // Later than this, whatever was granted has ended and whoever is in the queue is passed over.
        let pointless = asked + shared.timing.first_lease + shared.timing.command_timeout;
        while Instant::now() < pointless {
            if timeout_at(pointless, shared.link.connected()).await.is_err() {
                return;
            }
            let Some(session) = shared.link.session() else { continue };
            if self.place.give_back(&session).boxed().await.is_ok() {
                return;
            }
            sleep(RETRY).await;
        }
    }

    fn pace(&self) -> Option<Pace> {
        let timing = &self.place.shared.timing;
        Some(Pace { every: timing.lease / 3, after_error: timing.command_timeout })
    }
}
