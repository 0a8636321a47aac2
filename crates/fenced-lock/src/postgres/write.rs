//! The one write transaction of a section.

use std::ops::{Deref, DerefMut};

use sqlx::{PgConnection, Postgres, Transaction};

use super::doubt::Doubt;
use super::error::CommitError;
use super::section::Section;

/// A transaction that is entitled to write, until it ends. Dropping it rolls it back and gives the lock back.
///
/// A statement that fails ends the transaction for PostgreSQL: drop it then. (A COMMIT after an error that was
/// ignored is answered by a silent ROLLBACK.)
#[derive(Debug)]
pub struct Write {
    // Before the section, so that its rollback is on its way before the lock is given back.
    transaction: Transaction<'static, Postgres>,
    id: String,
    section: Section,
}

impl Write {
    pub(crate) fn new(transaction: Transaction<'static, Postgres>, id: String, section: Section) -> Self {
        Self { transaction, id, section }
    }

    /// The fence of the section.
    #[must_use]
    pub fn fence(&self) -> Option<u64> {
        self.section.fence()
    }

    /// What to ask if the commit's future has to be dropped, or its process ends: this transaction, as of now.
    #[must_use]
    pub fn doubt(&self) -> Doubt {
        Doubt::new(self.section.sections.pool.clone(), self.id.clone(), None)
    }

    /// COMMIT; then the lock is given back in the background.
    ///
    /// # Errors
    /// [`CommitError::RolledBack`] if PostgreSQL refused; [`CommitError::InDoubt`] if its answer did not come.
    pub async fn commit(self) -> Result<(), CommitError> {
        let Self { transaction, id, section } = self;
        match transaction.commit().await {
            Ok(()) => Ok(()),
            Err(error) if refused(&error) => Err(CommitError::RolledBack(error)),
            Err(error) => {
                Err(CommitError::InDoubt(Box::new(Doubt::new(section.sections.pool.clone(), id, Some(error)))))
            }
        }
    }

    /// ROLLBACK; then the lock is given back in the background.
    pub async fn rollback(self) {
        let Self { transaction, section, .. } = self;
        // If it fails the connection is gone, which is a rollback as well.
        let _ = transaction.rollback().await;
        drop(section);
    }
}

/// Whether the error is PostgreSQL's word that it did not commit. A session that was ended by force
/// (57P01, 57P02 ...) may have been so after its commit was written.
fn refused(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| !["08", "57", "58", "XX"].iter().any(|class| code.starts_with(class)))
}

impl Deref for Write {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.transaction
    }
}

impl DerefMut for Write {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.transaction
    }
}
