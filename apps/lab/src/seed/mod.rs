//! Filling a service's tables: fast, the same everywhere, and in whole chunks.
//!
//! One run: take the seeder's lock, open the ledger and take constraints and indexes down (one
//! transaction), load chunks of rows over several connections (one transaction each, with its line in the
//! ledger), make constraints and indexes again, `vacuum (analyze)`, verify, close the ledger. Whatever
//! ends a run, the next one does what is left.

pub(crate) mod blog;
mod bulk;
mod copy;
mod filling;
mod ledger;
mod prose;
mod random;
mod session;
pub(crate) mod shop;
mod structure;
mod together;

/// What is to be filled, and how.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// A migrated database; not through a transaction pooler, because the lock belongs to a session.
    pub(crate) database_url: String,
    /// How many posts (products, events) there are afterwards.
    pub(crate) items: u64,
    /// How many connections load at once.
    pub(crate) streams: u16,
    /// Whether rows of an earlier seeding with another number are replaced. Rows that the lab did not make never are.
    pub(crate) replace: bool,
}

/// What a seeding came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seeded {
    /// It was complete before.
    Before,
    /// This run, or another one that this run waited for, completed it.
    Now,
}

/// A connection that generates and one that is written to keep two processors busy; more connections
/// than processors only take turns.
pub(crate) fn default_streams() -> u16 {
    let processors = std::thread::available_parallelism().map_or(2, usize::from);
    u16::try_from(processors.clamp(2, 8)).expect("at most 8")
}
