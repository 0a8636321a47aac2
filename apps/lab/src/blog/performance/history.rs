//! The judge of the staleness hunt: what acknowledged writes promise, and which answers break it.
//!
//! A write that was acknowledged as applied promises that no read which begins later returns anything older.
//! So a reader notes what is promised *before* it sends its request, and holds the answer against that. Both
//! happen in this one process, so "before" needs no clock. The judge never cries wolf: what it
//! counts is promised by the time the request is sent; an acknowledgement that is still on its way is not.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::api::Post;

/// One post that is written and read.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(crate) id: i64,
    /// Newest version acknowledged as applied; 0 before the creation was.
    floor: AtomicU64,
    /// Comments acknowledged as applied.
    comments: AtomicU64,
    deletion: AtomicU8,
    /// When the floor was last raised, in microseconds since `born`.
    raised: AtomicU64,
    born: Instant,
    /// Which write made which version, as far as acknowledged.
    writes: Mutex<HashMap<u64, u64>>,
}

const NOT_DELETED: u8 = 0;
const DELETION_BEGUN: u8 = 1;
const DELETED: u8 = 2;

/// What is promised about a post at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Promise {
    floor: u64,
    comments: u64,
    deleted: bool,
    /// Since the newest promise, at the moment of the request.
    age: Duration,
}

/// What a read said about a post.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) version: u64,
    /// The write that the title names; absent from a 304.
    pub(crate) write: Option<u64>,
    /// Absent from a 304.
    pub(crate) comments: Option<u64>,
}

impl Seen {
    /// From a body.
    pub(crate) fn of(post: &Post) -> Self {
        Self { version: post.version, write: write_in(&post.title), comments: Some(post.comment_count) }
    }

    /// From a 304, or a list without more.
    pub(crate) fn version(version: u64) -> Self {
        Self { version, write: None, comments: None }
    }
}

/// A broken promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) id: i64,
    pub(crate) kind: Kind,
    /// How long the promise had been given when the read began.
    pub(crate) age: Duration,
}

/// What kind of promise it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An older version than one that was acknowledged.
    Stale { version: u64, floor: u64 },
    /// Fewer comments than were acknowledged.
    Comments { seen: u64, floor: u64 },
    /// Not found, or not in its list, after its creation was acknowledged.
    Vanished,
    /// Found after its deletion was acknowledged.
    Undead,
    /// A version with the content of another.
    Torn { version: u64, write: u64, expected: u64 },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, kind, age } = self;
        let after = age.as_secs_f64() * 1e3;
        match kind {
            Kind::Stale { version, floor } => {
                write!(
                    f,
                    "post {id}: version {version} in a read begun {after:.1} ms after version {floor} was acknowledged"
                )
            }
            Kind::Comments { seen, floor } => {
                write!(
                    f,
                    "post {id}: {seen} comments in a read begun {after:.1} ms after the {floor}th was acknowledged"
                )
            }
            Kind::Vanished => write!(f, "post {id}: missing in a read begun {after:.1} ms after it was acknowledged"),
            Kind::Undead => {
                write!(f, "post {id}: there in a read begun {after:.1} ms after its deletion was acknowledged")
            }
            Kind::Torn { version, write, expected } => {
                write!(f, "post {id}: version {version} with the title of write {write} instead of {expected}")
            }
        }
    }
}

impl Watched {
    /// A post of which nothing is promised yet.
    pub(crate) fn new(id: i64) -> Self {
        Self {
            id,
            floor: AtomicU64::new(0),
            comments: AtomicU64::new(0),
            deletion: AtomicU8::new(NOT_DELETED),
            raised: AtomicU64::new(0),
            born: Instant::now(),
            writes: Mutex::default(),
        }
    }

    /// Write number `write` committed as `version`, whatever it promises.
    pub(crate) fn committed(&self, version: u64, write: u64) {
        self.writes.lock().unwrap_or_else(PoisonError::into_inner).insert(version, write);
    }

    /// A write of that version, or the creation, was acknowledged as applied.
    pub(crate) fn applied(&self, version: u64) {
        self.floor.fetch_max(version, Ordering::SeqCst);
        self.stamp();
    }

    /// One more comment was acknowledged as applied.
    pub(crate) fn comment_applied(&self) {
        self.comments.fetch_add(1, Ordering::SeqCst);
        self.stamp();
    }

    /// To be called before a DELETE is sent: from now on, being absent is no fault.
    pub(crate) fn deletion_begins(&self) {
        self.deletion.fetch_max(DELETION_BEGUN, Ordering::SeqCst);
    }

    /// The DELETE was acknowledged as applied.
    pub(crate) fn deleted(&self) {
        self.deletion.fetch_max(DELETED, Ordering::SeqCst);
        self.stamp();
    }

    /// Whether a DELETE was sent.
    pub(crate) fn going(&self) -> bool {
        self.deletion.load(Ordering::SeqCst) != NOT_DELETED
    }

    fn stamp(&self) {
        let now = u64::try_from(self.born.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.raised.store(now, Ordering::SeqCst);
    }

    /// What is promised now. To be called before a request is sent.
    pub(crate) fn promise(&self) -> Promise {
        let age = self.born.elapsed().saturating_sub(Duration::from_micros(self.raised.load(Ordering::SeqCst)));
        Promise {
            // The deletion first: it is promised after everything else was.
            deleted: self.deletion.load(Ordering::SeqCst) == DELETED,
            floor: self.floor.load(Ordering::SeqCst),
            comments: self.comments.load(Ordering::SeqCst),
            age,
        }
    }

    /// Judges an answer that shows the post.
    pub(crate) fn judge_present(&self, promise: Promise, seen: &Seen) -> Option<Violation> {
        let kind = if promise.deleted {
            Kind::Undead
        } else if seen.version < promise.floor {
            Kind::Stale { version: seen.version, floor: promise.floor }
        } else if let Some(comments) = seen.comments.filter(|comments| *comments < promise.comments) {
            Kind::Comments { seen: comments, floor: promise.comments }
        } else {
            let write = seen.write?;
            let expected = *self.writes.lock().unwrap_or_else(PoisonError::into_inner).get(&seen.version)?;
            if write == expected {
                return None;
            }
            Kind::Torn { version: seen.version, write, expected }
        };
        Some(Violation { id: self.id, kind, age: promise.age })
    }

    /// Judges an answer that does not show the post. To be called after the answer has come.
    pub(crate) fn judge_absent(&self, promise: Promise) -> Option<Violation> {
        let allowed = promise.floor == 0 || self.going();
        (!allowed).then_some(Violation { id: self.id, kind: Kind::Vanished, age: promise.age })
    }
}

/// The title of a write, which names it.
pub(crate) fn title(write: u64) -> String {
    format!("staleness hunt, write {write}")
}

fn write_in(title: &str) -> Option<u64> {
    title.strip_prefix("staleness hunt, write ")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{Kind, Seen, Violation, Watched, title, write_in};

    fn seen(version: u64) -> Seen {
        Seen::version(version)
    }

    fn kind(violation: Option<Violation>) -> Option<Kind> {
        violation.map(|violation| violation.kind)
    }

    /// A post whose creation was acknowledged.
    fn post() -> Watched {
        let post = Watched::new(7);
        post.applied(1);
        post
    }

    #[test]
    fn an_older_version_after_the_acknowledgement_is_a_violation() {
        let post = post();
        post.applied(3);
        let promise = post.promise();
        assert_eq!(kind(post.judge_present(promise, &seen(2))), Some(Kind::Stale { version: 2, floor: 3 }));
        assert_eq!(post.judge_present(promise, &seen(3)), None);
        assert_eq!(post.judge_present(promise, &seen(4)), None, "newer than acknowledged: its write is on its way");
    }

    #[test]
    fn a_read_that_began_before_the_acknowledgement_may_return_the_older_one() {
        let post = post();
        let promise = post.promise();
        post.applied(2);
        assert_eq!(post.judge_present(promise, &seen(1)), None);
        assert!(post.judge_present(post.promise(), &seen(1)).is_some());
    }

    #[test]
    fn a_write_that_is_only_pending_promises_nothing_until_a_later_one_is_applied() {
        let post = post();
        post.committed(2, 100);
        assert_eq!(post.judge_present(post.promise(), &seen(1)), None);
        post.applied(3);
        assert!(post.judge_present(post.promise(), &seen(2)).is_some());
    }

    #[test]
    fn acknowledgements_that_arrive_in_another_order_lower_nothing() {
        let post = post();
        post.applied(5);
        post.applied(4);
        assert!(post.judge_present(post.promise(), &seen(4)).is_some());
    }

    #[test]
    fn a_created_post_must_be_found_once_it_is_acknowledged() {
        let post = Watched::new(7);
        let before = post.promise();
        assert_eq!(post.judge_absent(before), None);
        post.applied(1);
        assert_eq!(post.judge_absent(before), None, "that read began before");
        assert_eq!(kind(post.judge_absent(post.promise())), Some(Kind::Vanished));
    }

    #[test]
    fn a_deletion_under_way_allows_both_and_an_acknowledged_one_does_not() {
        let post = post();
        let early = post.promise();
        post.deletion_begins();
        let during = post.promise();
        assert_eq!(post.judge_absent(early), None, "it began to be deleted while that read was under way");
        assert_eq!((post.judge_absent(during), post.judge_present(during, &seen(1))), (None, None));
        post.deleted();
        assert_eq!(post.judge_present(during, &seen(1)), None);
        let after = post.promise();
        assert_eq!(post.judge_absent(after), None);
        assert_eq!(kind(post.judge_present(after, &seen(1))), Some(Kind::Undead));
        assert!(post.going());
    }

    #[test]
    fn acknowledged_comments_must_be_counted() {
        let post = post();
        post.comment_applied();
        post.comment_applied();
        let with = |comments| Seen { version: 9, write: None, comments: Some(comments) };
        assert_eq!(kind(post.judge_present(post.promise(), &with(1))), Some(Kind::Comments { seen: 1, floor: 2 }));
        assert_eq!(post.judge_present(post.promise(), &with(2)), None);
    }

    #[test]
    fn a_version_has_one_content() {
        let post = post();
        post.committed(2, 41);
        let with = |write| Seen { version: 2, write: Some(write), comments: None };
        assert_eq!(post.judge_present(post.promise(), &with(41)), None);
        assert_eq!(
            kind(post.judge_present(post.promise(), &with(40))),
            Some(Kind::Torn { version: 2, write: 40, expected: 41 })
        );
        let unknown = Seen { version: 3, write: Some(40), comments: None };
        assert_eq!(post.judge_present(post.promise(), &unknown), None, "nobody has said yet what version 3 is");
    }

    #[test]
    fn titles_name_their_write() {
        assert_eq!(write_in(&title(12)), Some(12));
        assert_eq!(write_in("staleness hunt, write x"), None);
        assert_eq!(write_in("a post"), None);
    }
}
