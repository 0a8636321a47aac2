//! The life of one acquisition, in a task that no caller can kill: obtain, hand over, keep alive, give back.
//!
//! The task, and not the caller, owns what was sent to the store. So a caller's future may be dropped at any point:
//! the task notices, and takes back whatever the store has done or may still do.

use std::future::Future;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::backend::{Acquiring, Request};
use crate::error::LockError;
use crate::guard::{Guard, Held};
use crate::metrics::LockMetrics;
use crate::name::Name;
use crate::slot::{Message, Raise, Slot};
use crate::tenure::Tenure;

/// What a store grants: the fence (0 without fences) and the local deadline, counted from when the request was sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Term {
    pub(crate) fence: u64,
    pub(crate) until: Instant,
}

/// How often a lease is renewed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    pub(crate) every: Duration,
    pub(crate) after_error: Duration,
}

/// One lock of one store, as seen by one acquisition. A future of it may be dropped in the middle only where this
/// says so.
pub(crate) trait Lease: Send + 'static {
    /// Tries until it is held, refused, or not wanted any more; the caller may have been answered meanwhile, by what it
    /// has put into the slot. Runs to its end.
    fn obtain(&mut self, caller: &mut Caller, slot: &Arc<Slot>)
    -> impl Future<Output = Result<Term, LockError>> + Send;

    /// Renews, with a fence above `floor` if that is not 0. `None`: it is not ours. May be dropped in the middle.
    fn extend(&mut self, floor: u64) -> impl Future<Output = Result<Option<Term>, LockError>> + Send;

    /// Gives back what is held. `false`: it was not ours.
    fn free(&mut self) -> impl Future<Output = Result<bool, LockError>> + Send;

    /// After `obtain` has failed: takes back whatever may have been sent.
    fn abandon(&mut self) -> impl Future<Output = ()> + Send;

    /// After a loss: the store is told once, and nobody waits for it.
    fn forsake(&mut self) -> impl Future<Output = ()> + Send {
        async {
            let _ = self.free().await;
        }
    }

    /// `None`: the lease is never renewed.
    fn pace(&self) -> Option<Pace>;

    /// Whether the holder goes by its own clock. The plain lock does not: it learns at its release, if at all, that
    /// its lease has run out.
    fn watches_the_clock(&self) -> bool {
        true
    }

    /// The transaction that is the lock.
    #[cfg(feature = "postgres")]
    fn session(&self) -> Option<crate::postgres::HeldSession> {
        None
    }
}

/// The caller's ear, until it has its answer.
#[derive(Debug)]
pub(crate) struct Caller {
    answer: Option<oneshot::Sender<Result<Guard, LockError>>>,
    pub(crate) deadline: Instant,
    pub(crate) wait: bool,
}

impl Caller {
    /// Resolves when nobody waits for the answer (any more).
    pub(crate) async fn gone(&mut self) {
        if let Some(answer) = &mut self.answer {
            answer.closed().await;
        }
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.answer.as_ref().is_none_or(oneshot::Sender::is_closed)
    }

    pub(crate) fn refuse(&mut self, error: LockError) {
        self.answer(Err(error));
    }

    /// For somebody else to answer; [`give_back`](Self::give_back) if it did not.
    pub(crate) fn lend(&mut self) -> Option<oneshot::Sender<Result<Guard, LockError>>> {
        self.answer.take()
    }

    pub(crate) fn give_back(&mut self, answer: oneshot::Sender<Result<Guard, LockError>>) {
        self.answer = Some(answer);
    }

    fn answer(&mut self, answer: Result<Guard, LockError>) {
        if let Some(caller) = self.answer.take() {
            // A caller that is gone drops the guard, and a dropped guard is a release.
            let _ = caller.send(answer);
        }
    }

    /// Waits for `command`. If the caller goes away meanwhile, or its deadline passes (it is told so), the command
    /// is still awaited, because only after its end can it be taken back; then `None`. The command is known to end
    /// within `limit`: if that is before the deadline, no timer is set.
    pub(crate) async fn unless_gone<T>(
        &mut self,
        command: impl Future<Output = T>,
        limit: Duration,
        late: &LockError,
    ) -> Option<T> {
        let mut command = std::pin::pin!(command);
        let deadline = self.deadline;
        let in_time = deadline.saturating_duration_since(Instant::now()) > limit;
        tokio::select! {
            biased;
            done = &mut command => return Some(done),
            () = self.gone() => {}
            () = sleep_until(deadline), if !in_time => self.refuse(late.clone()),
        }
        command.await;
        None
    }
}

/// Starts nothing yet: the two ends of an acquisition.
pub(crate) fn acquisition(request: &Request) -> (Caller, Acquiring) {
    let (answer, answered) = oneshot::channel();
    (Caller { answer: Some(answer), deadline: request.deadline, wait: request.wait }, Acquiring(answered))
}

/// The acquisitions of one backend, which end with it.
#[derive(Debug)]
pub(crate) struct Attendants {
    tasks: TaskTracker,
    closing: CancellationToken,
}

impl Attendants {
    /// Ends the waits of those who are told by `closing`.
    pub(crate) fn new(closing: CancellationToken) -> Self {
        Self { tasks: TaskTracker::new(), closing }
    }

    /// Begins an acquisition, unless the backend is being closed.
    pub(crate) fn begin<L: Lease>(&self, request: Request, lease: impl FnOnce(Name) -> L) -> Acquiring {
        if self.closing.is_cancelled() {
            return Acquiring::refused(LockError::closed());
        }
        let (caller, acquiring) = acquisition(&request);
        let lease = lease(request.name);
        self.tasks.spawn(attend(lease, Arc::default(), caller, request.max_hold, request.metrics));
        acquiring
    }

    /// Refuses new ones, ends those that wait, and waits for the rest.
    pub(crate) fn close(&self) -> BoxFuture<'_, ()> {
        async {
            self.closing.cancel();
            self.tasks.close();
            self.tasks.wait().await;
        }
        .boxed()
    }
}

/// Marks the mailbox as unread when the task ends, however it ends.
struct Unread(Arc<Slot>);

impl Drop for Unread {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// The task of one acquisition.
pub(crate) async fn attend<L: Lease>(
    mut lease: L,
    slot: Arc<Slot>,
    mut caller: Caller,
    max_hold: Duration,
    metrics: Arc<LockMetrics>,
) {
    let _unread = Unread(Arc::clone(&slot));
    let term = match lease.obtain(&mut caller, &slot).await {
        Ok(term) => term,
        Err(refused) => {
            caller.refuse(refused);
            lease.abandon().await;
            return;
        }
    };
    slot.hold();
    let clock = lease.watches_the_clock();
    let Held { tenure, began, term, released } = slot.held().unwrap_or_else(|| {
        let until = if clock { term.until } else { Instant::now() + max_hold };
        let (held, guard) = Held::new(Term { until, ..term }, &slot);
        #[cfg(feature = "postgres")]
        let guard = guard.with_session(lease.session());
        caller.answer(Ok(guard));
        held
    });

    let section_end = began + max_hold;
    let mut holding = Holding { lease, slot, tenure, until: term.until, section_end, metrics };
    let ended = holding.hold(began).await;
    holding.metrics.hold.record(began.elapsed());
    if ended == End::Released && !holding.tenure.is_lost() {
        let _ = released.send(holding.give_back().await);
        return;
    }
    holding.tenure.lose();
    holding.metrics.lost.increment(1);
    tracing::debug!("a lock was lost while it was held");
    let _ = released.send(Err(LockError::Lost));
    match holding.slot.leaving() {
        Some(leaving) => drop(leaving.await),
        None => holding.lease.forsake().await,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Released,
    Lost,
}

struct Holding<L> {
    lease: L,
    slot: Arc<Slot>,
    tenure: Arc<Tenure>,
    until: Instant,
    section_end: Instant,
    metrics: Arc<LockMetrics>,
}

impl<L: Lease> Holding<L> {
    /// The watchdog.
    async fn hold(&mut self, began: Instant) -> End {
        let pace = self.lease.pace();
        // The first renewal is also the acknowledgement of a grant, whose first lease is short.
        let mut next = pace.map(|_| began + self.until.saturating_duration_since(began) / 3);
        loop {
            // A section that is too long is not renewed, and is lost when its lease ends.
            let renewal = next.filter(|next| *next < self.section_end && *next < self.until);
            let wake = renewal.unwrap_or(self.until);
            let raise = tokio::select! {
                biased;
                message = self.slot.next() => match message {
                    Message::Release => return End::Released,
                    Message::Raise(raise) => Some(raise),
                    Message::Stop | Message::Gone | Message::Held | Message::Grant | Message::Resync => {
                        self.slot.hold();
                        continue;
                    }
                },
                () = sleep_until(wake) => None,
            };
            if Instant::now() >= self.until {
                return End::Lost;
            }
            match self.renew(raise).await {
                ControlFlow::Break(end) => return end,
                ControlFlow::Continue(renewed) => {
                    next = pace.map(|pace| Instant::now() + if renewed { pace.every } else { pace.after_error });
                }
            }
        }
    }

    /// One renewal; `true` if the store has confirmed it. A release does not wait for its reply: what is sent next
    /// comes after it.
    async fn renew(&mut self, raise: Option<Raise>) -> ControlFlow<End, bool> {
        let floor = raise.as_ref().map_or(0, |raise| raise.floor);
        let renewed = tokio::select! {
            biased;
            renewed = self.lease.extend(floor) => renewed,
            () = self.slot.released() => return ControlFlow::Break(End::Released),
            () = sleep_until(self.until) => return ControlFlow::Break(End::Lost),
        };
        let (heard, flow) = match renewed {
            Ok(Some(term)) => {
                self.metrics.extension_ok.increment(1);
                self.until = term.until;
                // Too late is too late, whatever the store has said.
                if self.tenure.extend(term.until) {
                    (Ok(term.fence), ControlFlow::Continue(true))
                } else {
                    (Err(LockError::Lost), ControlFlow::Break(End::Lost))
                }
            }
            Ok(None) => {
                self.metrics.extension_refused.increment(1);
                (Err(LockError::Lost), ControlFlow::Break(End::Lost))
            }
            Err(error) => {
                self.metrics.extension_error.increment(1);
                (Err(error), ControlFlow::Continue(false))
            }
        };
        if let Some(raise) = raise {
            let _ = raise.answer.send(heard);
        }
        flow
    }

    /// Gives back, again after an error, for as long as the lease would have lasted.
    async fn give_back(&mut self) -> Result<(), LockError> {
        let mut freed = match self.slot.leaving() {
            Some(leaving) => leaving.await,
            None => self.lease.free().await,
        };
        loop {
            match freed {
                Ok(true) => return Ok(()),
                Ok(false) => return Err(LockError::Lost),
                Err(error) if Instant::now() >= self.until => return Err(error),
                Err(_) => sleep(RETRY).await,
            }
            freed = self.lease.free().await;
        }
    }
}

/// Between two attempts at a store that is away.
pub(crate) const RETRY: Duration = Duration::from_millis(20);
