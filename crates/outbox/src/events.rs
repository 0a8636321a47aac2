//! Events: changes that others are told of over a channel, in order, each under a number of its own.
//!
//! # Guarantees
//!
//! - **Together or not at all.** An event is there if and only if its change is committed.
//! - **Numbers without gaps**: 1, 2, 3 and so on. They are given out when an event is visible to the relay, not when it is
//!   written: whoever has seen number `n` knows that it has heard of everything only if it has seen all numbers below, and
//!   can read exactly what it has missed ([`events_after`](crate::Outbox::events_after)).
//! - **Order.** If the change of one event saw that of another committed, or waited for its row's lock, its number is
//!   the higher one. It takes a writer that [records](crate::Transaction::event) the event *after* the statement that changes
//!   (and so locks) the row; then the events of one row are in the order of its changes.
//! - **At most once over the channel, at least once from the table.** What the channel loses stays in the table until every
//!   reader has got past it (for how long at most, see [`absence`](EventSettings::absence)). The last number is repeated
//!   every [`heartbeat`](EventSettings::heartbeat), since no gap shows that a *last* message was lost.
//!
//! # How
//!
//! A writer inserts into `outbox_event_pending`. Every replica runs an event relay; one of them **leads**, by a lease in
//! the counter's row that it renews with each heartbeat: a leader that stops is followed by another one a lease later, and one
//! that shuts down gives it back. The leader moves visible rows, lowest id first, into `outbox_event` under the next numbers,
//! in one transaction with the counter; then it publishes. The counter's row is locked meanwhile, so numbers are right
//! whoever believes to lead; the lease only keeps the channel in order, as two relays that took turns would overtake each other
//! on the way to it.
//!
//! Not `id > last`: ids are drawn before COMMIT. Pending is what has no number, whatever its id.

mod metric;
mod migration;
mod prune;
mod read;
mod relay;
mod settings;
mod statements;
mod write;

use std::time::SystemTime;

use bytes::Bytes;
use fenced_cache::{BoxError, BoxFuture};

pub(crate) use metric::{COUNT_MOST, Metrics};
pub(crate) use prune::prune;
pub use read::{Aside, EventPage, Reader};
pub(crate) use relay::EventRelay;
pub use settings::EventSettings;
pub(crate) use statements::Statements;

/// An event that has its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its place in the one order of all events of the schema, from 1.
    pub number: u64,
    /// What the writer wrote.
    pub payload: Bytes,
    /// When the writer wrote it, by the database's clock.
    pub recorded_at: SystemTime,
}

/// What the relay has to say on the channel.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Message {
    /// An event.
    Event(Event),
    /// Nothing new: this is the last number given out. 0 before the first.
    Heartbeat {
        /// The last number.
        last: u64,
    },
}

/// The channel as the relay sees it.
pub trait Publish: Send + Sync + 'static {
    /// Publishes these messages, in this order. `Ok` once the channel has taken each of them.
    ///
    /// Called again only when the last call has ended; a call that takes longer than
    /// [`publish_within`](EventSettings::publish_within) is dropped. What fails is not repeated: readers have the table.
    fn publish(&self, messages: Vec<Message>) -> BoxFuture<'_, Result<(), BoxError>>;
}
