//! The side of the lock that lives in PostgreSQL: the locks that are its own, and the sections whose writes it
//! checks.

mod doubt;
mod error;
mod lock;
mod rows;
mod section;
mod session;
mod write;

pub use doubt::{Doubt, Unsettled};
pub use error::{CommitError, SectionError};
pub use lock::{PgLock, PgLockSettings};
pub use rows::Rows;
pub use section::{Enter, Reader, Section, Sections};
pub(crate) use session::HeldSession;
pub use write::Write;
