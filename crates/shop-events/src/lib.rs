//! What the shop's API tells its worker: the wire types, the names they stand for in Redis, and the two ends of the channel
//! between them.
//!
//! # On the wire
//!
//! A writer puts a [`ShopEvent`] as JSON into the outbox. The outbox's relay numbers it, and [`Publisher`] sends it to
//! [`CHANNEL`] in an envelope; the last number is repeated as a heartbeat:
//!
//! ```json
//! {"v":1,"kind":"event","number":17,"recorded_at_us":1767225600123456,
//!  "event":{"v":1,"type":"product_changed","product_id":42,"category_id":7,"version":3}}
//! {"v":1,"kind":"heartbeat","number":17}
//! ```
//!
//! (Each is one line.) Envelope and event have a version each, because the relay that makes the one and the writer that made
//! the other may be of two releases.
//!
//! # Rules of change
//!
//! - A field that older readers may ignore is added without a new version; readers ignore what they do not know.
//! - Whatever an older reader would get wrong is a new `v`, or a new `type`. Readers are rolled out first.
//! - What a reader does not understand is [`Unreadable`], with the reason: it is never dropped in silence, and never a panic.
#![warn(missing_docs)]

mod connection;
mod envelope;
mod event;
mod names;
mod publisher;
mod subscription;

pub use connection::ChannelError;
pub use envelope::{decode, encode};
pub use event::{MAX_BYTES, ShopEvent, Unreadable};
pub use names::{NAMESPACE, Names};
pub use publisher::Publisher;
pub use subscription::{Heard, Subscription, SubscriptionConfig};

/// The Pub/Sub channel, in the cache's Redis.
pub const CHANNEL: &str = "shop:events";
