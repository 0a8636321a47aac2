//! Why a section did not come to its end.

use thiserror::Error;

use super::doubt::Doubt;
use crate::error::LockError;

/// Why a section could not go on. In no case has it written anything.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SectionError {
    /// The lock was not had, or is lost. After [`LockError::Lost`] begin again from the acquisition.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The row that the lock is named after does not exist.
    #[error("the row does not exist")]
    NoRow,
    /// PostgreSQL refused a statement or did not answer.
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
}

/// What became of a COMMIT that did not answer 'done'.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CommitError {
    /// Nothing was committed: PostgreSQL said so.
    #[error("nothing was committed")]
    RolledBack(#[source] sqlx::Error),
    /// The connection ended before PostgreSQL answered: it may have been committed, it may be committed yet.
    #[error("the commit is in doubt: {0}")]
    InDoubt(Box<Doubt>),
}
