//! The mailbox of one acquisition.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot};

use crate::error::LockError;

/// How everybody else speaks to the task of an acquisition. Nothing here waits, so it may be used from `drop`.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    inbox: Mutex<Inbox>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Inbox {
    release: bool,
    stop: bool,
    grant: Option<u64>,
    resync: bool,
    raise: Option<Raise>,
    ended: bool,
}

/// A wish for a fence above `floor`.
#[derive(Debug)]
pub(crate) struct Raise {
    pub(crate) floor: u64,
    pub(crate) answer: oneshot::Sender<Result<u64, LockError>>,
}

/// The most urgent thing in the mailbox.
#[derive(Debug)]
pub(crate) enum Message {
    /// The guard is gone. Stays in the box.
    Release,
    /// The lock is being closed: who still waits gives up. Stays in the box.
    Stop,
    /// Redis made this acquisition the owner, some time ago.
    Grant(u64),
    Raise(Raise),
    /// Grants may have been missed: ask.
    Resync,
}

impl Slot {
    pub(crate) fn release(&self) {
        self.put(|inbox| inbox.release = true);
    }

    pub(crate) fn stop(&self) {
        self.put(|inbox| inbox.stop = true);
    }

    pub(crate) fn grant(&self, fence: u64) {
        self.put(|inbox| inbox.grant = inbox.grant.max(Some(fence)));
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
        inbox.raise = None;
    }

    pub(crate) async fn next(&self) -> Message {
        loop {
            if let Some(message) = self.take() {
                return message;
            }
            self.wake.notified().await;
        }
    }

    /// Resolves when the guard is gone; takes nothing out of the box.
    pub(crate) async fn released(&self) {
        while !self.lock().release {
            self.wake.notified().await;
        }
    }

    fn take(&self) -> Option<Message> {
        let mut inbox = self.lock();
        if inbox.release {
            return Some(Message::Release);
        }
        if inbox.stop {
            return Some(Message::Stop);
        }
        if let Some(fence) = inbox.grant.take() {
            return Some(Message::Grant(fence));
        }
        if let Some(raise) = inbox.raise.take() {
            return Some(Message::Raise(raise));
        }
        std::mem::take(&mut inbox.resync).then_some(Message::Resync)
    }

    /// Held by its task from now on: what only concerns waiting is forgotten.
    pub(crate) fn hold(&self) {
        let mut inbox = self.lock();
        (inbox.stop, inbox.grant, inbox.resync) = (false, None, false);
    }

    fn put(&self, change: impl FnOnce(&mut Inbox)) {
        change(&mut self.lock());
        self.wake.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
