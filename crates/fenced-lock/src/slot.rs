//! The mailbox of one acquisition.

use std::fmt;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures_util::future::BoxFuture;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::attend::Term;
use crate::error::LockError;
use crate::guard::{Guard, Held};

/// How everybody else speaks to the task of an acquisition. Nothing here waits, so it may be used from `drop`.
///
/// On the way of a lock from one holder to the next, each task that has to be woken costs more than everything it does.
/// So whoever brings a grant answers the waiting caller itself, and whoever gives a lock back sends the release itself;
/// the task, to which both belong, is woken by the reply.
#[derive(Default)]
pub(crate) struct Slot {
    inbox: Mutex<Inbox>,
}

#[derive(Default)]
struct Inbox {
    release: bool,
    stop: bool,
    grant: Option<u64>,
    resync: bool,
    raise: Option<Raise>,
    ended: bool,
    /// The task, while it waits for something in here.
    task: Option<Waker>,
    offer: Option<Offer>,
    /// What became of the offer.
    held: Option<Held>,
    parting: Option<Arc<dyn Parting>>,
    /// The release on its way.
    leaving: Option<Leaving>,
}

/// A wish for a fence above `floor`.
#[derive(Debug)]
pub(crate) struct Raise {
    pub(crate) floor: u64,
    pub(crate) answer: oneshot::Sender<Result<u64, LockError>>,
}

/// A caller that waits, and what a grant must be to be its own.
#[derive(Debug)]
pub(crate) struct Offer {
    pub(crate) caller: oneshot::Sender<Result<Guard, LockError>>,
    /// Grants with a fence up to this one belong to an earlier time, and came to nothing.
    pub(crate) seen: u64,
    /// When a grant made now would end, at the earliest.
    pub(crate) until: Instant,
}

/// How an offer ends.
#[derive(Debug)]
pub(crate) enum Withdrawn {
    /// Nobody took it.
    Back(oneshot::Sender<Result<Guard, LockError>>),
    /// The caller has its lock.
    Held(Term),
    /// There was none.
    Nothing,
}

/// Sends the release of a lock that is held.
pub(crate) trait Parting: Send + Sync {
    /// `None`: not now, the task shall.
    fn release(self: Arc<Self>) -> Option<Leaving>;

    /// Where its timers belong: a guard may be dropped in another runtime, or in none.
    fn runtime(&self) -> &Handle;
}

/// A release that was sent: `false` if the lock was not ours.
pub(crate) type Leaving = BoxFuture<'static, Result<bool, LockError>>;

/// The most urgent thing in the mailbox.
#[derive(Debug)]
pub(crate) enum Message {
    /// The guard is gone. Stays in the box.
    Release,
    /// The lock is being closed: who still waits gives up. Stays in the box.
    Stop,
    /// The caller of an offer is gone. Stays in the box.
    Gone,
    /// The caller of an offer has its lock, and there is a message from it. Stays in the box.
    Held,
    /// Redis made this acquisition the owner, too long ago or before the last answer.
    Grant,
    Raise(Raise),
    /// Grants may have been missed: ask.
    Resync,
}

impl Slot {
    /// A slot whose guard sends the release itself.
    pub(crate) fn parting(&self, parting: Arc<dyn Parting>) {
        self.lock().parting = Some(parting);
    }

    /// The guard is gone.
    pub(crate) fn release(&self) {
        let mut inbox = self.lock();
        if inbox.release {
            return;
        }
        inbox.release = true;
        // Under the lock, so that the task sends no renewal behind it. Polled as the task would: it is the task that the
        // reply wakes. If that does not wait at this moment, it looks in here before it does.
        if let (Some(task), Some(parting)) = (&inbox.task, &inbox.parting)
            && let Some(mut leaving) = Arc::clone(parting).release()
        {
            let _runtime = parting.runtime().enter();
            let sent = leaving.as_mut().poll(&mut Context::from_waker(task));
            let Poll::Ready(done) = sent else {
                inbox.leaving = Some(leaving);
                return;
            };
            inbox.leaving = Some(Box::pin(std::future::ready(done)));
        }
        wake(inbox);
    }

    /// The release, if whoever had the guard has sent it; from now on only the task does.
    pub(crate) fn leaving(&self) -> Option<Leaving> {
        let mut inbox = self.lock();
        inbox.parting = None;
        inbox.leaving.take()
    }

    pub(crate) fn stop(&self) {
        self.put(|inbox| inbox.stop = true);
    }

    /// Redis has made this acquisition the owner. A caller that waits has its lock at once. Its task is not woken: it
    /// looks here before the lease wants to be renewed.
    pub(crate) fn grant(self: &Arc<Self>, fence: u64) {
        let mut inbox = self.lock();
        inbox.grant = inbox.grant.max(Some(fence));
        match self.take_up(&mut inbox) {
            None => wake(inbox),
            Some((caller, guard)) => {
                // If the caller is gone the guard is dropped, which is a release: not under the lock.
                drop(inbox);
                let _ = caller.send(Ok(guard));
            }
        }
    }

    /// From now on whoever brings a grant answers the caller; also a grant that has come before the answer to the
    /// question.
    pub(crate) fn offer(self: &Arc<Self>, offer: Offer) {
        let mut inbox = self.lock();
        inbox.offer = Some(offer);
        if let Some((caller, guard)) = self.take_up(&mut inbox) {
            drop(inbox);
            let _ = caller.send(Ok(guard));
        }
    }

    /// The end of the offer: after this no grant reaches the caller.
    pub(crate) fn withdraw(&self) -> Withdrawn {
        let mut inbox = self.lock();
        let back = inbox.offer.take().map_or(Withdrawn::Nothing, |offer| Withdrawn::Back(offer.caller));
        inbox.held.as_ref().map_or(back, |held| Withdrawn::Held(held.term))
    }

    /// Whether the caller of the offer has its lock.
    pub(crate) fn is_held(&self) -> bool {
        self.lock().held.is_some()
    }

    /// What the caller was given, if it was.
    pub(crate) fn held(&self) -> Option<Held> {
        self.lock().held.take()
    }

    fn take_up(self: &Arc<Self>, inbox: &mut Inbox) -> Option<(oneshot::Sender<Result<Guard, LockError>>, Guard)> {
        let (fence, offer) = (inbox.grant?, inbox.offer.as_ref()?);
        if fence <= offer.seen || Instant::now() >= offer.until {
            return None;
        }
        let offer = inbox.offer.take()?;
        inbox.grant = None;
        let (held, guard) = Held::new(Term { fence, until: offer.until }, self);
        inbox.held = Some(held);
        Some((offer.caller, guard))
    }

    pub(crate) fn resync(&self) {
        self.put(|inbox| inbox.resync = true);
    }

    /// Asks the task for a higher fence; the receiver hears `Lost` from a task that has ended.
    pub(crate) fn raise(&self, floor: u64) -> oneshot::Receiver<Result<u64, LockError>> {
        let (answer, answered) = oneshot::channel();
        self.put(|inbox| {
            if !inbox.ended {
                inbox.raise = Some(Raise { floor, answer });
            }
        });
        answered
    }

    /// The task reads no more: whoever asked or will ask hears nothing, and takes that for `Lost`.
    pub(crate) fn end(&self) {
        let mut inbox = self.lock();
        inbox.ended = true;
        let last = (inbox.raise.take(), inbox.task.take(), inbox.parting.take(), inbox.offer.take());
        let gone = (inbox.held.take(), inbox.leaving.take());
        // What they own may speak to this slot while it is dropped.
        drop(inbox);
        drop((last, gone));
    }

    pub(crate) async fn next(&self) -> Message {
        poll_fn(|context| {
            let mut inbox = self.lock();
            match inbox.take() {
                Some(message) => Poll::Ready(message),
                None => inbox.wait(context),
            }
        })
        .await
    }

    /// The next message to somebody who has made an offer. That it was taken is none, until the holder wants something.
    pub(crate) async fn offered(&self) -> Message {
        poll_fn(|context| {
            let mut inbox = self.lock();
            if inbox.held.is_some() {
                // Left in the box, for whoever reads it as the holder's.
                let wanted = inbox.release || inbox.raise.is_some();
                return if wanted { Poll::Ready(Message::Held) } else { inbox.wait(context) };
            }
            if let Some(message) = inbox.take() {
                return Poll::Ready(message);
            }
            let offer = inbox.offer.as_mut();
            if offer.is_some_and(|offer| offer.caller.poll_closed(context).is_ready()) {
                return Poll::Ready(Message::Gone);
            }
            inbox.wait(context)
        })
        .await
    }

    /// Resolves when the guard is gone; takes nothing out of the box.
    pub(crate) async fn released(&self) {
        poll_fn(|context| {
            let mut inbox = self.lock();
            if inbox.release { Poll::Ready(()) } else { inbox.wait(context) }
        })
        .await;
    }

    /// Held by its task from now on: what only concerns waiting is forgotten.
    pub(crate) fn hold(&self) {
        let mut inbox = self.lock();
        (inbox.stop, inbox.grant, inbox.resync) = (false, None, false);
    }

    fn put(&self, change: impl FnOnce(&mut Inbox)) {
        let mut inbox = self.lock();
        change(&mut inbox);
        wake(inbox);
    }

    fn lock(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens the box before the task looks into it.
fn wake(mut inbox: MutexGuard<'_, Inbox>) {
    let task = inbox.task.take();
    drop(inbox);
    if let Some(task) = task {
        task.wake();
    }
}

impl Inbox {
    fn take(&mut self) -> Option<Message> {
        if self.release {
            return Some(Message::Release);
        }
        if self.stop {
            return Some(Message::Stop);
        }
        if self.grant.take().is_some() {
            return Some(Message::Grant);
        }
        if let Some(raise) = self.raise.take() {
            return Some(Message::Raise(raise));
        }
        std::mem::take(&mut self.resync).then_some(Message::Resync)
    }

    /// Only its task waits for a slot, so there is one waker, and whatever the task awaits besides has the same.
    fn wait<T>(&mut self, context: &Context<'_>) -> Poll<T> {
        match &mut self.task {
            Some(task) => task.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        Poll::Pending
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").finish_non_exhaustive()
    }
}
