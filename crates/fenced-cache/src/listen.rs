//! Takes what client tracking pushes, and what the canary answers: one task, so that the two have an order.

use std::sync::{Arc, Weak};

use fred::types::client::Invalidation;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

use crate::cache::Inner;
use crate::near::{Answer, Canary, Flushed, Near};
use crate::session::Session;
use crate::waiters::Waiters;

/// Runs as long as the session.
pub(crate) async fn listen(
    weak: Weak<Inner>,
    session: Arc<Session>,
    mut pushes: Receiver<Invalidation>,
    mut canary: Option<Canary>,
) {
    loop {
        let answered = async {
            match &mut canary {
                Some(canary) => canary.answer().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            pushed = pushes.recv() => {
                let Some(inner) = weak.upgrade() else { return };
                let pushed = match pushed {
                    Ok(invalidation) => Pushed::Names(invalidation),
                    Err(RecvError::Lagged(_)) => Pushed::Lagged,
                    Err(RecvError::Closed) => return,
                };
                take(&inner.waiters, session.near.as_ref(), canary.as_mut(), pushed);
            }
            answer = answered => {
                let Some(inner) = weak.upgrade() else { return };
                if let (Some(canary), Some(near)) = (&mut canary, &session.near) {
                    conclude(&inner.waiters, near, canary, &mut pushes, answer);
                }
            }
        }
    }
}

/// Takes the pushes that were received before the canary's answer, and then judges the answer.
pub(crate) fn conclude(
    waiters: &Waiters,
    near: &Near,
    canary: &mut Canary,
    pushes: &mut Receiver<Invalidation>,
    answer: Answer,
) {
    // They are in the channel. There may be more by now: no harm.
    for _ in 0..pushes.len() {
        let pushed = match pushes.try_recv() {
            Ok(invalidation) => Pushed::Names(invalidation),
            Err(TryRecvError::Lagged(_)) => Pushed::Lagged,
            Err(TryRecvError::Empty | TryRecvError::Closed) => break,
        };
        take(waiters, Some(near), Some(&mut *canary), pushed);
    }
    canary.judge(answer, near);
}

enum Pushed {
    Names(Invalidation),
    /// Some were dropped, nobody knows which.
    Lagged,
}

fn take(waiters: &Waiters, near: Option<&Near>, canary: Option<&mut Canary>, pushed: Pushed) {
    match pushed {
        Pushed::Names(invalidation) => {
            for name in &invalidation.keys {
                if let Some(near) = near {
                    near.pushed(name.as_bytes());
                }
                waiters.wake(name.as_bytes());
            }
            if let Some(canary) = canary {
                invalidation.keys.iter().for_each(|name| canary.heard(name.as_bytes()));
            }
        }
        Pushed::Lagged => {
            if let Some(near) = near {
                near.flush(Flushed::Lagged);
            }
            if let Some(canary) = canary {
                canary.lagged();
            }
            waiters.wake_all();
        }
    }
}
