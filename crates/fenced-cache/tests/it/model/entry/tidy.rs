//! Makes one state of those that no later step and no property tells apart.

use super::super::redis::Token;
use super::EntryModel;
use super::state::{Attempt, State};

/// The token of a value that no ACQUIRE in flight has seen.
const UNNAMED: Token = 90;
/// The token of a value that is gone.
const GONE: Token = 91;

impl State {
    pub(super) fn tidy(&mut self, model: &EntryModel) {
        self.forget_dead_commands(model);
        self.rename_values();
        self.order(model);
    }

    /// A FILL or ABANDON whose token can not be a lease any more does nothing.
    fn forget_dead_commands(&mut self, model: &EntryModel) {
        for (r, reader) in self.readers.iter_mut().enumerate() {
            for (a, attempt) in (0..).zip(&mut reader.attempts) {
                let over = a < reader.at && attempt.acquire.is_none();
                if over && !self.entry.holds_lease(model.token(r, a)) {
                    *attempt = Attempt::default();
                }
            }
        }
    }

    /// A value's token is compared with the `seen` of ACQUIREs, and with nothing else.
    fn rename_values(&mut self) {
        let stored = self.entry.value.map_or(0, |value| value.n);
        let mut named = false;
        for attempt in self.readers.iter_mut().flat_map(|reader| &mut reader.attempts) {
            match &mut attempt.acquire {
                Some((seen, _)) if *seen == stored => named = true,
                Some((seen, _)) if *seen != 0 => *seen = GONE,
                _ => {}
            }
        }
        if let (false, Some(value)) = (named, &mut self.entry.value) {
            value.n = UNNAMED;
        }
    }

    /// Which reader is which does not matter, nor which writer.
    fn order(&mut self, model: &EntryModel) {
        if model.attempts[0] == model.attempts[1] && self.readers[0] > self.readers[1] {
            self.readers.swap(0, 1);
            self.rename(|token| match token {
                1 | 2 => token + 2,
                3 | 4 => token - 2,
                _ => token,
            });
        }
        if self.writers[0] > self.writers[1] {
            self.writers.swap(0, 1);
            self.rename(|token| match token {
                11 => 12,
                12 => 11,
                _ => token,
            });
        }
    }

    fn rename(&mut self, name: impl Fn(Token) -> Token) {
        if let Some(lease) = &mut self.entry.lease {
            lease.t = name(lease.t);
        }
        if let Some(value) = &mut self.entry.value {
            value.n = name(value.n);
        }
        for attempt in self.readers.iter_mut().flat_map(|reader| &mut reader.attempts) {
            if let Some((seen, _)) = &mut attempt.acquire {
                *seen = name(*seen);
            }
        }
    }
}
