//! The proof that what is near is current: a key that only its owner changes.
//!
//! Every `near_ping` two commands go over the tracked connection: one renews the canary's expiry, one gets it. Three
//! things follow from the reply of the GET:
//!
//! - Every push that Redis sent before it has been received before it. They are taken first.
//! - The value is as it was set: nobody has emptied the server. (The client library drops the push that would say so.)
//! - The renewal is a change like any other, so it must have caused a push to this connection. If it did, tracking is on
//!   and pushes do arrive; a proof that rested on their absence would be worth nothing.
//!
//! A proof counts from the moment at which its GET was *sent*.

use std::time::Duration;

use bytes::Bytes;
use fred::clients::Client;
use fred::interfaces::KeysInterface;
use fred::types::Expiration;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};
use tracing::{debug, warn};

use super::{Flushed, Near, Plan};
use crate::error::RedisError;
use crate::key::Keyspace;
use crate::script;

/// What is left behind by a process that is gone goes by itself.
const TTL: Duration = Duration::from_secs(60);

/// `<namespace>:fc:canary:{<process>}`.
pub(crate) fn name(keyspace: &Keyspace) -> Bytes {
    format!("{}:fc:canary:{{{}}}", keyspace.namespace(), random_text()).into()
}

fn random_text() -> String {
    use std::fmt::Write;
    script::random_id().iter().fold(String::with_capacity(32), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// One session's canary.
pub(crate) struct Canary {
    tracker: Client,
    name: Bytes,
    value: Bytes,
    ticks: Interval,
    asked: Option<BoxFuture<'static, Answer>>,
    /// It has been set, and not been found missing since.
    set: bool,
    /// Redis would not have it set, and that has been said.
    refused: bool,
    /// Renewals whose push has not come. Those of requests that were given up count as well: they may have run.
    owed: u32,
}

/// What Redis said.
pub(crate) enum Answer {
    Set(Result<(), RedisError>),
    Found { sent: Instant, value: Result<Option<Bytes>, RedisError> },
}

impl Canary {
    pub(crate) fn new(plan: &Plan, tracker: Client) -> Self {
        let mut ticks = interval(plan.ping);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            tracker,
            name: plan.canary.clone(),
            value: format!("canary-{}", random_text()).into(),
            ticks,
            asked: None,
            set: false,
            refused: false,
            owed: 0,
        }
    }

    /// The next answer. Nothing is lost if this future is dropped and made again.
    pub(crate) async fn answer(&mut self) -> Answer {
        if self.asked.is_none() {
            self.ticks.tick().await;
        }
        let asked = self.asked.get_or_insert_with(|| {
            let (tracker, name) = (self.tracker.clone(), self.name.clone());
            if self.set {
                self.owed += 1;
                ask(tracker, name).boxed()
            } else {
                place(tracker, name, self.value.clone()).boxed()
            }
        });
        let answer = asked.await;
        self.asked = None;
        answer
    }

    /// A push came for this name.
    pub(crate) fn heard(&mut self, name: &[u8]) {
        if self.name == name {
            self.owed = self.owed.saturating_sub(1);
        }
    }

    /// Pushes were lost in this process, perhaps the canary's own; the near cache has been flushed.
    pub(crate) fn lagged(&mut self) {
        self.owed = 0;
    }

    /// Judges an answer. Every push that was received before it has been taken.
    pub(crate) fn judge(&mut self, answer: Answer, near: &Near) {
        match answer {
            Answer::Set(Ok(())) => {
                // Not before: the server may have been emptied once more until the canary was there to tell of it, and
                // with it went the tracking of what had been read meanwhile.
                near.clear();
                (self.set, self.refused, self.owed) = (true, false, 0);
                self.ticks.reset_immediately();
            }
            Answer::Set(Err(error)) if self.refused => {
                debug!(%error, "the near cache's canary can still not be set");
            }
            Answer::Set(Err(error)) => {
                warn!(%error, "the near cache's canary can not be set: nothing near is believed");
                self.refused = true;
            }
            Answer::Found { value: Err(error), .. } => {
                debug!(%error, "the near cache's canary did not answer");
            }
            Answer::Found { value: Ok(value), sent } => {
                if value != Some(self.value.clone()) {
                    self.lost(near, Flushed::Canary);
                } else if self.owed > 0 {
                    self.lost(near, Flushed::Silent);
                } else {
                    near.prove(sent);
                }
            }
        }
        near.report();
    }

    fn lost(&mut self, near: &Near, reason: Flushed) {
        debug!(reason = reason.as_str(), "everything near is dropped");
        near.flush(reason);
        self.set = false;
    }
}

/// SET, and a GET behind it so that the first renewal is pushed as well.
async fn place(tracker: Client, name: Bytes, value: Bytes) -> Answer {
    let set = tracker.set::<(), _, _>(name.clone(), value, Some(ttl()), None, false);
    let (set, tracked) = join(set, tracker.get::<Option<Bytes>, _>(name)).await;
    Answer::Set(set.and(tracked.map(drop)).map_err(RedisError::from))
}

async fn ask(tracker: Client, name: Bytes) -> Answer {
    // Before either is sent.
    let sent = Instant::now();
    let renewed = tracker.pexpire::<i64, _>(name.clone(), ttl_ms(), None);
    let (renewed, value) = join(renewed, tracker.get(name)).await;
    Answer::Found { sent, value: renewed.and(value).map_err(RedisError::from) }
}

fn ttl_ms() -> i64 {
    i64::try_from(TTL.as_millis()).unwrap_or(i64::MAX)
}

fn ttl() -> Expiration {
    Expiration::PX(ttl_ms())
}
