//! The protocol, explored exhaustively: what holds, and what breaks when one of its rules is left out.
//!
//! [`database`] is the specification's section 4 against a lock service that grants any number to anybody: safety must
//! not depend on it. [`granting`] is sections 2 and 3: scripts, messages, clocks, renewals, cancellations, lost connections,
//! processes that are killed or stop, a Redis that has lost everything; and section 6, how long all that can take.

mod database;
mod granting;

use std::fmt::Debug;
use std::hash::Hash;

use stateright::{Checker, HasDiscoveries, Model};

/// Explores everything: every property holds, and what must be possible is. `at_least` guards against a model that has
/// lost behaviour by mistake.
fn holds<M>(model: M, at_least: usize)
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + PartialEq + Hash + Send + Sync,
    M::Action: Clone + Debug + PartialEq,
{
    let checker = model.checker().threads(2).spawn_bfs().join();
    println!("{} states, depth {}", checker.unique_state_count(), checker.max_depth());
    checker.assert_properties();
    assert!(checker.is_done(), "the exploration ended early");
    assert!(checker.unique_state_count() >= at_least, "only {} states", checker.unique_state_count());
}

/// The shortest counterexamples to `property` have so many steps.
fn fails<M>(model: impl Fn() -> M, property: &'static str, steps: usize)
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + PartialEq + Hash + Send + Sync,
    M::Action: Clone + Debug + PartialEq,
{
    // The checker stops before the depth that it is given, and a path of n steps has n + 1 states.
    let within = |steps: usize| {
        let only = HasDiscoveries::AnyOf([property].into());
        let checker = model().checker().finish_when(only).target_max_depth(steps + 2).spawn_bfs().join();
        checker.discovery(property).map(stateright::Path::into_actions)
    };
    let found = within(steps).unwrap_or_else(|| panic!("no counterexample to \"{property}\" in {steps} steps"));
    println!("\"{property}\" fails after {found:?}");
    assert_eq!(within(steps - 1), None, "there is a shorter one");
}
