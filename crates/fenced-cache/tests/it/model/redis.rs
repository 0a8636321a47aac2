//! The Redis of section 2: one entry's hash and the scripts that touch it, line by line.
//!
//! A script is one method, for Redis runs it as one step. Time is left out: that a lease's end has passed is a
//! flag, which the models set at any moment.

use super::wrong::Wrong;

/// A lease's token, or the token of what was stored. Zero is "none".
pub(super) type Token = u8;

/// What a payload shows: which commit of the row, and which commit of the data that a tag stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Content {
    pub(super) row: u8,
    pub(super) group: u8,
}

impl Content {
    /// At least as new in every part.
    pub(super) fn covers(self, other: Self) -> bool {
        self.row >= other.row && self.group >= other.group
    }
}

/// The value part: `d` as `content`; of `h` the captured epoch (zero: no tags); `n`; `v` (zero: none); `s`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Value {
    pub(super) content: Content,
    pub(super) epoch: u8,
    pub(super) n: Token,
    pub(super) v: u8,
    pub(super) soft: bool,
}

/// The lease part. `lapsed` is `u <= now`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Lease {
    pub(super) t: Token,
    pub(super) lapsed: bool,
}

/// The hash at the key; both parts absent: there is no key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Entry {
    pub(super) value: Option<Value>,
    pub(super) lease: Option<Lease>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Acquired {
    Granted,
    Changed,
    Held,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PutReply {
    Stored,
    Newer,
    Killed,
}

impl Entry {
    pub(super) fn holds_lease(&self, token: Token) -> bool {
        self.lease.is_some_and(|lease| lease.t == token)
    }

    /// DELETE.
    pub(super) fn delete(&mut self, wrong: Wrong) {
        self.value = None;
        if wrong != Wrong::LeaseNotKilled {
            self.lease = None;
        }
    }

    /// ACQUIRE.
    pub(super) fn acquire(&mut self, token: Token, seen: Token, drop: bool, wrong: Wrong) -> Acquired {
        if self.holds_lease(token) {
            return Acquired::Granted;
        }
        if self.value.is_some_and(|value| value.n != seen) && wrong != Wrong::SeenIgnored {
            return Acquired::Changed;
        }
        if self.lease.is_some_and(|lease| !lease.lapsed) {
            return Acquired::Held;
        }
        if drop && wrong != Wrong::NothingDropped {
            self.value = None;
        }
        self.lease = Some(Lease { t: token, lapsed: false });
        Acquired::Granted
    }

    /// FILL; `true` is STORED.
    pub(super) fn fill(&mut self, token: Token, value: Value, wrong: Wrong) -> bool {
        if !self.holds_lease(token) && wrong != Wrong::FillWithoutToken {
            return false;
        }
        *self = Self { value: Some(Value { n: token, ..value }), lease: None };
        true
    }

    /// PUT.
    pub(super) fn put(&mut self, token: Token, value: Value, wrong: Wrong) -> PutReply {
        let old = self.value.map_or(0, |value| value.v);
        if old != 0 && old >= value.v && wrong != Wrong::PutUncompared {
            return PutReply::Newer;
        }
        let soft = self.value.is_some_and(|value| value.soft) && wrong == Wrong::PutKillsSoft;
        let onto_nothing = match (self.value, self.lease) {
            (Some(_), _) => wrong == Wrong::PutOntoNegative,
            (None, Some(_)) => wrong == Wrong::PutOntoLease,
            (None, None) => wrong == Wrong::PutOntoAbsent,
        };
        let lease = self.lease.filter(|_| wrong == Wrong::PutKeepsLease);
        *self = Self { value: None, lease };
        if (old == 0 || soft) && !onto_nothing {
            return PutReply::Killed;
        }
        self.value = Some(Value { n: token, ..value });
        PutReply::Stored
    }

    /// SOFTEN.
    pub(super) fn soften(&mut self, wrong: Wrong) {
        match &mut self.value {
            Some(value) => {
                value.soft = true;
                if wrong != Wrong::SoftenKeepsLease {
                    self.lease = None;
                }
            }
            None => self.lease = None,
        }
    }

    /// ABANDON; `true` is "the lease was still this token's". Without a value nothing is left, so the key goes.
    pub(super) fn abandon(&mut self, token: Token, wrong: Wrong) -> bool {
        let matched = self.holds_lease(token);
        if matched || wrong == Wrong::AbandonUnmatched {
            self.lease = None;
        }
        matched
    }

    /// The lease's end passes beside a value. (A lease alone expires with its key.)
    pub(super) fn lapse(&mut self) {
        if let Some(lease) = &mut self.lease {
            lease.lapsed = true;
        }
    }
}
