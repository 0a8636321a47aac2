//! Locks that live in Redis.

mod fenced;
mod link;
mod plain;
mod redlock;
mod script;
mod session;

pub use fenced::{FencedSettings, RedisFenced, Timing};
pub use plain::{PlainSettings, RedisPlain};
pub use redlock::{Redlock, RedlockSettings};
