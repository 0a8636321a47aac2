//! A run that is not over: what it has measured is said even if a signal or an error ends it.

use crate::screen::{progress, say};

/// What a run found, told at its end or before it.
pub(crate) trait Findings {
    /// Whether there is nothing yet that is worth telling.
    fn is_empty(&self) -> bool;

    /// Forms what is formed from all that was found until now.
    fn finish(&mut self);

    /// The table.
    fn text(&self) -> String;

    /// One line per invariant that did not hold, or that the run did not prove.
    fn broken(&self) -> &[String];
}

/// Findings that grow. Dropped with them inside, it tells what there is.
#[derive(Debug)]
pub(crate) struct Unfinished<F: Findings>(Option<F>);

impl<F: Findings> Unfinished<F> {
    pub(crate) fn new(findings: F) -> Self {
        Self(Some(findings))
    }

    pub(crate) fn findings(&mut self) -> &mut F {
        self.0.as_mut().unwrap_or_else(|| unreachable!("they are there until the end"))
    }

    /// All was measured: tells it.
    pub(crate) fn end(mut self) -> F {
        let Some(mut findings) = self.0.take() else { unreachable!("they are there until the end") };
        findings.finish();
        progress("");
        say(&findings.text());
        findings
    }
}

impl<F: Findings> Drop for Unfinished<F> {
    fn drop(&mut self) {
        let Some(mut findings) = self.0.take().filter(|findings| !findings.is_empty()) else { return };
        findings.finish();
        progress("");
        say("The run was ended before all was measured. Until then:");
        say("");
        say(&findings.text());
        for line in findings.broken() {
            say(&format!("broken: {line}"));
        }
    }
}
