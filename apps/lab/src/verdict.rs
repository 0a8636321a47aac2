//! What an experiment says about the invariants that it checked.

use crate::exit::Ending;
use crate::screen::note;

/// The judgement of one experiment, or of several.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
#[must_use]
pub(crate) struct Verdict {
    /// One line per invariant that did not hold, or that the experiment could not prove.
    pub(crate) broken: Vec<String>,
}

impl Verdict {
    /// Says on stderr what did not hold, and turns it into an exit status.
    pub(crate) fn report(&self) -> Ending {
        for line in &self.broken {
            note(&format!("lab: broken: {line}"));
        }
        if self.broken.is_empty() { Ending::Held } else { Ending::Broken }
    }
}
