//! Waiting for somebody else's load: step 5 of section 3, and the wake-ups of section 6.
//!
//! One reader that finds the lease held, and whatever the holders of leases do: fill, abandon, die, and be followed
//! by others. Here time counts, in ticks; the reader's own commands take none. Redis may lose all it knows without
//! a word (FLUSHALL, whose push the client drops), and so may the connection (half open).

use stateright::{Model, Property};

use super::check::{fails, holds};
use super::wrong::Wrong;
use Act::{Acquire, Change, Deaf, Lapse, Read, Register, TakeLease, TakePush, Tick, TimeIsUp};
use Changed::{Abandoned, Filled, FilledHere};

/// G3's part in this.
const ENDS: &str = "a read waits for wait_max at most";
const BOUNDED: &str = "nobody sleeps longer than the lease lasts that is in the way";
/// Not needed for any guarantee, but what wake-ups are for.
const PROMPT: &str = "who sleeps has a lease to wait for, or a push is on its way, or pushes were lost";

/// In ticks.
const LEASE: u8 = 2;
const WAIT_MAX: u8 = 3;
const HORIZON: u8 = 6;

#[derive(Clone, Copy, Debug)]
struct WakeupModel {
    wrong: Wrong,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct State {
    now: u8,
    /// Redis: a fresh value, the end of a lease, whether it pushes to the reader's connection.
    stored: bool,
    lease: Option<u8>,
    tracked: bool,
    /// A push on its way to the reader's process.
    pushed: bool,
    /// Since the reader's last READ: the entry has changed; pushes may have been lost.
    changed: bool,
    deaf: bool,
    reader: Reader,
    /// When the lease ends that the reader was last told of.
    told: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Reader {
    /// About to send ACQUIRE.
    Awake,
    /// Told HELD; to register for the push and to READ, in this order, and then to sleep until then.
    Held {
        until: u8,
    },
    Registered {
        until: u8,
    },
    /// Of wrong variants: READ before registering.
    HasRead {
        until: u8,
    },
    Asleep {
        until: u8,
    },
    /// Answered, loading itself, or at the bypass.
    Over,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Changed {
    Filled,
    /// By a flight of the reader's own process, over the same connection.
    FilledHere,
    /// ABANDON, an invalidation, or an eviction.
    Abandoned,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Acquire,
    Register,
    Read,
    TakePush,
    /// The reader's sleep is over.
    TimeIsUp,
    /// Somebody else takes the lease.
    TakeLease,
    Change(Changed),
    /// The lease's end is here; the key expires.
    Lapse,
    /// FLUSHALL, or a connection that is half open from now on.
    Deaf {
        flushed: bool,
    },
    Tick,
}

impl State {
    fn change(&mut self, stored: bool, silent: bool) {
        (self.stored, self.lease) = (stored, None);
        self.changed = true;
        self.pushed |= self.tracked && !silent;
        self.tracked = false;
    }
}

impl WakeupModel {
    fn wait_max(self) -> u8 {
        if self.wrong == Wrong::NoWaitMax { u8::MAX } else { WAIT_MAX }
    }
}

impl Model for WakeupModel {
    type State = State;
    type Action = Act;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            now: 0,
            stored: false,
            lease: Some(LEASE),
            tracked: false,
            pushed: false,
            changed: false,
            deaf: false,
            reader: Reader::Awake,
            told: 0,
        }]
    }

    fn actions(&self, state: &State, acts: &mut Vec<Act>) {
        let read_first = self.wrong == Wrong::ReadBeforeRegistering;
        let mut may_tick = state.now < HORIZON && state.lease.is_none_or(|end| state.now < end);
        match state.reader {
            Reader::Awake => acts.push(Acquire),
            Reader::Held { .. } => acts.push(if read_first { Read } else { Register }),
            Reader::Registered { .. } => acts.push(Read),
            Reader::HasRead { .. } => acts.push(Register),
            Reader::Asleep { until } if until <= state.now => acts.push(TimeIsUp),
            Reader::Asleep { .. } | Reader::Over => {}
        }
        may_tick &= match state.reader {
            Reader::Asleep { until } => state.now < until,
            Reader::Over => true,
            _ => false,
        };
        if may_tick {
            acts.push(Tick);
        }
        if state.pushed {
            acts.push(TakePush);
        }
        match state.lease {
            Some(end) => {
                acts.extend([Change(Filled), Change(FilledHere), Change(Abandoned)]);
                if end <= state.now {
                    acts.push(Lapse);
                }
            }
            None if state.stored => acts.push(Change(Abandoned)),
            None => acts.push(TakeLease),
        }
        acts.extend([Deaf { flushed: true }, Deaf { flushed: false }]);
    }

    fn next_state(&self, before: &State, act: Act) -> Option<State> {
        let mut state = *before;
        match act {
            // Past wait_max the reader goes to the bypass; a lease that is free is its own.
            Acquire => {
                state.reader = match state.lease {
                    Some(end) if state.now < self.wait_max() && !state.stored => {
                        state.told = end;
                        Reader::Held { until: end.min(self.wait_max()) }
                    }
                    _ => Reader::Over,
                };
            }
            Register => {
                state.reader = match state.reader {
                    Reader::HasRead { until } => Reader::Asleep { until },
                    Reader::Held { until } => Reader::Registered { until },
                    other => other,
                };
            }
            Read => {
                state.tracked = self.wrong != Wrong::WaitersReadUntracked;
                (state.changed, state.deaf) = (false, false);
                let (Reader::Held { until } | Reader::Registered { until }) = state.reader else { return None };
                let until = if self.wrong == Wrong::NoTimer { u8::MAX } else { until };
                state.reader = match state.reader {
                    _ if state.stored => Reader::Over,
                    // READ shows `t`: what was in the way may be gone already, and then nothing pushes any more.
                    _ if state.lease.is_none() && self.wrong != Wrong::SleepWithoutLease => Reader::Awake,
                    Reader::Held { .. } => Reader::HasRead { until },
                    _ => Reader::Asleep { until },
                };
            }
            TakePush => {
                state.pushed = false;
                state.reader = match state.reader {
                    // Registered and not asleep yet: the sleep ends at once.
                    Reader::Asleep { .. } | Reader::Registered { .. } => Reader::Awake,
                    other => other,
                };
            }
            TimeIsUp => state.reader = Reader::Awake,
            TakeLease => {
                state.change(false, false);
                state.lease = Some(state.now + LEASE);
            }
            Change(how) => {
                let silent = how == FilledHere && self.wrong == Wrong::NoLoop;
                state.change(how != Abandoned, silent);
            }
            Lapse => state.change(false, false),
            Deaf { flushed } => {
                state.tracked = false;
                state.deaf = true;
                if flushed {
                    (state.stored, state.lease) = (false, None);
                } else {
                    state.pushed = false;
                }
            }
            Tick => state.now += 1,
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::<Self>::always(ENDS, |_, state| state.reader == Reader::Over || state.now <= WAIT_MAX),
            Property::<Self>::always(BOUNDED, |_, state| {
                !matches!(state.reader, Reader::Asleep { .. }) || state.now <= state.told
            }),
            Property::<Self>::always(PROMPT, |_, state| {
                let asleep = matches!(state.reader, Reader::Asleep { .. });
                !asleep || state.deaf || state.pushed || state.lease.is_some() && !state.changed
            }),
        ];
        if self.wrong == Wrong::Nothing {
            properties.extend([
                Property::<Self>::sometimes("a push wakes before the lease's end", |_, state| {
                    matches!(state.reader, Reader::Asleep { until } if state.now < until) && state.pushed
                }),
                Property::<Self>::sometimes("without a push, the lease's end wakes", |_, state| {
                    matches!(state.reader, Reader::Asleep { until } if state.now == until) && state.deaf
                }),
                Property::<Self>::sometimes("wait_max ends the wait for a second lease", |_, state| {
                    state.reader == Reader::Awake && state.now == WAIT_MAX && state.lease > Some(WAIT_MAX)
                }),
            ]);
        }
        properties
    }
}

#[test]
fn the_protocol_holds() {
    holds(WakeupModel { wrong: Wrong::Nothing }, 300);
}

const ASLEEP: [Act; 3] = [Acquire, Register, Read];

#[test]
fn noloop() {
    fails(WakeupModel { wrong: Wrong::NoLoop }, PROMPT, &[&ASLEEP[..], &[Change(FilledHere)]].concat());
}

// Rules of sections 3 and 6 that have no row of their own.

#[test]
fn read_before_registering() {
    // The push comes when nobody is there to be woken.
    let row = [Acquire, Read, Change(Filled), TakePush, Register];
    fails(WakeupModel { wrong: Wrong::ReadBeforeRegistering }, PROMPT, &row);
}

#[test]
fn sleep_for_a_lease_that_was_gone_at_read() {
    let row = [Acquire, Register, Change(Abandoned), Read];
    fails(WakeupModel { wrong: Wrong::SleepWithoutLease }, PROMPT, &row);
}

#[test]
fn waiters_read_without_tracking() {
    let row = [&ASLEEP[..], &[Change(Filled)]].concat();
    fails(WakeupModel { wrong: Wrong::WaitersReadUntracked }, PROMPT, &row);
}

#[test]
fn no_timer() {
    let row = [&ASLEEP[..], &[Deaf { flushed: true }, Tick, Tick, Tick, Tick]].concat();
    fails(WakeupModel { wrong: Wrong::NoTimer }, ENDS, &row);
    let row = [&ASLEEP[..], &[Deaf { flushed: true }, Tick, Tick, Tick]].concat();
    fails(WakeupModel { wrong: Wrong::NoTimer }, BOUNDED, &row);
}

#[test]
fn no_wait_max() {
    // The holder dies, and the next one takes the lease before the waiter does.
    let second = [Lapse, TakeLease, TimeIsUp, Acquire, Register, Read, Tick, Tick];
    let row = [&ASLEEP[..], &[Tick, Tick], &second].concat();
    fails(WakeupModel { wrong: Wrong::NoWaitMax }, ENDS, &row);
}
