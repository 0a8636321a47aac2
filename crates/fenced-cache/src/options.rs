//! What one reader asks of one read.

/// What a reader wants beyond its policy, for [`Cache::get_or_load_with`](crate::Cache::get_or_load_with).
///
/// ```no_run
/// # use fenced_cache::{BoxError, Cache, Key, Loaded, Policy, ReadError, ReadOptions};
/// # async fn example(cache: &Cache, key: &Key, policy: &Policy) -> Result<(), ReadError> {
/// # let load = || async { Ok::<_, BoxError>(Some(Loaded::new("..").version(7))) };
/// // The client's last write returned version 7 of this row, in whatever process.
/// let read = cache.get_or_load_with(key, policy, ReadOptions::new().at_least(7), load).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct ReadOptions {
    at_least: Option<u64>,
    past_near: bool,
}

impl ReadOptions {
    /// Nothing special: as [`Cache::get_or_load`](crate::Cache::get_or_load).
    pub fn new() -> Self {
        Self::default()
    }

    /// The reader has seen this version of the row, by a write of its own or by an earlier read, and wants no older one.
    ///
    /// A cached answer that shows an older version, or none (a list, a "not found"), is passed over: a near one for Redis,
    /// one in Redis for a load. So whoever hands on the versions that it sees reads its own writes, and never an older
    /// version after a newer one, whatever process answers and even after
    /// [`Pending`](crate::WriteOutcome::Pending). What a load of this read brings is answered in any case: the
    /// database knows best, and the row may be gone.
    ///
    /// A version that does not exist yet costs a load per read. Take it only from those whom you would let ask the
    /// database, or make sure that it is one that you gave out.
    pub fn at_least(mut self, version: u64) -> Self {
        self.at_least = Some(version);
        self
    }

    /// Asks Redis and not this process's memory: the guarantee of reads after writes for this one read, also of what has
    /// no version.
    pub fn past_near(mut self) -> Self {
        self.past_near = true;
        self
    }

    pub(crate) fn allow_near(self) -> bool {
        !self.past_near
    }

    /// Whether an answer at this version is new enough.
    pub(crate) fn accept(self, version: Option<u64>) -> bool {
        self.at_least.is_none_or(|least| version.is_some_and(|version| version >= least))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_shows_no_version_does_not_show_a_new_one() {
        let options = ReadOptions::new().at_least(7);
        assert!(options.accept(Some(7)) && options.accept(Some(8)));
        assert!(!options.accept(Some(6)) && !options.accept(None));
        assert!(ReadOptions::new().accept(None));
    }
}
