//! Keeps a subscription to the channel, and passes on what it hears.

use std::time::Duration;

use bytes::Bytes;
use service::Check;
use shop_events::{Heard, Subscription, SubscriptionConfig};
use tokio::sync::mpsc::Sender;
use tokio::time::sleep;

use crate::status::Status;

const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_LAST: Duration = Duration::from_millis(500);

/// What the worker is told.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Item {
    /// From here on nothing is missed in silence; before this, anything may have been.
    Subscribed,
    /// A message, whoever may have sent it.
    Message(Bytes),
    /// Some messages were dropped.
    Lagged,
}

/// Runs until nobody takes what it hears any more. A worker that is slow holds it up, and then the subscription says that
/// messages were dropped: memory is bounded.
pub(crate) async fn listen(config: SubscriptionConfig, items: Sender<Item>, status: Status, check: Check) {
    let mut retry = RETRY_FIRST;
    let mut told = false;
    while !items.is_closed() {
        match Subscription::open(&config).await {
            Ok(subscription) => {
                tracing::info!("subscribed to the channel");
                (retry, told) = (RETRY_FIRST, false);
                status.subscribed(true);
                check.pass();
                let taken = pass_on(subscription, &items).await;
                status.subscribed(false);
                check.fail("the subscription was lost");
                if taken.is_none() {
                    return;
                }
                tracing::warn!("the subscription was lost");
            }
            Err(error) => {
                check.fail(&error);
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!(%error, "cannot subscribe; trying again until it works");
                }
            }
        }
        tokio::select! {
            () = items.closed() => return,
            () = sleep(retry) => {}
        }
        retry = (retry * 2).min(RETRY_LAST);
    }
}

/// Until the subscription is lost; `None` if nobody takes its items any more.
async fn pass_on(mut subscription: Subscription, items: &Sender<Item>) -> Option<()> {
    items.send(Item::Subscribed).await.ok()?;
    loop {
        let heard = tokio::select! {
            heard = subscription.next() => heard,
            () = items.closed() => return None,
        };
        let item = match heard {
            Heard::Message(bytes) => Item::Message(bytes),
            Heard::Lagged => Item::Lagged,
            Heard::Lost => return Some(()),
        };
        items.send(item).await.ok()?;
    }
}
