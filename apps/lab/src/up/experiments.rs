//! The experiments that `lab up` runs when all is up.

use anyhow::Result;

use crate::blog::performance::{self, PerformanceArgs};
use crate::booking::concurrent::{self, ConcurrentArgs};
use crate::cli;
use crate::data::State;
use crate::exit::Failure;
use crate::shop::strategies::{self, StrategiesArgs};
use crate::verdict::Verdict;

/// What they do.
#[derive(Debug, Clone)]
pub(super) struct Experiments {
    performance: PerformanceArgs,
    strategies: StrategiesArgs,
    concurrent: ConcurrentArgs,
}

impl Experiments {
    /// What they do when nobody says how: the defaults of their flags.
    ///
    /// # Errors
    /// Something in the environment is wrong, which the flags read too.
    pub(super) fn by_default() -> Result<Self> {
        Ok(Self { performance: defaults()?, strategies: defaults()?, concurrent: defaults()? })
    }

    /// Runs those whose part is up, and judges all of them.
    pub(super) async fn run(self, state: &State) -> Result<Verdict> {
        let mut verdict = Verdict::default();
        if state.blog.is_some() {
            verdict.broken.extend(performance::run(self.performance, state.blog_targets()?).await?.broken);
        }
        if state.shop.is_some() {
            verdict.broken.extend(strategies::run(self.strategies, state.shop_targets()?).await?.broken);
        }
        if state.booking.is_some() {
            verdict.broken.extend(concurrent::run(self.concurrent, state.booking_targets()?).await?.broken);
        }
        Ok(verdict)
    }
}

fn defaults<A: clap::Args>() -> Result<A> {
    let matches = A::augment_args(clap::Command::new("lab")).try_get_matches_from(["lab"]);
    let args = matches.and_then(|matches| A::from_arg_matches(&matches));
    args.map_err(|error| Failure::usage(cli::one_line(&error)).into())
}
