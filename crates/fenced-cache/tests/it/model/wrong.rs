//! The switches: [`Wrong::Nothing`] is the protocol as specified, every other one takes one rule away.

/// What is wrong with the protocol under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Wrong {
    Nothing,

    // Sections 2 to 4: `entry`.
    /// FILL stores whatever the lease.
    FillWithoutToken,
    /// DELETE removes the value part alone.
    LeaseNotKilled,
    /// A reader uses the same token for all its leases.
    TokenPerClient,
    /// FILL asks a key of its own, in which invalidations leave the version, instead of the lease.
    VersionFloor,
    /// DELETE is sent before COMMIT, and never after it.
    DeleteOnlyBeforeCommit,
    /// The load's snapshot is as old as the READ.
    SnapshotBeforeLease,
    /// PUT overwrites any versioned value.
    PutUncompared,
    /// PUT stores where no key is.
    PutOntoAbsent,
    /// PUT stores where a lease alone is.
    PutOntoLease,
    /// PUT leaves the lease beside the value.
    PutKeepsLease,
    /// PUT stores over a value without a version.
    PutOntoNegative,
    /// The version is drawn from a sequence before the row is locked.
    VersionDrawnAtBegin,
    /// A deleted row may come back under its id, with version 1, and is put.
    VersionRestarts,
    /// The write is acknowledged by its outbox row.
    AppliedWhenJournalled,
    /// What a crash leaves undone stays undone.
    NoOutbox,
    /// A COMMIT in doubt is taken for a commit.
    AckInDoubt,
    /// A client library sends ACQUIRE again, with its token.
    AcquireRepeated,
    /// ACQUIRE does not look at `n`.
    SeenIgnored,
    /// ACQUIRE does not look at `drop`. No guarantee depends on it.
    NothingDropped,
    /// SOFTEN leaves the lease beside the value.
    SoftenKeepsLease,
    /// The writers of one entry both soften and put, with the scripts as specified.
    SoftenedThenPut,
    /// The same, and PUT takes a soft value for one without a version. Nothing is wrong with that.
    PutKillsSoft,
    /// ABANDON does not look at the token.
    AbandonUnmatched,
    /// A PUT that failed is not followed by DELETE.
    FailedPutAcked,

    // Sections 3 and 5: `tagged` and `bypass`.
    /// A flight is open until it lands.
    JoinAfterFill,
    /// Followers share what FILL refused.
    ShareRefused,
    /// STORED alone is taken as proof.
    NoSecondEpochRead,
    /// Epochs are numbers, and a missing one restarts at 1.
    TagCounter,
    /// A missing epoch is valid.
    MissingEpochValid,
    /// Epochs are captured after the load.
    LateCapture,
    /// A put's epochs are captured after its statement.
    PutCapturesLate,
    /// What is too large to store is shared whatever ABANDON answers.
    AbandonReplyIgnored,
    /// A bypass is open until it is answered.
    CoalescedBypass,

    // Section 7: `failover`.
    /// Every connection is trusted.
    NoReplay,
    /// A process that has just started trusts its first connection.
    FreshTrusts,
    /// A process that trusted one connection trusts the next one.
    TrustOutlivesConnection,
    /// Only unmarked rows are replayed to another server than before.
    OnlyUnmarkedReplayed,
    /// The pair is recorded before the replay has deleted.
    RecordedBeforeReplay,
    /// There is nothing after `settle`.
    NoSecondReplay,
    /// The pair is recorded after the first replay already.
    SecondReplayForgotten,

    // Section 6: `near` and `wakeup`.
    /// Each reply of READ is kept.
    NoMark,
    /// All reads have one mark.
    SharedMark,
    /// Tracking with NOLOOP.
    NoLoop,
    /// The near cache outlives its connection.
    NoFlushOnLoss,
    /// A lagged channel is no reason to flush.
    LagIgnored,
    /// A ping takes the place of the canary.
    NoCanary,
    /// The canary's reply does not wait for the pushes before it.
    NoDrain,
    /// `proved` is the moment of the canary's reply.
    ProvedAtReply,
    /// What the process itself fills is kept.
    ScriptReplyKept,
    /// What is near is flushed when the canary is found missing, and not once it is set again.
    FlushedBeforeCanaryIsSet,
    /// The canary's renewal need not cause a push.
    SilenceBelieved,
    /// A write of this process removes the near entry at COMMIT alone.
    OwnWriteForgottenOnce,
    /// A write of this process removes the near entry and leaves the marks.
    OwnWriteLeavesMarks,
    /// A strict writer answers as soon as its invalidation has run.
    StrictDoesNotWait,
    /// The epochs of its tags do not matter to a near hit.
    NearTagUnchecked,
    /// The reply with a tag's epoch is kept though an invalidation has overtaken it.
    NearTagUnmarked,
    /// A near entry is kept whatever epoch it was read with, and the one that is near is not looked at again.
    NearTagJudgedOnce,
    /// A waiter registers for the push after its READ.
    ReadBeforeRegistering,
    /// A waiter's READ goes over a connection without tracking.
    WaitersReadUntracked,
    /// A waiter sleeps though its READ shows no lease.
    SleepWithoutLease,
    /// A waiter sleeps for the push alone.
    NoTimer,
    /// A waiter waits for lease after lease.
    NoWaitMax,

    // Section 4's relay: `relay`.
    /// The relay takes rows with greater ids than the last one's.
    IdGreaterThanLast,
    /// The last number is not repeated.
    NoHeartbeat,
    /// The worker takes the numbers that it is told, and no others.
    GapsIgnored,
    /// The worker saves its cursor first.
    CursorBeforeApplying,
}

impl Wrong {
    /// Whether every property holds all the same.
    pub(super) fn holds(self) -> bool {
        matches!(self, Self::Nothing | Self::NothingDropped | Self::PutKillsSoft)
    }
}
